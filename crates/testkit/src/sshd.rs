//! A real sshd on an address of this computer, with a host key and a home folder of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const SSHD: &str = "/usr/sbin/sshd";

/// Whether there is an sshd here. If not, the test is passed over and says so; with `CI=true` that is a
/// failure.
///
/// # Panics
/// With `CI=true` if there is none.
#[allow(clippy::print_stdout, reason = "a test that is passed over says so")]
pub fn is_there() -> bool {
    if !Path::new(SSHD).exists() {
        println!("skipped: {SSHD} is not installed");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "with CI=true nothing is skipped");
        return false;
    }
    if rustix::process::geteuid().is_root() {
        // Where sshd's daemon never ran, the folder that it needs is not there.
        fs::create_dir_all("/run/sshd").unwrap();
    }
    true
}

/// Makes a pair of keys, in place of what was there.
pub fn keygen(path: &Path, passphrase: &str) {
    let _ = fs::remove_file(path);
    let mut program = Command::new("ssh-keygen");
    program.args(["-q", "-t", "ed25519", "-N", passphrase, "-f"]).arg(path);
    assert!(program.status().unwrap().success());
}

/// A port that nobody listens on now, on any address.
pub fn free_port() -> u16 {
    TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

/// Where an sshd listens, and whom it lets in.
pub struct Sshd<'s> {
    /// An address of loopback.
    pub address: &'s str,
    /// Its port.
    pub port: u16,
    /// Its folder: its host key is `host` there, and its log `log`.
    pub home: PathBuf,
    /// The file of public keys that are let in.
    pub keys: &'s Path,
    /// Further lines of its configuration.
    pub more: &'s str,
}

impl Sshd<'_> {
    /// Starts it, and waits until it listens.
    pub fn start(&self) -> Child {
        let Self { address, port, home, keys, more } = self;
        let config = home.join("sshd_config");
        let (shown, keys) = (home.display(), keys.display());
        let text = format!(
            "ListenAddress {address}\nPort {port}\nHostKey {shown}/host\nPidFile none\nUsePAM no\n\
             StrictModes no\nAuthorizedKeysFile {keys}\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n{more}\n"
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(home.join("log")).unwrap();
        let child =
            Command::new(SSHD).args(["-D", "-e", "-f"]).arg(&config).stderr(log).spawn().unwrap();
        let socket = SocketAddr::new(address.parse().unwrap(), *port);
        let end = Instant::now() + Duration::from_secs(40);
        while TcpStream::connect(socket).is_err() {
            assert!(Instant::now() < end, "{}", fs::read_to_string(home.join("log")).unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
        child
    }
}

/// Ends one, if it runs.
pub fn stop(sshd: &mut Option<Child>) {
    if let Some(mut child) = sshd.take() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
