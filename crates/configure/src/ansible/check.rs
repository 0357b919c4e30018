//! What is looked at before anything is bought.

use std::path::Path;
use std::time::Duration;

use super::folder::Folder;
use super::inventory::Inventory;
use super::playbook::Playbook;
use super::program::{self, Paths};
use crate::{Plan, System, Trouble};

/// The oldest Ansible that our plugin and playbooks are made for.
const OLDEST: &str = "2.12";
/// How long a look may take.
const DEADLINE: Duration = Duration::from_secs(120);

impl System {
    /// Finds what can be found wrong with playbooks without a machine: that Ansible is there and new
    /// enough, that playbooks are there and whole. Roles and collections of others that they ask for are
    /// installed. Warnings, if nothing is wrong.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub async fn check_playbooks(&self, plan: &Plan) -> Result<Vec<String>, Vec<Trouble>> {
        if plan.playbooks.is_empty() {
            return Ok(Vec::new());
        }
        let mut troubles = Vec::new();
        let mut theirs = Vec::new();
        for text in &plan.playbooks {
            match Playbook::find(text) {
                Ok(Playbook::Ours(_)) => {}
                Ok(Playbook::Theirs(path)) => match readable(&path) {
                    Ok(()) => theirs.push(path),
                    Err(why) => troubles.push(why),
                },
                Err(why) => troubles.push(why),
            }
        }
        match self.version().await {
            Err(why) => troubles.push(why),
            Ok(version) => {
                // Bounds of a template were made for the playbooks that came with it.
                let wrong = (!theirs.is_empty()).then(|| outside(&version, &plan.versions));
                match wrong.flatten() {
                    Some(wrong) => troubles.push(wrong),
                    None => {
                        for path in &theirs {
                            troubles.extend(self.syntax(path).await.err());
                        }
                    }
                }
            }
        }
        match troubles.is_empty() {
            true => Ok(Vec::new()),
            false => Err(troubles.into_iter().map(Trouble).collect()),
        }
    }

    /// The version of Ansible, if it is new enough.
    async fn version(&self) -> Result<String, String> {
        let folder =
            Folder::new(&self.settings.temporary).map_err(|error| self.no_folder(&error))?;
        let mut command = program::playbook(
            &self.settings.ansible,
            &folder,
            &Paths { beside: None, galaxy: None },
        );
        command.arg("--version");
        let (status, text) = program::capture(command, DEADLINE).await?;
        let name = self.settings.ansible.display();
        let version = parse(&text).filter(|_| status.success()).ok_or_else(|| {
            format!("`{name} --version` does not work ({status}): {}", program::said(&text))
        })?;
        match compare(&version, OLDEST).is_lt() {
            true => Err(format!(
                "{name} is of version {version}, but {OLDEST} or later is needed: {}",
                program::INSTALL
            )),
            false => Ok(version),
        }
    }

    /// Whether Ansible understands a playbook.
    async fn syntax(&self, path: &Path) -> Result<(), String> {
        let of = |why| format!("playbook {}: {why}", path.display());
        let galaxy = self.galaxy(path).await.map_err(of)?;
        let folder = Folder::new(&self.settings.temporary).map_err(|e| self.no_folder(&e))?;
        let provision = model::ProvisionId(Default::default());
        let mut inventory = Inventory::new(&folder, Path::new(""), provision);
        inventory.add_nobody();
        let inventory = inventory.write().map_err(|e| self.no_folder(&e))?;
        let paths = Paths { beside: Some(path), galaxy: galaxy.as_deref() };
        let mut command = program::playbook(&self.settings.ansible, &folder, &paths);
        command.arg("--syntax-check").arg("-i").arg(inventory).arg("--").arg(path);
        let (status, text) = program::capture(command, DEADLINE).await.map_err(of)?;
        match status.success() {
            true => Ok(()),
            false => Err(of(format!("Ansible does not take it: {}", program::said(&text)))),
        }
    }

    /// Why there is no private folder.
    pub(super) fn no_folder(&self, error: &std::io::Error) -> String {
        format!("no folder can be made in {}: {error}", self.settings.temporary.display())
    }
}

fn readable(path: &Path) -> Result<(), String> {
    let of = |why: String| format!("playbook {}: {why}", path.display());
    let file =
        std::fs::File::open(path).map_err(|error| of(format!("it cannot be read: {error}")))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(of("it is no file".to_owned())),
        Err(error) => Err(of(error.to_string())),
    }
}

/// The version in what `--version` prints: `ansible-playbook [core 2.19.1]`, `ansible-playbook 2.9.6`.
fn parse(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("ansible"))?;
    let version =
        line.split(['[', ']', ' ']).find(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
    Some(version.to_owned())
}

/// What is wrong with a version, given bounds: least, and first that is too new.
fn outside(version: &str, (least, end): &(Option<String>, Option<String>)) -> Option<String> {
    let least = least.as_deref().filter(|least| compare(version, least).is_lt());
    let end = end.as_deref().filter(|end| compare(version, end).is_ge());
    let bound = match (least, end) {
        (Some(least), _) => format!("{least} or later"),
        (None, Some(end)) => format!("one before {end}"),
        (None, None) => return None,
    };
    Some(format!(
        "Ansible is of version {version}, but the template asks for {bound} (ansible: ver_min, \
         ver_max); change these if its playbooks are known to work"
    ))
}

/// Compares versions number by number; a missing number is 0.
fn compare(a: &str, b: &str) -> std::cmp::Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        let digits = |part: &str| {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse().unwrap_or(0)
        };
        let mut numbers: Vec<u64> = text.trim().split('.').map(digits).collect();
        while numbers.last() == Some(&0) {
            numbers.pop();
        }
        numbers
    };
    numbers(a).cmp(&numbers(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let new = "ansible-playbook [core 2.19.14]\n  config file = None\n";
        assert_eq!(parse(new).as_deref(), Some("2.19.14"));
        assert_eq!(parse("ansible-playbook 2.9.6\n").as_deref(), Some("2.9.6"));
        assert_eq!(
            parse("[WARNING]: x\nansible-playbook [core 2.20.0rc1]").as_deref(),
            Some("2.20.0rc1")
        );
        assert_eq!(parse("Traceback"), None);
        assert!(compare("2.9.27", "2.12").is_lt() && compare("2.12", "2.12.0").is_eq());
        let bounds = |a: &str, b: &str| (Some(a.to_owned()), Some(b.to_owned()));
        assert_eq!(outside("2.16.3", &bounds("2.8", "2.17")), None);
        assert!(outside("2.17.0", &bounds("2.8", "2.17")).unwrap().contains("before 2.17"));
        assert!(outside("2.7", &bounds("2.8", "2.17")).unwrap().contains("2.8 or later"));
        assert_eq!(outside("2.7", &(None, None)), None);
    }
}
