//! The claim: a file on the machine that says whose it is.
//!
//! It is written under another name and then linked (link(2)) to its own, which succeeds for exactly one
//! of all who try; then it is read back, and what it says counts. The scripts need a POSIX shell and
//! `mkdir`, `ln`, `mv`, `rm`, `sed`.

use std::fmt::Write as _;

/// What begins each line of an answer: machines greet, too.
const PREFIX: &str = "oneprovision:";

/// What is written into a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    /// Deploy id.
    pub id: String,
    /// Key of the call that claimed.
    pub key: String,
    /// Name of the host that it is for.
    pub name: String,
    /// Its provision, empty if that was not told.
    pub provision_id: String,
    /// Seconds since the Unix epoch.
    pub created: String,
}

/// What a machine answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The claim on it. One that somebody else's program wrote has no id.
    pub claim: Option<Claim>,
    /// Which boot it is in, if it says.
    pub boot: Option<String>,
    /// What its shell says went wrong.
    pub wrong: Option<String>,
    /// Whether the action was done: for the actions that act only on a machine of ours.
    pub done: bool,
}

/// What a script does to a machine that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Release,
    Reboot,
    Reset,
    Poweroff,
}

/// The script that looks at a machine.
pub(super) fn look(file: &str) -> String {
    script(file, "")
}

/// The script that claims a machine, if nobody has it.
pub(super) fn claim(file: &str, claim: &Claim) -> String {
    let mut lines = String::new();
    for (key, value) in [
        ("ID", &claim.id),
        ("KEY", &claim.key),
        ("NAME", &claim.name),
        ("PROVISION_ID", &claim.provision_id),
        ("CREATED", &claim.created),
    ] {
        // Writing to a String cannot fail.
        let _ = write!(lines, " {}", quoted(&format!("{key}={}", one_line(value))));
    }
    script(
        file,
        &format!(
            r#"d=${{f%/*}}
t=$f.$$
if [ ! -e "$f" ]; then
    e=$({{ mkdir -p "$d" && printf '%s\n'{lines} >"$t" && sync && ln "$t" "$f"; }} 2>&1) || {{
        [ -e "$f" ] || echo "{PREFIX}wrong=$e"
    }}
    rm -f "$t" 2>/dev/null
fi
"#
        ),
    )
}

/// The script that acts on a machine, if it is ours.
pub(super) fn act(file: &str, id: &str, act: Act) -> String {
    // What ends the machine must not end the answer: it waits until that is on its way.
    let later = |command: &str| {
        format!(
            r#"( sleep 1; {command} ) </dev/null >/dev/null 2>&1 &
    echo "{PREFIX}done=yes""#
        )
    };
    let command = match act {
        Act::Release => {
            format!(r#"e=$(rm -f "$f" 2>&1) && echo "{PREFIX}done=yes" || echo "{PREFIX}wrong=$e""#)
        }
        Act::Reboot => later("$s reboot"),
        Act::Poweroff => later("$s poweroff"),
        Act::Reset => later(
            "$s sh -c 'echo 1 >/proc/sys/kernel/sysrq; echo b >/proc/sysrq-trigger'; $s reboot -f",
        ),
    };
    script(
        file,
        &format!(
            r#"s=
[ "$(id -u)" = 0 ] || s="sudo -n"
if [ "$(sed -n 's/^ID=//p' "$f" 2>/dev/null)" = {} ]; then
    sed 's/^/{PREFIX}/' "$f"
    {command}
fi
"#,
            quoted(id)
        ),
    )
}

fn script(file: &str, middle: &str) -> String {
    // The home folder is the login's, and only its shell knows that.
    let file = match file.strip_prefix("~/") {
        Some(rest) => format!("\"$HOME\"/{}", quoted(rest)),
        None => quoted(file),
    };
    format!(
        r#"f={file}
export PATH="$PATH:/sbin:/usr/sbin"
{middle}if [ -e "$f" ]; then
    echo "{PREFIX}claimed=yes"
    sed 's/^/{PREFIX}/' "$f"
fi
b=/proc/sys/kernel/random/boot_id
[ -r $b ] && echo "{PREFIX}BOOT=$(cat $b)"
echo "{PREFIX}end=yes"
exit 0
"#
    )
}

/// A word of the shell that holds exactly this text.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Reads what a script wrote; `None` if it did not come to its end.
pub(super) fn answer(text: &str) -> Option<Answer> {
    let mut answer = Answer::default();
    let mut ended = false;
    for (key, value) in
        text.lines().filter_map(|line| line.trim_end().strip_prefix(PREFIX)?.split_once('='))
    {
        let value = value.to_owned();
        let claim = &mut answer.claim;
        match key {
            "claimed" => drop(claim.get_or_insert_default()),
            "ID" => claim.get_or_insert_default().id = value,
            "KEY" => claim.get_or_insert_default().key = value,
            "NAME" => claim.get_or_insert_default().name = value,
            "PROVISION_ID" => claim.get_or_insert_default().provision_id = value,
            "CREATED" => claim.get_or_insert_default().created = value,
            "BOOT" => answer.boot = Some(value),
            "wrong" => answer.wrong = Some(value),
            "done" => answer.done = true,
            "end" => ended = true,
            _ => {}
        }
    }
    ended.then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_passed_over_and_half_an_answer_is_none() {
        let text =
            "Welcome!\noneprovision:claimed=yes\noneprovision:ID=x\r\noneprovision:NAME=a=b\n";
        assert_eq!(answer(text), None);
        let whole = answer(&format!("{text}oneprovision:end=yes")).unwrap();
        let claim = whole.claim.unwrap();
        assert_eq!((claim.id.as_str(), claim.name.as_str()), ("x", "a=b"));
        assert_eq!(answer("oneprovision:end=yes").unwrap(), Answer::default());
    }

    #[test]
    fn a_name_cannot_become_a_command() {
        let name = "x'; touch /tmp/pwned; '\nID=other".to_owned();
        let text = claim("/tmp/it's", &Claim { name, ..Claim::default() });
        assert!(text.contains(r"f='/tmp/it'\''s'"));
        assert!(text.contains(r"'NAME=x'\''; touch /tmp/pwned; '\'' ID=other'"), "{text}");
    }
}
