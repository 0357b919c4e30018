//! The exit status of every command. The README has the same table.

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// `plan` found something to do.
    ToDo,
    /// Done, but something is parked or unknown.
    Parked,
    /// Interrupted by the operator.
    Interrupted,
    /// Failed, usage errors included, as in 5.12.
    Error,
}

impl Exit {
    /// The status for the shell.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::ToDo => 2,
            Self::Parked => 3,
            Self::Interrupted => 130,
            Self::Error => 255,
        }
    }
}
