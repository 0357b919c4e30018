//! Failover as 5.12 had it: modes for scripts, a menu on a terminal; per host.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Decision, Failover, Failure, LeaveFailed};
use tokio::sync::Mutex;

use crate::args::{FailArgs, FailMode, Global};
use crate::error::{CliError, Code};
use crate::progress::{Progress, named_label};

/// Tries of `retry` if no number is given (5.12).
const RETRIES: u32 = 3;

/// What "cleanup" means to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// What was made is removed: of a create, the whole provision.
    Whole,
    /// There is nothing to be cleaned up; as 5.12, it is accepted.
    Nothing,
    /// The provision was in use before: to remove all of it because of one host is never meant.
    Refused,
}

/// What the options ask for; the menu if they ask for nothing and there is somebody to ask.
///
/// # Errors
/// If they ask for a clean-up that is [`Cleanup::Refused`].
pub fn of(
    args: &FailArgs,
    global: &Global,
    progress: &Arc<Progress>,
    cleanup: Cleanup,
) -> Result<Arc<dyn Failover>, CliError> {
    let modes = modes(args);
    if cleanup == Cleanup::Refused && modes.contains(&FailMode::Cleanup) {
        return Err(CliError::new("cleanup is of no use for this operation")
            .code(Code::Usage)
            .hint("--fail-retry, --fail-skip and --fail-quit are; `host delete` removes hosts"));
    }
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !modes.is_empty() {
        return Ok(Arc::new(Modes {
            modes,
            retries: args.fail_retry.unwrap_or(RETRIES),
            pause: Duration::from_secs(args.fail_sleep.into()),
        }));
    }
    if terminal && !global.batch {
        return Ok(Arc::new(Menu {
            one_at_a_time: Mutex::new(()),
            progress: Arc::clone(progress),
            choices: choices(cleanup),
        }));
    }
    Ok(Arc::new(LeaveFailed))
}

fn modes(args: &FailArgs) -> Vec<FailMode> {
    let mut modes = args.fail_modes.clone();
    if args.fail_retry.is_some() && !modes.contains(&FailMode::Retry) {
        modes.insert(0, FailMode::Retry);
    }
    let flags = [
        (args.fail_cleanup, FailMode::Cleanup),
        (args.fail_skip, FailMode::Skip),
        (args.fail_quit, FailMode::Quit),
    ];
    for (_, mode) in flags.into_iter().filter(|(given, _)| *given) {
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    modes
}

/// `--fail-*`
struct Modes {
    modes: Vec<FailMode>,
    retries: u32,
    pause: Duration,
}

impl Modes {
    fn choose(&self, attempt: u32) -> Decision {
        for mode in &self.modes {
            match mode {
                FailMode::Retry if attempt > self.retries => {}
                FailMode::Retry => return Decision::Retry,
                FailMode::Skip => return Decision::Skip,
                FailMode::Cleanup => return Decision::Cleanup,
                FailMode::Quit => return Decision::Quit,
            }
        }
        // The tries are used up, and nothing is said of what then: as without any mode.
        Decision::Leave
    }
}

#[async_trait]
impl Failover for Modes {
    async fn decide(&self, failure: &Failure<'_>) -> Decision {
        let decision = self.choose(failure.attempt);
        if decision == Decision::Retry {
            tokio::time::sleep(self.pause).await;
        }
        decision
    }
}

/// The menu of 5.12.
struct Menu {
    one_at_a_time: Mutex<()>,
    progress: Arc<Progress>,
    choices: &'static [Choice],
}

type Choice = (&'static str, Decision);

const CLEANUP: Choice = ("cleanup", Decision::Cleanup);
const CHOICES: &[Choice] =
    &[("quit", Decision::Quit), ("retry", Decision::Retry), ("skip", Decision::Skip)];
const CHOICES_OF_A_CREATE: &[Choice] = &[CHOICES[0], CHOICES[1], CHOICES[2], CLEANUP];

/// What the menu offers: "cleanup" only to what can be cleaned up, as in 5.12.
fn choices(cleanup: Cleanup) -> &'static [Choice] {
    match cleanup {
        Cleanup::Whole => CHOICES_OF_A_CREATE,
        Cleanup::Nothing | Cleanup::Refused => CHOICES,
    }
}

#[async_trait]
impl Failover for Menu {
    async fn decide(&self, failure: &Failure<'_>) -> Decision {
        let _turn = self.one_at_a_time.lock().await;
        let choices = self.choices;
        let question =
            question(choices, &named_label(failure.subject, failure.name), failure.message);
        let progress = Arc::clone(&self.progress);
        let asked =
            tokio::task::spawn_blocking(move || progress.suspend(|| ask(choices, &question)));
        asked.await.unwrap_or(Decision::Quit)
    }
}

fn question(choices: &[Choice], what: &str, failure: &str) -> String {
    let mut text = format!("ERROR: {what}\n{failure}\n");
    for (number, (name, _)) in (1..).zip(choices) {
        text += &format!("{number}. {name}\n");
    }
    text + "Choose failover method: "
}

fn ask(choices: &[Choice], question: &str) -> Decision {
    let mut stderr = std::io::stderr();
    loop {
        // A terminal that is gone is answered by the end of its input.
        let _ = write!(stderr, "{question}");
        let _ = stderr.flush();
        let mut line = String::new();
        if !std::io::stdin().lock().read_line(&mut line).is_ok_and(|read| read > 0) {
            let _ = writeln!(stderr, "quit");
            return Decision::Quit;
        }
        if let Some(decision) = choice(choices, &line) {
            return decision;
        }
    }
}

/// A number or a name; nothing is the first.
fn choice(choices: &[Choice], line: &str) -> Option<Decision> {
    let line = line.trim();
    let number = line.parse::<usize>().ok().and_then(|n| choices.get(n.checked_sub(1)?));
    let name = || choices.iter().find(|(name, _)| *name == line);
    let chosen = if line.is_empty() { choices.first() } else { number.or_else(name) };
    chosen.map(|(_, decision)| *decision)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(modes: &[FailMode], retry: Option<u32>, cleanup: bool) -> FailArgs {
        FailArgs {
            fail_retry: retry,
            fail_cleanup: cleanup,
            fail_skip: false,
            fail_quit: false,
            fail_modes: modes.to_vec(),
            fail_sleep: 0,
        }
    }

    #[test]
    fn modes_follow_each_other() {
        let chosen = |args: &FailArgs| -> Vec<Decision> {
            let modes = Modes {
                modes: modes(args),
                retries: args.fail_retry.unwrap_or(RETRIES),
                pause: Duration::ZERO,
            };
            (1..=5).map(|attempt| modes.choose(attempt)).collect()
        };
        use Decision::{Cleanup, Leave, Retry, Skip};
        let both = [FailMode::Retry, FailMode::Cleanup];
        assert_eq!(chosen(&args(&both, None, false)), [Retry, Retry, Retry, Cleanup, Cleanup]);
        assert_eq!(chosen(&args(&[], Some(1), true)), [Retry, Cleanup, Cleanup, Cleanup, Cleanup]);
        assert_eq!(chosen(&args(&[], Some(2), false)), [Retry, Retry, Leave, Leave, Leave]);
        assert_eq!(chosen(&args(&[FailMode::Skip], None, false)), [Skip; 5]);
    }

    #[test]
    fn the_menu_takes_numbers_and_names() {
        let all = choices(Cleanup::Whole);
        assert_eq!(choice(all, "\n"), Some(Decision::Quit));
        assert_eq!(choice(all, "2\n"), Some(Decision::Retry));
        assert_eq!(choice(all, " cleanup "), Some(Decision::Cleanup));
        for bad in ["0", "5", "retr", "-1"] {
            assert_eq!(choice(all, bad), None, "{bad}");
        }
        assert_eq!(
            question(all, "host 1 (web)", "quota exceeded"),
            "ERROR: host 1 (web)\nquota exceeded\n1. quit\n2. retry\n3. skip\n4. cleanup\n\
             Choose failover method: "
        );
        // A provision that was in use is not removed because one host more was wanted.
        for other in [choices(Cleanup::Nothing), choices(Cleanup::Refused)] {
            assert_eq!(choice(other, "4"), None);
            assert_eq!(choice(other, "cleanup"), None);
            assert!(!question(other, "host", "no").contains("cleanup"));
        }
    }
}
