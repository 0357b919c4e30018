//! Client of an OpenNebula front-end.
pub mod client;
pub mod discover;
pub mod error;
pub mod http;
pub mod observe;
pub mod text;
pub mod transport;
pub mod xmlrpc;
pub use client::{Client, ClientSettings, Effect};
pub use discover::{Credentials, Endpoint};
pub use error::{Error, ErrorKind};
pub use http::{HttpError, HttpSettings, HttpTransport};
pub use observe::{CallObserver, CallRecord, Waiting};
pub use transport::{Transport, TransportError};
