//! An OpenNebula in this process, over HTTP: the sandbox, behind a server that can kill the client
//! whose request it has just read, and then carries out the request all the same; or that gets into
//! trouble of its own.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use opennebula::xmlrpc::{
    MethodCall, MethodResponse, Param, parse_response, write_call, write_response,
};
use rustix::process::{Pid, Signal, kill_process};
use sandbox::{Sandbox, SandboxSettings, Synchronous};

/// How long a trouble lasts.
const TROUBLE: Duration = Duration::from_millis(300);

/// What can happen to a front-end in the middle of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It dies before it has carried out the request, and is started again after a while.
    Down,
    /// It dies after that.
    Restarted,
    /// The connection breaks before the request is carried out.
    Lost,
    /// The connection breaks after that.
    AnswerLost,
    /// The connection breaks in the middle of the answer.
    AnswerCut,
    /// Something else answers for a while.
    Garbage,
    /// A proxy answers for a while that there is nobody behind it.
    BadGateway,
    /// Its database is busy for a while, and it says that it does not know the user.
    Authentication,
    /// Its database is busy for a while, and it says so.
    Locked,
}

impl Trouble {
    pub const ALL: [Self; 9] = [
        Self::Down,
        Self::Restarted,
        Self::Lost,
        Self::AnswerLost,
        Self::AnswerCut,
        Self::Garbage,
        Self::BadGateway,
        Self::Authentication,
        Self::Locked,
    ];
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    Troubled(Trouble),
}

/// Counts the requests by name, and kills at one of them.
#[derive(Default)]
struct Trap {
    passed: HashMap<String, u64>,
    names: Vec<String>,
    deadly: Option<String>,
    /// The process to kill, once it is known.
    victim: Option<Pid>,
    /// A trouble, the number of the request that it comes with, and how long it lasts.
    trouble: Option<(Trouble, usize, Duration)>,
    /// When the present trouble is over.
    until: Option<Instant>,
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
            std::thread::spawn(move || accept(listener, address, &sandbox, &shared))
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

    /// Gets into trouble at that request, counted from 1; counts anew.
    pub fn trouble(&self, trouble: Trouble, request: usize) {
        self.trouble_for(trouble, request, TROUBLE);
    }

    /// The same for a longer or shorter time.
    pub fn trouble_for(&self, trouble: Trouble, request: usize, lasting: Duration) {
        let trouble = Some((trouble, request, lasting));
        *self.shared.trap.lock().unwrap() = Trap { trouble, ..Trap::default() };
    }

    /// No trouble from now on.
    pub fn well(&self) {
        *self.shared.trap.lock().unwrap() = Trap::default();
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
        let Some(server) = self.server.take() else { return };
        while !server.is_finished() {
            let _ = TcpStream::connect(self.address);
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = server.join();
    }
}

fn accept(mut listener: TcpListener, address: SocketAddr, sandbox: &Sandbox, shared: &Arc<Shared>) {
    loop {
        let connection = listener.accept();
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        if shared.is_away() {
            drop((connection, listener));
            while shared.is_away() && !shared.closed.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(10));
            }
            listener = bound_again(address);
            continue;
        }
        let Ok((connection, _)) = connection else { continue };
        let (sandbox, shared) = (sandbox.clone(), Arc::clone(shared));
        std::thread::spawn(move || serve(connection, address, &sandbox, &shared));
    }
}

/// Another process may have been given the port meanwhile, for a connection of its own.
fn bound_again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn serve(mut connection: TcpStream, address: SocketAddr, sandbox: &Sandbox, shared: &Shared) {
    let Some(body) = read_request(&mut connection) else { return };
    let fate = shared.pass(&name_of(&body));
    let page = "<html><body>It works!</body></html>";
    match fate {
        Fate::Answered => reply(&mut connection, "200 OK", &sandbox.handle(&body)),
        Fate::Troubled(Trouble::Lost) => {}
        Fate::Troubled(Trouble::AnswerLost) => drop(sandbox.handle(&body)),
        Fate::Troubled(Trouble::AnswerCut) => {
            let answer = sandbox.handle(&body);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            let half = answer.get(..answer.len() / 2).unwrap_or_default();
            let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(half));
        }
        Fate::Troubled(trouble @ (Trouble::Down | Trouble::Restarted)) => {
            if trouble == Trouble::Restarted {
                sandbox.handle(&body);
            }
            // Wakes the one who listens, so that it sees that it is away.
            let _ = TcpStream::connect(address);
        }
        Fate::Troubled(Trouble::Garbage) => reply(&mut connection, "200 OK", page.as_bytes()),
        Fate::Troubled(Trouble::BadGateway) => {
            reply(&mut connection, "502 Bad Gateway", page.as_bytes());
        }
        Fate::Troubled(Trouble::Authentication) => {
            let text = "User couldn't be authenticated, aborting call.";
            reply(&mut connection, "200 OK", &refusal(text, 256));
        }
        Fate::Troubled(Trouble::Locked) => {
            reply(&mut connection, "200 OK", &refusal("database is locked", 8192));
        }
    }
}

/// The answer to a call that was refused.
fn refusal(text: &str, code: i32) -> Vec<u8> {
    let fields = vec![false.into(), text.into(), code.into(), (-1).into(), Param::Long(-1)];
    write_response(&MethodResponse::Success(Param::Array(fields)))
}

fn reply(connection: &mut TcpStream, status: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // The client may be dead.
    let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(body));
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

impl Shared {
    /// Whether nobody listens.
    fn is_away(&self) -> bool {
        let trap = self.trap.lock().unwrap();
        let away = matches!(trap.trouble, Some((Trouble::Down | Trouble::Restarted, _, _)));
        away && trap.until.is_some_and(|until| Instant::now() < until)
    }

    /// Counts a request, and says what becomes of it.
    fn pass(&self, name: &str) -> Fate {
        let mut trap = self.trap.lock().unwrap();
        let count = trap.passed.entry(name.to_owned()).or_default();
        *count += 1;
        let name = format!("{name} #{count}");
        trap.names.push(name.clone());
        if trap.deadly.as_deref() == Some(&name) {
            let unknown = |trap: &mut Trap| trap.victim.is_none();
            let waited = self.known.wait_timeout_while(trap, Duration::from_secs(30), unknown);
            let (trap, _) = waited.unwrap();
            // The test waits for this process and has not, so its number is nobody else's.
            let _ = kill_process(trap.victim.unwrap(), Signal::KILL);
            return Fate::Answered;
        }
        let Some((trouble, request, lasting)) = trap.trouble else { return Fate::Answered };
        let now = Instant::now();
        let here = trap.names.len() == request;
        if here {
            trap.until = Some(now + lasting);
        }
        let once = matches!(trouble, Trouble::Lost | Trouble::AnswerLost | Trouble::AnswerCut);
        let lasts = !once && trap.until.is_some_and(|until| now < until);
        if here || lasts { Fate::Troubled(trouble) } else { Fate::Answered }
    }
}

/// The type of the tool's documents.
const DOCUMENTS: i32 = 4242;

/// The XML of a pool, as the administrator sees it.
pub fn pool(sandbox: &Sandbox, method: &str) -> String {
    let mut params = Vec::new();
    if matches!(method, "one.vnpool.info" | "one.documentpool.info") {
        params.extend([Param::Int(-2), Param::Int(-1), Param::Int(-1)]);
    }
    if method == "one.documentpool.info" {
        params.push(Param::Int(DOCUMENTS));
    }
    let fields = answer(sandbox, method, params);
    assert_eq!(fields[0].as_bool(), Some(true), "{method}: {fields:?}");
    fields[1].as_str().unwrap().to_owned()
}

/// Makes a call about an object as the administrator; false if it is refused.
pub fn call(sandbox: &Sandbox, method: &str, id: i32) -> bool {
    answer(sandbox, method, vec![Param::Int(id)])[0].as_bool() == Some(true)
}

fn answer(sandbox: &Sandbox, method: &str, mut params: Vec<Param>) -> Vec<Param> {
    params.insert(0, Param::Str(sandbox.session().expose().to_owned()));
    let call = write_call(&MethodCall { method: method.to_owned(), params }).unwrap();
    match parse_response(&sandbox.handle(&call)).unwrap() {
        MethodResponse::Success(Param::Array(fields)) => fields,
        other => panic!("{method}: {other:?}"),
    }
}
