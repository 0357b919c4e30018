//! Client of an OpenNebula front-end, releases 5.12 to 7.4, over XML-RPC.
//!
//! It answers three questions that the engine has on every call: what is the value, may the call be
//! made again, and may it have been executed although nothing came back. A write is repeated only
//! if it was certainly not executed; everything else is for the caller to look up
//! ([`Error::is_unknown`]).
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`client`] | [`Client`]: calls with limits and retries |
//! | [`objects`] | typed calls per kind of object: `client.hosts().allocate(…)`; the objects, their states |
//! | [`error`] | [`Error`]: what happened to a call |
//! | [`observe`] | [`CallObserver`]: sees each call, for logs, counts and progress |
//! | [`transport`] | [`Transport`]: one exchange; the place where tests put faults and the sandbox itself |
//! | [`http`] | [`HttpTransport`]: the exchange over HTTP and HTTPS |
//! | [`xmlrpc`] | calls and answers to and from bytes, both directions |
//! | [`text`] | the text form of templates, `KEY = "value"` |
//! | [`discover`] | where endpoint and credentials come from |
//!
//! Credentials are in request bodies only: not in errors, logs, observers or `Debug`.
//!
//! ```no_run
//! use std::sync::Arc;
//! use model::Secret;
//! use opennebula::{Client, ClientSettings, Credentials, Endpoint, HttpSettings, HttpTransport};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::parse("http://localhost:2633/RPC2")?;
//! let transport = HttpTransport::new(endpoint, HttpSettings::default())?;
//! let credentials = Credentials::new("oneadmin", &Secret::new("password"))?;
//! let client = Client::new(Arc::new(transport), credentials, ClientSettings::default());
//!
//! let cluster = client.clusters().allocate("edge").await?;
//! let host = client.hosts().allocate("10.0.0.1", "kvm", "kvm", cluster).await?;
//! println!("{}", client.hosts().info(host).await?.state);
//! # Ok(())
//! # }
//! ```

pub mod client;
pub mod discover;
pub mod error;
pub mod http;
pub mod objects;
pub mod observe;
pub mod text;
pub mod transport;
pub mod xmlrpc;

pub use client::{Client, ClientSettings, Effect};
pub use discover::{Credentials, Endpoint};
pub use error::{Error, ErrorKind};
pub use http::{HttpError, HttpSettings, HttpTransport};
pub use observe::{CallObserver, CallRecord, Waiting};
pub use transport::{Take, Transport, TransportError};
