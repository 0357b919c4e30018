//! A disk that fills up while the tool works: nothing is begun that could not be written down.

use std::path::Path;
use std::process::Command;

use crate::checks::{at_the_end, unnamed};
use crate::operations::End;
use crate::world::{Kind, World};

/// Size of the disk that holds the state folder: a few times what a run needs.
const SIZE: usize = 1 << 20;

/// A file system in memory over the state folder, as long as this lives.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mounted(folder: &'a Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={SIZE},mode=0700");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder);
        let mounted = mount.output().is_ok_and(|mounted| mounted.status.success());
        mounted.then_some(Self(folder))
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

#[test]
fn on_a_full_disk_nothing_is_begun_that_is_not_written_down() {
    let hosts = ["host-a", "host-b"];
    let (mut failed, mut bought) = (0, 0);
    // Free space in steps of a page, from none to enough.
    for free in (0..SIZE / 2).step_by(8 << 10) {
        let world = World::new(Kind::Site);
        let state = world.state();
        let Some(_disk) = Disk::mounted(&state) else {
            println!("skipped: this user cannot mount a small file system");
            return;
        };
        std::fs::write(state.join("ballast"), vec![1; SIZE - free]).unwrap();
        let template = world.template(&hosts);
        let created = world.run(&["create", template.to_str().unwrap()]);
        let journal = world.journal();
        assert_eq!(unnamed(&world, &journal), 0, "{free} bytes free: {:?}", world.bill());
        if created.code == Some(0) {
            assert!(failed > 0, "the disk was never full");
            assert!(bought > 0, "it was never full in the middle");
            return;
        }
        failed += 1;
        bought += world.bill().len();
        assert_eq!(created.code, Some(255), "{free} bytes free: {}", created.stderr);
        assert!(created.stderr.contains("ERROR: "), "{}", created.stderr);
        assert!(!created.stderr.contains("panicked"), "{}", created.stderr);
        // With room again everything goes on.
        std::fs::remove_file(state.join("ballast")).unwrap();
        match world.provisions().into_iter().next() {
            Some(id) => {
                let resumed = world.run(&["resume", &id]);
                assert_eq!(resumed.code, Some(0), "{free} bytes free: {}", resumed.stderr);
                at_the_end(&world, hosts.len(), End::Present(hosts.len()));
            }
            None => at_the_end(&world, 0, End::Absent),
        }
    }
    panic!("half of the disk is not enough");
}
