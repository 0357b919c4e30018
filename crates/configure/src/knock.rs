//! Whether somebody speaks SSH at an address, without a program.

use std::io;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::output::shown;
use crate::refusal::Refusal;

/// Most that is read before the greeting, in bytes: RFC 4253, 4.2 allows other lines before it.
const BEFORE: usize = 8 << 10;

/// Connects and waits for SSH's greeting.
pub(crate) async fn knock(address: &str, port: u16, limit: Duration) -> Result<(), Refusal> {
    // In the host part of an IPv6 address there may be a zone, which the system's resolver reads.
    let connect = async {
        let found = lookup_host((address, port)).await;
        let all: Vec<_> =
            found.map_err(|error| Refusal::NoName(shown(&error.to_string(), 120)))?.collect();
        if all.is_empty() {
            return Err(Refusal::NoName(String::new()));
        }
        TcpStream::connect(&all[..]).await.map_err(|error| refusal(&error))
    };
    let Ok(stream) = timeout(limit, connect).await else { return Err(Refusal::Silent) };
    timeout(limit, greeting(stream?)).await.unwrap_or(Err(Refusal::NoGreeting))
}

fn refusal(error: &io::Error) -> Refusal {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Refusal::Refused,
        io::ErrorKind::TimedOut => Refusal::Silent,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Refusal::NoRoute,
        _ => Refusal::Other(error.to_string()),
    }
}

async fn greeting(mut stream: TcpStream) -> Result<(), Refusal> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let length = stream.read(&mut buffer).await.unwrap_or(0);
        bytes.extend_from_slice(&buffer[..length]);
        if bytes.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"SSH-")) {
            return Ok(());
        }
        let words = || shown(&String::from_utf8_lossy(&bytes), 80);
        if length == 0 {
            return Err(Refusal::Closed(words()));
        }
        if bytes.len() > BEFORE {
            return Err(Refusal::NotSsh(words()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// What is made of somebody who says this and then closes.
    async fn said(words: &[u8]) -> Result<(), Refusal> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answer, ()) = tokio::join!(knock("127.0.0.1", port, Duration::from_secs(20)), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            // It may have heard enough before all is said.
            let _ = stream.write_all(words).await;
        });
        answer
    }

    #[tokio::test]
    async fn greetings() {
        assert_eq!(said(b"SSH-2.0-x\r\n").await, Ok(()));
        assert_eq!(said(b"hello\r\nSSH-2.0-x\r\n").await, Ok(()));
        assert_eq!(said(b"").await, Err(Refusal::Closed(String::new())));
        let refused = said(b"Not allowed at this time\r\n").await;
        assert_eq!(refused, Err(Refusal::Closed("Not allowed at this time".to_owned())));
        assert!(matches!(said(&[b'x'; 100_000]).await, Err(Refusal::NotSsh(_))));
        let none = knock("no-such-host.invalid", 22, Duration::from_secs(60)).await;
        assert!(matches!(none, Err(Refusal::NoName(_) | Refusal::Silent)), "{none:?}");
    }
}
