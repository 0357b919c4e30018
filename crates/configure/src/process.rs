//! Programs with a process group of their own, which ends with whoever waits for them.

use std::io;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// A running program and all that it started. Dropping it kills them.
pub(crate) struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Group {
    /// Starts a program as the leader of a new process group.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Self { child, leader })
    }

    /// The program: its pipes and its end.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal to all of them. That there are none any more is no error.
    pub fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What it left in the background ends with it, too. The leader is not reaped before this
        // unless it was waited for; a group lives on under its number as long as it has a member, so
        // the number is not another one's meanwhile.
        self.signal(Signal::KILL);
    }
}
