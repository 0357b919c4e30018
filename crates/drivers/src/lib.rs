//! The built-in provision drivers.
//!
//! Each is written against [`driver::Driver`] and knows nothing of who calls it; the same code runs
//! inside the tool and, through [`driver::harness`], as a folder of executables for any other tool.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`dummy`] | machines that exist only in a ledger file, and that misbehave on demand |
//! | [`ec2`] | virtual machines and bare metal of Amazon EC2 |
//! | [`gather`] | many questions at once, answered by one request |
//! | [`http`] | HTTP to a provider's API: what may be repeated, and what is known after a failure |
//! | [`multicall`](mod@multicall) | the program as a driver's executables, and making the links for it |
//! | [`packet`] | bare metal of Packet (Equinix Metal) |
//! | [`qemu`] | machines on this computer |
//! | [`redfish`] | bare metal on premises, by BMCs that speak Redfish |
//! | [`rescue`] | making the small Linux that [`qemu`] boots if it is given nothing else |
//! | [`ssh`] | machines that are there already |

use std::path::PathBuf;
use std::sync::Arc;

use driver::Driver;

mod common;
pub mod dummy;
pub mod ec2;
pub mod gather;
pub mod http;
pub mod multicall;
mod pace;
pub mod packet;
pub mod qemu;
pub mod redfish;
pub mod rescue;
pub mod ssh;

pub use multicall::{InstallError, install, multicall};
pub use pace::Pace;

/// Names of the built-in drivers.
pub const BUILTIN: [&str; 6] = ["dummy", "ec2", "packet", "qemu", "redfish", "ssh"];

/// What the built-in drivers need to know of their surroundings.
#[derive(Clone, Debug)]
pub struct BuiltinSettings {
    /// The state folder, where dummy keeps its ledger, qemu its machines, ssh its notes. Made (0700) if it is not
    /// there.
    pub state_dir: PathBuf,
}

/// The built-in driver of that name.
pub fn builtin(name: &str, settings: &BuiltinSettings) -> Option<Arc<dyn Driver>> {
    match name {
        "dummy" => Some(Arc::new(dummy::Dummy::new(&settings.state_dir))),
        "ec2" => Some(Arc::new(ec2::Ec2::default())),
        "packet" => Some(Arc::new(packet::Packet::default())),
        "qemu" => Some(Arc::new(qemu::Qemu::new(&settings.state_dir))),
        "redfish" => Some(Arc::new(redfish::Redfish::default())),
        "ssh" => Some(Arc::new(ssh::Ssh::new(&settings.state_dir))),
        _ => None,
    }
}
