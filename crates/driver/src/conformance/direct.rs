//! One call of a driver in Rust, through its trait, seen as if it were an executable's.

use model::DeployId;
use tokio::time::timeout;

use super::caller::{Ask, Ear, Seen, empty};
use crate::api::{Action, Call, Driver, DriverError, FailureKind, ShutdownKind};
use crate::error_block;
use crate::executable::EXIT_UNKNOWN;
use crate::executable::outcome::{Ending, id_line};
use crate::harness::EXIT_FAILURE;
use crate::poll;

/// Makes the call; when `enough` ends, the call is dropped, as if the tool had died.
pub(super) async fn call(
    driver: &dyn Driver,
    call: &Call,
    ask: &Ask,
    enough: impl Future<Output = ()>,
    ear: &Ear,
) -> Seen {
    let acting = timeout(call.deadline, act(driver, call, ask));
    let mut seen = tokio::select! {
        biased;
        answer = acting => match answer {
            Ok(Ok(text)) => Seen { stdout: text.into_bytes(), ..empty(Ending::Exit(0)) },
            Ok(Err(error)) => failed(&error),
            Err(_) => empty(Ending::Deadline(call.deadline)),
        },
        () = enough => empty(Ending::Signal(9)),
    };
    // What was told before it ended counts, as a line of an executable's does.
    if seen.stdout.is_empty()
        && let Some(id) = ear.heard().id
    {
        seen.stdout = format!("{id}\n").into_bytes();
    }
    seen.id = id_line(&seen.stdout, true);
    seen
}

fn failed(error: &DriverError) -> Seen {
    let code = if error.kind == FailureKind::Unknown { EXIT_UNKNOWN } else { EXIT_FAILURE };
    let id = error.deploy_id.as_ref();
    Seen {
        stdout: id.map(|id| format!("{id}\n").into_bytes()).unwrap_or_default(),
        stderr: error_block::block(&error.message).into_bytes(),
        not_found: error.kind == FailureKind::NotFound,
        not_started: (error.kind == FailureKind::Unsupported).then(|| error.message.clone()),
        ..empty(Ending::Exit(code.into()))
    }
}

async fn act(driver: &dyn Driver, call: &Call, ask: &Ask) -> Result<String, DriverError> {
    let line = |id: DeployId| format!("{id}\n");
    match ask {
        Ask::Deploy { .. } | Ask::Killed { .. } | Ask::Resume(_) => {
            driver.deploy(call).await.map(line)
        }
        Ask::Poweroff(id) => {
            driver.shutdown(call, id, ShutdownKind::Poweroff).await.map(|()| String::new())
        }
        Ask::List => {
            let listed = driver.list(call).await?;
            Ok(listed.iter().map(|machine| format!("{}\n", poll::list_line(machine))).collect())
        }
        Ask::Act(action, id) => match action {
            Action::Poll => driver.poll(call, id).await.map(|report| report.to_line()),
            Action::Reboot => driver.reboot(call, id).await.map(|()| String::new()),
            Action::Reset => driver.reset(call, id).await.map(|()| String::new()),
            _ => driver.cancel(call, id).await.map(|()| String::new()),
        },
    }
}
