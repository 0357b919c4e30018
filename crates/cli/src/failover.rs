//! Failover as 5.12 had it: modes for scripts, a menu on a terminal; per host.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Decision, Failover, LeaveFailed};
use journal::{ProvisionRecord, Subject};
use tokio::sync::Mutex;

use crate::args::{FailArgs, FailMode, Global};
use crate::progress::{Progress, subject_label};

/// Tries of `retry` if no number is given (5.12).
const RETRIES: u32 = 3;

/// What the options ask for; the menu if they ask for nothing and there is somebody to ask.
pub fn of(args: &FailArgs, global: &Global, progress: &Arc<Progress>) -> Arc<dyn Failover> {
    let modes = modes(args);
    let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !modes.is_empty() {
        return Arc::new(Modes {
            modes,
            retries: args.fail_retry.unwrap_or(RETRIES),
            pause: Duration::from_secs(args.fail_sleep.into()),
        });
    }
    if terminal && !global.batch {
        return Arc::new(Menu { one_at_a_time: Mutex::new(()), progress: Arc::clone(progress) });
    }
    Arc::new(LeaveFailed)
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
    async fn decide(&self, _: &ProvisionRecord, _: Subject, _: &str, attempt: u32) -> Decision {
        let decision = self.choose(attempt);
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
}

const CHOICES: [(&str, Decision); 4] = [
    ("quit", Decision::Quit),
    ("retry", Decision::Retry),
    ("skip", Decision::Skip),
    ("cleanup", Decision::Cleanup),
];

#[async_trait]
impl Failover for Menu {
    async fn decide(
        &self,
        record: &ProvisionRecord,
        subject: Subject,
        failure: &str,
        _: u32,
    ) -> Decision {
        let _turn = self.one_at_a_time.lock().await;
        let question = question(&subject_label(record, subject), failure);
        let progress = Arc::clone(&self.progress);
        let asked = tokio::task::spawn_blocking(move || progress.suspend(|| ask(&question)));
        asked.await.unwrap_or(Decision::Quit)
    }
}

fn question(what: &str, failure: &str) -> String {
    let mut text = format!("ERROR: {what}\n{failure}\n");
    for (number, (name, _)) in (1..).zip(CHOICES) {
        text += &format!("{number}. {name}\n");
    }
    text + "Choose failover method: "
}

fn ask(question: &str) -> Decision {
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
        if let Some(decision) = choice(&line) {
            return decision;
        }
    }
}

/// A number or a name; nothing is the first.
fn choice(line: &str) -> Option<Decision> {
    let line = line.trim();
    let number = line.parse::<usize>().ok().and_then(|n| CHOICES.get(n.checked_sub(1)?));
    let name = || CHOICES.iter().find(|(name, _)| *name == line);
    let chosen = if line.is_empty() { CHOICES.first() } else { number.or_else(name) };
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
        assert_eq!(choice("\n"), Some(Decision::Quit));
        assert_eq!(choice("2\n"), Some(Decision::Retry));
        assert_eq!(choice(" cleanup "), Some(Decision::Cleanup));
        for bad in ["0", "5", "retr", "-1"] {
            assert_eq!(choice(bad), None, "{bad}");
        }
        assert_eq!(
            question("host 1 (web)", "quota exceeded"),
            "ERROR: host 1 (web)\nquota exceeded\n1. quit\n2. retry\n3. skip\n4. cleanup\n\
             Choose failover method: "
        );
    }
}
