//! How a machine is reached over SSH: the vector `PROVISION_CONNECTION`, read once.

use std::path::{Path, PathBuf};

use crate::ssh::DEFAULT_PRIVATE_KEY;
use model::{Attributes, Secret, Value, is_path};

/// SSH port if none is given.
const DEFAULT_PORT: u16 = 22;
/// Path of the public key that 5.12 used if the template named none.
const DEFAULT_PUBLIC_KEY: &str = "/var/lib/one/.ssh/ddc/id_rsa.pub";
/// User if none is given (5.12).
const DEFAULT_USER: &str = "root";

/// How a machine is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// `remote_user`
    pub user: String,
    /// `remote_port`
    pub port: u16,
    /// `private_key`
    pub key: Key,
    /// `public_key`, by path or content, to be compared with the private one.
    pub public_key: Option<String>,
    /// `jump_hosts`: `[USER@]HOST[:PORT]`, in their order, separated by commas.
    pub jump: Option<String>,
}

/// The private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A file.
    File(PathBuf),
    /// The key itself.
    Content(Secret),
    /// Whatever the agent of `SSH_AUTH_SOCK` and the user's own configuration offer
    /// (`private_key: agent`).
    Agent,
}

impl Connection {
    /// Reads the vector. `home` stands for `~/` of paths.
    ///
    /// # Errors
    /// What is wrong with it, in words for people.
    pub fn read(connection: &Attributes, home: Option<&Path>) -> Result<Self, String> {
        let text = |key: &str| {
            let value = connection.get(key).and_then(Value::expose).map(str::trim);
            value.filter(|text| !text.is_empty())
        };
        let port = match text("REMOTE_PORT") {
            None => DEFAULT_PORT,
            Some(text) => text.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                format!("remote_port of the connection is a number from 1 to 65535, not {text:?}")
            })?,
        };
        let user = text("REMOTE_USER").unwrap_or(DEFAULT_USER);
        if !is_word(user, "-_.$") {
            return Err(format!("remote_user of the connection must be a user, not {user:?}"));
        }
        let key = match text("PRIVATE_KEY") {
            None | Some("agent") => Key::Agent,
            Some(path) if is_path(path) => Key::File(at_home(path, home)?),
            Some(content) if content.contains("PRIVATE KEY") => {
                Key::Content(Secret::new(format!("{content}\n")))
            }
            Some(_) => {
                return Err("private_key of the connection is neither a path from / or ~/, nor a \
                            key, nor the word agent"
                    .to_owned());
            }
        };
        // 5.12's default belongs to its private key alone.
        let is_default = |text: &&str| *text == DEFAULT_PUBLIC_KEY;
        let other_key = text("PRIVATE_KEY").is_some_and(|key| key != DEFAULT_PRIVATE_KEY);
        let public_key = match text("PUBLIC_KEY").filter(|text| !(other_key && is_default(text))) {
            Some(path) if is_path(path) => Some(at_home(path, home)?.display().to_string()),
            other => other.map(str::to_owned),
        };
        let jump = text("JUMP_HOSTS").map(jump_hosts).transpose()?;
        Ok(Self { user: user.to_owned(), port, key, public_key, jump })
    }
}

/// `~/` as the caller's home folder.
fn at_home(path: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => Ok(home.join(rest)),
        (Some(_), None) => Err(format!("{path} cannot be found: HOME is not set")),
        (None, _) => Ok(path.into()),
    }
}

/// Jump hosts without blanks; each is one that ssh can take for nothing else.
fn jump_hosts(text: &str) -> Result<String, String> {
    let hosts: Vec<&str> = text.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
    for host in &hosts {
        let wrong = || format!("jump_hosts of the connection takes USER@HOST:PORT, not {host:?}");
        let (user, place) = host.rsplit_once('@').unwrap_or(("root", host));
        let is_place = is_word(place, "-_.:[]%") && !place.starts_with(':');
        if !is_word(user, "-_.$") || !is_place {
            return Err(wrong());
        }
    }
    match hosts.is_empty() {
        true => Err("jump_hosts of the connection names no host".to_owned()),
        false => Ok(hosts.join(",")),
    }
}

/// Whether a text is letters, digits and some more, and no option.
fn is_word(text: &str, more: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    (1..=253).contains(&text.len()) && !text.starts_with('-') && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Connection, String> {
        let mut all = Attributes::new();
        for (key, value) in pairs {
            all.push(*key, *value);
        }
        Connection::read(&all, Some(Path::new("/home/op")))
    }

    #[test]
    fn keys_by_path_content_and_agent() {
        let key = |text: &str| read(&[("PRIVATE_KEY", text)]).map(|c| c.key);
        assert_eq!(key("~/.ssh/id"), Ok(Key::File("/home/op/.ssh/id".into())));
        assert_eq!(key("/k"), Ok(Key::File("/k".into())));
        assert_eq!(key("agent"), Ok(Key::Agent));
        assert_eq!(key(""), Ok(Key::Agent));
        let content = "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----";
        assert_eq!(key(content), Ok(Key::Content(Secret::new(format!("{content}\n")))));
        assert!(key("id_rsa").unwrap_err().contains("neither"));
        let none = Connection::read(&Attributes::new(), None).unwrap();
        assert_eq!((none.user.as_str(), none.port), ("root", 22));
    }

    #[test]
    fn nothing_becomes_an_option_of_ssh() {
        for (key, value) in [
            ("REMOTE_USER", "-oProxyCommand=x"),
            ("REMOTE_USER", "a b"),
            ("REMOTE_PORT", "0"),
            ("REMOTE_PORT", "22x"),
            ("JUMP_HOSTS", "-oProxyCommand=x"),
            ("JUMP_HOSTS", "a@-b"),
            ("JUMP_HOSTS", "a b"),
            ("JUMP_HOSTS", ","),
        ] {
            assert!(read(&[(key, value)]).is_err(), "{key}={value}");
        }
        let jump = read(&[("JUMP_HOSTS", "op@gate:2222, [fd00::1]:22")]).unwrap().jump;
        assert_eq!(jump.as_deref(), Some("op@gate:2222,[fd00::1]:22"));
    }
}
