//! Roles and collections of others that a playbook's `requirements.yml` asks for: installed once, into a
//! folder named by the content of the file and its place.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{bounded, program};
use crate::System;

/// How long one call of `ansible-galaxy` may take.
const DEADLINE: Duration = Duration::from_secs(600);
/// The file that says that all of it is there.
const STAMP: &str = "complete";

/// A file of requirements.
struct Requirements {
    path: PathBuf,
    content: String,
    roles: bool,
    collections: bool,
}

impl System {
    /// The folder with `roles` and `collections` that a playbook asks for, if it asks for any. They are
    /// installed unless they are there.
    pub(super) async fn galaxy(&self, playbook: &Path) -> Result<Option<PathBuf>, String> {
        let files = requirements(playbook)?;
        if files.is_empty() {
            return Ok(None);
        }
        let base = self.settings.state.join("galaxy");
        let target = base.join(digest(&files));
        if target.join(STAMP).exists() {
            return Ok(Some(target));
        }
        let unwritten = |error: io::Error| format!("{} cannot be written: {error}", base.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&base).map_err(unwritten)?;
        // Another process may be at the same. What is whole gets its name.
        let work = tempfile::Builder::new().prefix(".").tempdir_in(&base).map_err(unwritten)?;
        for file in &files {
            for (kind, wanted) in [("role", file.roles), ("collection", file.collections)] {
                if wanted {
                    self.install(kind, &file.path, work.path()).await?;
                }
            }
        }
        fs::write(work.path().join(STAMP), "").map_err(unwritten)?;
        match fs::rename(work.path(), &target) {
            Err(_) if target.join(STAMP).exists() => {}
            Err(error) => return Err(unwritten(error)),
            Ok(()) => {}
        }
        Ok(Some(target))
    }

    async fn install(&self, kind: &str, file: &Path, target: &Path) -> Result<(), String> {
        let mut command = program::galaxy(&self.settings.ansible, target);
        let own = target.join(format!("{kind}s"));
        command.args([kind, "install", "-r"]).arg(file).arg("-p").arg(own);
        // Paths in it are beside it.
        command.current_dir(file.parent().unwrap_or(Path::new("/")));
        let what = format!("the {kind}s of {} cannot be installed", file.display());
        let (status, text) =
            program::capture(command, DEADLINE).await.map_err(|why| format!("{what}: {why}"))?;
        if status.success() {
            return Ok(());
        }
        // The reason is somewhere among its lines, and its last one says only that there is one.
        let said = bounded(text.trim());
        Err(format!(
            "{what}: ansible-galaxy ended with {status}: {said}\nThis computer must reach the places \
             that the file names, once; or put what it names into {kind}s/ beside the playbook and \
             remove the file"
        ))
    }
}

/// The files of requirements of a playbook.
fn requirements(playbook: &Path) -> Result<Vec<Requirements>, String> {
    let folder = playbook.parent().unwrap_or(Path::new("/"));
    let mut files = Vec::new();
    for name in ["requirements", "roles/requirements", "collections/requirements"] {
        for ending in ["yml", "yaml"] {
            let path = folder.join(format!("{name}.{ending}"));
            let content = match fs::read_to_string(&path) {
                Ok(content) => content,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
            };
            let value: Value = serde_saphyr::from_str(&content)
                .map_err(|error| format!("{} is not YAML: {error}", path.display()))?;
            let has = |key: &str| value.get(key).is_some_and(|list| !list.is_null());
            // A mere list is one of roles, in the old form.
            let roles = has("roles") || value.is_array();
            let file = Requirements { path, content, roles, collections: has("collections") };
            if file.roles || file.collections {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// What is installed depends on the files' content, and on where they are: paths in them are beside them.
fn digest(files: &[Requirements]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        let folder = file.path.parent().unwrap_or(Path::new("/")).as_os_str().as_bytes();
        for part in [folder, file.content.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_requirements() {
        let dir = tempfile::tempdir().unwrap();
        let playbook = dir.path().join("site.yml");
        assert!(requirements(&playbook).unwrap().is_empty());
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("requirements.yml", "collections: [a.b]\nroles:\n");
        write("roles/requirements.yml", "- src: x\n");
        write("collections/requirements.yaml", "---\n");
        let files = requirements(&playbook).unwrap();
        let kinds: Vec<_> = files.iter().map(|f| (f.roles, f.collections)).collect();
        assert_eq!(kinds, [(false, true), (true, false)]);
        let before = digest(&files);
        let other = tempfile::tempdir().unwrap();
        fs::copy(dir.path().join("requirements.yml"), other.path().join("requirements.yml"))
            .unwrap();
        let copied = requirements(&other.path().join("site.yml")).unwrap();
        assert_ne!(digest(&copied), digest(&files[..1]), "a path in it is another one there");
        write("requirements.yml", "collections: [a.c]\n");
        assert_ne!(before, digest(&requirements(&playbook).unwrap()));
        write("requirements.yml", "a: [");
        let Err(error) = requirements(&playbook) else { panic!("that is no YAML") };
        assert!(error.contains("requirements.yml is not YAML"), "{error}");
    }
}
