//! BMCs that are not ours: the emulator of sushy-tools, with machines that are off.
//!
//! It speaks HTTPS with a certificate of a test CA ([`CA`]) and asks for a password. `scripts/test` installs
//! it; who runs tests without it gets `None`.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The user that is let in.
pub const USER: &str = "admin";
/// The user's password.
pub const PASSWORD: &str = "calvin-7c1";
/// The CA that signed the certificates, in PEM.
pub const CA: &str = include_str!("sushy/ca.pem");
/// Certificate and key for 127.0.0.1.
const GOOD: &str = include_str!("sushy/bmc.pem");
/// The same, that was good until 2021.
const EXPIRED: &str = include_str!("sushy/expired.pem");
const CONFIG: &str = include_str!("sushy/config.py");
/// The emulator takes nothing but bcrypt.
const PASSWORDS: &str = "admin:$2b$04$yVFaAwh6rfiDSyaIcXCBZOAeAlfOxN/N1cheuUQe7S52ZjFXrNn8q\n";

/// What an emulator is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Machines, all off.
    pub systems: usize,
    /// Whether systems have an AssetTag. The emulator as it is has none.
    pub asset_tags: bool,
    /// Whether a change of power takes one second and not one to eleven.
    pub quick: bool,
    /// Whether its certificate has expired.
    pub expired: bool,
}

/// A running emulator; it ends with this, or with the test.
pub struct Sushy {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
    systems: usize,
}

impl Sushy {
    /// Starts the emulator of that program (`sushy-emulator`).
    pub fn start(program: &Path, kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let certificate = if kind.expired { EXPIRED } else { GOOD };
        std::fs::write(at("bmc.pem"), certificate).unwrap();
        std::fs::write(at("ca.pem"), CA).unwrap();
        std::fs::write(at("passwords"), PASSWORDS).unwrap();
        let python = |yes| if yes { "True" } else { "False" };
        let mut config =
            format!("ASSET_TAGS = {}\nQUICK = {}\n", python(kind.asset_tags), python(kind.quick));
        for (name, file) in [
            ("STATE_DIR", "."),
            ("AUTH_FILE", "passwords"),
            ("SSL_CERT", "bmc.pem"),
            ("SSL_KEY", "bmc.pem"),
        ] {
            writeln!(config, "SUSHY_EMULATOR_{name} = {:?}", at(file)).unwrap();
        }
        config += "SUSHY_EMULATOR_FAKE_SYSTEMS = [\n";
        for n in 1..=kind.systems {
            let mac = format!("00:5c:52:31:3a:{n:02x}");
            writeln!(
                config,
                "    {{'uuid': '{}', 'name': 'node-{n}', 'power_state': 'Off', 'nics': [{{'mac': '{mac}'}}]}},",
                uuid(n)
            )
            .unwrap();
        }
        std::fs::write(at("config.py"), config + "]\n" + CONFIG).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // It ends when its standard input does: also with a test that is killed.
        let script = "exec 3<&0; \"$0\" \"$@\" </dev/null >log 2>&1 & read line <&3; kill $!";
        let child = Command::new("sh")
            .args(["-c", script])
            .arg(program)
            .args(["--fake", "-i", "127.0.0.1", "-p", &address.port().to_string(), "--config"])
            .arg(at("config.py"))
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            let log = || std::fs::read_to_string(at("log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(120), "it does not start: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, address, folder, systems: kind.systems }
    }

    /// Its address, for `REDFISH_ADDRESS`.
    pub fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The file of the CA that signed its certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The ids of its systems.
    pub fn systems(&self) -> Vec<String> {
        (1..=self.systems).map(uuid).collect()
    }

    /// Its own log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn uuid(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

impl Drop for Sushy {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
