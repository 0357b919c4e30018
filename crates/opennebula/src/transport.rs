//! One exchange with a front-end, and what is known when it fails.

use std::error::Error as StdError;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

/// Takes the bytes of an answer, piece by piece.
pub type Take<'a> = dyn for<'bytes> FnMut(&'bytes [u8]) + Send + 'a;

/// Carries one request body to a front-end and brings back the answer's body.
///
/// [`crate::HttpTransport`] is the real one; the sandbox is another, without a socket; tests put one
/// in front that fails on purpose. A transport does not retry: only the client knows whether a
/// call may be made twice.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Where the front-end is, for messages. Never holds a credential.
    fn endpoint(&self) -> &str;

    /// Sends `request`, a whole `methodCall` document, and waits for the whole answer, at most
    /// `deadline` from now, connecting included.
    ///
    /// # Errors
    /// [`TransportError`], which says whether the request may have reached the server. When in
    /// doubt it may have.
    async fn exchange(&self, request: &[u8], deadline: Duration)
    -> Result<Vec<u8>, TransportError>;

    /// The same for an answer that may be long: its bytes go to `take` in their order, in pieces of
    /// any size. Only after `Ok` are they a whole answer: what was taken before an error counts for
    /// nothing.
    ///
    /// # Errors
    /// As [`Transport::exchange`].
    async fn exchange_into(
        &self,
        request: &[u8],
        deadline: Duration,
        take: &mut Take<'_>,
    ) -> Result<(), TransportError> {
        const PIECE: usize = 64 * 1024;
        let answer = self.exchange(request, deadline).await?;
        for (n, piece) in answer.chunks(PIECE).enumerate() {
            if n > 0 {
                // Decoding a long answer takes a while, in which timers of others have to run.
                tokio::task::yield_now().await;
            }
            take(piece);
        }
        Ok(())
    }
}

pub(crate) type Cause = Box<dyn StdError + Send + Sync>;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum TransportError {
    /// The request did not leave: nobody there, no such name, no connection in time.
    #[error("cannot connect")]
    NotSent(#[source] Cause),
    /// A secure connection could not be made, and trying again will not help: a certificate that is
    /// not trusted, or no TLS at all on that port. The request did not leave.
    #[error("no secure connection: {hint}")]
    Tls {
        /// What to look at.
        hint: String,
        /// What TLS says.
        #[source]
        source: Cause,
    },
    /// The connection broke after the request may have left.
    #[error("the connection broke before a complete answer came")]
    MaybeSent(#[source] Cause),
    /// The request may have left and no complete answer came in time.
    #[error("no answer within {} s", .after.as_secs_f64())]
    Deadline {
        /// The deadline of the exchange.
        after: Duration,
    },
    /// The answer is longer than the transport takes; the rest was not read.
    #[error("the answer is longer than {limit} bytes")]
    TooLarge {
        /// Most bytes of an answer.
        limit: u64,
    },
    /// An HTTP answer that `oned` does not give to a call.
    #[error("HTTP status {status} and not the answer of an OpenNebula front-end{}", excerpt_suffix(.excerpt))]
    NotOpenNebula {
        /// HTTP status code.
        status: u16,
        /// Beginning of the answer as one printable line, at most 200 characters, or where a
        /// redirection points to.
        excerpt: String,
    },
}

fn excerpt_suffix(excerpt: &str) -> String {
    if excerpt.is_empty() { String::new() } else { format!(": {excerpt}") }
}

impl TransportError {
    /// The request certainly did not leave.
    pub fn not_sent(cause: impl Into<Cause>) -> Self {
        Self::NotSent(cause.into())
    }

    /// The request may have left.
    pub fn maybe_sent(cause: impl Into<Cause>) -> Self {
        Self::MaybeSent(cause.into())
    }

    /// Whether the call may have been executed although there is no answer to it.
    pub fn may_have_been_executed(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::Tls { .. } => false,
            // With these statuses a server says that it did not take the request.
            Self::NotOpenNebula { status, .. } => !(300..500).contains(status),
            Self::MaybeSent(_) | Self::Deadline { .. } | Self::TooLarge { .. } => true,
        }
    }

    /// Whether the same exchange may well work a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::MaybeSent(_) | Self::Deadline { .. } => true,
            Self::NotOpenNebula { status, .. } => matches!(status, 408 | 429 | 500 | 502..=504),
            Self::Tls { .. } | Self::TooLarge { .. } => false,
        }
    }
}

/// The beginning of an answer as one printable line of at most 200 characters; tags of HTML are
/// left out.
pub(crate) fn excerpt(body: &[u8]) -> String {
    const INPUT: usize = 4096;
    const OUTPUT: usize = 200;
    let text = String::from_utf8_lossy(body.get(..INPUT).unwrap_or(body));
    let is_markup = text.trim_start().starts_with('<');
    let mut line = String::new();
    let mut in_tag = false;
    for c in text.chars() {
        match c {
            '<' if is_markup => in_tag = true,
            '>' if is_markup && in_tag => {
                in_tag = false;
                line.push(' ');
            }
            _ if in_tag => {}
            c if c.is_control() || c.is_whitespace() => line.push(' '),
            // Invisible characters that reorder or hide text on a terminal.
            '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' => {}
            c => line.push(c),
        }
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(OUTPUT) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_printable_line() {
        let html = b"<HTML><TITLE>Error 405</TITLE>\r\n<H1>POST\x1b[31m only</H1></HTML>";
        assert_eq!(excerpt(html), "Error 405 POST [31m only");
        assert_eq!(excerpt(b"a < b\0c"), "a < b c");
        assert_eq!(excerpt(&[b'x'; 100_000]).chars().count(), 201);
        assert_eq!(excerpt(b""), "");
    }

    #[test]
    fn only_what_surely_did_not_leave_is_not_executed() {
        let status = |status| TransportError::NotOpenNebula { status, excerpt: String::new() };
        assert!(!TransportError::not_sent("refused").may_have_been_executed());
        for refused in [301, 401, 404, 405, 411, 413] {
            assert!(!status(refused).may_have_been_executed(), "{refused}");
        }
        for unclear in [200, 204, 500, 502, 504] {
            assert!(status(unclear).may_have_been_executed(), "{unclear}");
        }
        assert!(TransportError::maybe_sent("reset").may_have_been_executed());
    }
}
