//! Machines as folders: `STATE/qemu/ID` holds all that a machine consists of.
//!
//! | file | what |
//! | --- | --- |
//! | `machine.json` | [`Machine`]: our mark, and how it is started; there before any process |
//! | `disk.qcow2` | what the machine writes |
//! | `seed.iso` | cloud-init's seed |
//! | `console.log` | its serial console since the last start |
//! | `qmp.sock`, `pid` | QEMU's control socket and process id while it runs |
//! | `started` | it was started once |
//!
//! A folder is built under the name `.new-ID` and then renamed, and renamed to `.gone-ID` before it is
//! removed, so that a machine is there with all its files or not at all. Locks are `flock`s on the folders
//! themselves: that of all machines to make one or choose an address, that of a machine to act on it. The kernel drops
//! them with the process.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::disk::Format;
use super::parameters::Accel;

const META: &str = "machine.json";
const NEW: &str = ".new-";
const GONE: &str = ".gone-";
/// The machine's own disk.
pub(super) const DISK: &str = "disk.qcow2";
/// Its seed.
pub(super) const SEED: &str = "seed.iso";
/// Its console.
pub(super) const CONSOLE: &str = "console.log";
const STARTED: &str = "started";

/// How a machine is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Network {
    /// Behind this computer; port 22 is forwarded.
    User { address: IpAddr, port: u16 },
    /// On a bridge.
    Bridge { bridge: String, address: Option<IpAddr> },
    /// On a tap device.
    Tap { device: String, address: Option<IpAddr> },
}

/// A machine: our mark and everything that is needed to start it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Deploy id, also the folder's name.
    pub id: String,
    /// Key of the call that made it.
    pub key: String,
    /// Name of the host that it was made for.
    pub name: String,
    /// Its provision, empty if that was not told.
    pub provision_id: String,
    /// Seconds since the Unix epoch.
    pub created: u64,
    pub accel: Accel,
    pub memory_mib: u64,
    pub cpus: u64,
    pub image: Option<(PathBuf, Format)>,
    pub kernel: Option<PathBuf>,
    pub initrd: Option<PathBuf>,
    pub append: String,
    pub network: Network,
    pub mac: String,
    pub grace: Duration,
}

/// The folder of all machines of a state folder.
#[derive(Clone, Debug)]
pub(super) struct Store {
    root: PathBuf,
}

/// The right to act on a folder, given back when dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Store {
    /// The store of a state folder; its folder is made (0700) if it is not there.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let root = state_dir.join("qemu");
        DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        // Processes are known by this path, whatever way led here.
        Ok(Self { root: root.canonicalize()? })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// A machine's folder, whether it is there or not.
    pub(super) fn folder(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// QEMU's own file with its process id, whose path tells a machine's process.
    pub(super) fn mark(&self, id: &str) -> PathBuf {
        self.folder(id).join("pid")
    }

    /// The lock on making machines. Whatever a killed process left half made or half removed is
    /// cleared, as nobody else can be at it.
    pub(super) async fn lock(&self) -> io::Result<Lock> {
        let lock = locked(&self.root).await?;
        for name in names(&self.root)? {
            if name.starts_with(NEW) || name.starts_with(GONE) {
                fs::remove_dir_all(self.root.join(name)).or_else(absent_is_fine)?;
            }
        }
        Ok(lock)
    }

    /// The lock on a machine, or `None` if it is not there.
    pub(super) async fn lock_machine(&self, id: &str) -> io::Result<Option<Lock>> {
        if !is_id(id) {
            return Ok(None);
        }
        let folder = self.folder(id);
        loop {
            let lock = match locked(&folder).await {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => other?,
            };
            // It may have been removed, and another one made, while we waited.
            let (ours, there) = (lock.0.metadata()?, fs::metadata(&folder));
            match there {
                Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                    return Ok(Some(lock));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads a machine; `None` if it is not there.
    pub(super) fn read(&self, id: &str) -> io::Result<Option<Machine>> {
        if !is_id(id) {
            return Ok(None);
        }
        let path = self.folder(id).join(META);
        match fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(machine) => Ok(Some(machine)),
                Err(error) => Err(io::Error::other(format!("{}: {error}", path.display()))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All machines.
    pub(super) fn all(&self) -> io::Result<Vec<Machine>> {
        let mut machines = Vec::new();
        for name in names(&self.root)? {
            machines.extend(self.read(&name)?);
        }
        Ok(machines)
    }

    /// Makes a machine's folder. `fill` writes into it what belongs there. Under [`Store::lock`].
    pub(super) fn make(
        &self,
        machine: &Machine,
        fill: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        let new = self.root.join(format!("{NEW}{}", machine.id));
        DirBuilder::new().mode(0o700).create(&new)?;
        let made = write_meta(&new, machine)
            .and_then(|()| fill(&new))
            .and_then(|()| File::open(&new)?.sync_all())
            .and_then(|()| fs::rename(&new, self.folder(&machine.id)))
            .and_then(|()| File::open(&self.root)?.sync_all());
        if made.is_err() {
            // What stays is cleared under the next lock.
            let _ = fs::remove_dir_all(&new);
        }
        made
    }

    /// Writes a machine down anew. Under its lock.
    pub(super) fn write(&self, machine: &Machine) -> io::Result<()> {
        write_meta(&self.folder(&machine.id), machine)
    }

    /// Notes that a machine runs, or ran. Under its lock.
    pub(super) fn set_started(&self, id: &str) -> io::Result<()> {
        File::create(self.folder(id).join(STARTED)).map(drop)
    }

    /// Whether that was noted.
    pub(super) fn is_started(&self, id: &str) -> bool {
        self.folder(id).join(STARTED).exists()
    }

    /// Removes a machine's folder; under its lock, and when no process of it is left.
    pub(super) fn remove(&self, id: &str) -> io::Result<()> {
        let gone = self.root.join(format!("{GONE}{id}"));
        fs::remove_dir_all(&gone).or_else(absent_is_fine)?;
        fs::rename(self.folder(id), &gone).or_else(absent_is_fine)?;
        fs::remove_dir_all(&gone).or_else(absent_is_fine)
    }
}

/// Whether a text is an id of ours; nothing else is made into a path.
pub(super) fn is_id(text: &str) -> bool {
    text.strip_prefix("qemu-").is_some_and(|rest| {
        rest.len() == 16 && rest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn absent_is_fine(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

async fn locked(folder: &Path) -> io::Result<Lock> {
    let file = File::open(folder)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(10)).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

fn write_meta(folder: &Path, machine: &Machine) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(machine)?;
    let new = folder.join("machine.json.new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(new, folder.join(META))
}
