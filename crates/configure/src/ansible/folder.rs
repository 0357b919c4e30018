//! The private folder of a run, and how it goes away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::bundle;
use crate::temporary;

/// Settings that are the same for every run. What has paths in it is told by environment variables,
/// where `%` and `;` mean nothing.
const CONFIG: &str = "\
[defaults]
host_key_checking = True
retry_files_enabled = False
stdout_callback = oneprovision
nocows = True
nocolor = True
interpreter_python = auto_silent
timeout = 10
deprecation_warnings = False
localhost_warning = False

[inventory]
enable_plugins = yaml
unparsed_is_failed = True

[connection]
pipelining = True

[ssh_connection]
pipelining = True
retries = 0
";
/// Options for ssh beside those of each machine: connections are shared for a short while.
const SHARED: &str = "-o ControlMaster=auto -o ControlPersist=15s";
/// The same where the folder's path is one that sockets cannot have.
const UNSHARED: &str = "-o ControlMaster=no -o ControlPath=none";
/// Longest path of the folder of sockets: a socket's path has 107 bytes, of which Ansible takes 11 and
/// ssh 17 for a name of its own.
const LONGEST: usize = 107 - 11 - 17;
/// How a client of an ssh master says hello, and that it shall end (`PROTOCOL.mux` of OpenSSH): what
/// `ssh -O exit` sends.
const END_MASTER: [u8; 24] =
    [0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 8, 0x10, 0, 0, 5, 0, 0, 0, 0];

/// The folder, with our files and settings in it. When this is dropped ssh's masters end and it is
/// removed, so whoever else uses it should be gone by then.
pub(super) struct Folder {
    dir: Option<TempDir>,
    path: PathBuf,
    /// Says that this is in use, as long as this process lives.
    _lock: File,
}

impl Folder {
    /// Makes it.
    pub fn new(temporary: &Path) -> io::Result<Self> {
        temporary::sweep(temporary);
        let (dir, lock) = temporary::make(temporary, temporary::RUN)?;
        let path = dir.path().canonicalize()?;
        let folder = Self { dir: Some(dir), path, _lock: lock };
        for name in ["c", "keys", "host_vars", "tmp", "ansible"] {
            fs::DirBuilder::new().mode(0o700).create(folder.path(name))?;
        }
        bundle::extract(&folder.path("ansible"))?;
        folder.write("ansible.cfg", CONFIG)?;
        Ok(folder)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only we may read.
    pub fn write(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.path(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(content.as_bytes())?;
        Ok(path)
    }

    /// The options of ssh that are the same for all machines.
    pub fn ssh_args(&self) -> &'static str {
        let sockets = self.path("c");
        // Ansible and ssh put something else in for a percent sign.
        let fits = sockets.as_os_str().len() <= LONGEST && !sockets.to_string_lossy().contains('%');
        if fits { SHARED } else { UNSHARED }
    }

    /// A text in which our files are named as if they were in no folder.
    pub fn shorten(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.path("ansible").display()), "")
    }

    fn end_masters(&self) {
        let sockets = fs::read_dir(self.path("c")).into_iter().flatten().flatten();
        for socket in sockets.filter(|s| s.file_type().is_ok_and(|kind| kind.is_socket())) {
            // One that does not answer ends by itself when it has not been needed for a while.
            let _ = end_master(&socket.path());
        }
    }
}

/// Tells a master to end, and waits until it does.
fn end_master(socket: &Path) -> io::Result<()> {
    let mut master = UnixStream::connect(socket)?;
    let patience = Some(Duration::from_millis(500));
    master.set_read_timeout(patience)?;
    master.set_write_timeout(patience)?;
    master.write_all(&END_MASTER)?;
    let mut answer = [0; 256];
    while master.read(&mut answer)? > 0 {}
    Ok(())
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.end_masters();
        // Workers of Ansible that were in the middle of something die in these milliseconds, and may
        // make a file meanwhile.
        for _ in 0..10 {
            match fs::remove_dir_all(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => break,
            }
            self.end_masters();
        }
        drop(self.dir.take());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_is_private_and_goes_away() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::new(base.path()).unwrap();
        let mode =
            |name: &str| fs::metadata(folder.path(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode("keys"), mode("ansible.cfg")), (0o700, 0o700, 0o600));
        assert!(folder.write("ansible.cfg", "").is_err(), "nothing is overwritten");
        assert_eq!(folder.ssh_args(), SHARED);
        let file = folder.path("ansible/roles/x/tasks/main.yml");
        assert_eq!(folder.shorten(&file.display().to_string()), "roles/x/tasks/main.yml");
        drop(folder);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);

        for name in ["l".repeat(80), "50%h".to_owned()] {
            let folder = Folder::new(&base.path().join(name)).unwrap();
            assert_eq!(folder.ssh_args(), UNSHARED);
        }
    }
}
