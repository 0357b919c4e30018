//! `doctor`: what an operation will need, looked at before it is needed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use configure::{Configure as _, Plan};
use journal::SqliteJournal;
use opennebula::objects::UserId;

use super::print;
use crate::args::Global;
use crate::context::{Folders, FrontEnd};
use crate::driver_source::Drivers;
use crate::error::{CliError, Code};
use crate::exit::Exit;

/// Least free space of the state folder, in bytes: a create of thousands of hosts writes less.
const ENOUGH: u64 = 64 << 20;

/// What was found, worst last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Fine,
    Doubtful,
    Broken,
}

struct Report {
    worst: Found,
}

impl Report {
    fn tell(&mut self, found: Found, what: &str, text: &str) -> Result<(), CliError> {
        self.worst = self.worst.max(found);
        let word = match found {
            Found::Fine => "ok",
            Found::Doubtful => "WARNING",
            Found::Broken => "ERROR",
        };
        print(&format!("{word:<8} {what:<12} {}\n", text.trim_end().replace('\n', "\n        ")))?;
        Ok(())
    }

    fn result(&mut self, what: &str, result: Result<String, CliError>) -> Result<(), CliError> {
        match result {
            Ok(text) => self.tell(Found::Fine, what, &text),
            Err(error) => {
                let text = error.render();
                let text = text.strip_prefix("ERROR: ").unwrap_or(&text);
                self.tell(Found::Broken, what, text)
            }
        }
    }
}

pub async fn run(global: &Global) -> Result<Exit, CliError> {
    let mut report = Report { worst: Found::Fine };
    let folders = Folders::of(global)?;
    report.result("state", state_folder(&folders))?;
    report.result("journal", journal(&folders))?;
    let front_end = FrontEnd::open(global, &folders, false).await;
    match &front_end {
        Err(_) => {}
        Ok(front_end) => {
            let version = front_end.client.system().version().await;
            let version = version.map_err(|source| {
                CliError::from(engine::EngineError::OpenNebula {
                    what: format!("{} cannot be used", front_end.endpoint),
                    source: Box::new(source),
                })
            });
            let user = front_end.client.user().to_owned();
            let known = match version {
                Ok(_) => front_end.client.users().info(UserId(-1)).await.ok(),
                Err(_) => None,
            };
            let text = version
                .map(|version| format!("OpenNebula {version} at {} as {user}", front_end.endpoint));
            report.result("front-end", text)?;
            if known.is_some_and(|user| !user.is_admin()) {
                let text = format!(
                    "{user} is not in the group oneadmin: what it may make, and which hosts it sees, is for the \
                     ACLs of OpenNebula to say (`oneacl list`)"
                );
                report.tell(Found::Doubtful, "user", &text)?;
            }
        }
    }
    match front_end {
        Ok(front_end) => drivers(&mut report, &folders, &front_end)?,
        Err(error) => report.result("front-end", Err(error))?,
    }
    keys(&mut report)?;
    ansible(&mut report, &folders).await?;
    Ok(if report.worst == Found::Broken { Exit::Error } else { Exit::Done })
}

fn state_folder(folders: &Folders) -> Result<String, CliError> {
    folders.make_state()?;
    let path = folders.state.display();
    let mode = std::fs::metadata(&folders.state)
        .map_err(|e| CliError::caused(format!("{path} cannot be looked at"), e))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(CliError::new(format!(
            "{path} can be read by others (mode {:o})",
            mode & 0o777
        ))
        .hint(format!("chmod 700 {path}")));
    }
    let space = rustix::fs::statvfs(&folders.state)
        .map_err(|e| CliError::caused(format!("the free space of {path} is not known"), e))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free < ENOUGH {
        return Err(CliError::new(format!("{path} has only {} MiB free", free >> 20))
            .hint("nothing is begun that cannot be written down: make room, or use --state-dir"));
    }
    Ok(format!("{path}, {} MiB free", free >> 20))
}

fn journal(folders: &Folders) -> Result<String, CliError> {
    let journal = SqliteJournal::open(&folders.journal()).map_err(engine::EngineError::from)?;
    Ok(journal.path().display().to_string())
}

/// Every driver that is there, and whether it could be called.
fn drivers(report: &mut Report, folders: &Folders, front_end: &FrontEnd) -> Result<(), CliError> {
    let source = Drivers::new(folders, Some(front_end), false);
    let remotes = driver::executable::Remotes::new(&folders.remotes);
    let names = remotes.names().unwrap_or_default();
    for name in &names {
        let found = source.describe(name).and_then(|description| match description.problem {
            Some(problem) => Err(problem),
            None => Ok(description.summary),
        });
        let found = found.map_err(|why| CliError::new(why).code(Code::Driver));
        report.result(&format!("driver {name}"), found)?;
    }
    let place = remotes.drivers_folder().display();
    report.tell(
        Found::Fine,
        "drivers",
        &format!("{} in {place}; built in: {}", names.len(), drivers::BUILTIN.join(", ")),
    )
}

/// The keys that a template without `connection` means.
fn keys(report: &mut Report) -> Result<(), CliError> {
    use template::spec::{DEFAULT_PRIVATE_KEY, DEFAULT_PUBLIC_KEY};
    for key in [DEFAULT_PUBLIC_KEY, DEFAULT_PRIVATE_KEY] {
        let (found, text) = match std::fs::metadata(Path::new(key)) {
            Ok(metadata)
                if key == DEFAULT_PRIVATE_KEY && metadata.permissions().mode() & 0o077 != 0 =>
            {
                (Found::Doubtful, format!("{key} can be read by others; ssh will refuse it"))
            }
            Ok(_) => (Found::Fine, key.to_owned()),
            Err(error) => (
                Found::Doubtful,
                format!(
                    "{key}: {error}; templates that name no key are for those of ~/.ssh or of an agent"
                ),
            ),
        };
        report.tell(found, "key", &text)?;
    }
    Ok(())
}

/// What playbooks need. That it is missing matters only to templates that name any.
async fn ansible(report: &mut Report, folders: &Folders) -> Result<(), CliError> {
    let plan = Plan { playbooks: vec!["default".to_owned()], ..Plan::default() };
    let configurer = crate::context::configurer(folders);
    let checked = configurer.check(&plan);
    let (found, text) = match tokio::time::timeout(Duration::from_secs(60), checked).await {
        Ok(Ok(warnings)) if warnings.is_empty() => {
            (Found::Fine, "ssh and ansible-playbook are there".to_owned())
        }
        Ok(Ok(warnings)) => (Found::Doubtful, warnings.join("; ")),
        Ok(Err(wrong)) => {
            let wrong: Vec<String> = wrong.into_iter().map(|trouble| trouble.0).collect();
            (Found::Doubtful, format!("{}; templates with playbooks need it", wrong.join("; ")))
        }
        Err(_) => (Found::Doubtful, "ansible-playbook does not answer".to_owned()),
    };
    report.tell(found, "ansible", &text)
}
