//! What programs write: read to its end, and kept as far as it is told to people.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::process::Group;

/// Most of an output that is kept of a program that ends soon, in bytes.
const KEPT: usize = 64 << 10;

/// The end of an output.
pub(crate) struct Tail {
    bytes: Vec<u8>,
    most: usize,
}

impl Tail {
    /// Of at most so many bytes.
    pub fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most }
    }

    /// More of the output.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > 2 * self.most {
            self.cut();
        }
    }

    /// What is kept.
    pub fn text(mut self) -> String {
        self.cut();
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    fn cut(&mut self) {
        self.bytes.drain(..self.bytes.len().saturating_sub(self.most));
    }
}

/// Reads to the end and hands over what comes.
pub(crate) async fn drain(from: Option<impl AsyncRead + Unpin>, mut to: impl FnMut(&[u8])) {
    let Some(mut from) = from else { return };
    let mut buffer = vec![0; 16 << 10];
    // What was read until an error is what there is.
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        to(&buffer[..length]);
    }
}

/// How a program ended.
pub(crate) struct Ended {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

/// Runs a program that asks nothing and ends soon. `None` if it does not, and is ended.
///
/// # Errors
/// It cannot be started.
pub(crate) async fn run(command: &mut Command, limit: Duration) -> io::Result<Option<Ended>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(command)?;
    let child = group.child();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Tail::new(KEPT), Tail::new(KEPT));
    let whole = async {
        tokio::join!(
            drain(stdout, |bytes| out.push(bytes)),
            drain(stderr, |bytes| err.push(bytes)),
        );
        child.wait().await
    };
    let Ok(status) = timeout(limit, whole).await else { return Ok(None) };
    Ok(Some(Ended { status: status?, out: out.text(), err: err.text() }))
}

/// A text of a machine as it may be shown: on one line, without what steers a terminal, not too long.
pub(crate) fn shown(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    if line.chars().count() <= most {
        return line;
    }
    let mut short: String = line.chars().take(most.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The last lines of an output, as they may be shown.
pub(crate) fn last_lines(text: &str, most: usize) -> Vec<String> {
    let mut lines: Vec<String> =
        text.lines().map(|line| shown(line, 300)).filter(|line| !line.is_empty()).collect();
    lines.drain(..lines.len().saturating_sub(most));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_kept_and_shown_without_steering() {
        let mut tail = Tail::new(4);
        for bytes in [b"abc".as_slice(), b"defghijkl", b"m"] {
            tail.push(bytes);
        }
        assert_eq!(tail.text(), "jklm");
        assert_eq!(shown(" a\x1b[2J\tb\r\n c ", 20), "a[2J b c");
        assert_eq!(shown("abcdef", 4), "abc…");
        assert_eq!(last_lines("a\n\nb\nc\n", 2), ["b", "c"]);
    }

    #[tokio::test]
    async fn what_does_not_end_is_ended() {
        let mut endless = Command::new("sleep");
        let ended = run(endless.arg("1000"), Duration::from_millis(20)).await.unwrap();
        assert!(ended.is_none());
        let ended = run(&mut Command::new("/no/such/program"), Duration::from_secs(9)).await;
        assert!(ended.is_err());
    }
}
