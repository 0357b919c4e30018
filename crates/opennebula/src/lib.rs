//! Client of an OpenNebula front-end.
pub mod discover;
pub mod http;
pub mod text;
pub mod transport;
pub mod xmlrpc;
pub use discover::{Credentials, Endpoint};
pub use http::{HttpError, HttpSettings, HttpTransport};
pub use transport::{Transport, TransportError};
