//! Playbooks, run by the real `ansible-playbook`: one process for all machines of a run.
//!
//! ```text
//! private folder ──> ansible-playbook ──output──> log (masked)
//!  (removed on       (a process group) ──events──> Report ──> a result per machine
//!   every path)             └── our callback plugin; its standard input is the socket of the events,
//!                               and where that is closed everything ends
//! ```
//!
//! A host counts as done only if Ansible has come to its end, says that it did something there, that
//! nothing failed there, and that it left no play out for it. All else is a failure.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `playbook` | names of playbooks: ours, and others by path |
//! | `bundle` | our playbooks, roles and the plugin, from inside the program |
//! | `folder` | the private folder of a run, and how it goes away |
//! | `inventory` | machines as Ansible wants them told |
//! | `program` | how Ansible's programs are called |
//! | `events` | what the plugin tells, and what follows from it for each host |
//! | `mask` | secrets that must not be seen |
//! | `log` | what Ansible prints |
//! | `run` | one run |
//! | `check` | what is looked at before |
//! | `galaxy` | roles and collections of others |

mod bundle;
mod check;
mod events;
mod folder;
mod galaxy;
mod inventory;
mod log;
pub(crate) mod mask;
mod playbook;
mod program;
mod run;

/// Longest text of a failure, in characters.
const LONGEST: usize = 2000;

/// A text that is not too long to be read: its beginning, if it is.
fn bounded(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn texts_are_bounded() {
        assert_eq!(super::bounded("a\nb"), "a\nb");
        assert_eq!(super::bounded(&"ä".repeat(3000)), format!("{}…", "ä".repeat(2000)));
    }
}
