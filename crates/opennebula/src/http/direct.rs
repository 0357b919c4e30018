//! Straight to the front-end: a connection per call, served by the task that waits for the answer.
//!
//! A client with a pool serves each connection by a task of its own, and wakes threads for every step between
//! the two. Connections to `oned` are never used twice, so there is nothing to be pooled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
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
use crate::transport::{Cause, TransportError};

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;
type Text = Full<Bytes>;

/// Makes connections to one front-end.
pub(super) struct Direct {
    uri: Uri,
    host: HeaderValue,
    connector: HttpsConnector<Tcp>,
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
        let tcp = Tcp { near: near(&uri), far: tcp };
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

/// Makes TCP connections. The kernel makes one to this very computer while it is asked to: nobody has to wait for
/// it, nor look up what `localhost` means, once per call.
#[derive(Clone)]
struct Tcp {
    /// Where the front-end is, if it is on this computer.
    near: Vec<SocketAddr>,
    /// Does the rest, and tells why nobody answers.
    far: HttpConnector,
}

/// The longest that a connection to this computer may hold up others.
const AT_ONCE: Duration = Duration::from_millis(1);

/// The addresses of an endpoint that is this computer by its name or number. OpenNebula listens on IPv4.
fn near(uri: &Uri) -> Vec<SocketAddr> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    let ips = match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => vec![ip],
        Err(_) if host.eq_ignore_ascii_case("localhost") => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        _ => Vec::new(),
    };
    ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}

fn connect_at_once(address: &SocketAddr) -> Option<std::net::TcpStream> {
    let stream = std::net::TcpStream::connect_timeout(address, AT_ONCE).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_nonblocking(true).ok()?;
    Some(stream)
}

impl tower_service::Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = Cause;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Cause>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.far.poll_ready(context).map_err(Cause::from)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if let Some(stream) = self.near.iter().find_map(connect_at_once) {
            return Box::pin(async move { Ok(TokioIo::new(TcpStream::from_std(stream)?)) });
        }
        let connected = self.far.call(uri);
        Box::pin(async move { connected.await.map_err(Cause::from) })
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
