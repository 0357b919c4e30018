//! An OpenNebula in this process, over HTTP: the sandbox, behind a server that can kill the client
//! whose request it has just read, and then carries out the request all the same.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use opennebula::xmlrpc::{MethodCall, MethodResponse, Param, parse_response, write_call};
use rustix::process::{Pid, Signal, kill_process};
use sandbox::{Sandbox, SandboxSettings, Synchronous};

/// Counts the requests by name, and kills at one of them.
#[derive(Default)]
struct Trap {
    passed: HashMap<String, u64>,
    names: Vec<String>,
    deadly: Option<String>,
    /// The process to kill, once it is known.
    victim: Option<Pid>,
}

#[derive(Default)]
struct Shared {
    trap: Mutex<Trap>,
    known: Condvar,
    closed: AtomicBool,
}

/// The server; it ends when dropped.
pub struct FrontEnd {
    sandbox: Sandbox,
    address: SocketAddr,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

impl FrontEnd {
    pub fn start() -> Self {
        let settings =
            SandboxSettings { synchronous: Synchronous::Off, ..SandboxSettings::default() };
        let sandbox = Sandbox::in_memory(settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let server = {
            let (sandbox, shared) = (sandbox.clone(), Arc::clone(&shared));
            std::thread::spawn(move || accept(&listener, &sandbox, &shared))
        };
        Self { sandbox, address, shared, server: Some(server) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}/RPC2", self.address)
    }

    pub fn session(&self) -> String {
        self.sandbox.session().expose().to_owned()
    }

    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Kills the process that [`FrontEnd::victim`] names when it sends that request; counts anew.
    pub fn arm(&self, deadly: Option<String>) {
        *self.shared.trap.lock().unwrap() = Trap { deadly, ..Trap::default() };
    }

    pub fn victim(&self, victim: Pid) {
        self.shared.trap.lock().unwrap().victim = Some(victim);
        self.shared.known.notify_all();
    }

    /// The requests since it was armed.
    pub fn points(&self) -> Vec<String> {
        self.shared.trap.lock().unwrap().names.clone()
    }
}

impl Drop for FrontEnd {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

fn accept(listener: &TcpListener, sandbox: &Sandbox, shared: &Arc<Shared>) {
    for connection in listener.incoming().flatten() {
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        let (sandbox, shared) = (sandbox.clone(), Arc::clone(shared));
        std::thread::spawn(move || serve(connection, &sandbox, &shared));
    }
}

fn serve(mut connection: TcpStream, sandbox: &Sandbox, shared: &Shared) {
    let Some(body) = read_request(&mut connection) else { return };
    pass(shared, &name_of(&body));
    let answer = sandbox.handle(&body);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.len()
    );
    // The client may be dead.
    let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(&answer));
}

/// The body of one request; `None` if the connection broke before it was whole.
pub fn read_request(connection: &mut TcpStream) -> Option<Vec<u8>> {
    let mut seen = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length?.trim().parse().ok()?;
            if seen.len() >= end + 4 + length {
                return Some(seen[end + 4..end + 4 + length].to_vec());
            }
        }
        match connection.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => seen.extend_from_slice(&buffer[..n]),
        }
    }
}

/// Method and first number of a call, as the binary names its points.
fn name_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let inside = |begin: &str| Some(text.split_once(begin)?.1.split_once('<')?.0.trim().to_owned());
    let method = inside("<methodName>").unwrap_or_default();
    format!("{method} {}", inside("<i4>").unwrap_or_default())
}

fn pass(shared: &Shared, name: &str) {
    let mut trap = shared.trap.lock().unwrap();
    let count = trap.passed.entry(name.to_owned()).or_default();
    *count += 1;
    let name = format!("{name} #{count}");
    trap.names.push(name.clone());
    if trap.deadly.as_deref() != Some(&name) {
        return;
    }
    let (trap, _) = shared
        .known
        .wait_timeout_while(trap, Duration::from_secs(30), |trap| trap.victim.is_none())
        .unwrap();
    // The test waits for this process and has not, so its number is nobody else's.
    let _ = kill_process(trap.victim.unwrap(), Signal::KILL);
}

/// The type of the tool's documents.
const DOCUMENTS: i32 = 4242;

/// The XML of a pool, as the administrator sees it.
pub fn pool(sandbox: &Sandbox, method: &str) -> String {
    let session = sandbox.session().expose().to_owned();
    let mut params = vec![Param::Str(session)];
    if matches!(method, "one.vnpool.info" | "one.documentpool.info") {
        params.extend([Param::Int(-2), Param::Int(-1), Param::Int(-1)]);
    }
    if method == "one.documentpool.info" {
        params.push(Param::Int(DOCUMENTS));
    }
    let call = write_call(&MethodCall { method: method.to_owned(), params }).unwrap();
    match parse_response(&sandbox.handle(&call)).unwrap() {
        MethodResponse::Success(Param::Array(fields)) => fields[1].as_str().unwrap().to_owned(),
        other => panic!("{method}: {other:?}"),
    }
}
