//! What happened, and what must not have.

use std::fmt;
use std::sync::Mutex;

use tokio::time::Instant;

use crate::lock;

/// Most lines of a run; more are a loop that does not end.
pub const MAX_LINES: u64 = 400_000;

/// A running record of everything that passes a seam, as a hash and, if wanted, as text; and the
/// list of violations.
pub struct Trace {
    begun: Instant,
    keep: bool,
    state: Mutex<State>,
}

struct State {
    lines: Vec<String>,
    count: u64,
    hash: u64,
    violations: Vec<String>,
}

impl Trace {
    /// An empty trace that begins now; `keep` keeps its lines and not only their hash.
    pub fn new(keep: bool) -> Self {
        let state = State {
            lines: Vec::new(),
            count: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            violations: Vec::new(),
        };
        Self { begun: Instant::now(), keep, state: Mutex::new(state) }
    }

    /// Notes a line.
    pub fn line(&self, what: fmt::Arguments<'_>) {
        let line = format!("{:>9} {what}", self.begun.elapsed().as_millis());
        let mut state = lock(&self.state);
        state.count += 1;
        // FNV-1a: nothing depends on it but that equal traces have equal hashes.
        for byte in line.bytes() {
            state.hash = (state.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.keep {
            state.lines.push(line);
        }
    }

    /// Notes that a rule was broken.
    pub fn violation(&self, what: impl fmt::Display) {
        self.line(format_args!("VIOLATION {what}"));
        lock(&self.state).violations.push(what.to_string());
    }

    /// The rules that were broken so far.
    pub fn violations(&self) -> Vec<String> {
        lock(&self.state).violations.clone()
    }

    /// Number of lines so far.
    pub fn count(&self) -> u64 {
        lock(&self.state).count
    }

    /// Hash of all lines so far.
    pub fn hash(&self) -> u64 {
        lock(&self.state).hash
    }

    /// The lines, if they are kept.
    pub fn lines(&self) -> Vec<String> {
        lock(&self.state).lines.clone()
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({} lines)", self.count())
    }
}
