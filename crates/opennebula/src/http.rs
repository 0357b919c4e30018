//! The transport over HTTP and HTTPS.

use std::error::Error as StdError;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::{Body, Bytes};
use hyper::header::{CONTENT_TYPE, LOCATION};
use model::Secret;
use reqwest::{redirect, retry};
use thiserror::Error;
use tokio::time::Instant;

use crate::discover::Endpoint;
use crate::transport::{Cause, Take, Transport, TransportError, excerpt};

mod direct;
mod tls;

use direct::{Direct, served_by};

/// Settings of an [`HttpTransport`].
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Longest time for a connection to stand, name resolution and TLS included.
    pub connect_deadline: Duration,
    /// Most bytes of an answer. A pool of 10,000 hosts has about 50 MB; the limit is there so that
    /// an answer without an end does not take the machine's memory.
    pub answer_limit: u64,
    /// Certificates in PEM that are trusted beside those of the operating system: of CAs, or of a server
    /// that signed its own.
    pub extra_ca_pem: Option<Vec<u8>>,
    /// Whether the server's certificate is checked. If not, whoever answers there gets the credentials.
    pub verify: bool,
    /// Proxy for endpoints on other machines, such as `http://proxy:3128`; may hold a password. Nothing is taken from
    /// environment variables, and an endpoint on the loopback is always spoken to directly.
    pub proxy: Option<Secret>,
}

impl Default for HttpSettings {
    /// 10 s to connect, 512 MiB per answer, the system's certificates, which are checked, no proxy.
    fn default() -> Self {
        Self {
            connect_deadline: Duration::from_secs(10),
            answer_limit: 512 * 1024 * 1024,
            extra_ca_pem: None,
            verify: true,
            proxy: None,
        }
    }
}

/// Why an [`HttpTransport`] cannot be made.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The extra certificates are not PEM, or there is none.
    #[error("there is no certificate in PEM form among the extra ones")]
    Ca,
    /// The proxy's address cannot be used.
    #[error("the proxy address cannot be used")]
    Proxy(#[source] reqwest::Error),
    /// TLS or the HTTP client could not be set up.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] Box<dyn StdError + Send + Sync>),
}

/// XML-RPC over HTTP/1.1: one connection per call.
///
/// `oned` closes each connection after its answer (releases 5.12 to 7.4, xmlrpc-c's Abyss server),
/// so none is kept. Redirections are not followed: the request holds the session string. Host names are
/// resolved by the operating system.
pub struct HttpTransport {
    endpoint: Endpoint,
    way: Way,
    settings: HttpSettings,
}

/// How the front-end is reached.
enum Way {
    Direct(Direct),
    Proxy(reqwest::Client),
}

const USER_AGENT: &str = concat!("oneprovision/", env!("CARGO_PKG_VERSION"));
const XML: &str = "text/xml";

impl HttpTransport {
    /// A transport to `endpoint`. Nothing is sent yet.
    ///
    /// # Errors
    /// Certificates or a proxy that cannot be used.
    pub fn new(endpoint: Endpoint, settings: HttpSettings) -> Result<Self, HttpError> {
        let tls = tls::config(&endpoint, settings.extra_ca_pem.as_deref(), settings.verify)?;
        let way = match settings.proxy.as_ref().filter(|_| !endpoint.is_loopback()) {
            None => Way::Direct(Direct::new(&endpoint, tls, settings.connect_deadline)?),
            Some(proxy) => {
                let proxy = reqwest::Proxy::all(proxy.expose());
                let proxy = proxy.map_err(|error| HttpError::Proxy(error.without_url()))?;
                let client = reqwest::Client::builder()
                    .user_agent(USER_AGENT)
                    .redirect(redirect::Policy::none())
                    .retry(retry::never())
                    .referer(false)
                    .pool_max_idle_per_host(0)
                    .connect_timeout(settings.connect_deadline)
                    .http1_only()
                    .no_proxy()
                    .proxy(proxy)
                    .tls_backend_preconfigured(tls)
                    .build();
                Way::Proxy(client.map_err(|error| HttpError::Setup(error.into()))?)
            }
        };
        Ok(Self { endpoint, way, settings })
    }

    async fn send(&self, request: &[u8], take: &mut Take<'_>) -> Result<(), TransportError> {
        match &self.way {
            Way::Direct(direct) => {
                let (mut sender, connection) = direct.connect().await?;
                let answered = async {
                    let sent = sender.send_request(direct.post(request)?).await;
                    self.read(sent.map_err(maybe_sent)?, take).await
                };
                served_by(connection, answered).await
            }
            Way::Proxy(client) => {
                let post = client.post(self.endpoint.as_str()).header(CONTENT_TYPE, XML);
                let sent = post.body(request.to_vec()).send().await;
                let sent = sent.map_err(|error| match error.is_connect() {
                    true => not_connected(error.without_url().into()),
                    false => maybe_sent(error.without_url()),
                })?;
                self.read(Response::from(sent), take).await
            }
        }
    }

    /// Reads an answer to its end.
    async fn read<B>(
        &self,
        mut response: Response<B>,
        take: &mut Take<'_>,
    ) -> Result<(), TransportError>
    where
        B: Body<Data = Bytes, Error: Into<Cause>> + Unpin,
    {
        let status = response.status().as_u16();
        if status != 200 {
            return Err(refused(status, response).await);
        }
        let limit = self.settings.answer_limit;
        if response.body().size_hint().lower() > limit {
            return Err(TransportError::TooLarge { limit });
        }
        let mut seen = Seen::default();
        while let Some(frame) = response.frame().await {
            if let Ok(chunk) = frame.map_err(maybe_sent)?.into_data() {
                seen.pass(&chunk, limit)?;
                take(&chunk);
            }
        }
        seen.end()
    }
}

/// What an answer with another status than 200 means.
async fn refused<B>(status: u16, mut response: Response<B>) -> TransportError
where
    B: Body<Data = Bytes> + Unpin,
{
    if let Some(target) = response.headers().get(LOCATION) {
        let target = excerpt(target.as_bytes());
        return TransportError::NotOpenNebula {
            status,
            excerpt: format!("it redirects to {target}"),
        };
    }
    let mut body = Vec::new();
    while body.len() < 4096 {
        match response.frame().await {
            Some(Ok(frame)) => body.extend_from_slice(&frame.into_data().unwrap_or_default()),
            _ => break,
        }
    }
    not_opennebula(status, &body)
}

#[async_trait]
impl Transport for HttpTransport {
    fn endpoint(&self) -> &str {
        self.endpoint.as_str()
    }

    async fn exchange(
        &self,
        request: &[u8],
        deadline: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let mut answer = Vec::new();
        let mut take = |bytes: &[u8]| answer.extend_from_slice(bytes);
        self.exchange_into(request, deadline, &mut take).await?;
        Ok(answer)
    }

    async fn exchange_into(
        &self,
        request: &[u8],
        deadline: Duration,
        take: &mut Take<'_>,
    ) -> Result<(), TransportError> {
        // The connect deadline ends within `send` with its own error, which says that nothing left.
        match tokio::time::timeout_at(Instant::now() + deadline, self.send(request, take)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(TransportError::Deadline { after: deadline }),
        }
    }
}

fn not_opennebula(status: u16, body: &[u8]) -> TransportError {
    TransportError::NotOpenNebula { status, excerpt: excerpt(body) }
}

/// What has to be known of the bytes of an answer to tell whether it is one, and whole.
#[derive(Default)]
struct Seen {
    length: u64,
    /// As much of the beginning as an excerpt shows.
    head: Vec<u8>,
    /// The last bytes before the white space at the end.
    tail: Vec<u8>,
    /// Whether white space follows them.
    is_spaced: bool,
}

impl Seen {
    const EXCERPT: usize = 4096;
    const END: &[u8] = b"</methodResponse>";

    fn pass(&mut self, chunk: &[u8], limit: u64) -> Result<(), TransportError> {
        self.length = self.length.saturating_add(chunk.len() as u64);
        if self.length > limit {
            return Err(TransportError::TooLarge { limit });
        }
        if self.head.len() < Self::EXCERPT {
            let room = Self::EXCERPT - self.head.len();
            self.head.extend_from_slice(chunk.get(..room).unwrap_or(chunk));
            if !may_become_answer(&self.head) {
                return Err(not_opennebula(200, &self.head));
            }
        }
        let text = chunk.trim_ascii_end();
        if !text.is_empty() {
            if self.is_spaced {
                self.tail.clear();
            }
            let last = text.len().saturating_sub(Self::END.len());
            self.tail.extend_from_slice(text.get(last..).unwrap_or_default());
            self.tail.drain(..self.tail.len().saturating_sub(Self::END.len()));
            self.is_spaced = false;
        }
        self.is_spaced |= text.len() < chunk.len();
        Ok(())
    }

    fn end(&self) -> Result<(), TransportError> {
        if self.tail.is_empty() {
            return Err(TransportError::maybe_sent("the answer is empty"));
        }
        if !names_answer(&self.head) {
            return Err(not_opennebula(200, &self.head));
        }
        // Without a length, a connection that breaks looks like the end of the answer.
        if self.tail != Self::END {
            return Err(TransportError::maybe_sent("the answer ends in its middle"));
        }
        Ok(())
    }
}

/// The part of an answer in which its root element has to begin.
const HEAD: usize = 1024;

/// Whether an answer can still become a `methodResponse`: looks at its beginning only, so that an
/// endless page of something else is not read to the limit.
fn may_become_answer(body: &[u8]) -> bool {
    let text = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii_start();
    let begins = |what: &[u8]| text.iter().zip(what).all(|(a, b)| a == b);
    (begins(b"<?xml") || begins(b"<methodResponse") || begins(b"<!--"))
        && (body.len() < HEAD || names_answer(body))
}

fn names_answer(body: &[u8]) -> bool {
    const ROOT: &[u8] = b"<methodResponse";
    body.get(..HEAD).unwrap_or(body).windows(ROOT.len()).any(|part| part == ROOT)
}

fn maybe_sent(error: impl Into<Cause>) -> TransportError {
    TransportError::maybe_sent(Brief(error.into()))
}

fn not_connected(error: Cause) -> TransportError {
    match tls::cause(&*error) {
        Some(hint) => TransportError::Tls { hint, source: Box::new(Brief(error)) },
        None => TransportError::not_sent(Brief(error)),
    }
}

/// An error of the HTTP client in the words of its deepest cause, such as "Connection refused (os
/// error 111)": the layers above it say nothing that [`TransportError`] does not.
#[derive(Debug)]
struct Brief(Cause);

impl std::fmt::Display for Brief {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut deepest: &dyn StdError = &*self.0;
        while let Some(cause) = deepest.source() {
            deepest = cause;
        }
        std::fmt::Display::fmt(deepest, f)
    }
}

impl StdError for Brief {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_answer_is_known_in_whatever_pieces_it_comes() {
        let sees = |answer: &str, size: usize| {
            let mut seen = Seen::default();
            let passed = answer.as_bytes().chunks(size).try_for_each(|c| seen.pass(c, 1000));
            passed.and_then(|()| seen.end()).map_err(|error| match error {
                TransportError::MaybeSent(cause) => cause.to_string(),
                other => other.to_string(),
            })
        };
        for size in 1..40 {
            for whole in
                ["<methodResponse>a</methodResponse>", "<methodResponse/></methodResponse>\r\n \n"]
            {
                assert_eq!(sees(whole, size), Ok(()), "{whole:?} by {size}");
            }
            for cut in [
                "<methodResponse>a</methodResponse",
                "<methodResponse>a</method Response>",
                "<methodResponse>a</methodResponse>b",
                "<methodResponse>a</methodResponse> \n>",
                "<methodResponse>",
            ] {
                assert_eq!(
                    sees(cut, size),
                    Err("the answer ends in its middle".to_owned()),
                    "{cut:?}"
                );
            }
            for empty in ["", " ", "\r\n \r\n"] {
                assert!(sees(empty, size).is_err(), "{empty:?}");
            }
            assert!(sees(&format!("<methodResponse>{}", " ".repeat(1000)), size).is_err());
        }
    }
}
