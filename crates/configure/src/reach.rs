//! Waiting until a machine lets us in.

use std::time::Duration;

use model::ProvisionId;
use tokio::time::{Instant, sleep};

use crate::knock::knock;
use crate::login::Login;
use crate::output::{self, last_lines, shown};
use crate::refusal::Refusal;
use crate::system::System;
use crate::{Heard, Machine, Patience, Trouble, Watch};

/// How long it is waited for an answer to a connection, and for a greeting.
const KNOCK: Duration = Duration::from_secs(10);
/// How long a login may take.
const LOGIN: Duration = Duration::from_secs(30);
/// First pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);
/// First pause after a login was refused. sshd since 9.8 shuts those out for a while who fail often.
const PAUSE_DENIED: Duration = Duration::from_secs(1);
/// The status with which ssh itself fails.
pub(crate) const SSH_FAILED: i32 = 255;

impl System {
    /// See [`crate::Configure::reach`].
    pub(crate) async fn reach(
        &self,
        provision: ProvisionId,
        machine: &Machine,
        patience: Patience,
        watch: &dyn Watch,
    ) -> Result<(), Trouble> {
        let login = self.login(provision, machine)?;
        let mut told = String::new();
        let heard = |why: &Refusal| {
            let text = why.text(&login);
            if text != told {
                watch.heard(machine.host, Heard::Waiting(text.clone()));
                told = text;
            }
        };
        let reached = wait(patience, heard, |left| self.attempt(&login, left)).await;
        reached.map_err(|why| {
            let whole = patience.pause * patience.retries;
            let waited = match why.is_final() {
                true => String::new(),
                false => format!(" (waited for {} s)", whole.as_secs()),
            };
            let advice = match why.advice(&login).as_str() {
                "" => String::new(),
                advice => format!("; {advice}"),
            };
            Trouble(format!("{}: {}{waited}{advice}", machine.address, why.text(&login)))
        })
    }

    /// Tries once to log in.
    async fn attempt(&self, login: &Login<'_>, left: Duration) -> Result<(), Refusal> {
        let machine = login.machine;
        if machine.connection.jump.is_none() {
            let limit = KNOCK.min(left.max(PAUSE));
            knock(&machine.address, machine.connection.port, limit).await?;
        }
        // It is never closed; if it were, there would be no reason to wait.
        let _permit = self.logins.acquire().await.ok();
        log_in(login).await
    }
}

/// Logs in once and runs nothing.
async fn log_in(login: &Login<'_>) -> Result<(), Refusal> {
    let ended = match output::run(&mut login.command("true"), LOGIN).await {
        Ok(Some(ended)) => ended,
        Ok(None) => return Err(Refusal::Stuck),
        Err(error) => return Err(Refusal::Here(not_started("ssh", &error))),
    };
    match ended.status.code() {
        Some(0) => Ok(()),
        Some(SSH_FAILED) => Err(Refusal::of(&ended.err, &login.machine.alias)),
        _ => {
            let words = last_lines(&format!("{}\n{}", ended.out, ended.err), 3).join(" ");
            Err(Refusal::Shell(match words.is_empty() {
                true => ended.status.to_string(),
                false => shown(&words, 200),
            }))
        }
    }
}

/// Why a program of this computer could not be started.
pub(crate) fn not_started(program: &str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "there is no program {program} here: the package openssh-client (Debian) or \
             openssh-clients (Red Hat) has it"
        ),
        _ => format!("{program} cannot be started: {error}"),
    }
}

/// Tries until it succeeds, or until patience is at its end: the last refusal. An attempt hears how
/// much time is left, and there is at least one.
async fn wait<F: Future<Output = Result<(), Refusal>>>(
    patience: Patience,
    mut heard: impl FnMut(&Refusal),
    mut attempt: impl FnMut(Duration) -> F,
) -> Result<(), Refusal> {
    let end = Instant::now() + patience.pause * patience.retries;
    let left = || end.saturating_duration_since(Instant::now());
    let mut pause = Duration::ZERO;
    let mut last = None;
    loop {
        let Err(why) = attempt(left()).await else { return Ok(()) };
        if why.is_final() || left().is_zero() {
            return Err(why);
        }
        heard(&why);
        // What changes is on its way: it is looked at often again.
        let kind = std::mem::discriminant(&why);
        let first = if matches!(why, Refusal::Denied(_)) { PAUSE_DENIED } else { PAUSE };
        pause = if last == Some(kind) { pause * 2 } else { first }.min(patience.pause);
        last = Some(kind);
        sleep(pause.min(left())).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Waits with a paused clock: how it ended, what was heard, when it was tried, in milliseconds.
    async fn tries(
        patience: (u32, u64),
        script: impl Fn(u64) -> Result<(), Refusal>,
    ) -> (Result<(), Refusal>, usize, Vec<u64>) {
        let start = Instant::now();
        let times = Cell::new(Vec::new());
        let heard = Cell::new(0);
        let patience = Patience { retries: patience.0, pause: Duration::from_secs(patience.1) };
        let ended = wait(
            patience,
            |_| heard.set(heard.get() + 1),
            |_| {
                let now = u64::try_from(start.elapsed().as_millis()).unwrap();
                let mut all = times.take();
                all.push(now);
                times.set(all);
                std::future::ready(script(now))
            },
        )
        .await;
        (ended, heard.get(), times.take())
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let (ended, heard, times) = tries((3, 2), |_| Err(Refusal::Refused)).await;
        assert_eq!(ended, Err(Refusal::Refused));
        assert_eq!(times, [0, 200, 600, 1400, 3000, 5000, 6000]);
        assert_eq!(heard, 6);
        let (ended, _, times) = tries((0, 20), |_| Err(Refusal::Silent)).await;
        assert_eq!((ended, times), (Err(Refusal::Silent), vec![0]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_is_looked_at_often_and_what_is_final_once() {
        let (ended, _, times) = tries((10, 20), |now| match now {
            0..60_000 => Err(Refusal::Silent),
            60_000..70_000 => Err(Refusal::Denied(String::new())),
            _ => Ok(()),
        })
        .await;
        assert_eq!(ended, Ok(()));
        let after: Vec<u64> = times.into_iter().filter(|time| *time > 60_000).collect();
        let first = after[0];
        let pauses: Vec<u64> = after.iter().map(|time| time - first).collect();
        assert!(pauses.starts_with(&[0, 1000, 3000]), "{pauses:?}");
        let (ended, heard, times) = tries((10, 20), |_| Err(Refusal::Changed)).await;
        assert_eq!((ended, heard, times), (Err(Refusal::Changed), 0, vec![0]));
    }
}
