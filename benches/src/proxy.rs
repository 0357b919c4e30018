//! Between the tool and its front-end: counts and keeps every call. It costs time, so nothing is timed
//! through it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use opennebula::xmlrpc::{Param, parse_call};

use crate::failure::{Because as _, Result};
use crate::front_end::{Address, FrontEnd, value};

/// A call as it was made.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its method.
    pub method: String,
    /// Its parameters, the session first.
    pub params: Vec<Param>,
    /// The number that it was answered with.
    pub answer: Option<i32>,
}

impl Recorded {
    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        self.method.ends_with(".info") || self.method.starts_with("one.system.")
    }
}

/// The proxy; it serves as long as the process lives.
pub struct Proxy {
    /// `ONE_XMLRPC` for the tool.
    pub endpoint: String,
    calls: Arc<Mutex<Vec<Recorded>>>,
}

impl Proxy {
    /// A proxy before that front-end.
    ///
    /// # Errors
    /// If there is no port.
    pub fn start(front_end: &FrontEnd) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").because("no port for the proxy")?;
        let address = listener.local_addr().because("no port for the proxy")?;
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (kept, upstream) = (Arc::clone(&calls), front_end.address.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, upstream) = (Arc::clone(&kept), upstream.clone());
                // A call that fails here fails for the tool, which says so.
                std::thread::spawn(move || pass(stream, &upstream, &kept));
            }
        });
        Ok(Self { endpoint: format!("http://{address}/RPC2"), calls })
    }

    /// What was called since this was asked last.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How often each method was called.
pub fn count<'a>(calls: impl Iterator<Item = &'a Recorded>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    calls.for_each(|call| *counts.entry(call.method.as_str()).or_default() += 1);
    counts
}

fn pass(mut stream: TcpStream, upstream: &Address, kept: &Mutex<Vec<Recorded>>) -> Result<()> {
    let body = request(&mut stream)?;
    let call = parse_call(&body).because("a call that cannot be read")?;
    let answer = upstream.post(&[&body])?;
    let number = value(&answer).ok().and_then(|value| value.as_i32());
    kept.lock().unwrap_or_else(PoisonError::into_inner).push(Recorded {
        method: call.method,
        params: call.params,
        answer: number,
    });
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer));
    sent.because("the tool does not listen")
}

/// The body of a request.
fn request(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let (mut seen, mut buffer) = (Vec::new(), [0; 16 << 10]);
    let head = loop {
        if let Some(head) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            break head + 4;
        }
        read_more(stream, &mut buffer, &mut seen)?;
    };
    let text = String::from_utf8_lossy(seen.get(..head).unwrap_or_default()).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.and_then(|n| n.trim().parse().ok()).because("no length")?;
    while seen.len() < head + length {
        read_more(stream, &mut buffer, &mut seen)?;
    }
    Ok(seen.split_off(head))
}

fn read_more(stream: &mut TcpStream, buffer: &mut [u8], seen: &mut Vec<u8>) -> Result<()> {
    match stream.read(buffer).because("the tool broke off")? {
        0 => Err("the tool broke off".into()),
        count => {
            seen.extend_from_slice(buffer.get(..count).unwrap_or_default());
            Ok(())
        }
    }
}
