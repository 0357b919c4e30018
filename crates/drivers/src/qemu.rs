//! Real machines on one's own computer, run by QEMU.
//!
//! With KVM where that can be used, else emulated. A machine boots a disk image (which is never written to:
//! the machine has an overlay) or a kernel; it learns its name and SSH keys from a seed of cloud-init's kind; it
//! survives the tool. `docs/drivers/qemu.md` is for who uses it.
//!
//! A machine is a folder (`machine`), and its deploy id comes from the key of the call that made it: the same
//! call finds its own machine again, whatever was killed in between. A process is found by the folder that
//! it works for (`process`), so none is ever lost. There is no server that knows of all; two tools that act at once
//! meet at locks on the folders.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use driver::{
    Action, Call, Description, Driver, DriverError, FailureKind, ListedMachine, PollReport,
    ProcessRecord, ShutdownKind,
};
use model::DeployId;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout};

use crate::common::{definite, tag_of};

mod address;
mod command;
mod disk;
mod files;
mod host;
mod machine;
mod parameters;
mod process;
mod qmp;
mod report;
mod seed;

use files::Files;
use host::{device as network_device, free_memory_mib, kvm_is_usable};
use machine::{Lock, Machine, Network, Store};
use parameters::{Parameters, WantedNetwork};
use process::StartError;
use qmp::{Qmp, QmpError};
use report::{Status, listed, report};

/// Where, in the state folder, the rescue image is that machines without `IMAGE` and `KERNEL` boot.
pub const RESCUE: &str = "images/rescue";
/// File name of its kernel.
pub const RESCUE_KERNEL: &str = "vmlinuz";
/// File name of its initial RAM disk.
pub const RESCUE_INITRD: &str = "initrd.img";

/// How often an orderly shutdown is asked for: a guest that still boots does not hear the first.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// How often it is looked whether it is done.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long QEMU may take to leave when it is told to.
const QUIT: Duration = Duration::from_secs(5);
/// How many addresses are tried when others take them before QEMU does.
const ADDRESS_ATTEMPTS: usize = 5;

/// The qemu driver.
#[derive(Clone, Debug)]
pub struct Qemu {
    state_dir: PathBuf,
    program: String,
}

fn failed(kind: FailureKind, message: impl Into<String>) -> DriverError {
    DriverError::new(kind, message)
}

fn not_found(id: &str) -> DriverError {
    failed(FailureKind::NotFound, format!("machine {id} not found"))
}

/// The id of the machine that a call makes.
fn id_of(call: &Call) -> String {
    format!("qemu-{}", tag_of(call))
}

impl Qemu {
    /// A driver with its machines in that state folder. Nothing is opened yet.
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), program: command::PROGRAM.to_owned() }
    }

    /// The same with another program than `qemu-system-x86_64`.
    #[must_use]
    pub fn with_program(self, program: &str) -> Self {
        Self { program: program.to_owned(), ..self }
    }

    fn in_state(&self, error: &io::Error) -> DriverError {
        let folder = self.state_dir.join("qemu");
        definite(format!("the machines' folder {}: {error}", folder.display()))
    }

    fn store(&self) -> Result<Store, DriverError> {
        if self.state_dir.as_os_str().is_empty() {
            let text = "there is no state folder: ONEPROVISION_STATE_DIR or HOME must say where";
            return Err(failed(FailureKind::Setup, text));
        }
        Store::open(&self.state_dir).map_err(|e| self.in_state(&e))
    }

    /// The store, a machine of it, and the lock on that.
    async fn locked(&self, id: &DeployId) -> Result<(Store, Machine, Lock), DriverError> {
        let store = self.store()?;
        let id = id.as_str();
        let lock = store.lock_machine(id).await.map_err(|e| self.in_state(&e))?;
        let lock = lock.ok_or_else(|| not_found(id))?;
        let machine = store.read(id).map_err(|e| self.in_state(&e))?;
        Ok((store, machine.ok_or_else(|| not_found(id))?, lock))
    }

    /// Makes the folder of a machine with that id.
    async fn make(&self, call: &Call, id: &str) -> Result<(), DriverError> {
        let parameters = Parameters::of(&call.host).map_err(definite)?;
        let files = Files::of(&parameters, &self.state_dir)?;
        let store = self.store()?;
        let _lock = store.lock().await.map_err(|e| self.in_state(&e))?;
        let others = store.all().map_err(|e| self.in_state(&e))?;
        if others.iter().any(|machine| machine.id == id) {
            return Ok(());
        }
        let digest = Sha256::digest(id.as_bytes());
        let machine = Machine {
            id: id.to_owned(),
            key: call.key.clone(),
            name: call.host.name.clone(),
            provision_id: call.host.parameter("PROVISION_ID").unwrap_or_default().to_owned(),
            created: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            accel: parameters.accel,
            memory_mib: parameters.memory_mib,
            cpus: parameters.cpus,
            image: files.image.clone(),
            kernel: files.kernel.clone(),
            initrd: files.initrd.clone(),
            append: parameters.append.clone(),
            network: network(&store, &parameters.network, &others).map_err(definite)?,
            // The prefix that QEMU's machines have; the rest differs as the ids do.
            mac: parameters.mac.clone().unwrap_or_else(|| {
                digest.iter().take(3).fold("52:54:00".to_owned(), |mac, b| format!("{mac}:{b:02x}"))
            }),
            grace: parameters.grace,
        };
        let made = store.make(&machine, |folder| {
            let backing = machine.image.as_ref().map(|(path, format)| (path.as_path(), *format));
            disk::create(&folder.join(machine::DISK), files.disk_bytes, backing)?;
            std::fs::write(folder.join(machine::SEED), seed::image(id, &parameters))
        });
        made.map_err(|error| self.in_state(&error))
    }

    /// Starts a machine that does not run. Under its lock.
    async fn start(&self, store: &Store, machine: &Machine) -> Result<(), StartError> {
        let mark = store.mark(&machine.id);
        if !process::of_machine(&mark).is_empty() {
            return Ok(());
        }
        if let Some(free) = free_memory_mib().filter(|free| *free < machine.memory_mib) {
            return Err(StartError::Said(format!(
                "there is not enough memory: parameter memory asks for {} MiB, {free} MiB are free",
                machine.memory_mib
            )));
        }
        let arguments = command::arguments(machine, &mark, kvm_is_usable());
        let started = process::start(&self.program, arguments, &store.folder(&machine.id)).await;
        let noted = started.and_then(|()| {
            let noted = store.set_started(&machine.id);
            noted.map_err(|e| {
                StartError::Said(format!("cannot note that the machine was started: {e}"))
            })
        });
        if noted.is_err() {
            // One that ran on would be nobody's: its start counts as failed.
            process::kill_all(&mark).await;
        }
        noted
    }

    fn start_failed(&self, error: StartError, machine: &Machine) -> DriverError {
        match error {
            StartError::NoProgram => failed(
                FailureKind::Setup,
                format!(
                    "{} is not installed: `apt-get install --no-install-recommends qemu-system-x86` \
                     (Debian, Ubuntu), `dnf install qemu-kvm` (Fedora)",
                    self.program
                ),
            ),
            StartError::Said(words) => {
                let hint = hint(&words, machine);
                definite(format!("machine {} cannot be started: {words}{hint}", machine.id))
            }
        }
    }

    /// Starts the machine that was just made; where its port was taken meanwhile, at another address.
    async fn first_start(&self, id: &DeployId, chosen: bool) -> Result<(), DriverError> {
        for attempt in 1.. {
            let (store, machine, lock) = self.locked(id).await?;
            let error = match self.start(&store, &machine).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let again = matches!(&error, StartError::Said(words) if is_port_taken(words));
            if again && chosen && attempt < ADDRESS_ATTEMPTS {
                drop(lock);
                self.move_elsewhere(id).await?;
                continue;
            }
            let error = self.start_failed(error, &machine);
            let runs = !process::of_machine(&store.mark(id.as_str())).is_empty();
            if runs || store.is_started(id.as_str()) {
                return Err(DriverError {
                    kind: FailureKind::Unknown,
                    deploy_id: Some(id.clone()),
                    ..error
                });
            }
            // Nothing was made, so nothing stays.
            return match store.remove(id.as_str()) {
                Ok(()) => Err(error),
                Err(e) => Err(DriverError {
                    kind: FailureKind::Unknown,
                    message: format!("{}\nIts folder cannot be removed: {e}", error.message),
                    deploy_id: Some(id.clone()),
                }),
            };
        }
        Ok(())
    }

    /// Gives a machine that does not run another address.
    async fn move_elsewhere(&self, id: &DeployId) -> Result<(), DriverError> {
        let store = self.store()?;
        let _all = store.lock().await.map_err(|e| self.in_state(&e))?;
        let (_, mut machine, _lock) = self.locked(id).await?;
        if let Network::User { port, .. } = machine.network {
            // Its own old address is among those that are taken.
            let others = store.all().map_err(|e| self.in_state(&e))?;
            let wanted = WantedNetwork::User { address: None, port };
            machine.network = network(&store, &wanted, &others).map_err(definite)?;
            store.write(&machine).map_err(|e| self.in_state(&e))?;
        }
        Ok(())
    }

    /// Powers off in an orderly way; after the machine's grace, not so.
    async fn power_off(&self, id: &DeployId) -> Result<(), DriverError> {
        let begin = Instant::now();
        let mut asked: Option<Instant> = None;
        loop {
            let (store, machine, _lock) = self.locked(id).await?;
            let mark = store.mark(id.as_str());
            if process::of_machine(&mark).is_empty() {
                return Ok(());
            }
            if begin.elapsed() >= machine.grace {
                tracing::warn!(%id, "no orderly shutdown within {:?}: power off", machine.grace);
                return self.pull_the_plug(&store, id.as_str()).await;
            }
            if asked.is_none_or(|at| at.elapsed() >= ASK_AGAIN) {
                asked = Some(Instant::now());
                // One that leaves at this moment, or does not answer, is looked at again.
                if let Ok(mut qmp) = Qmp::connect(&store.folder(id.as_str())).await {
                    let _ = qmp.execute("system_powerdown").await;
                }
            }
            drop(_lock);
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Ends QEMU: asked first, so that it writes what it holds, then killed. Under the machine's lock.
    async fn pull_the_plug(&self, store: &Store, id: &str) -> Result<(), DriverError> {
        let mark = store.mark(id);
        if let Ok(mut qmp) = Qmp::connect(&store.folder(id)).await {
            // It may leave before it answers.
            let _ = qmp.execute("quit").await;
            let end = Instant::now() + QUIT;
            while !process::of_machine(&mark).is_empty() && Instant::now() < end {
                sleep(LOOK_AGAIN).await;
            }
        }
        self.kill(store, id).await
    }

    async fn kill(&self, store: &Store, id: &str) -> Result<(), DriverError> {
        match process::kill_all(&store.mark(id)).await {
            true => Ok(()),
            false => Err(failed(
                FailureKind::Unknown,
                format!("the process of machine {id} cannot be ended: is it another user's?"),
            )),
        }
    }

    /// Leaves no process and no file, whatever is there of either.
    async fn destroy(&self, id: &DeployId) -> Result<(), DriverError> {
        let store = self.store()?;
        let text = id.as_str();
        if !machine::is_id(text) {
            return Err(not_found(text));
        }
        let lock = store.lock_machine(text).await.map_err(|e| self.in_state(&e))?;
        let had_process = !process::of_machine(&store.mark(text)).is_empty();
        self.kill(&store, text).await?;
        store
            .remove(text)
            .map_err(|e| DriverError { kind: FailureKind::Unknown, ..self.in_state(&e) })?;
        if lock.is_none() && !had_process { Err(not_found(text)) } else { Ok(()) }
    }

    async fn do_deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        if let Some(text) = call.host.parameter("DEPLOY_ID") {
            let id = DeployId::new(text)
                .ok_or_else(|| definite("the DEPLOY_ID of the deployment file is no id"))?;
            let (store, machine, _lock) = self.locked(&id).await?;
            let started = self.start(&store, &machine).await;
            return started.map(|()| id).map_err(|e| self.start_failed(e, &machine));
        }
        let text = id_of(call);
        let id = DeployId::new(&text).ok_or_else(|| definite("the call's key makes no id"))?;
        self.make(call, &text).await?;
        let chosen = call.host.parameter("ADDRESS").is_none();
        self.first_start(&id, chosen).await?;
        Ok(id)
    }

    async fn do_poll(&self, id: &DeployId) -> Result<PollReport, DriverError> {
        let (store, machine, _lock) = self.locked(id).await?;
        let is_off = || process::of_machine(&store.mark(id.as_str())).is_empty();
        let status = async {
            if is_off() {
                return Status::Off;
            }
            let asked = async { Qmp::connect(&store.folder(id.as_str())).await?.status().await };
            match asked.await {
                Ok(words) => Status::Is(words),
                Err(_) if is_off() => Status::Off,
                Err(error) => Status::Silent(error.to_string()),
            }
        };
        let status = status.await;
        Ok(report(&store, &machine, status))
    }

    async fn do_reboot(&self, id: &DeployId) -> Result<(), DriverError> {
        let (store, ..) = self.locked(id).await?;
        if process::of_machine(&store.mark(id.as_str())).is_empty() {
            return Err(definite(format!("machine {id} is powered off and cannot be rebooted")));
        }
        self.power_off(id).await?;
        let (store, machine, _lock) = self.locked(id).await?;
        let started = self.start(&store, &machine).await;
        started.map_err(|e| self.start_failed(e, &machine))
    }

    async fn do_reset(&self, id: &DeployId) -> Result<(), DriverError> {
        let (store, _, _lock) = self.locked(id).await?;
        if process::of_machine(&store.mark(id.as_str())).is_empty() {
            return Err(definite(format!("machine {id} is powered off and cannot be reset")));
        }
        let reset = async {
            let mut qmp = Qmp::connect(&store.folder(id.as_str())).await?;
            qmp.execute("system_reset").await?;
            // One that had stopped, after a panic for example, would stay so.
            if qmp.status().await? != "running" {
                qmp.execute("cont").await?;
            }
            Ok::<_, QmpError>(())
        };
        reset.await.map_err(|error| {
            failed(FailureKind::Unknown, format!("machine {id} cannot be reset: {error}"))
        })
    }

    /// Looks for the machine of a call.
    ///
    /// The id comes from the key, so there is no searching. A folder whose machine was never started is
    /// removed: it was left by a `deploy` that was killed, which is to be done again from its beginning.
    async fn do_recover(&self, call: &Call) -> Result<Option<DeployId>, DriverError> {
        let unknown = |error: DriverError| DriverError { kind: FailureKind::Unknown, ..error };
        let id = id_of(call);
        let store = self.store().map_err(unknown)?;
        let _all = store.lock().await.map_err(|e| unknown(self.in_state(&e)))?;
        let lock = store.lock_machine(&id).await.map_err(|e| unknown(self.in_state(&e)))?;
        if lock.is_none() {
            return Ok(None);
        }
        if store.is_started(&id) || !process::of_machine(&store.mark(&id)).is_empty() {
            return Ok(DeployId::new(&id));
        }
        store.remove(&id).map_err(|e| unknown(self.in_state(&e)))?;
        Ok(None)
    }

    async fn do_list(&self) -> Result<Vec<ListedMachine>, DriverError> {
        let store = self.store()?;
        let machines = store.all().map_err(|e| self.in_state(&e))?;
        Ok(machines.iter().filter_map(|machine| listed(&store, machine)).collect())
    }
}

fn is_port_taken(words: &str) -> bool {
    words.contains("host forwarding rule")
}

/// What to do about QEMU's words, where they do not say.
fn hint(words: &str, machine: &Machine) -> String {
    match &machine.network {
        Network::User { address, port } if is_port_taken(words) => {
            format!("\nSomething else has port {port} of {address} now: end it, and try again.")
        }
        Network::Bridge { bridge, .. } if words.contains("bridge") => format!(
            "\nThe line `allow {bridge}` must be in /etc/qemu/bridge.conf, and qemu-bridge-helper be setuid root."
        ),
        _ => String::new(),
    }
}

/// The network of a new machine. Under the lock on making machines.
fn network(store: &Store, wanted: &WantedNetwork, others: &[Machine]) -> Result<Network, String> {
    Ok(match wanted {
        WantedNetwork::Bridge { bridge, address } => {
            network_device(bridge)
                .ok_or_else(|| format!("parameter bridge: there is no device {bridge}"))?;
            Network::Bridge { bridge: bridge.clone(), address: *address }
        }
        WantedNetwork::Tap { device, address } => {
            // Root's QEMU would make one, which leads nowhere.
            network_device(device)
                .ok_or_else(|| format!("parameter tap: there is no device {device}"))?;
            Network::Tap { device: device.clone(), address: *address }
        }
        WantedNetwork::User { address, port } => {
            let taken: Vec<_> = others
                .iter()
                .filter_map(|other| match other.network {
                    Network::User { address, port } => Some((address, port)),
                    _ => None,
                })
                .collect();
            let folder = store.root().as_os_str().as_encoded_bytes();
            Network::User {
                address: address::choose(*address, *port, folder, &taken)?,
                port: *port,
            }
        }
    })
}

/// Carries out an action within the call's time.
async fn within<T>(
    call: &Call,
    action: Action,
    act: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    timeout(call.deadline, act).await.unwrap_or_else(|_| {
        let text = format!("{action} did not end within {:?}", call.deadline);
        Err(failed(FailureKind::Unknown, text))
    })
}

#[async_trait]
impl Driver for Qemu {
    fn describe(&self) -> Description {
        Description {
            parameters: Some(parameters::described()),
            ..Description::new("qemu", "machines on this computer, run by QEMU")
        }
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        within(call, Action::Deploy, self.do_deploy(call)).await
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        within(call, Action::Cancel, self.destroy(id)).await
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        within(call, Action::Poll, self.do_poll(id)).await
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        within(call, Action::Reboot, self.do_reboot(id)).await
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        within(call, Action::Reset, self.do_reset(id)).await
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        let act = async {
            match kind {
                ShutdownKind::Terminate => self.destroy(id).await,
                ShutdownKind::Poweroff | ShutdownKind::Undeploy => self.power_off(id).await,
            }
        };
        within(call, Action::Shutdown, act).await
    }

    async fn recover(
        &self,
        call: &Call,
        _: Option<&ProcessRecord>,
    ) -> Result<Option<DeployId>, DriverError> {
        within(call, Action::List, self.do_recover(call)).await
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        within(call, Action::List, self.do_list()).await
    }
}
