//! What is run on a machine: scripts for its `sh`, with `dd`, `id`, `cat`, `mv`, `rm`, `mkdir`, `mktemp`,
//! `chmod`, `chown`, `cut`, `stat` and `sha256sum`, as coreutils and busybox have them.
//!
//! A script comes on standard input, for what is in a command line can be seen by all users, and its
//! first line has to pass through whatever shell the login has. It is sent once the machine has said
//! that it listens, so that a login which is cut before that is known to have done nothing. That it
//! listens, begins and ends is told by lines that begin with a token: machines greet, commands write
//! anything, and what a command left in the background keeps the connection open.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use crate::reach::SSH_FAILED;
use crate::steps::Command;

/// Longest command, in bytes, as it is quoted; Linux takes no longer argument than 128 KiB.
pub(crate) const LONGEST: usize = 120 << 10;

/// A word of the shell that holds exactly this text.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Words of the shell that hold exactly these texts.
pub(crate) fn words(texts: &[String]) -> String {
    texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(" ")
}

/// A token that no output has by chance.
pub(crate) fn token() -> String {
    // Seeded by the system for each process, and another one with each call.
    let number = RandomState::new().build_hasher().finish();
    format!("oneprovision:{number:016x}")
}

/// The command with which ssh is called: says that it is there, then reads a script of so many bytes,
/// and not one more, from standard input and runs it, if it is whole.
///
/// A connection that dies on the way ends the input, too, and the beginning of a script may be another
/// one: `rm -rf /srv/` of `rm -rf /srv/old`.
pub(crate) fn reader(token: &str, length: usize) -> String {
    format!(
        r##"exec sh -c 'echo; echo {token}:ready; s=$(dd bs=1 count={length} 2>/dev/null); case $s in *"# {token}:whole") eval "$s";; *) echo "it did not arrive as it was sent" >&2; exit {SSH_FAILED};; esac'"##
    )
}

/// A script with the end by which [`reader`] knows that nothing of it is missing.
fn whole(token: &str, script: &str) -> String {
    format!("{script}\n# {token}:whole")
}

/// A script that runs another one as root. That one leaves its status in `e`.
pub(crate) fn as_root(token: &str, body: &str) -> String {
    let inner = format!(
        r#"printf '\n%s\n' {token}:begin
{body}
printf '\n%s\n' "{token}:end:$e"
exit "$e""#
    );
    let script = format!(
        r#"PATH=$PATH:/usr/sbin:/sbin
export PATH
s=
[ "$(id -u)" = 0 ] || s='sudo -n'
exec $s sh -c {}"#,
        quoted(&inner)
    );
    whole(token, &script)
}

/// Runs a command.
pub(crate) fn command(command: &Command) -> String {
    match command {
        Command::Line(line) => format!("sh -c {} </dev/null; e=$?", quoted(line)),
        // The program, and not what the shell has of that name.
        Command::Words(texts) => format!("( exec {} ) </dev/null; e=$?", words(texts)),
    }
}

/// Looks at files: a line for each that is there, [`seen`] reads them.
pub(crate) fn look<'a>(paths: impl Iterator<Item = &'a str>) -> String {
    let mut script = r#"l() {
    [ -f "$2" ] && [ ! -L "$2" ] || return
    echo "$1 $(sha256sum <"$2" | cut -c1-64) $(stat -c '%a %u %g %U:%G' "$2")"
}
echo "me $(id -u) $(id -g)"
"#
    .to_owned();
    for (n, path) in paths.enumerate() {
        script += &format!("l {n} {}\n", quoted(path));
    }
    script + "e=0"
}

/// Makes a file of what comes on standard input, once all of it is there.
pub(crate) fn put(path: &str, mode: u32, owner: Option<&str>, sum: &str) -> String {
    let path = quoted(path);
    let owner = owner.map_or_else(|| r#""$(id -u):$(id -g)""#.to_owned(), quoted);
    format!(
        r#"p() {{
    f={path}
    d=${{f%/*}}
    if [ -d "$f" ]; then
        echo "there is a folder of that name" >&2
        return 1
    fi
    ( umask 022; mkdir -p "${{d:-/}}" ) || return
    umask 077
    t=$(mktemp "$d/.oneprovision.XXXXXX") || return
    trap 'rm -f "$t"' 0
    trap 'exit 1' 1 2 13 15
    cat >"$t" || return
    if [ "$(sha256sum <"$t" | cut -c1-64)" != {sum} ]; then
        echo "it did not arrive as it was sent" >&2
        return 1
    fi
    chown {owner} "$t" && chmod {mode:04o} "$t" && mv -f "$t" "$f"
}}
p
e=$?"#
    )
}

/// A file as it is on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// SHA-256 of its content, in hexadecimal digits.
    pub sum: String,
    /// Permissions.
    pub mode: u32,
    /// Its user: number and name.
    pub user: [String; 2],
    /// Its group: number and name.
    pub group: [String; 2],
}

/// What [`look`] wrote: who looked (user and group), and the files by their numbers.
pub(crate) fn seen(text: &str) -> (Option<String>, Vec<(usize, Look)>) {
    let me = text.lines().find_map(|line| Some(line.strip_prefix("me ")?.replace(' ', ":")));
    let files = text.lines().filter_map(|line| {
        let mut words = line.splitn(6, ' ');
        let n = words.next()?.parse().ok()?;
        let sum = words.next()?.to_owned();
        let mode = u32::from_str_radix(words.next()?, 8).ok()?;
        let (uid, gid) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (user, group) = words.next()?.split_once(':')?;
        let (user, group) = ([uid, user.to_owned()], [gid, group.to_owned()]);
        Some((n, Look { sum, mode, user, group }))
    });
    (me, files.collect())
}

impl Look {
    /// Whether it is as it should be. `owner` is `USER` or `USER:GROUP`.
    pub fn is(&self, sum: &str, mode: u32, owner: &str) -> bool {
        let (user, group) = match owner.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (owner, None),
        };
        self.sum == sum
            && self.mode == mode
            && self.user.iter().any(|is| is == user)
            && group.is_none_or(|group| self.group.iter().any(|is| is == group))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command as Program, Output, Stdio};

    use proptest::prelude::*;

    use super::*;

    fn sh(script: &str) -> Output {
        let script = whole("T", script);
        let sent = format!("{script}what comes after the script");
        read(script.len(), sent.as_bytes())
    }

    /// What `sh` does that is to read a script of that length, and to which this is sent.
    fn read(length: usize, sent: &[u8]) -> Output {
        let mut child = Program::new("sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .args(["-c", &reader("T", length)])
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(sent).unwrap();
        let mut output = child.wait_with_output().unwrap();
        output.stdout = output.stdout.strip_prefix(b"\nT:ready\n").unwrap().to_vec();
        output
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn words_reach_the_program_unchanged(
            texts in prop::collection::vec("[^\0]{0,12}|['\"$`\\\\!*~;&|<>(){} \t\n-]{0,12}", 1..6)
        ) {
            let mut all = vec!["printf".to_owned(), "%s\\0".to_owned()];
            all.extend(texts.iter().cloned());
            let inner = quoted(&command(&Command::Words(all)));
            let output = sh(&format!("sh -c {inner}; cat"));
            let mut wanted: Vec<u8> = texts.join("\0").into_bytes();
            wanted.push(0);
            wanted.extend(b"what comes after the script");
            prop_assert_eq!(output.stdout, wanted);
        }

        #[test]
        fn a_line_reaches_sh_unchanged(text in "[^\0]{0,20}|['\"$`\\\\! \n]{0,12}") {
            let line = format!("printf %s {}", quoted(&text));
            let output = sh(&format!("sh -c {}", quoted(&command(&Command::Line(line)))));
            prop_assert_eq!(output.stdout, text.into_bytes());
        }
    }

    #[test]
    fn a_script_that_arrives_half_is_not_run() {
        let script = whole("T", "echo one\necho 'two # T'; echo three\necho four");
        let run = read(script.len(), script.as_bytes());
        assert_eq!(run.stdout, b"one\ntwo # T\nthree\nfour\n");
        for length in 0..script.len() {
            let cut = read(script.len(), &script.as_bytes()[..length]);
            assert_eq!(cut.stdout, b"", "{}", &script[..length]);
            assert_eq!(cut.status.code(), Some(SSH_FAILED), "{}", &script[..length]);
            assert!(String::from_utf8(cut.stderr).unwrap().contains("did not arrive"));
        }
        let root = as_root("T", "e=0");
        assert_eq!(root.matches("# T:whole").count(), 1);
        assert!(root.ends_with("\n# T:whole"), "{root}");
    }

    #[test]
    fn a_status_is_told_at_the_end() {
        for (line, status) in [("exit 3", 3), ("kill -9 $$", 137), ("true", 0), ("no-such-x", 127)]
        {
            let output = sh(&format!("{}\nexit $e", command(&Command::Line(line.into()))));
            assert_eq!(output.status.code(), Some(status), "{line}");
        }
        let words =
            Command::Words(["sh", "-c", "exit \"$#\"", "x", "", "a b"].map(Into::into).into());
        assert_eq!(sh(&format!("{}\nexit $e", command(&words))).status.code(), Some(2));
    }

    #[test]
    fn files_are_seen() {
        let text = "me 0 0\n1 ab 644 0 0 root:root\n2 cd 4755 7 8 x:domain users\nrubbish\n";
        let (me, files) = seen(text);
        assert_eq!(me.as_deref(), Some("0:0"));
        assert_eq!(files.len(), 2);
        let [(1, first), (2, second)] = &files[..] else { panic!("{files:?}") };
        assert!(first.is("ab", 0o644, "0:0") && first.is("ab", 0o644, "root"));
        assert!(!first.is("ab", 0o600, "0:0") && !first.is("aa", 0o644, "0:0"));
        assert!(second.is("cd", 0o4755, "x:domain users") && !second.is("cd", 0o4755, "x:root"));
        assert!(!second.is("cd", 0o4755, "root"));
    }
}
