//! Why a machine does not let us in: what ssh's words mean, and what is told of it.

use crate::login::Login;
use crate::output::{last_lines, shown};
use crate::script::quoted;

/// Longest word of a machine that is told, in characters.
const TOLD: usize = 200;

/// Why a machine did not let us in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing listens.
    Refused,
    /// Nobody answers.
    Silent,
    /// The network does not know the way.
    NoRoute,
    /// The name stands for no address; the resolver's words.
    NoName(String),
    /// It accepts connections and sends nothing.
    NoGreeting,
    /// It accepts connections and closes them, perhaps with a word.
    Closed(String),
    /// What answers does not speak SSH; its first words.
    NotSsh(String),
    /// User and key are refused; ssh's words.
    Denied(String),
    /// The machine's host key is another one than before.
    Changed,
    /// The host key of a jump host is another one than before; ssh's words.
    JumpChanged(String),
    /// The private key is of no use here; ssh's words.
    BadKey(String),
    /// No algorithm is known to both; ssh's words.
    NoTerms(String),
    /// It lets us in, and then nothing can be run; what it says.
    Shell(String),
    /// Nothing happens after the greeting.
    Stuck,
    /// Something here; ssh cannot be run.
    Here(String),
    /// The jump host lets us in and does not get to the machine.
    Beyond,
    /// Whatever else ssh says.
    Other(String),
}

impl Refusal {
    /// What ssh, which ended with status 255, says on standard error.
    pub fn of(words: &str, alias: &str) -> Self {
        let lines = last_lines(words, 40);
        let last = lines.last().cloned().unwrap_or_else(|| "ssh ended without a word".to_owned());
        let line = |parts: &[&str]| {
            let is = |line: &&String| parts.iter().any(|part| line.contains(part));
            lines.iter().rev().find(is).map(|line| shown(line, TOLD))
        };
        let changed = format!("host key for {alias} has changed").to_ascii_lowercase();
        if words.to_ascii_lowercase().contains(&changed) {
            return Self::Changed;
        }
        if words.contains("HOST IDENTIFICATION HAS CHANGED") {
            return Self::JumpChanged(line(&["ost key for"]).unwrap_or(last));
        }
        let load = ["Load key", "bad permissions", "UNPROTECTED PRIVATE KEY", "invalid format"];
        if let Some(line) = line(&load) {
            return Self::BadKey(line);
        }
        if let Some(line) = line(&["Permission denied", "Too many authentication failures"]) {
            return Self::Denied(line);
        }
        let plain = [
            (&["Could not resolve hostname", "Name or service not known"][..], None),
            (&["Connection refused"], Some(Self::Refused)),
            (&["banner exchange", "before SSH"], Some(Self::NoGreeting)),
            (&["timed out", "Host is down", "not responding"], Some(Self::Silent)),
            (&["No route to host", "etwork is unreachable"], Some(Self::NoRoute)),
        ];
        for (parts, what) in plain {
            if let Some(line) = line(parts) {
                return what.unwrap_or(Self::NoName(line));
            }
        }
        if words.contains("stdio forwarding failed") {
            return Self::Beyond;
        }
        if let Some(line) = line(&["Unable to negotiate", "no matching"]) {
            return Self::NoTerms(line);
        }
        if let Some(line) = line(&["Connection closed", "Connection reset", "kex_exchange"]) {
            return Self::Closed(line);
        }
        Self::Other(shown(&last, TOLD))
    }

    /// Whether it is of no use to try once more.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Changed | Self::JumpChanged(_) | Self::BadKey(_) | Self::Here(_))
    }

    /// It in words, after the name of the machine and a colon.
    pub fn text(&self, login: &Login<'_>) -> String {
        let connection = &login.machine.connection;
        let (user, port) = (&connection.user, connection.port);
        let said = |words: &str| match words {
            "" => String::new(),
            words => format!(" ({words})"),
        };
        let text = match self {
            Self::Refused => format!("nothing listens on port {port} (connection refused)"),
            Self::Silent => format!("no answer on port {port} (timed out)"),
            Self::NoRoute => "there is no route to it".to_owned(),
            Self::NoName(words) => format!("the name cannot be resolved{}", said(words)),
            Self::NoGreeting => {
                format!("port {port} accepts connections, but SSH does not answer there")
            }
            Self::Closed(words) => {
                format!("port {port} closes the connection before the login{}", said(words))
            }
            Self::NotSsh(words) => format!("what answers on port {port} is not SSH{}", said(words)),
            Self::Denied(words) => {
                // ssh begins the line with whom it was that refused.
                let own = format!("{user}@{}", login.machine.address);
                match connection.jump.is_some() && !words.starts_with(&own) {
                    true => format!("a jump host refuses us{}", said(words)),
                    false => {
                        format!("user {user} is refused with {}{}", login.key_text(), said(words))
                    }
                }
            }
            Self::Changed => "its host key is another one than before".to_owned(),
            Self::JumpChanged(words) => {
                format!("the host key of a jump host is another one than before{}", said(words))
            }
            Self::BadKey(words) => {
                format!("{} cannot be used{}", login.key_text(), said(words))
            }
            Self::NoTerms(words) => {
                format!("its SSH and ours have no algorithm in common{}", said(words))
            }
            Self::Shell(words) => {
                format!("user {user} is let in, but no command can be run{}", said(words))
            }
            Self::Stuck => format!("port {port} greets as SSH, but the login does not end"),
            Self::Here(words) => return words.clone(),
            Self::Beyond => format!("the jump host does not get to its port {port}"),
            Self::Other(words) => format!("ssh says: {words}"),
        };
        match &connection.jump {
            Some(jump) => format!("{text}, through {jump}"),
            None => text,
        }
    }

    /// What to do about it.
    pub fn advice(&self, login: &Login<'_>) -> String {
        if *self == Self::Changed {
            return format!(
                "somebody else may answer there; if it was installed anew on purpose, `ssh-keygen -f {} -R \
                 {}` forgets its key, as does `oneprovision host reboot --hard HOST`",
                quoted(&login.known_hosts().display().to_string()),
                login.machine.alias
            );
        }
        self.plain_advice(login).to_owned()
    }

    fn plain_advice(&self, login: &Login<'_>) -> &'static str {
        match self {
            Self::Denied(words) if words.contains("password") && !words.contains("publickey") => {
                "it takes passwords only, and none is ever typed in: give the user a key"
            }
            Self::Denied(_) if login.key_path().is_none() => {
                "is the user right, and is the public key of one of them on the machine? \
                 `ssh-add -l` lists what the agent has"
            }
            Self::Denied(_) => {
                "is the user right, and is the key's public half on the machine? A key with a \
                 passphrase is not tried: add it to an agent and say `private_key: agent`"
            }
            // Its advice names files.
            Self::Changed => "",
            Self::JumpChanged(_) => {
                "if it was installed anew on purpose, take its old key out of that file with \
                 `ssh-keygen -R`"
            }
            Self::BadKey(_) => "`ssh-keygen -y -f KEY` tells what is wrong with it",
            Self::NoName(_) => "is the name right, and does this computer's resolver know it?",
            Self::NoTerms(_) => "`Match` blocks of ~/.ssh/config may allow older algorithms",
            Self::Shell(_) => {
                "is the user right (some images let in another one than root), and has it a shell?"
            }
            Self::Refused | Self::Silent | Self::NoRoute | Self::Beyond => {
                "is the address the right one, is SSH allowed through firewalls, does the machine \
                 boot?"
            }
            Self::NoGreeting | Self::Closed(_) | Self::NotSsh(_) | Self::Stuck => {
                "is the port the right one? Its console may tell what it does"
            }
            Self::Here(_) | Self::Other(_) => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_ssh() {
        use Refusal as R;
        let of = |words: &str| R::of(words, "m-1");
        let same = |words: &str| of(&format!("{words}\r\n"));
        assert_eq!(same("ssh: connect to host a port 22: Connection refused"), R::Refused);
        assert_eq!(same("ssh: connect to host a port 22: Connection timed out"), R::Silent);
        assert_eq!(same("ssh: connect to host a port 22: No route to host"), R::NoRoute);
        assert_eq!(same("ssh: connect to host ::1 port 22: Network is unreachable"), R::NoRoute);
        assert_eq!(same("Connection timed out during banner exchange"), R::NoGreeting);
        assert!(matches!(
            same("ssh: Could not resolve hostname a: Name or service not known"),
            R::NoName(words) if words.contains("not known")
        ));
        assert!(matches!(
            same("kex_exchange_identification: read: Connection reset by peer"),
            R::Closed(_)
        ));
        assert!(matches!(
            same("kex_exchange_identification: Connection closed by remote host"),
            R::Closed(_)
        ));
        assert!(matches!(
            same("root@a: Permission denied (publickey,password)."),
            R::Denied(words) if words == "root@a: Permission denied (publickey,password)."
        ));
        assert!(matches!(
            same(
                "Unable to negotiate with 1.2.3.4 port 22: no matching host key type found. Their offer: ssh-dss"
            ),
            R::NoTerms(_)
        ));
        let changed = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nSomeone could be \
                       eavesdropping on you right now\nHost key for M-1 has changed and you have \
                       requested strict checking.\nHost key verification failed.";
        assert_eq!(of(changed), R::Changed);
        assert!(matches!(R::of(changed, "m-2"), R::JumpChanged(words) if words.contains("M-1")));
        assert!(matches!(
            same("Load key \"/k\": error in libcrypto\nroot@a: Permission denied (publickey)."),
            R::BadKey(_)
        ));
        assert_eq!(of(""), R::Other("ssh ended without a word".to_owned()));
        let through = "stdio forwarding failed\nkex_exchange_identification: Connection closed by \
                       remote host\nConnection closed by UNKNOWN port 65535";
        assert_eq!(of(through), R::Beyond);
    }
}
