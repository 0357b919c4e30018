//! Where drivers come from: executables of the site first, then ours.

use std::path::PathBuf;
use std::sync::Arc;

use driver::api::Driver;
use driver::executable::{ExecutableDriver, ExecutableSettings, Remotes};
use drivers::BuiltinSettings;
use engine::DriverSource;

use crate::context::{Folders, FrontEnd};
use crate::log::one_line;

/// Asks for a built-in driver although the site has one of the same name.
const BUILTIN: &str = "builtin:";

/// The drivers of this command.
pub struct Drivers {
    remotes: Remotes,
    executable: ExecutableSettings,
    builtin: BuiltinSettings,
}

impl Drivers {
    /// The drivers in the remotes folder, and the built-in ones.
    pub fn new(folders: &Folders, front_end: &FrontEnd, legacy_args: bool) -> Self {
        Self {
            remotes: Remotes::new(folders.remotes.clone()),
            executable: ExecutableSettings {
                legacy_args,
                one_xmlrpc: Some(front_end.one_xmlrpc.clone()),
                one_auth: front_end.one_auth.clone(),
                state_dir: Some(folders.state.clone()),
                ..ExecutableSettings::new(calls_folder(folders))
            },
            builtin: BuiltinSettings { state_dir: folders.state.clone() },
        }
    }
}

/// Holds a private folder for every call of an executable driver that has not ended.
pub fn calls_folder(folders: &Folders) -> PathBuf {
    folders.state.join("calls")
}

impl DriverSource for Drivers {
    fn find(&self, name: &str) -> Result<Arc<dyn Driver>, String> {
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
            Err(error) => Err(format!("{}; {}", one_line(&error), built_in())),
        }
    }
}

fn built_in() -> String {
    format!("built in: {}", drivers::BUILTIN.join(", "))
}
