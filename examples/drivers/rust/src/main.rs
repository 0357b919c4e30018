//! A provision driver whose machines are files (docs/WRITING_A_DRIVER.md).
//!
//! One program is all actions: cancel, deploy, list, poll, reboot, reset and shutdown are links to it.
//! `harness` reads arguments and deployment file, prints ids and answers, waits until the machine is
//! up, and turns an error into an error block and an exit status.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use driver::api::{
    Call, Description, Driver, DriverError, FailureKind, ListedMachine, ShutdownKind,
};
use driver::{MachineState, PollReport, harness};
use model::{Attributes, DeployId};

/// The provider: a folder. A machine is a file with its marks; a file `….off` beside it says that it is
/// off.
struct Files {
    machines: PathBuf,
}

/// It was not done, for certain.
fn failed(reason: impl Into<String>) -> DriverError {
    DriverError::new(FailureKind::Definite, reason)
}

/// The system failed in the midst of it: how far it had come is not known.
fn unknown(error: io::Error) -> DriverError {
    DriverError::new(FailureKind::Unknown, error.to_string())
}

impl Files {
    /// The file of a machine that is there.
    fn find(&self, id: &DeployId) -> Result<PathBuf, DriverError> {
        let name = id.as_str();
        let sound = name.starts_with("file-") && !name.contains(['/', '.']);
        let path = self.machines.join(name);
        if sound && path.is_file() {
            return Ok(path);
        }
        Err(DriverError::new(FailureKind::NotFound, format!("machine {id} not found")))
    }

    /// Makes a machine, whole and with its marks, or finds the one that was made for the same key.
    fn make(&self, id: &DeployId, facts: &Attributes) -> io::Result<()> {
        fs::create_dir_all(&self.machines)?;
        let new = self.machines.join(format!(".new-{}", std::process::id()));
        let mut file = fs::File::create(&new)?;
        for (key, value) in facts.iter() {
            writeln!(file, "{key}={}", value.expose().unwrap_or_default())?;
        }
        let linked = fs::hard_link(&new, self.machines.join(id.as_str()));
        fs::remove_file(&new)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Its facts and its state; nothing if it is gone.
    fn look(&self, path: &Path) -> io::Result<Option<(Attributes, MachineState)>> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let mut facts = Attributes::new();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            facts.push(key, value);
        }
        let off = off(path).exists();
        Ok(Some((facts, if off { MachineState::Gone } else { MachineState::Active })))
    }
}

fn off(path: &Path) -> PathBuf {
    path.with_extension("off")
}

fn remove(path: &Path) -> Result<(), DriverError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(unknown(error)),
        _ => Ok(()),
    }
}

#[async_trait]
impl Driver for Files {
    /// What it takes is in driver.yaml, beside the actions.
    fn describe(&self) -> Description {
        Description::new("files", "Machines that are files")
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        if let Some(id) = call.host.parameter("DEPLOY_ID").and_then(DeployId::new) {
            // The machine is there already: it is powered on, and no second one is made.
            remove(&off(&self.find(&id)?))?;
            return Ok(id);
        }
        let address = call.host.parameter("IP").unwrap_or("192.0.2.1");
        let sound = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-');
        if !address.chars().all(sound) {
            return Err(failed("parameter 'ip' is no address"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut facts = Attributes::new();
        facts.push("KEY", call.key.as_str());
        facts.push("NAME", call.host.name.as_str());
        facts.push("PROVISION_ID", call.host.parameter("PROVISION_ID").unwrap_or_default());
        facts.push("CREATED", now.to_string());
        facts.push("GUEST_IP_ADDRESSES", address);
        // The tool's key makes the id, so that asking twice for one machine makes one machine.
        let id = DeployId::new(&format!("file-{}", call.key)).ok_or_else(|| failed("a bad key"))?;
        self.make(&id, &facts).map_err(unknown)?;
        Ok(id)
    }

    async fn cancel(&self, _: &Call, id: &DeployId) -> Result<(), DriverError> {
        let path = self.find(id)?;
        remove(&path)?;
        remove(&off(&path))
    }

    async fn poll(&self, _: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        let Some((facts, state)) = self.look(&self.find(id)?).map_err(unknown)? else {
            return Ok(PollReport::new(MachineState::Gone, Vec::new()));
        };
        let address = facts.text("GUEST_IP_ADDRESSES").map(str::to_owned);
        Ok(PollReport::new(state, address.into_iter().collect()))
    }

    async fn reboot(&self, _: &Call, id: &DeployId) -> Result<(), DriverError> {
        remove(&off(&self.find(id)?))
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.reboot(call, id).await
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        match kind {
            ShutdownKind::Terminate => self.cancel(call, id).await,
            ShutdownKind::Poweroff | ShutdownKind::Undeploy => {
                fs::write(off(&self.find(id)?), "").map_err(unknown)
            }
        }
    }

    async fn list(&self, _: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        let mut machines = Vec::new();
        let entries = match fs::read_dir(&self.machines) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(machines),
            entries => entries.map_err(unknown)?,
        };
        for entry in entries {
            let path = entry.map_err(unknown)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(id) = DeployId::new(name).filter(|id| self.find(id).is_ok()) else { continue };
            if let Some((attributes, _)) = self.look(&path).map_err(unknown)? {
                machines.push(ListedMachine { id, attributes });
            }
        }
        Ok(machines)
    }
}

fn main() -> ExitCode {
    // Called as FOLDER/deploy: the folder's name is the driver's.
    let program = env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let folder = program.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_default();
    let mut machines: OsString = folder.file_name().unwrap_or_default().to_owned();
    machines.push("-machines");
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".local/state/oneprovision"));
    let state = env::var_os("ONEPROVISION_STATE_DIR").map(PathBuf::from).or_else(home);
    let driver = Files { machines: state.unwrap_or_default().join(machines) };
    harness::main(driver, env::args_os(), |name| env::var_os(name))
}
