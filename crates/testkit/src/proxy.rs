//! A proxy that spoils the traffic with a provider of HTTP: it throttles, loses requests and answers,
//! cuts answers and stays silent, as it is asked to.
//!
//! It serves the loopback from a thread of its own and knows a request by the `Action` of its form, as
//! Amazon's query APIs have it, else by method and path.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::packet::Fault;
use crate::{http, lock};

#[derive(Debug, Default)]
struct State {
    faults: Vec<(String, Fault, u32)>,
    calls: Vec<String>,
}

/// The proxy; it lives as long as the process.
#[derive(Clone)]
pub struct FaultProxy {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

impl FaultProxy {
    /// A proxy before that server.
    pub fn start(upstream: SocketAddr) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let served = Arc::clone(&state);
        let address = http::serve(move |request| serve(Arc::clone(&served), upstream, request));
        Self { state, address }
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Spoils the next requests of an action.
    pub fn fault(&self, action: &str, fault: Fault, times: u32) {
        lock(&self.state).faults.push((action.to_owned(), fault, times));
    }

    /// Ends all that goes wrong.
    pub fn clear_faults(&self) {
        lock(&self.state).faults.clear();
    }

    /// How many requests of an action there were.
    pub fn calls(&self, action: &str) -> usize {
        lock(&self.state).calls.iter().filter(|call| *call == action).count()
    }
}

async fn serve(
    state: Arc<Mutex<State>>,
    upstream: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let form = String::from_utf8_lossy(&body);
    let action = form.split('&').find_map(|pair| pair.strip_prefix("Action="));
    let action = action.map_or_else(|| format!("{} {}", head.method, head.uri), str::to_owned);
    let fault = {
        let mut state = lock(&state);
        state.calls.push(action.clone());
        let found = state.faults.iter_mut().find(|(of, _, left)| *of == action && *left > 0);
        found.map(|(_, fault, left)| {
            *left -= 1;
            *fault
        })
    };
    let lost = || Err(std::io::Error::other("the connection is lost, as asked"));
    match fault {
        Some(Fault::LoseRequest) => return lost(),
        Some(Fault::Throttle(seconds)) => {
            let response = Response::builder().status(429).header("retry-after", seconds);
            return Ok(response.body(Full::from("slow down")).unwrap());
        }
        Some(Fault::Answer(status, body)) => {
            return Ok(Response::builder().status(status).body(Full::from(body)).unwrap());
        }
        _ => {}
    }
    let mut text = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", head.method, head.uri);
    for (name, value) in &head.headers {
        if name != "connection" {
            text += &format!("{name}: {}\r\n", value.to_str().unwrap_or_default());
        }
    }
    let mut stream = TcpStream::connect(upstream).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.write_all(b"\r\n").await?;
    stream.write_all(&body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(answer.len() - 4);
    let status = String::from_utf8_lossy(&answer);
    let status = status.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok()).unwrap_or(502);
    let body = Bytes::copy_from_slice(&answer[split + 4..]);
    let (status, body) = match fault {
        Some(Fault::LoseAnswer) => return lost(),
        Some(Fault::Hang) => return std::future::pending().await,
        Some(Fault::HalfAnswer) => (status, body.slice(..body.len() / 2)),
        Some(Fault::TroubledAfter) => {
            (500, Bytes::from_static(b"<html><title>Oops</title><h1>We are sorry</h1></html>"))
        }
        _ => (status, body),
    };
    Ok(Response::builder().status(status).body(Full::new(body)).unwrap())
}
