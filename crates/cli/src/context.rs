//! What surrounds a command, read once: environment, folders, front-end, drivers.

use std::env;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::{Engine, Observer, Settings, Stop, SystemClock};
use journal::{Lease, ProvisionRecord, SqliteJournal};
use model::Secret;
use opennebula::discover::{DiscoverError, Discovered, FileRead, Sources, discover};
use opennebula::{Client, ClientSettings, Credentials, Transport};
use sandbox::{Sandbox, SandboxSettings, SandboxTransport, ServeSettings};

use crate::args::{DriverArgs, Global};
use crate::connection::connection;
use crate::driver_source::Drivers;
use crate::error::{CliError, Code};
use crate::views::table::Definitions;
use crate::views::terminal_width;

/// Logins over SSH at the same time: each is a process here.
const LOGINS: usize = 16;
/// Hosts on which a playbook runs at the same time: each takes a process of about 60 MiB here.
const FORKS: usize = 32;

/// The folders of this command.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Journal, sandbox, leases, running drivers.
    pub state: PathBuf,
    /// Holds `pm/`.
    pub remotes: PathBuf,
}

impl Folders {
    /// From the options, else the environment, else the defaults.
    pub fn of(global: &Global) -> Result<Self, CliError> {
        let state = match (&global.state_dir, folder("XDG_STATE_HOME"), folder("HOME")) {
            (Some(dir), _, _) => dir.clone(),
            (None, Some(xdg), _) => xdg.join("oneprovision"),
            (None, None, Some(home)) => home.join(".local/state/oneprovision"),
            (None, None, None) => {
                return Err(CliError::new("there is no folder for the journal: HOME is not set")
                    .hint("--state-dir names one"));
            }
        };
        let remotes = global.remotes.clone().unwrap_or_else(|| match folder("ONE_LOCATION") {
            Some(location) => location.join("var/remotes"),
            None => PathBuf::from("/var/lib/one/remotes"),
        });
        // Drivers run in a folder of their own, so nothing may depend on this one.
        Ok(Self { state: absolute(&state)?, remotes: absolute(&remotes)? })
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.state.join("journal.db")
    }

    /// The sandbox's file.
    pub fn sandbox(&self) -> PathBuf {
        self.state.join("sandbox.db")
    }

    /// Who works on which provision.
    pub fn leases(&self) -> PathBuf {
        self.state.join("leases")
    }

    /// Host keys and logs, in a folder for each provision.
    pub fn provisions(&self) -> PathBuf {
        self.state.join("provisions")
    }

    /// Makes the state folder, private to this user.
    pub fn make_state(&self) -> Result<(), CliError> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.state).map_err(|e| {
            CliError::caused(format!("the state folder {} cannot be made", self.state.display()), e)
                .hint("--state-dir names another one")
        })
    }
}

/// The path that a variable holds. One that is set and empty counts as not set.
pub fn folder(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A path that does not depend on the working folder.
pub fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path)
        .map_err(|e| CliError::caused(format!("{} is no usable path", path.display()), e))
}

/// Column definitions of this machine, in the place where OpenNebula's own tools look.
pub fn column_definitions() -> Result<Definitions, CliError> {
    let etc = folder("ONE_LOCATION").map_or_else(|| "/etc/one".into(), |one| one.join("etc"));
    Definitions::read(&etc.join("cli/oneprovision.yaml"), terminal_width())
}

/// The front-end of this command.
pub struct FrontEnd {
    /// The client.
    pub client: Client,
    /// The endpoint's name in the journal.
    pub endpoint: String,
    /// For drivers that ask the front-end themselves: `ONE_XMLRPC`.
    pub one_xmlrpc: String,
    /// For drivers that ask the front-end themselves: a file that `ONE_AUTH` can name.
    pub one_auth: PathBuf,
    /// Serves the sandbox to executable drivers as long as the command runs.
    _server: Option<tokio::task::JoinHandle<()>>,
}

impl FrontEnd {
    /// Finds the front-end as OpenNebula's own tools do, or opens the sandbox.
    pub async fn open(
        global: &Global,
        folders: &Folders,
        serve_to_drivers: bool,
    ) -> Result<Self, CliError> {
        if global.sandbox {
            return Self::sandbox(global, folders, serve_to_drivers).await;
        }
        let password = global.password.as_deref().map(Secret::from);
        let found = find_front_end(global.endpoint.clone(), global.user.clone(), password);
        let found = found.map_err(|e| {
            CliError::caused("the front-end is not known", e)
                .code(Code::FrontEnd)
                .hint("--sandbox uses the embedded OpenNebula and needs no front-end")
        })?;
        for warning in &found.warnings {
            tracing::warn!("{warning}");
        }
        let (transport, deadline) = connection(&found.endpoint)?;
        let one_auth = match &found.credentials_file {
            Some(path) => absolute(path)?,
            None => {
                folders.make_state()?;
                let path = folders.state.join("login.auth");
                write_auth(&path, found.credentials.session())?
            }
        };
        Ok(Self {
            client: client(Arc::new(transport), found.credentials, global, deadline),
            endpoint: found.endpoint.to_string(),
            one_xmlrpc: found.endpoint.to_string(),
            one_auth,
            _server: None,
        })
    }

    async fn sandbox(
        global: &Global,
        folders: &Folders,
        serve_to_drivers: bool,
    ) -> Result<Self, CliError> {
        let sandbox = open_sandbox(folders)?;
        let session = sandbox.session();
        let credentials = Credentials::parse(&session).map_err(|e| {
            CliError::caused("the embedded OpenNebula has no usable password", e)
                .code(Code::Sandbox)
        })?;
        let one_auth = write_auth(&folders.state.join("sandbox.auth"), &session)?;
        let mut one_xmlrpc = "http://127.0.0.1:2633/RPC2".to_owned();
        let mut server = None;
        if serve_to_drivers {
            let failed = |e: io::Error| {
                CliError::caused("the embedded OpenNebula cannot be offered to drivers", e)
                    .code(Code::Sandbox)
            };
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
            one_xmlrpc = format!("http://{}/RPC2", listener.local_addr().map_err(failed)?);
            let served = sandbox.clone();
            server = Some(tokio::spawn(async move {
                let until = std::future::pending::<()>();
                let settings = ServeSettings::default();
                if let Err(error) = sandbox::serve(listener, served, settings, until).await {
                    tracing::warn!("drivers cannot ask the embedded OpenNebula any more: {error}");
                }
            }));
        }
        let deadline = ClientSettings::default().call_deadline;
        let transport = Arc::new(SandboxTransport::new(sandbox));
        Ok(Self {
            client: client(transport, credentials, global, deadline),
            endpoint: "sandbox".to_owned(),
            one_xmlrpc,
            one_auth,
            _server: server,
        })
    }
}

/// Endpoint and credentials, from options, environment and home.
pub fn find_front_end(
    endpoint: Option<String>,
    user: Option<String>,
    password: Option<Secret>,
) -> Result<Discovered, DiscoverError> {
    let (one_xmlrpc, one_auth) = (env::var("ONE_XMLRPC").ok(), folder("ONE_AUTH"));
    let home = folder("HOME");
    discover(&Sources { endpoint, user, password, one_xmlrpc, one_auth, home }, read_file)
}

impl Drop for FrontEnd {
    fn drop(&mut self) {
        if let Some(server) = &self._server {
            server.abort();
        }
    }
}

/// The embedded OpenNebula of the state folder.
pub fn open_sandbox(folders: &Folders) -> Result<Sandbox, CliError> {
    folders.make_state()?;
    let path = folders.sandbox();
    Sandbox::open(&path, SandboxSettings::default()).map_err(|e| {
        CliError::caused("the embedded OpenNebula cannot be opened", e)
            .code(Code::Sandbox)
            .hint("--state-dir names another folder for it")
    })
}

fn client(
    transport: Arc<dyn Transport>,
    credentials: Credentials,
    global: &Global,
    call_deadline: Duration,
) -> Client {
    #[cfg(feature = "crash-points")]
    let transport = crate::crash_points::transport(transport);
    let observer = Arc::new(crate::log::Calls);
    let patience = patience(global);
    let mut settings = ClientSettings { patience, call_deadline, ..ClientSettings::default() };
    settings.first_contact = settings.first_contact.min(settings.patience);
    Client::observed(transport, credentials, settings, observer)
}

fn drivers(
    folders: &Folders,
    front_end: &FrontEnd,
    legacy_args: bool,
    settle: Duration,
) -> Arc<dyn engine::DriverSource> {
    let drivers = Drivers::new(folders, Some(front_end), legacy_args).settling(settle);
    #[cfg(feature = "crash-points")]
    return crate::crash_points::drivers(drivers);
    #[cfg(not(feature = "crash-points"))]
    Arc::new(drivers)
}

/// What configures machines.
pub fn configurer(folders: &Folders) -> configure::System {
    configure::System::new(configure::Settings {
        state: folders.provisions(),
        temporary: env::temp_dir(),
        logins: LOGINS,
        forks: FORKS,
        ansible: configure::Settings::ANSIBLE.into(),
    })
}

fn configure(folders: &Folders) -> Arc<dyn configure::Configure> {
    let configure = configurer(folders);
    #[cfg(feature = "crash-points")]
    return crate::crash_points::configure(configure);
    #[cfg(not(feature = "crash-points"))]
    Arc::new(configure)
}

fn shared_journal(journal: SqliteJournal) -> Arc<dyn journal::Journal> {
    #[cfg(feature = "crash-points")]
    return crate::crash_points::journal(journal);
    #[cfg(not(feature = "crash-points"))]
    Arc::new(journal)
}

fn patience(global: &Global) -> Duration {
    Duration::from_secs(global.patience.into())
}

fn read_file(path: &Path) -> io::Result<FileRead> {
    let mode = std::fs::metadata(path)?.permissions().mode() & 0o7777;
    Ok(FileRead { content: Secret::new(std::fs::read_to_string(path)?), mode: Some(mode) })
}

/// Writes a session string to a file of mode 0600, for `ONE_AUTH`.
pub fn write_auth(path: &Path, session: &Secret) -> Result<PathBuf, CliError> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let line = format!("{}\n", session.expose());
    if read_file(path).is_ok_and(|f| f.mode == Some(0o600) && f.content.expose() == line) {
        // A full or read-only disk keeps nobody from looking at what there is.
        return Ok(path.to_owned());
    }
    let write = || {
        // A new file in its place, so that another process never reads half of it.
        let temporary = path.with_extension(format!("{}", std::process::id()));
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(line.as_bytes())?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|e: io::Error| {
        CliError::caused(format!("{} cannot be written", path.display()), e)
    })?;
    Ok(path.to_owned())
}

/// Everything that an operation needs.
pub struct Context {
    /// The engine.
    pub engine: Engine,
    /// Kept until the operation has ended.
    front_end: FrontEnd,
    folders: Folders,
    settle: Duration,
}

impl Context {
    /// Opens journal, front-end and drivers.
    pub async fn open(
        global: &Global,
        driver: Option<&DriverArgs>,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, CliError> {
        let folders = Folders::of(global)?;
        let front_end = FrontEnd::open(global, &folders, driver.is_some()).await?;
        folders.make_state()?;
        let journal = SqliteJournal::open(&folders.journal())
            .map_err(|e| CliError::from(engine::EngineError::from(e)))?;
        let mut settings = Settings { patience: patience(global), ..Settings::default() };
        let legacy_args = driver.is_some_and(|driver| driver.legacy_args);
        let settle = driver.map_or(0, |driver| driver.settle);
        let settle = Duration::from_secs(settle.into());
        if let Some(driver) = driver {
            settings.threads = driver.threads.into();
            settings.account_threads = driver.account_threads.into();
            settings.deploy_deadline = Duration::from_secs(driver.deploy_timeout.into());
            settings.action_deadline = Duration::from_secs(driver.action_timeout.into());
        }
        settings.home = folder("HOME");
        let engine = Engine {
            configure: configure(&folders),
            journal: shared_journal(journal),
            leases: folders.leases(),
            opennebula: front_end.client.clone(),
            endpoint: front_end.endpoint.clone(),
            drivers: drivers(&folders, &front_end, legacy_args, settle),
            secrets: Some(Arc::new(crate::secret_source::Machine)),
            observer,
            failover: Arc::new(engine::LeaveFailed),
            clock: Arc::new(SystemClock),
            stop: Stop::new(),
            settings,
            accounts: Arc::default(),
        };
        let context = Self { engine, front_end, folders, settle };
        if driver.is_some() {
            context.clear_leftovers().await?;
        }
        Ok(context)
    }

    /// Clears what killed commands left of executable drivers: files of those that have ended, and
    /// drivers that are past their deadline. A deploy whose outcome is not known yet is left for
    /// `resume` and `delete`, which read its id; a live command's calls are its own.
    async fn clear_leftovers(&self) -> Result<(), CliError> {
        let calls = crate::driver_source::calls_folder(&self.folders);
        let left = driver::executable::sweep(&calls).map_err(|e| {
            CliError::caused(format!("{} cannot be looked through", calls.display()), e)
        })?;
        if left.is_empty() {
            return Ok(());
        }
        let records = self.engine.sound_records().await?;
        let wanted = engine::orphans::keys_under_way(&records.sound);
        let now = jiff::Timestamp::now().as_second();
        for call in left {
            let key = call.key.as_deref().unwrap_or_default();
            let provision = engine::names::provision_of_key(key);
            let deploy = call.action == Some(driver::api::Action::Deploy);
            // Of a provision that cannot be understood, or whose create was lost, nobody knows what is wanted.
            let lacks_create = |r: &ProvisionRecord| provision == Some(r.id) && r.create.is_none();
            let is_damaged = records.damaged.iter().any(|(id, _)| provision == Some(*id))
                || deploy
                    && !engine::names::is_power_key(key)
                    && records.sound.iter().any(lacks_create);
            let live = provision.is_some_and(|id| Lease::is_held(&self.engine.leases, id));
            let in_time = call.running && call.record.deadline > now;
            let read_later = deploy || engine::names::is_power_key(key);
            if live || in_time || is_damaged || (read_later && wanted.contains(key)) {
                continue;
            }
            let grace = driver::executable::ExecutableSettings::new(&calls).grace;
            driver::executable::reattach(&call.record, grace, &driver::api::Unwatched).await;
        }
        Ok(())
    }

    /// Calls executable drivers the old way, or not.
    pub fn set_legacy_args(&mut self, legacy_args: bool) {
        self.engine.drivers = drivers(&self.folders, &self.front_end, legacy_args, self.settle);
    }

    /// Says which power operations a killed process left behind.
    fn tell_interrupted_power(&self, records: &[journal::ProvisionRecord]) {
        for (record, host) in self.engine.interrupted_power(records) {
            let (Some(power), Some(id)) = (&host.power, host.host_id) else { continue };
            let power = power.power.as_str();
            crate::commands::narrate(&format!(
                "NOTE: {power} of host {id} of provision {record} was interrupted: \
                 `oneprovision host {power} {id}` repeats it"
            ));
        }
    }

    /// Says which provisions a killed process left behind, and what each of them needs.
    pub async fn tell_interrupted(
        &self,
        except: Option<model::ProvisionId>,
    ) -> Result<(), CliError> {
        let engine::Records { sound: records, damaged } = self.engine.sound_records().await?;
        for (id, error) in damaged {
            let hint = crate::error::damaged_hint(id);
            crate::commands::narrate(&format!("NOTE: {error}: {hint}"));
        }
        self.tell_interrupted_power(&records);
        for record in self.engine.interrupted(&records) {
            if Some(record.id) == except {
                continue;
            }
            let id = record.id;
            let name = record.name().unwrap_or_default();
            let (what, removes) = match (record.doomed, record.is_removing()) {
                (true, _) => ("it was being deleted", false),
                _ if record.planned.is_some() => ("it was being updated", false),
                (_, true) => ("some of its hosts were being deleted", false),
                _ if record.was_ready => ("it was being changed", false),
                _ => ("it was being created", true),
            };
            let delete = match removes {
                true => format!(", `oneprovision delete {id}` removes all of it"),
                false => String::new(),
            };
            crate::commands::narrate(&format!(
                "NOTE: provision {id} {name} was interrupted while {what}: `oneprovision resume {id}` goes \
                 on{delete}"
            ));
        }
        Ok(())
    }
}
