//! The disk of the calls' folder is full: what a driver answers is complete, or it was not asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driver::{Driver as _, FailureKind};
use support::{Lab, call, id};

/// Pages of the disk.
const SIZE: usize = 64;
/// More than a call takes of it.
const ENOUGH: usize = 16;

fn page() -> usize {
    rustix::param::page_size()
}

/// A small file system of memory, as long as this lives.
struct Disk(PathBuf);

impl Disk {
    fn mounted(folder: PathBuf) -> Option<Self> {
        fs::create_dir_all(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={}", SIZE * page()), "tmpfs"]).arg(&folder);
        mount.output().is_ok_and(|mounted| mounted.status.success()).then_some(Self(folder))
    }

    /// Leaves room for so many pages.
    fn leave(&self, pages: usize) {
        fs::write(self.0.join("ballast"), vec![1; (SIZE - pages) * page()]).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// A script that does not look whether what it wrote could be written; many do not.
fn answers(lab: &Lab) -> String {
    // Of three pages, so that a part of them fits where all of them do not.
    lab.sh("case $0 in\n\
            */list) for n in $(seq 1 400); do echo \"DEPLOY_ID=m-$n NAME=h-$n\"; done 2>/dev/null ;;\n\
            *) echo STATE=a GUEST_IP_ADDRESSES=10.0.0.1 2>/dev/null ;;\n\
            esac\nexit 0")
}

#[tokio::test]
async fn an_answer_is_complete_or_there_is_none() {
    let lab = Lab::new();
    let Some(disk) = Disk::mounted(lab.calls()) else {
        println!("skipped: this user cannot mount a small file system");
        return;
    };
    let script = answers(&lab);
    let driver = lab.driver(&script, &script);
    let (mut refused, mut answered) = (0, 0);
    for pages in 0..ENOUGH {
        disk.leave(pages);
        let (call, _) = call("h");
        match driver.poll(&call, &id("m-1")).await {
            Ok(report) => {
                assert_eq!(report.address(), Some("10.0.0.1"), "{pages} pages");
                answered += 1;
            }
            Err(error) => {
                assert_eq!(error.kind, FailureKind::Setup, "{pages} pages: {}", error.message);
                assert!(error.message.contains("No space left"), "{}", error.message);
                refused += 1;
            }
        }
        match driver.list(&call).await {
            Ok(machines) => assert_eq!(machines.len(), 400, "{pages} pages"),
            Err(error) => assert_eq!(error.kind, FailureKind::Setup, "{}", error.message),
        }
        assert!(only_ballast(&disk.0), "{pages} pages");
    }
    assert!(refused > 0 && answered > 0, "{refused} refused, {answered} answered");
}

fn only_ballast(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().all(|entry| entry.unwrap().file_name() == "ballast")
}
