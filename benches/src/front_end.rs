//! The front-end that is worked on: the embedded one, served over loopback by a process of its own,
//! or a real one. And the plainest way to call it.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use opennebula::xmlrpc::{MethodCall, MethodResponse, Param, parse_response, write_call};
use sandbox::{Sandbox, SandboxSettings, ServeSettings, Synchronous};

use crate::Surroundings;
use crate::failure::{Because as _, Result};

/// No answer takes that long; what does hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// How far a write of the embedded front-end has gone when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// On the disk, as with the real one.
    Disk,
    /// In memory: where something else is measured.
    Memory,
}

/// A front-end.
pub struct FrontEnd {
    child: Option<Child>,
    /// `ONE_XMLRPC`.
    pub endpoint: String,
    /// `ONE_AUTH`.
    pub auth: PathBuf,
    /// `user:password`.
    pub session: String,
    /// How it is called.
    pub address: Address,
}

/// Where a front-end listens.
#[derive(Clone, Debug)]
pub struct Address {
    host: String,
    path: String,
}

impl Address {
    fn of(endpoint: &str) -> Result<Self> {
        let rest = endpoint.strip_prefix("http://").because("only http:// can be called raw")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self { host: host.to_owned(), path: format!("/{path}") })
    }

    /// The address of a listener of this process.
    pub fn local(host: String) -> Self {
        Self { host, path: "/RPC2".to_owned() }
    }

    /// Sends a body over a connection of its own, as `oned` wants it, and returns the answer's.
    ///
    /// # Errors
    /// If there is none, or one that is no success.
    pub fn post(&self, body: &[&[u8]]) -> Result<Vec<u8>> {
        let failed = |what: &'static str| move |error| format!("{what}: {error}");
        let mut stream = TcpStream::connect(&self.host).map_err(failed("no connection"))?;
        stream.set_nodelay(true).map_err(failed("no delay"))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed("no patience"))?;
        let length: usize = body.iter().map(|part| part.len()).sum();
        let mut request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/xml\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n",
            self.path, self.host
        )
        .into_bytes();
        body.iter().for_each(|part| request.extend_from_slice(part));
        stream.write_all(&request).map_err(failed("not sent"))?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(failed("no answer"))?;
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let head = head.because("the answer is no HTTP")?;
        if answer.get(9..12) != Some(b"200") {
            return Err(String::from_utf8_lossy(&answer).into_owned().into());
        }
        Ok(answer.split_off(head + 4))
    }
}

/// The value of an answer that is a success.
///
/// # Errors
/// What the front-end said.
pub fn value(answer: &[u8]) -> Result<Param> {
    match parse_response(answer).because("the answer")? {
        MethodResponse::Success(Param::Array(mut fields)) => {
            let ok = fields.first().and_then(Param::as_bool) == Some(true) && fields.len() > 1;
            let text = fields.get(1).and_then(Param::as_str).unwrap_or_default();
            match ok {
                true => Ok(fields.swap_remove(1)),
                false => Err(format!("refused: {text}").into()),
            }
        }
        MethodResponse::Success(_) => Err("an answer that is no array".into()),
        MethodResponse::Fault { code, text } => Err(format!("fault {code}: {text}").into()),
    }
}

impl FrontEnd {
    /// The embedded front-end of the newest release, with its database in that folder.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn embedded(folder: &Path, storage: Storage) -> Result<Self> {
        let own = std::env::current_exe().because("the path of this program is not known")?;
        let storage = match storage {
            Storage::Disk => "disk",
            Storage::Memory => "memory",
        };
        let mut child = Command::new(own)
            .args(["serve", storage])
            .arg(folder)
            // It ends when this one is closed: with this process, however that ends.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .because("the embedded front-end cannot be started")?;
        let printed = child.stdout.take().because("the front-end says nothing")?;
        let mut endpoint = String::new();
        BufReader::new(printed).read_line(&mut endpoint).because("the front-end's endpoint")?;
        let auth = folder.join("one_auth");
        let mut front_end = Self::given(endpoint.trim(), &auth)?;
        front_end.child = Some(child);
        Ok(front_end)
    }

    /// A front-end that is there.
    ///
    /// # Errors
    /// If its credentials cannot be read.
    pub fn given(endpoint: &str, auth: &Path) -> Result<Self> {
        let session = std::fs::read_to_string(auth).because(auth.display())?;
        Ok(Self {
            child: None,
            endpoint: endpoint.to_owned(),
            auth: auth.to_owned(),
            session: session.trim().to_owned(),
            address: Address::of(endpoint)?,
        })
    }

    /// Whether it is the embedded one.
    pub fn is_embedded(&self) -> bool {
        self.child.is_some()
    }

    /// Makes a call.
    ///
    /// # Errors
    /// If it is not a success.
    pub fn call(&self, method: &str) -> Result<Param> {
        let params = vec![Param::Str(self.session.clone())];
        let call = MethodCall { method: method.to_owned(), params };
        let body = write_call(&call).because(method)?;
        value(&self.address.post(&[&body]).because(method)?).because(method)
    }
}

impl Drop for FrontEnd {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until whoever started this process ends, or lets go of its standard input.
pub fn parent_ended() {
    // However it ends, it ends.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

/// What front-end the run is on.
pub fn version(surroundings: &Surroundings) -> Option<String> {
    let front_end = surroundings.front_end("version", Storage::Memory).ok()?;
    let version = front_end.call("one.system.version").ok()?.as_str()?.to_owned();
    Some(match front_end.is_embedded() {
        true => format!("embedded {version}"),
        false => version,
    })
}

/// The role `serve disk|memory FOLDER`: the embedded front-end until standard input ends.
///
/// # Errors
/// If it cannot be opened or served.
pub fn serve(arguments: &[OsString]) -> Result<()> {
    let [storage, folder] = arguments else { return Err("usage: serve STORAGE FOLDER".into()) };
    let folder = Path::new(folder);
    let sandbox = match storage.to_str() {
        Some("disk") => {
            let settings =
                SandboxSettings { synchronous: Synchronous::Full, ..SandboxSettings::default() };
            Sandbox::open(&folder.join("sandbox.db"), settings)
        }
        _ => Sandbox::in_memory(SandboxSettings::default()),
    };
    let sandbox = sandbox.because("the embedded front-end cannot be opened")?;
    let auth = folder.join("one_auth");
    std::fs::write(&auth, sandbox.session().expose()).because(auth.display())?;
    let runtime = tokio::runtime::Runtime::new().because("no runtime")?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.because("no port")?;
        let address = listener.local_addr().because("no port")?;
        let mut out = std::io::stdout();
        writeln!(out, "http://{address}/RPC2").and_then(|()| out.flush()).because("stdout")?;
        let until = async { drop(tokio::task::spawn_blocking(parent_ended).await) };
        let settings = ServeSettings::default();
        sandbox::serve(listener, sandbox, settings, until).await.because("it cannot be served")
    })
}
