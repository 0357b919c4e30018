//! An OpenNebula front-end in this process: the same XML-RPC, its state in one SQLite file.
//!
//! It is there so that the whole tool runs with nothing else installed, and so that tests meet the
//! answers of real front-ends without one. [`Sandbox::handle`] takes the body of a request and gives
//! the body of the answer; [`SandboxTransport`] carries the client's calls there without a socket;
//! [`serve`] offers it to other programs over HTTP.
//!
//! Answers are those of OpenNebula 6.10 or 7.4 (see [`Version`]), as recorded or as their source
//! has it: codes and texts of errors, uniqueness of names, states, networks and images that take a
//! moment to be made and deleted, encrypted attributes, ownership and permissions. There are no
//! machines behind it: hosts are found well as soon as they are enabled, images are never copied,
//! VMs exist only to be in the way of what may not be deleted, and a marketplace has what the settings say.
//!
//! ```
//! use opennebula::xmlrpc::{MethodCall, write_call};
//! use sandbox::{Sandbox, SandboxSettings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::in_memory(SandboxSettings::default())?;
//! let params = vec![sandbox.session().expose().into()];
//! let request = write_call(&MethodCall { method: "one.system.version".into(), params })?;
//! let answer = String::from_utf8(sandbox.handle(&request))?;
//! assert!(answer.contains("7.4.0"));
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it holds |
//! | --- | --- |
//! | `sandbox` | a request's way: parse, authenticate, run in one transaction, answer |
//! | `transport`, `serve` | the ways in: from the client in this process, over HTTP |
//! | `method`, `params` | names of methods, parameters of calls |
//! | `calls`, `allocate`, `pool`, `system` | the methods, as far as kinds share them |
//! | `kinds` | what is special to clusters, hosts, datastores, networks, … |
//! | `advance` | what happens by itself after a while |
//! | `render` | objects as XML |
//! | `template` | templates: read, merged, stored |
//! | `ctx`, `failure` | who calls and what is allowed; errors in the words of `oned` |
//! | `object`, `kind`, `store`, `db`, `bootstrap`, `crypt` | the stored form, the file, the first start, secrets |
//! | `settings`, `error` | what can be chosen, and why it cannot be opened |

mod advance;
mod allocate;
mod bootstrap;
mod calls;
mod crypt;
mod ctx;
mod db;
mod error;
mod failure;
mod kind;
mod kinds;
mod method;
mod object;
mod params;
mod pool;
mod render;
mod sandbox;
mod serve;
mod settings;
mod store;
mod system;
mod template;
mod transport;

pub use error::SandboxError;
pub use sandbox::Sandbox;
pub use serve::{ServeSettings, serve};
pub use settings::{
    Clock, EncryptedAttribute, EncryptedKind, MarketApp, SandboxSettings, Synchronous, SystemClock,
    Version,
};
pub use transport::SandboxTransport;
