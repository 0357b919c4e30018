//! How Ansible's programs are called.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::Command;

use super::bounded;
use super::folder::Folder;
use crate::process::Group;

/// How a missing program comes to be.
pub(super) const INSTALL: &str = "install the package ansible-core (or ansible) of this computer's distribution, or run \
     `pip install ansible-core`";
/// How much of what a program says is kept.
const KEPT: usize = 1 << 20;

/// Where roles and collections are looked for beside a playbook.
pub(super) struct Paths<'a> {
    /// Roles beside the playbook.
    pub beside: Option<&'a Path>,
    /// What was installed for it.
    pub galaxy: Option<&'a Path>,
}

/// `ansible-playbook` with the settings of a folder and, passwords of vaults aside, nobody else's.
pub(super) fn playbook(program: &Path, folder: &Folder, paths: &Paths<'_>) -> Command {
    let mut command = Command::new(program);
    for (name, value) in std::env::vars_os() {
        let kept = match name.to_str() {
            Some("ANSIBLE_VAULT_PASSWORD_FILE") => absolute(&value),
            Some("ANSIBLE_VAULT_IDENTITY_LIST") => identities(&value),
            _ if name.to_string_lossy().starts_with("ANSIBLE_") => None,
            _ => continue,
        };
        match kept {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let beside = paths.beside.and_then(Path::parent).map(|folder| folder.join("roles"));
    let galaxy = |name| paths.galaxy.map(|galaxy| galaxy.join(name));
    let ours = Some(folder.path("ansible/roles"));
    let roles = [beside, galaxy("roles"), ours].into_iter().flatten().chain(installed("roles"));
    let collections = galaxy("collections").into_iter().chain(installed("collections"));
    command
        .env("LC_ALL", "C.UTF-8")
        // With it ssh calls the way through jump hosts; a service's user may have none.
        .env("SHELL", "/bin/sh")
        .env("ANSIBLE_CONFIG", folder.path("ansible.cfg"))
        .env("ANSIBLE_CALLBACK_PLUGINS", folder.path("ansible/callback_plugins"))
        .env("ANSIBLE_LOCAL_TEMP", folder.path("tmp"))
        .env("ANSIBLE_SSH_CONTROL_PATH_DIR", folder.path("c"))
        .env("ANSIBLE_SSH_ARGS", folder.ssh_args())
        .env("ANSIBLE_ROLES_PATH", joined(roles))
        .env("ANSIBLE_COLLECTIONS_PATH", joined(collections))
        .current_dir(paths.beside.and_then(Path::parent).unwrap_or(&folder.path("ansible")));
    command
}

/// A path of the caller's for a program that works in another folder.
fn absolute(path: &OsStr) -> Option<OsString> {
    match path.as_bytes() {
        // Ansible knows what stands for it.
        [b'~' | b'$', ..] => Some(path.to_owned()),
        _ => std::path::absolute(path).ok().map(PathBuf::into_os_string),
    }
}

/// Sources of vaults' passwords, separated by commas, each perhaps with a name before it (`NAME@FILE`),
/// likewise. Those that would ask are left out: nobody is there to answer.
fn identities(list: &OsStr) -> Option<OsString> {
    let source = |source: &[u8]| {
        let at = source.iter().position(|byte| *byte == b'@').map_or(0, |at| at + 1);
        let (name, file) = source.split_at(at);
        let file = OsStr::from_bytes(file.trim_ascii());
        if ["prompt", "prompt_ask_vault_pass"].iter().any(|word| file == *word) {
            return None;
        }
        let mut source = OsStr::from_bytes(name.trim_ascii()).to_owned();
        source.push(absolute(file)?);
        Some(source)
    };
    let sources: Vec<_> = list.as_bytes().split(|byte| *byte == b',').filter_map(source).collect();
    (!sources.is_empty()).then(|| sources.join(",".as_ref()))
}

/// Where Ansible looks if nobody tells it.
fn installed(what: &str) -> impl Iterator<Item = PathBuf> {
    let home = std::env::home_dir().map(|home| home.join(".ansible").join(what));
    home.into_iter().chain([Path::new("/usr/share/ansible").join(what)])
}

fn joined(paths: impl Iterator<Item = PathBuf>) -> OsString {
    paths.map(PathBuf::into_os_string).collect::<Vec<_>>().join(":".as_ref())
}

/// `ansible-galaxy` beside `ansible-playbook`, with the caller's settings: they know his servers. It
/// takes nothing for there but what is in `target`.
pub(super) fn galaxy(program: &Path, target: &Path) -> Command {
    let folder = program.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut command = Command::new(folder.unwrap_or(Path::new("")).join("ansible-galaxy"));
    command.env("LC_ALL", "C.UTF-8").env("ANSIBLE_NOCOLOR", "1").env("ANSIBLE_NOCOWS", "1");
    command
        .env("ANSIBLE_ROLES_PATH", target.join("roles"))
        .env("ANSIBLE_COLLECTIONS_PATH", target.join("collections"))
        // The former name, which older ones know as well.
        .env_remove("ANSIBLE_COLLECTIONS_PATHS");
    command
}

/// Why a program did not start.
pub(super) fn no_start(command: &Command, error: &io::Error) -> String {
    let program = command.as_std().get_program().display();
    match error.kind() {
        io::ErrorKind::NotFound => format!("{program} is not there: {INSTALL}"),
        _ => format!("{program} cannot be started: {error}"),
    }
}

/// Standard output and error of a program as one, so that their order is kept.
pub(super) fn output(command: &mut Command) -> io::Result<pipe::Receiver> {
    let (reader, writer) = io::pipe()?;
    command.stdout(Stdio::from(writer.try_clone()?)).stderr(Stdio::from(writer));
    pipe::Receiver::from_owned_fd(reader.into())
}

/// Runs a program to its end. How it ended and what it printed.
pub(super) async fn capture(
    mut command: Command,
    deadline: Duration,
) -> Result<(ExitStatus, String), String> {
    let name = command.as_std().get_program().display().to_string();
    command.stdin(Stdio::null());
    let broken = |error: io::Error| format!("{name} cannot be run: {error}");
    let mut output = output(&mut command).map_err(broken)?;
    let mut group = Group::spawn(&mut command).map_err(|error| no_start(&command, &error))?;
    // The ends of the pipe that are in it are the program's alone.
    drop(command);
    let mut printed = Vec::new();
    let work = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            match output.read(&mut buffer).await? {
                0 => break,
                n if printed.len() < KEPT => printed.extend_from_slice(&buffer[..n]),
                _ => {}
            }
        }
        group.child().wait().await
    };
    let ended = tokio::time::timeout(deadline, work).await;
    let text = String::from_utf8_lossy(&printed).into_owned();
    match ended {
        Ok(status) => Ok((status.map_err(broken)?, text)),
        Err(_) => Err(format!("{name} did not end within {deadline:?}: {}", said(&text))),
    }
}

/// The part of a program's words that says what is wrong.
pub(super) fn said(text: &str) -> String {
    let is_error = |line: &str| {
        ["ERROR", "[ERROR]", "Traceback", "fatal:"].iter().any(|start| line.starts_with(start))
    };
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.iter().position(|line| is_error(line)).unwrap_or(0);
    let words = lines[from..].join("\n");
    match words.trim() {
        "" => "it said nothing".to_owned(),
        words => bounded(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_first() {
        assert_eq!(said("[WARNING]: old\nERROR! bad\n\nhere\n"), "ERROR! bad\n\nhere");
        assert_eq!(said("[ERROR]: bad\nOrigin: x"), "[ERROR]: bad\nOrigin: x");
        assert_eq!(said("- downloading\n- failed\n"), "- downloading\n- failed");
        assert_eq!(said(" \n"), "it said nothing");
    }

    #[test]
    fn passwords_of_vaults() {
        let here = std::env::current_dir().unwrap();
        let here = here.display();
        for (list, wanted) in [
            ("word", Some(format!("{here}/word"))),
            ("~/word", Some("~/word".to_owned())),
            ("it@a/b, prompt,x@prompt, y@/c@d", Some(format!("it@{here}/a/b,y@/c@d"))),
            ("prompt", None),
            ("", None),
        ] {
            assert_eq!(identities(OsStr::new(list)), wanted.map(OsString::from), "{list}");
        }
        for (file, wanted) in [
            ("a@b,c", Some(format!("{here}/a@b,c"))),
            ("/a/word", Some("/a/word".to_owned())),
            ("$HOME/word", Some("$HOME/word".to_owned())),
            ("", None),
        ] {
            assert_eq!(absolute(OsStr::new(file)), wanted.map(OsString::from), "{file}");
        }
    }

    #[tokio::test]
    async fn programs_that_are_not_there_or_do_not_end() {
        let minute = Duration::from_secs(60);
        let error = capture(Command::new("/no/ansible-playbook"), minute).await.unwrap_err();
        assert!(error.contains("/no/ansible-playbook is not there: install"), "{error}");
        let mut endless = Command::new("sh");
        endless.args(["-c", "echo word; sleep 77 & sleep 77"]);
        let error = capture(endless, Duration::from_millis(300)).await.unwrap_err();
        assert!(error.contains("sh did not end within 300ms: word"), "{error}");
        let target = Path::new("/t");
        let galaxy = |program| galaxy(Path::new(program), target).as_std().get_program().to_owned();
        assert_eq!(galaxy("/opt/bin/ansible-playbook"), "/opt/bin/ansible-galaxy");
        assert_eq!(galaxy("ansible-playbook"), "ansible-galaxy");
    }
}
