//! Where drivers come from: executables of the site first, then ours.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use driver::api::{Action, Description, Driver};
use driver::executable::{DriverFolder, ExecutableDriver, ExecutableSettings, FindError, Remotes};
use drivers::BuiltinSettings;
use engine::DriverSource;
use model::Parameter;
use template::DriverCatalog;

use crate::context::{Folders, FrontEnd};
use crate::error::{CliError, Code};
use crate::log::one_line;

/// Asks for a built-in driver although the site has one of the same name.
const BUILTIN: &str = "builtin:";

/// The drivers of this command. Each is looked for once, and describes itself at most once.
pub struct Drivers {
    remotes: Remotes,
    executable: ExecutableSettings,
    builtin: BuiltinSettings,
    found: Mutex<BTreeMap<String, Arc<dyn Driver>>>,
}

impl Drivers {
    /// The drivers in the remotes folder, and the built-in ones. Without a front-end they can be
    /// described, and not much more.
    pub fn new(folders: &Folders, front_end: Option<&FrontEnd>, legacy_args: bool) -> Self {
        Self {
            remotes: Remotes::new(folders.remotes.clone()),
            executable: ExecutableSettings {
                legacy_args,
                one_xmlrpc: front_end.map(|front_end| front_end.one_xmlrpc.clone()),
                one_auth: front_end.map(|front_end| front_end.one_auth.clone()),
                state_dir: Some(folders.state.clone()),
                ..ExecutableSettings::new(calls_folder(folders))
            },
            builtin: BuiltinSettings { state_dir: folders.state.clone() },
            found: Mutex::default(),
        }
    }

    /// The same with another time for lists of executable drivers to settle.
    pub fn settling(mut self, settle: Duration) -> Self {
        self.executable.settle = settle;
        self
    }

    fn look(&self, name: &str) -> Result<Arc<dyn Driver>, String> {
        if let Some(name) = name.strip_prefix(BUILTIN) {
            return drivers::builtin(name, &self.builtin)
                .ok_or_else(|| format!("there is no built-in driver {name:?}; {}", built_in()));
        }
        // What stands there wins, also if it is broken: the operator meant it.
        if !self.remotes.has(name)
            && let Some(builtin) = drivers::builtin(name, &self.builtin)
        {
            return Ok(builtin);
        }
        match self.remotes.find(name) {
            Ok(found) => Ok(Arc::new(ExecutableDriver::new(found, self.executable.clone()))),
            Err(error @ FindError::Missing { .. }) => Err(format!("{error}; {}", built_in())),
            Err(error @ FindError::NotExecutable { .. }) => {
                Err(format!("{error} (`chmod +x` makes it so)"))
            }
            Err(error) => Err(one_line(&error)),
        }
    }

    /// The name of ours that a name in a template means; `None` if it means executables.
    pub fn built_in<'a>(&self, name: &'a str) -> Option<&'a str> {
        let ours = match name.strip_prefix(BUILTIN) {
            Some(ours) => Some(ours),
            None => (!self.remotes.has(name)).then_some(name),
        };
        ours.filter(|name| drivers::BUILTIN.contains(name))
    }

    /// The folder of a driver of executables.
    ///
    /// # Errors
    /// As [`Remotes::find`].
    pub fn folder(&self, name: &str) -> Result<DriverFolder, FindError> {
        self.remotes.find(name)
    }

    /// How executables are run.
    pub fn executable_settings(&self) -> &ExecutableSettings {
        &self.executable
    }

    /// The actions that a driver has; all of them for a built-in one.
    pub fn actions(&self, name: &str) -> Vec<Action> {
        let all = Action::REQUIRED.into_iter().chain([Action::List]);
        match self.remotes.find(name) {
            Ok(folder) => all.filter(|action| folder.executable(*action).is_ok()).collect(),
            Err(_) => all.collect(),
        }
    }

    /// What was wrong with the descriptions of the drivers that were looked for so far.
    pub fn problems(&self) -> Vec<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.values().filter_map(|driver| driver.describe().problem).collect()
    }

    /// What a driver says of itself.
    ///
    /// # Errors
    /// As [`DriverSource::find`].
    pub fn describe(&self, name: &str) -> Result<Description, String> {
        self.find(name).map(|driver| driver.describe())
    }
}

/// Why nothing is bought from drivers whose descriptions cannot be used: which of their parameters are secrets is not
/// known, and one of a later protocol may mean something else by what it is told.
pub fn undescribed(problems: &[String]) -> CliError {
    CliError::new(problems.join("\n")).code(Code::Driver).hint(
        "nothing was done: what of this driver's parameters is secret is not known. `oneprovision driver show NAME` \
         reads its description again; `delete` and `host` commands need none",
    )
}

/// Holds a private folder for every call of an executable driver that has not ended.
pub fn calls_folder(folders: &Folders) -> PathBuf {
    folders.state.join("calls")
}

impl DriverSource for Drivers {
    fn find(&self, name: &str) -> Result<Arc<dyn Driver>, String> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = found.get(name) {
            return Ok(Arc::clone(driver));
        }
        let driver = self.look(name)?;
        found.insert(name.to_owned(), Arc::clone(&driver));
        Ok(driver)
    }
}

impl DriverCatalog for Drivers {
    fn parameters(&self, name: &str) -> Result<Option<Arc<[Parameter]>>, String> {
        Ok(self.describe(name)?.parameters.map(Arc::from))
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.remotes.names().unwrap_or_default();
        names.extend(drivers::BUILTIN.map(str::to_owned));
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn built_in() -> String {
    format!("built in: {}", drivers::BUILTIN.join(", "))
}
