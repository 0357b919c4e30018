//! The system's `ssh`: one login, one script on its standard input, one answer.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::addresses::Place;
use super::parameters::Login;

/// How long a machine may take to let us in.
const CONNECT: u32 = 10;
/// How long a script may take, login included.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most of an answer that is read, in bytes.
const ANSWER: u64 = 64 << 10;
/// The status with which ssh itself fails.
const SSH_FAILED: i32 = 255;

/// Why a script brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody is there. Nothing was done.
    Away(String),
    /// Somebody is there and does not let us in. Nothing was done.
    Refused(String),
    /// The connection ended: the script may have been run, or in part.
    Lost(String),
    /// There is no `ssh` here.
    NoProgram,
}

impl Failure {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Away(text) | Self::Refused(text) | Self::Lost(text) => text,
            Self::NoProgram => "there is no program ssh: the package openssh-client has it",
        }
    }
}

/// Runs a script by the machine's `sh` and returns what it wrote to standard output.
///
/// # Errors
/// It could not be run, or not to its end. A script ends with status 0.
pub(super) async fn run(
    place: &Place,
    login: &Login,
    known_hosts: &Path,
    script: &str,
) -> Result<String, Failure> {
    let mut command = Command::new("ssh");
    command.arg("-T");
    for option in [
        "BatchMode=yes".to_owned(),
        format!("ConnectTimeout={CONNECT}"),
        "ConnectionAttempts=1".to_owned(),
        "ServerAliveInterval=5".to_owned(),
        "ServerAliveCountMax=3".to_owned(),
        "ControlMaster=no".to_owned(),
        "ControlPath=none".to_owned(),
        "ForwardAgent=no".to_owned(),
        "LogLevel=ERROR".to_owned(),
        format!("StrictHostKeyChecking={}", if login.known_only { "yes" } else { "accept-new" }),
        // The value is a list of words in ssh's own syntax.
        format!("UserKnownHostsFile=\"{}\"", known_hosts.display()),
    ] {
        command.args(["-o", &option]);
    }
    if let Some(key) = &login.key {
        command.args(["-i", key]);
    }
    command.args(["-l", &login.user, "-p", &place.port.to_string(), "--", &place.host, "sh"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("LC_ALL", "C").kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::NoProgram,
        _ => Failure::Refused(format!("ssh cannot be started: {error}")),
    })?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let whole = async {
        let write = async {
            if let Some(mut stdin) = stdin {
                // A machine that does not read will say why, or end.
                let _ = stdin.write_all(script.as_bytes()).await;
            }
        };
        let ((), out, words) = tokio::join!(write, bounded(stdout), bounded(stderr));
        (child.wait().await, out, words)
    };
    let Ok((status, out, words)) = timeout(PATIENCE, whole).await else {
        return Err(Failure::Lost(format!("it did not answer within {PATIENCE:?}")));
    };
    match status {
        Ok(status) if status.success() => Ok(out),
        Ok(status) if status.code() == Some(SSH_FAILED) => Err(failure(&words, place, known_hosts)),
        Ok(status) if words.is_empty() => {
            Err(Failure::Lost(format!("its shell ended with {status}")))
        }
        Ok(_) => Err(Failure::Lost(last_line(&words))),
        Err(error) => Err(Failure::Lost(error.to_string())),
    }
}

async fn bounded(from: Option<impl AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // What was read until an error is what there is.
        let _ = from.take(ANSWER).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn last_line(words: &str) -> String {
    words.lines().last().unwrap_or("it ended without a word").trim().to_owned()
}

/// What ssh's words mean. Those that are told before anybody is logged in are certain; in all other
/// cases the script may have begun.
fn failure(words: &str, place: &Place, known_hosts: &Path) -> Failure {
    const AWAY: [&str; 5] = [
        "Connection refused",
        "Connection timed out",
        "No route to host",
        "Network is unreachable",
        "Host is down",
    ];
    const REFUSED: [&str; 7] = [
        "Could not resolve hostname",
        // With the methods that were tried. What runs on the machine says it without.
        "Permission denied (",
        "Too many authentication failures",
        "Unable to negotiate",
        "kex_exchange_identification",
        "banner exchange",
        "No supported authentication",
    ];
    let last = last_line(words);
    if words.contains("HOST IDENTIFICATION HAS CHANGED") {
        return Failure::Refused(format!(
            "its host key is another one than before. If it was installed anew: \
             ssh-keygen -f '{}' -R '{}'",
            known_hosts.display(),
            if place.port == 22 {
                place.host.clone()
            } else {
                format!("[{}]:{}", place.host, place.port)
            },
        ));
    }
    if words.contains("Host key verification failed") {
        return Failure::Refused(format!("its host key is not in {}", known_hosts.display()));
    }
    if REFUSED.iter().any(|text| words.contains(text)) {
        return Failure::Refused(last);
    }
    // A connection that breaks after the login ends by the same words.
    let mut connects = words.lines().filter(|line| line.starts_with("ssh: connect to host "));
    if connects.any(|line| AWAY.iter().any(|text| line.contains(text))) {
        return Failure::Away(last);
    }
    Failure::Lost(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_before_the_login_is_certain() {
        let place = Place { host: "192.0.2.7".to_owned(), port: 22 };
        let of = |words: &str| failure(words, &place, Path::new("/known"));
        for words in [
            "ssh: connect to host 192.0.2.7 port 22: Connection refused",
            "Warning: a jump host\nssh: connect to host 192.0.2.7 port 22: Connection timed out",
            "ssh: connect to host 192.0.2.7 port 22: No route to host",
        ] {
            assert!(matches!(of(words), Failure::Away(_)), "{words}");
        }
        for words in [
            "root@192.0.2.7: Permission denied (publickey,password).",
            "Connection timed out during banner exchange\nConnection to 192.0.2.7 port 22 timed out",
            "ssh: Could not resolve hostname x: Name or service not known",
        ] {
            assert!(matches!(of(words), Failure::Refused(_)), "{words}");
        }
        for words in [
            "",
            "Read from remote host 192.0.2.7: Connection timed out",
            "Read from remote host 192.0.2.7: Connection timed out\nclient_loop: send disconnect: Broken pipe",
            "client_loop: send disconnect: No route to host",
            "sh: 3: cannot create /x: Permission denied\nTimeout, server 192.0.2.7 not responding.",
        ] {
            assert!(matches!(of(words), Failure::Lost(_)), "{words}");
        }
    }
}
