//! HTTP to a provider's API, with what an answer, or its absence, says about the effect.
//!
//! A driver may fail in many ways and has to say one thing exactly: whether something was done. So a
//! request is sent through [`Http::exchange`], which knows whether it may be repeated ([`Effect`]) and
//! says in its [`Failure`] whether it may have arrived.
//!
//! | module | what it holds |
//! | --- | --- |
//! | this one | the client: one request, one bounded answer |
//! | `exchange` | repeating what may be repeated: back-off, `Retry-After`, until when |
//! | `words` | the provider's own words in an answer, short and printable |
//!
//! Waiting is tokio's: tests let it fly.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Method, Url, redirect, retry};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

mod exchange;
mod words;

pub use exchange::{Effect, Failure, Judgement, judge_by_status, judge_json};
pub use words::{excerpt, words};

/// Settings of an [`Http`].
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Longest time for a connection to stand, name resolution and TLS included.
    pub connect: Duration,
    /// Longest time for one request and its whole answer.
    pub attempt: Duration,
    /// How long a request is repeated while the provider is in trouble. While it asks to wait, it is
    /// repeated up to the end of the call.
    pub patience: Duration,
    /// Most bytes of an answer.
    pub answer_limit: usize,
    /// TLS of a driver's own (a pinned certificate, a CA of the site). `None`: the certificates of the
    /// operating system.
    pub tls: Option<rustls::ClientConfig>,
}

impl Default for HttpSettings {
    /// 10 s to connect, 60 s for an answer of at most 16 MiB, two minutes of patience, the system's
    /// certificates.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            attempt: Duration::from_secs(60),
            patience: Duration::from_secs(120),
            answer_limit: 16 << 20,
            tls: None,
        }
    }
}

/// The client could not be set up; nothing was sent.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the HTTP client could not be set up: {0}")]
pub struct SetupError(String);

/// A request. Made anew for every attempt, as some carry the time in their signature.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The whole address.
    pub url: Url,
    /// The headers, credentials among them: marked as sensitive by whoever puts them there.
    pub headers: HeaderMap,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

/// An answer, of any status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// `Retry-After` in seconds (RFC 9110, 10.2.3); the form with a date is not used by APIs and counts
    /// as absent. At most an hour.
    pub fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(RETRY_AFTER)?.to_str().ok()?;
        let seconds: u64 = text.trim().parse().ok()?;
        Some(Duration::from_secs(seconds.min(3600)))
    }

    /// What the provider says in it, short and printable, with the status.
    pub fn words(&self) -> String {
        let mut said = words(&self.body);
        if said.is_empty()
            && let Some(target) = self.headers.get(LOCATION)
        {
            said = format!("it redirects to {}", excerpt(target.as_bytes()));
        }
        match said.as_str() {
            "" => format!("HTTP {} without a word", self.status),
            said => format!("{said} (HTTP {})", self.status),
        }
    }
}

/// A request without an answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NoAnswer {
    /// It did not leave: no name, no route, nobody listens, no TLS.
    #[error("{0}")]
    NotSent(String),
    /// It may have arrived.
    #[error("{0}")]
    Lost(String),
}

/// A client for one provider; its connections are kept and shared by all calls.
#[derive(Clone, Debug)]
pub struct Http {
    pooled: reqwest::Client,
    /// Every request on a connection of its own: one that the provider has just closed would make it
    /// unknown whether the request arrived.
    fresh: reqwest::Client,
    attempt: Duration,
    patience: Duration,
    answer_limit: usize,
}

impl Http {
    /// A client. Nothing is sent yet.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(settings: HttpSettings) -> Result<Self, SetupError> {
        let config = match settings.tls {
            Some(config) => config,
            None => tls(None)?,
        };
        let client = |idle| {
            reqwest::Client::builder()
                .user_agent(concat!("oneprovision/", env!("CARGO_PKG_VERSION")))
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .referer(false)
                .connect_timeout(settings.connect)
                .pool_max_idle_per_host(idle)
                .http1_only()
                .no_proxy()
                .tls_backend_preconfigured(config.clone())
                .build()
                .map_err(|error| SetupError(deepest(&error)))
        };
        let (pooled, fresh) = (client(8)?, client(0)?);
        let HttpSettings { attempt, patience, answer_limit, .. } = settings;
        Ok(Self { pooled, fresh, attempt, patience, answer_limit })
    }

    /// Sends a request once; the answer may have any status.
    ///
    /// # Errors
    /// There is no whole answer by `until`, or within the time of one attempt.
    pub async fn send(
        &self,
        effect: Effect,
        request: Request,
        until: Instant,
    ) -> Result<Answer, NoAnswer> {
        let until = until.min(Instant::now() + self.attempt);
        let client = match effect {
            Effect::Repeatable => &self.pooled,
            Effect::Creates => &self.fresh,
        };
        // Neither query nor body: they may hold what is not to be shown.
        let (method, host) = (request.method.clone(), request.url.host_str().unwrap_or_default());
        let asked = format!("{method} {host}{}", request.url.path());
        let answer = match timeout_at(until, self.receive(client, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::Lost("no answer came in time".to_owned())),
        };
        match &answer {
            Ok(answer) => tracing::debug!("{asked}: HTTP {}", answer.status),
            Err(NoAnswer::NotSent(_)) => tracing::debug!("{asked}: not sent"),
            Err(NoAnswer::Lost(_)) => tracing::debug!("{asked}: no answer"),
        }
        answer
    }

    async fn receive(
        &self,
        client: &reqwest::Client,
        request: Request,
    ) -> Result<Answer, NoAnswer> {
        let Request { method, url, headers, body } = request;
        let host = url.host_str().unwrap_or_default().to_owned();
        let sent = client.request(method, url).headers(headers).body(body).send().await;
        let mut response = sent.map_err(|error| failed(&host, &error))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) > self.answer_limit => {
                    let limit = self.answer_limit;
                    return Err(NoAnswer::Lost(format!("the answer has more than {limit} bytes")));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(Answer { status, headers, body }),
                Err(error) => {
                    let why = deepest(&error);
                    return Err(NoAnswer::Lost(format!("the answer broke off: {why}")));
                }
            }
        }
    }
}

fn failed(host: &str, error: &reqwest::Error) -> NoAnswer {
    let why = deepest(error);
    if error.is_builder() {
        return NoAnswer::NotSent(format!("the request cannot be made: {why}"));
    }
    if !error.is_connect() {
        return NoAnswer::Lost(format!("the connection to {host} was lost: {why}"));
    }
    NoAnswer::NotSent(match tls_cause(error) {
        Some(hint) => format!("no TLS connection to {host}: {hint}"),
        None => format!("cannot connect to {host}: {why}"),
    })
}

/// The words of the deepest cause, such as "Connection refused (os error 111)": the layers above it
/// repeat the address, which may hold more than is to be shown.
fn deepest(error: &(dyn StdError + 'static)) -> String {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

/// What an operator can do about a TLS error, if the error is one.
fn tls_cause(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return Some(match tls {
                rustls::Error::InvalidCertificate(reason) => {
                    format!("the server's certificate is not accepted ({reason})")
                }
                rustls::Error::InvalidMessage(_) => {
                    "the server does not speak TLS on this port; is it http:// instead?".to_owned()
                }
                other => other.to_string(),
            });
        }
        // `source` of an I/O error passes over the error that it wraps.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => cause.source(),
        };
    }
    None
}

/// TLS with ring and the system's certificates, and those of `extra`, in PEM.
///
/// # Errors
/// `extra` holds no certificate.
pub fn tls(extra: Option<&[u8]>) -> Result<rustls::ClientConfig, SetupError> {
    let mut roots = rustls::RootCertStore::empty();
    // One bad certificate of the system is no reason to refuse the others.
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "system certificates could not all be read");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(pem) = extra {
        let certificates: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| SetupError(format!("the CA file is no PEM: {error}")))?;
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(SetupError("the CA file holds no certificate".to_owned()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError(deepest(&error)))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
