//! Front-ends for tests: a real one in a process of its own, and servers that are none.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sandbox::{Sandbox, SandboxSettings, ServeSettings};

use super::{Home, Output, Running, wait_until};

/// A certificate authority, in PEM.
pub const CA: &[u8] = include_bytes!("../../../../opennebula/tests/data/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../../../opennebula/tests/data/server.pem");
const KEY: &[u8] = include_bytes!("../../../../opennebula/tests/data/server.key");

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
    // The whole request first: who closes before has the client see a broken connection instead.
    if request(&mut connection).is_some() {
        let _ = connection.write_all(answer);
    }
}

/// A whole request, if one comes.
fn request(connection: &mut impl Read) -> Option<Vec<u8>> {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !complete(&seen) {
        match connection.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => seen.extend_from_slice(&buffer[..n]),
        }
    }
    Some(seen)
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// HTTPS in front of an endpoint, with a certificate for localhost and 127.0.0.1 that [`CA`] signed. It lives
/// as long as the test's process.
pub fn behind_tls(endpoint: &str) -> String {
    let plain = endpoint.trim_start_matches("http://").trim_end_matches("/RPC2").to_owned();
    let chain = vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}/RPC2", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let (mut stream, plain) = (rustls::StreamOwned::new(session, socket), plain.clone());
            std::thread::spawn(move || {
                let Some(request) = request(&mut stream) else { return };
                let mut asked = TcpStream::connect(plain).unwrap();
                asked.write_all(&request).unwrap();
                let mut answer = Vec::new();
                asked.read_to_end(&mut answer).unwrap();
                let _ = stream.write_all(&answer);
                stream.conn.send_close_notify();
                let _ = stream.flush();
            });
        }
    });
    endpoint
}

/// An endpoint where nobody listens.
pub fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}/RPC2", listener.local_addr().unwrap())
}

/// A front-end of a release in this process, over HTTP. It lives as long as the test's process.
pub struct Release {
    pub endpoint: String,
    pub auth: PathBuf,
}

impl Release {
    pub fn start(home: &Home, settings: SandboxSettings) -> Self {
        let sandbox = Sandbox::in_memory(settings).unwrap();
        let auth = home.write("one_auth", format!("{}\n", sandbox.session().expose()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}/RPC2", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let settings = ServeSettings::default();
                sandbox::serve(listener, sandbox, settings, std::future::pending::<()>()).await
            })
        });
        Self { endpoint, auth }
    }

    /// A command that works on it.
    pub fn run(&self, home: &Home, arguments: &[&str]) -> Output {
        home.tool(arguments)
            .env("ONE_XMLRPC", &self.endpoint)
            .env("ONE_AUTH", self.auth.to_str().unwrap())
            .run()
    }
}
