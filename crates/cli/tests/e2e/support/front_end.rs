//! Front-ends for tests: a real one in a process of its own, and servers that are none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use rustix::process::Signal;

use super::{Home, Output, Running, wait_until};

/// `oneprovision sandbox serve`, in the home of a test.
pub struct Served {
    running: Running,
    /// `ONE_XMLRPC` as it was printed.
    pub endpoint: String,
    /// `ONE_AUTH` as it was printed.
    pub auth: PathBuf,
}

impl Served {
    pub fn start(home: &Home) -> Self {
        let running = home.tool(&["sandbox", "serve", "--listen", "127.0.0.1:0"]).start();
        wait_until("the variables of sandbox serve", || running.stdout().lines().count() == 2);
        let printed = running.stdout();
        let value = |name: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("no {name} in {printed}")).to_owned()
        };
        let (endpoint, auth) = (value("ONE_XMLRPC"), PathBuf::from(value("ONE_AUTH")));
        Self { running, endpoint, auth }
    }

    /// Ends it with a signal, as an operator does.
    pub fn stop(self) -> Output {
        self.running.signal(Signal::INT);
        self.running.finish()
    }
}

/// A server that answers every request with the same bytes, or, with none, never. It lives as long
/// as the test's process.
pub fn server(answer: Option<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/RPC2", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for connection in listener.incoming().flatten() {
            match answer {
                Some(answer) => drop(std::thread::spawn(move || reply(connection, answer))),
                None => kept.push(connection),
            }
        }
    });
    endpoint
}

fn reply(mut connection: TcpStream, answer: &[u8]) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    // The whole request first: who closes before has the client see a broken connection instead.
    while !complete(&seen) {
        match connection.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => seen.extend_from_slice(&buffer[..n]),
        }
    }
    let _ = connection.write_all(answer);
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// An endpoint where nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/RPC2", listener.local_addr().unwrap())
}
