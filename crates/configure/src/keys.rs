//! Private keys, looked at before anything is bought.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::Trouble;
use crate::connection::{Connection, Key};
use crate::output::{self, Ended, last_lines};
use crate::reach::not_started;
use crate::ssh::DEFAULT_PRIVATE_KEY;
use crate::system::System;

/// How long `ssh-keygen` and `ssh-add` may take.
const LIMIT: Duration = Duration::from_secs(20);
/// The user's own keys, as ssh tries them.
const OWN: [&str; 5] = ["id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"];
/// Most of a key's file that is read, in bytes.
const LARGEST: u64 = 64 << 10;

/// What is missing of OpenSSH's programs.
pub(crate) fn check_programs() -> Vec<Trouble> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing = ["ssh", "ssh-keygen"].into_iter().filter(|name| !is_there(&path, name));
    missing.map(|name| Trouble(not_started(name, &io::ErrorKind::NotFound.into()))).collect()
}

fn is_there(path: &OsStr, name: &str) -> bool {
    std::env::split_paths(path).any(|folder| {
        let found = fs::metadata(folder.join(name));
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}

impl System {
    /// Whether a connection's key can be used with nobody there: warnings, if it can. `place` is where
    /// the connection is from.
    ///
    /// # Errors
    /// Why it cannot, and what to do.
    pub(crate) async fn check_connection(
        &self,
        place: &str,
        connection: &Connection,
    ) -> Result<Vec<String>, Vec<Trouble>> {
        let agent = std::env::var_os("SSH_AUTH_SOCK");
        let around = Around { agent: agent.as_deref(), home: std::env::home_dir() };
        let checked = match &connection.key {
            Key::Agent => Ok(around.own_keys().await),
            Key::File(path) if path == Path::new(DEFAULT_PRIVATE_KEY) && !path.exists() => {
                Ok(around.own_keys().await)
            }
            Key::File(path) => around.file(path, connection).await,
            Key::Content(content) => match self.write_key(content) {
                Ok(written) => around.content(&written.path, connection).await,
                Err(error) => Err(format!(
                    "the private key cannot be written into {}: {error}",
                    self.settings.temporary.display()
                )),
            },
        };
        match checked {
            Ok(warning) => Ok(warning.into_iter().map(|text| format!("{place}: {text}")).collect()),
            Err(text) => Err(vec![Trouble(format!("{place}: {text}"))]),
        }
    }
}

/// What keys are beside those that a template names.
struct Around<'a> {
    /// The agent's socket.
    agent: Option<&'a OsStr>,
    /// The user's home folder.
    home: Option<PathBuf>,
}

impl Around<'_> {
    /// A warning if the user has no key at all.
    async fn own_keys(&self) -> Option<String> {
        let folder = self.home.as_ref().map(|home| home.join(".ssh"));
        let has_file = folder.is_some_and(|folder| OWN.iter().any(|key| folder.join(key).exists()));
        if has_file || !self.in_agent().await.is_empty() {
            return None;
        }
        let agent = match self.agent {
            None => "there is no SSH agent (SSH_AUTH_SOCK is not set)",
            Some(_) => "the SSH agent of SSH_AUTH_SOCK has no key",
        };
        Some(format!(
            "no private key is named, {agent}, and no key is in ~/.ssh: machines will hardly let us \
             in. Name one as private_key, or add one with `ssh-add`"
        ))
    }

    /// Fingerprints of the keys in the agent.
    async fn in_agent(&self) -> Vec<String> {
        let Some(agent) = self.agent else { return Vec::new() };
        let mut command = Command::new("ssh-add");
        command.args(["-l", "-E", "sha256"]).env("SSH_AUTH_SOCK", agent).env("LC_ALL", "C");
        match output::run(&mut command, LIMIT).await {
            Ok(Some(ended)) if ended.status.success() => {
                ended.out.lines().filter_map(fingerprint).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A key that is given by its path.
    async fn file(&self, path: &Path, connection: &Connection) -> Result<Option<String>, String> {
        let name = format!("private_key {}", path.display());
        let wrong = |why: String| Err(format!("{name} {why}"));
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return wrong(
                    "is not there: name the right file, or make a key with `ssh-keygen -t ed25519`"
                        .to_owned(),
                );
            }
            Err(error) => return wrong(format!("cannot be looked at: {error}")),
        };
        if !metadata.is_file() {
            return wrong("is no file: name a private key".to_owned());
        }
        let mode = metadata.mode() & 0o7777;
        // ssh looks at the permissions of one's own files only.
        if mode & 0o077 != 0 && metadata.uid() == rustix::process::getuid().as_raw() {
            return wrong(format!(
                "can be used by others (mode {mode:04o}), and ssh refuses such a key: \
                 `chmod 600 {}`",
                path.display()
            ));
        }
        let mut start = Vec::new();
        let read = fs::File::open(path)
            .and_then(|file| file.take(LARGEST).read_to_end(&mut start).map(drop));
        if let Err(error) = read {
            return wrong(format!("cannot be read: {error}"));
        }
        if let Some(why) = no_key(&String::from_utf8_lossy(&start)) {
            return wrong(why.to_owned());
        }
        let public = match public_half(path).await {
            Ok(public) => public,
            Err(NoHalf::Passphrase) => {
                return match self.agent_has(path).await {
                    true => Ok(None),
                    false => wrong(
                        "has a passphrase, which nobody will type in: `ssh-add` it to an agent \
                         (then this may stay, or be `private_key: agent`), or use a key without"
                            .to_owned(),
                    ),
                };
            }
            Err(NoHalf::Other(why)) => return wrong(format!("cannot be used: {why}")),
        };
        compare(&name, &public, connection.public_key.as_deref())?;
        Ok(touched(&name, &public))
    }

    /// A key that is given by its content, and lies in a file now.
    async fn content(
        &self,
        path: &Path,
        connection: &Connection,
    ) -> Result<Option<String>, String> {
        let name = "the key in private_key";
        let public = match public_half(path).await {
            Ok(public) => public,
            Err(NoHalf::Passphrase) => {
                return Err(format!(
                    "{name} has a passphrase, which nobody will type in: `ssh-add` it to an agent \
                     and say `private_key: agent`, or use a key without"
                ));
            }
            // Where it lies is of no use to anybody.
            Err(NoHalf::Other(why)) => {
                let why = why.replace(&format!("Load key \"{}\": ", path.display()), "");
                return Err(format!("{name} cannot be used: {why}; is all of it there?"));
            }
        };
        compare(name, &public, connection.public_key.as_deref())?;
        Ok(touched(name, &public))
    }

    /// Whether the agent has this very key. ssh knows it by its public half, beside it or in it.
    async fn agent_has(&self, path: &Path) -> bool {
        let mut command = Command::new("ssh-keygen");
        command.args(["-l", "-E", "sha256", "-f"]).arg(path).env("LC_ALL", "C");
        let Ok(Some(ended)) = output::run(&mut command, LIMIT).await else { return false };
        let Some(own) = ended.out.lines().find_map(fingerprint) else { return false };
        self.in_agent().await.contains(&own)
    }
}

/// The fingerprint in a line of `ssh-add -l` or `ssh-keygen -l`: `256 SHA256:… comment (ED25519)`.
fn fingerprint(line: &str) -> Option<String> {
    line.split_whitespace().find(|word| word.starts_with("SHA256:")).map(str::to_owned)
}

/// Why a file is no private key that ssh reads.
fn no_key(text: &str) -> Option<&'static str> {
    if text.contains("PRIVATE KEY-----") {
        return None;
    }
    let public = ["ssh-", "ecdsa-", "sk-", "-----BEGIN PUBLIC", "---- BEGIN SSH2 PUBLIC"];
    if text.starts_with("PuTTY-User-Key-File") {
        Some("is a key of PuTTY: `puttygen KEY -O private-openssh -o NEW` makes one for ssh")
    } else if public.iter().any(|start| text.trim_start().starts_with(start)) {
        Some("is a public key: name the private one, mostly the same path without .pub")
    } else {
        Some("is no private key: such a file has a line -----BEGIN … PRIVATE KEY-----")
    }
}

enum NoHalf {
    Passphrase,
    Other(String),
}

/// The public half of a private key, as ssh writes it: type, key, comment.
async fn public_half(path: &Path) -> Result<String, NoHalf> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-y", "-P", "", "-f"]).arg(path).env("LC_ALL", "C");
    let other = |text: String| Err(NoHalf::Other(text));
    match output::run(&mut command, LIMIT).await {
        Ok(Some(Ended { status, out, .. })) if status.success() => Ok(out.trim().to_owned()),
        Ok(Some(Ended { err, .. })) if err.contains("incorrect passphrase") => {
            Err(NoHalf::Passphrase)
        }
        Ok(Some(Ended { status, err, .. })) => {
            other(last_lines(&err, 1).pop().unwrap_or_else(|| format!("ssh-keygen: {status}")))
        }
        Ok(None) => other("ssh-keygen does not end".to_owned()),
        Err(error) => other(not_started("ssh-keygen", &error)),
    }
}

/// Compares the public half with `public_key`: a path, which may be there or not, or the content.
fn compare(name: &str, own: &str, given: Option<&str>) -> Result<(), String> {
    let Some(given) = given else { return Ok(()) };
    let (text, from) = match model::is_path(given) {
        false => (given.to_owned(), "public_key".to_owned()),
        true => match fs::read_to_string(given) {
            Ok(text) => (text, format!("public_key {given}")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(format!("public_key {given} cannot be read: {error}")),
        },
    };
    let key = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, words.next()?))
    };
    let mut keys = text
        .lines()
        .filter_map(key)
        .filter(|(kind, _)| ["ssh-", "ecdsa-", "sk-"].iter().any(|start| kind.starts_with(start)))
        .peekable();
    if keys.peek().is_none() {
        return Err(format!("{from} is no public key: such a line begins with ssh-… or ecdsa-…"));
    }
    let own = key(own);
    match keys.any(|key| key.0.contains("-cert-") || Some(&key) == own.as_ref()) {
        true => Ok(()),
        false => Err(format!(
            "{name} does not belong to {from}: machines that have the one do not let the other in. \
             Name the two halves of one key"
        )),
    }
}

/// A warning about a key on a token.
fn touched(name: &str, public: &str) -> Option<String> {
    public.starts_with("sk-").then(|| {
        format!("{name} is on a security token: each login may wait for somebody to touch it")
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command as Program, Stdio};

    use model::{Attributes, Secret};

    use super::*;
    use crate::system::Settings;

    fn keygen(path: &Path, passphrase: &str, kind: &[&str]) {
        let mut program = Program::new("ssh-keygen");
        program.args(["-q", "-C", "x", "-N", passphrase]).args(kind).arg("-f").arg(path);
        assert!(program.status().unwrap().success());
    }

    fn connection(key: Key, public_key: Option<&str>) -> Connection {
        let plain = Connection::read(&Attributes::new(), None).unwrap();
        Connection { key, public_key: public_key.map(str::to_owned), ..plain }
    }

    fn system(folder: &Path) -> System {
        let state = folder.join("state");
        let temporary = folder.join("temporary");
        System::new(Settings {
            state,
            temporary,
            logins: 4,
            forks: 4,
            ansible: Settings::ANSIBLE.into(),
        })
    }

    async fn check(folder: &Path, key: Key, public: Option<&str>) -> Result<Vec<String>, String> {
        let system = system(folder);
        let checked = system.check_connection("defaults", &connection(key, public)).await;
        let left = fs::read_dir(&system.settings.temporary).map_or(0, Iterator::count);
        assert_eq!(left, 0, "a key was left behind");
        checked.map_err(|all| all.into_iter().map(|t| t.0).collect::<Vec<_>>().join("|"))
    }

    #[tokio::test]
    async fn files_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        keygen(&key, "", &["-t", "ed25519"]);
        let other = folder.path().join("other");
        keygen(&other, "", &["-t", "ed25519"]);
        let of = |path: &Path| Key::File(path.to_owned());
        let public = folder.path().join("key.pub").display().to_string();
        let foreign = folder.path().join("other.pub").display().to_string();
        for public in [None, Some(public.as_str()), Some("/no/such/file")] {
            assert_eq!(check(folder.path(), of(&key), public).await, Ok(vec![]));
        }
        let text = fs::read_to_string(&public).unwrap();
        assert_eq!(check(folder.path(), of(&key), Some(&text)).await, Ok(vec![]));
        let wrong = async |path: &Path, public: Option<&str>, part: &str| {
            let error = check(folder.path(), of(path), public).await.unwrap_err();
            assert!(error.starts_with("defaults: ") && error.contains(part), "{part}: {error}");
        };
        wrong(&key, Some(&foreign), "does not belong to public_key /").await;
        wrong(&key, Some("nonsense"), "public_key is no public key").await;
        wrong(&folder.path().join("none"), None, "is not there").await;
        wrong(folder.path(), None, "is no file").await;
        wrong(&folder.path().join("key.pub"), None, "chmod 600").await;
        let private = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o600));
        private(Path::new(&public)).unwrap();
        wrong(Path::new(&public), None, "is a public key").await;
        let rubbish = folder.path().join("rubbish");
        for (text, part) in [
            ("hello", "is no private key"),
            ("PuTTY-User-Key-File-3: x", "puttygen"),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n",
                "cannot be used",
            ),
        ] {
            fs::write(&rubbish, text).unwrap();
            private(&rubbish).unwrap();
            wrong(&rubbish, None, part).await;
        }
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        wrong(&key, None, "mode 0640").await;
    }

    #[tokio::test]
    async fn contents_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        keygen(&key, "", &["-t", "ecdsa"]);
        let content = |path: &Path| Key::Content(Secret::new(fs::read_to_string(path).unwrap()));
        let public = fs::read_to_string(folder.path().join("key.pub")).unwrap();
        assert_eq!(check(folder.path(), content(&key), Some(&public)).await, Ok(vec![]));
        let foreign = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAA";
        let error = check(folder.path(), content(&key), Some(foreign)).await.unwrap_err();
        assert!(error.contains("the key in private_key does not belong to public_key:"), "{error}");
        let broken = Key::Content(Secret::new("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"));
        let error = check(folder.path(), broken, None).await.unwrap_err();
        assert!(error.contains("cannot be used") && !error.contains("key-"), "{error}");
        for kind in
            [&["-t", "ed25519"][..], &["-t", "ecdsa", "-m", "PEM"], &["-t", "ecdsa", "-m", "PKCS8"]]
        {
            let locked = folder.path().join(kind.join(""));
            keygen(&locked, "open sesame", kind);
            let error = check(folder.path(), content(&locked), None).await.unwrap_err();
            assert!(
                error.contains("passphrase") && error.contains("private_key: agent"),
                "{error}"
            );
        }
    }

    /// A real agent, on a socket of its own.
    struct Agent(std::process::Child, PathBuf);

    impl Agent {
        fn new(folder: &Path) -> Self {
            let socket = folder.join("agent");
            let mut program = Program::new("ssh-agent");
            program.args(["-D", "-a"]).arg(&socket).stdout(Stdio::null());
            let agent = Self(program.spawn().unwrap(), socket);
            for _ in 0..1000 {
                if std::os::unix::net::UnixStream::connect(&agent.1).is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            agent
        }

        fn add(&self, key: &Path, askpass: &Path) {
            let mut program = Program::new("ssh-add");
            program.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.1).stdin(Stdio::null());
            program.env("SSH_ASKPASS", askpass).env("SSH_ASKPASS_REQUIRE", "force");
            assert!(program.status().unwrap().success());
        }
    }

    impl Drop for Agent {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[tokio::test]
    async fn a_passphrase_is_no_hindrance_if_the_agent_has_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::new(folder.path());
        let around = Around { agent: Some(agent.1.as_os_str()), home: Some(folder.path().into()) };
        let warning = around.own_keys().await.unwrap();
        assert!(warning.contains("has no key") && warning.contains("ssh-add"), "{warning}");
        let none = Around { agent: None, home: Some(folder.path().into()) };
        assert!(none.own_keys().await.unwrap().contains("no SSH agent"));

        let locked = folder.path().join("locked");
        keygen(&locked, "open sesame", &["-t", "ed25519"]);
        let plain = connection(Key::Agent, None);
        let error = around.file(&locked, &plain).await.unwrap_err();
        assert!(error.contains("has a passphrase") && error.contains("ssh-add"), "{error}");
        let askpass = folder.path().join("askpass");
        fs::write(&askpass, "#!/bin/sh\necho open sesame\n").unwrap();
        fs::set_permissions(&askpass, fs::Permissions::from_mode(0o755)).unwrap();
        agent.add(&locked, &askpass);
        // The public half is in the private key's file, too.
        fs::remove_file(folder.path().join("locked.pub")).unwrap();
        assert_eq!(around.file(&locked, &plain).await, Ok(None));
        assert_eq!(around.own_keys().await, None);
        let other = folder.path().join("other");
        keygen(&other, "open sesame", &["-t", "ed25519"]);
        assert!(around.file(&other, &plain).await.is_err());

        fs::create_dir(folder.path().join(".ssh")).unwrap();
        fs::write(folder.path().join(".ssh/id_rsa"), "").unwrap();
        assert_eq!(none.own_keys().await, None);
    }

    #[test]
    fn programs_are_looked_for() {
        assert_eq!(check_programs(), []);
        assert!(!is_there(OsStr::new("/etc:/no/such"), "passwd"), "it is no program");
        let text = not_started("ssh", &io::ErrorKind::NotFound.into());
        assert!(text.contains("openssh-client"), "{text}");
    }
}
