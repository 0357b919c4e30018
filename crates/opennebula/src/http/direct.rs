//! Straight to the front-end: a connection per call, served by the task that waits for the answer.
//!
//! A client with a pool serves each connection by a task of its own, and wakes threads for every step between
//! the two. Connections to `oned` are never used twice, so there is nothing to be pooled.

use std::pin::pin;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service as _;

use super::{HttpError, USER_AGENT, XML, not_connected};
use crate::discover::Endpoint;
use crate::transport::TransportError;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Text = Full<Bytes>;

/// Makes connections to one front-end.
pub(super) struct Direct {
    uri: Uri,
    host: HeaderValue,
    connector: HttpsConnector<HttpConnector>,
    deadline: Duration,
}

impl Direct {
    pub(super) fn new(
        endpoint: &Endpoint,
        tls: rustls::ClientConfig,
        deadline: Duration,
    ) -> Result<Self, HttpError> {
        let uri: Uri = endpoint.as_str().parse().map_err(|e| HttpError::Setup(Box::new(e)))?;
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let host = HeaderValue::from_str(host).map_err(|e| HttpError::Setup(Box::new(e)))?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let tls = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        Ok(Self { uri, host, connector: tls.enable_http1().wrap_connector(tcp), deadline })
    }

    /// A new connection. Whatever fails here, nothing was sent.
    pub(super) async fn connect(
        &self,
    ) -> Result<(SendRequest<Text>, Connection<Stream, Text>), TransportError> {
        let connect = self.connector.clone().call(self.uri.clone());
        let stream = tokio::time::timeout(self.deadline, connect).await.map_err(|_| {
            let seconds = self.deadline.as_secs_f64();
            TransportError::not_sent(format!("no connection within {seconds} s"))
        })?;
        handshake(stream.map_err(not_connected)?).await.map_err(TransportError::not_sent)
    }

    /// A call.
    pub(super) fn post(&self, request: &[u8]) -> Result<Request<Text>, TransportError> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        Request::post(path)
            .header(header::HOST, &self.host)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONTENT_TYPE, XML)
            .body(Full::new(Bytes::copy_from_slice(request)))
            .map_err(TransportError::not_sent)
    }
}

/// Waits for an answer and serves its connection meanwhile.
pub(super) async fn served_by<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    answered: impl Future<Output = T>,
) -> T {
    let (mut connection, mut answered) = (pin!(connection), pin!(answered));
    tokio::select! {
        biased;
        // How it ended is told to who waits for the answer.
        _ = &mut connection => answered.await,
        answer = &mut answered => answer,
    }
}
