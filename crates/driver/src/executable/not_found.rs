//! Whether a failed `cancel` says that the machine is not there, and whether a failure says anything of it at all.
//!
//! Gone is success, so to believe it wrongly loses a machine that is paid for, and not to believe it
//! costs a question. Only texts that are clear are believed: a provider's own code or an HTTP status, or
//! the phrase in a line that is not about another thing that was not found (a program, a file, a
//! project, an address).

/// Codes and phrases that can mean nothing else.
const CLEAR: [&str; 13] = [
    "invalidinstanceid.notfound",
    "instancenotfound",
    "servernotfound",
    "devicenotfound",
    "resourcenotfound",
    "no server with a name or id of",
    "no such instance",
    "no such server",
    "no such device or machine",
    "no such machine",
    "no such vm",
    "no such droplet",
    "already deleted",
];
/// How an HTTP 404 is written.
const STATUS: [&str; 12] = [
    "404 not found",
    "404: not found",
    "404 client error",
    "http 404",
    "http/1.1 404",
    "http/2 404",
    "status 404",
    "status: 404",
    "status code 404",
    "status code: 404",
    "error 404",
    "code 404",
];
/// Phrases that depend on what the line is about.
const PHRASES: [&str; 6] = [
    "not found",
    "notfound",
    "does not exist",
    "doesn't exist",
    "no longer exists",
    "could not be found",
];
/// What a line with such a phrase may not be about, because it is not the machine.
const OTHER: [&str; 45] = [
    "command",
    "file",
    "director",
    "folder",
    "path",
    "module",
    "library",
    "gem",
    "package",
    "import",
    "executable",
    "interpreter",
    "program",
    "binary",
    "shell",
    "resolve",
    "dns",
    "hostname",
    "name or service",
    "endpoint",
    "url",
    "route",
    "page",
    "credential",
    "token",
    "key",
    "certificate",
    "account",
    "project",
    "profile",
    "region",
    "zone",
    "config",
    "user",
    "subscription",
    "tenant",
    "organisation",
    "organization",
    "datacenter",
    "data center",
    "resource group",
    "service",
    "cluster",
    "network",
    "domain",
];

/// A message in lower case, with what may contain anything taken out: the machine's id and the host's name.
fn without_names(message: &str, names: &[&str]) -> String {
    let mut text = message.to_lowercase();
    for name in names.iter().filter(|name| name.len() >= 3) {
        text = text.replace(&name.to_lowercase(), "<this>");
    }
    text
}

/// Reads a message; `names` are the machine's id and the host's name.
pub(super) fn says_not_found(message: &str, names: &[&str]) -> bool {
    let text = without_names(message, names);
    if text.contains("command not found") || text.contains("no such file") {
        return false;
    }
    text.lines().any(|line| {
        let has = |words: &[&str]| words.iter().any(|word| line.contains(word));
        let of_another_thing = has(&OTHER);
        if has(&CLEAR) {
            return true;
        }
        let bare_status = line.trim().trim_matches(['(', ')', '"', '.']) == "404";
        if has(&STATUS) || bare_status {
            return !of_another_thing || line.contains("<this>");
        }
        has(&PHRASES) && (!of_another_thing || about_this(line))
    })
}

/// What is said of who asks, and of the provider's health: not of the machine. Words that a machine which is gone
/// makes a driver say as well are none of them: that it cannot be connected to, that its file is not there.
const UNASKED: [&str; 16] = [
    "unauthori",
    "not authori",
    "unauthenticated",
    "authentication fail",
    "forbidden",
    "credential",
    "token",
    "could not resolve host",
    "internal server error",
    "service unavailable",
    "bad gateway",
    "gateway timeout",
    "too many requests",
    "rate limit",
    "throttl",
    "certificate",
];
/// The same, as statuses of HTTP.
const UNASKED_STATUS: [&str; 9] = ["401", "403", "407", "408", "429", "500", "502", "503", "504"];

/// Whether a failed `poll` says that the driver could not ask.
pub(super) fn could_not_ask(message: &str, names: &[&str]) -> bool {
    let text = without_names(message, names);
    UNASKED.iter().any(|word| text.contains(word))
        || text.split(|c: char| !c.is_alphanumeric()).any(|word| UNASKED_STATUS.contains(&word))
}

/// Words by which a program says that it could not do its work.
const TROUBLE: [&str; 24] = [
    "error",
    "fail",
    "could not",
    "couldn't",
    "cannot",
    "can't",
    "unable to",
    "denied",
    "refused",
    "unauthorized",
    "unauthorised",
    "forbidden",
    "not allowed",
    "expired",
    "invalid",
    "timed out",
    "timeout",
    "unreachable",
    "unavailable",
    "not found",
    "no such",
    "traceback",
    "panic",
    "curl: (",
];

/// Whether standard error of an action that succeeded speaks of trouble. Warnings do not, nor does what
/// `curl` tells of its progress, or a shell of its steps.
pub(super) fn says_trouble(stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr).to_lowercase();
    let chatter = |line: &&str| {
        line.trim_start_matches('+').starts_with(' ') && line.starts_with('+')
            || line.contains("warning")
            || line.starts_with("sudo: unable to resolve host")
    };
    let mut lines = text.lines().map(str::trim_start).filter(|line| !chatter(line));
    lines.any(|line| TROUBLE.iter().any(|word| line.contains(word)))
}

/// Whether the machine itself is the subject of the phrase: its id stands before it, and nothing else
/// that could be the subject in between.
fn about_this(line: &str) -> bool {
    PHRASES.iter().filter_map(|phrase| line.find(phrase)).min().is_some_and(|at| {
        let before = line.get(..at).unwrap_or_default();
        before.rfind("<this>").is_some_and(|id| {
            let between = before.get(id..).unwrap_or_default();
            !OTHER.iter().any(|word| between.contains(word))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_clear_is_believed() {
        for text in [
            "not found",
            "Not Found",
            "machine 17 not found",
            "InvalidInstanceID.NotFound: The instance ID 'i-0abc' does not exist",
            "Cancel of Packet host node-1 failed due to \"Not found\"",
            "HTTP 404",
            "404",
            "404 Not Found",
            "Error 404",
            "server responded with status code 404",
            "droplet i-0abc does not exist",
            "i-0abc could not be found in project 7",
            "first line\nthe VM no longer exists",
            "device i-0abc already deleted",
        ] {
            assert!(says_not_found(text, &["i-0abc", "node-1"]), "{text}");
        }
    }

    #[test]
    fn what_may_be_about_another_thing_is_not() {
        for text in [
            "",
            "timeout",
            "sh: 1: terraform: command not found",
            "/usr/bin/env: 'ruby': No such file or directory",
            "The subscription '3f2a' could not be found.",
            "govc: datacenter 'DC1' not found",
            "AADSTS90002: Tenant 'acme' not found.",
            "organization acme does not exist",
            "Error: 404 Client Error for service https://api.example",
            "ModuleNotFoundError: No module named 'boto3'",
            "cannot cancel node-404: connection refused",
            "cancel of host 404 failed",
            "project 17 not found",
            "could not resolve host: api.example not found",
            "credentials not found",
            "404 page not found",
            "file key.pem does not exist",
            "i-0abc: region x does not exist",
        ] {
            assert!(!says_not_found(text, &["i-0abc", "node-404"]), "{text}");
        }
    }

    #[test]
    fn a_poll_that_could_not_ask_says_nothing() {
        for text in [
            "curl: (22) The requested URL returned error: 401",
            "curl: (6) Could not resolve host: api.example",
            "HTTP 503",
            "token tok-1 has expired",
        ] {
            assert!(could_not_ask(text, &["i-0abc", "node-1"]), "{text}");
        }
        for text in [
            "the driver gave no reason; it ended with exit status 22",
            "curl: (22) The requested URL returned error: 404",
            "droplet i-503 is unknown",
            "machine token-401 was given back",
            "cat: /var/lib/lab/i-503: No such file or directory",
            "ssh: connect to host 192.0.2.7 port 22: Connection timed out",
            "ping: 192.0.2.7: Destination Host Unreachable",
        ] {
            assert!(!could_not_ask(text, &["i-503", "token-401"]), "{text}");
        }
    }

    #[test]
    fn trouble_is_told_from_chatter() {
        for text in [
            "curl: (6) Could not resolve host: api.example",
            "jq: error (at <stdin>:1): Cannot iterate over null",
            "HTTP 401 Unauthorized",
            "/opt/x/list: line 3: jq: command not found",
            crate::error_block::block("quota").as_str(),
        ] {
            assert!(says_trouble(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n\
             100    15  100    15    0     0   1500      0 --:--:-- --:--:-- --:--:--  1500",
            "InsecureRequestWarning: Unverified HTTPS request is being made to host 'api.example'",
            "+ curl --fail https://api.example",
            "++ curl --fail https://api.example",
            "/x/list:3: SyntaxWarning: invalid escape sequence",
            "sudo: unable to resolve host node-1: Name or service not known",
            "0 machines",
        ] {
            assert!(!says_trouble(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn names_do_not_speak() {
        assert!(!says_not_found("cannot cancel notfound: busy", &["notfound", "h"]));
        assert!(!says_not_found("cannot reach error 404", &["error 404", "h"]));
    }
}
