//! The client: calls, limits, retries, and what is known when a call fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Semaphore};
use tokio::time::Instant;

use crate::discover::Credentials;
use crate::error::{Error, ErrorKind, Passing, code, passing, refusal};
use crate::observe::{CallObserver, CallRecord, Waiting};
use crate::transport::{Transport, TransportError};
use crate::xmlrpc::{self, Lift, MethodCall, MethodResponse, Param, TextSink};

/// Longest time that an answer which looks like a mistake of the caller ("couldn't be
/// authenticated") is taken for a busy database.
const BUSY_PATIENCE: Duration = Duration::from_secs(60);

/// Answers longer than this are decoded on a thread of their own, so that timers of others run on.
const HEAVY: usize = 1 << 20;

/// Whether a call changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It may be repeated at will.
    Read,
    /// It may be repeated only if it was certainly not executed.
    Write,
}

/// Limits of a [`Client`].
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Most calls at a time. `oned` serves 15 connections and stalls beyond (`MAX_CONN`); its writes do
    /// not get faster with more than one.
    pub max_in_flight: usize,
    /// Longest time for one attempt of a call.
    pub call_deadline: Duration,
    /// How long a call is repeated while the front-end is in passing trouble, in all. Zero: never
    /// repeated.
    pub patience: Duration,
    /// The same as long as this client had no answer at all: then it is likelier that the endpoint is wrong.
    pub first_contact: Duration,
    /// Pause before the second attempt; doubled for each further one.
    pub backoff_base: Duration,
    /// Longest pause between two attempts.
    pub backoff_cap: Duration,
}

impl Default for ClientSettings {
    /// 8 calls at a time, 60 s each, patience of 600 s (10 s before the first answer), pauses from
    /// 0.2 s to 10 s.
    fn default() -> Self {
        Self {
            max_in_flight: 8,
            call_deadline: Duration::from_secs(60),
            patience: Duration::from_secs(600),
            first_contact: Duration::from_secs(10),
            backoff_base: Duration::from_millis(200),
            backoff_cap: Duration::from_secs(10),
        }
    }
}

/// Speaks to one front-end as one user. Cheap to clone; clones share limits and state.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Arc<dyn Transport>,
    endpoint: Arc<str>,
    credentials: Credentials,
    settings: ClientSettings,
    observer: Option<Arc<dyn CallObserver>>,
    in_flight: Semaphore,
    host_allocate: Mutex<()>,
    /// The server has answered something that is not "who are you?".
    accepted: AtomicBool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({} as {})", self.inner.endpoint, self.inner.credentials.user())
    }
}

impl Client {
    /// A client without an observer. Nothing is sent yet.
    pub fn new(
        transport: Arc<dyn Transport>,
        credentials: Credentials,
        settings: ClientSettings,
    ) -> Self {
        Self::build(transport, credentials, settings, None)
    }

    /// A client that reports each call to `observer`.
    pub fn observed(
        transport: Arc<dyn Transport>,
        credentials: Credentials,
        settings: ClientSettings,
        observer: Arc<dyn CallObserver>,
    ) -> Self {
        Self::build(transport, credentials, settings, Some(observer))
    }

    fn build(
        transport: Arc<dyn Transport>,
        credentials: Credentials,
        settings: ClientSettings,
        observer: Option<Arc<dyn CallObserver>>,
    ) -> Self {
        let permits = settings.max_in_flight.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            inner: Arc::new(Inner {
                endpoint: transport.endpoint().into(),
                transport,
                credentials,
                settings,
                observer,
                in_flight: Semaphore::new(permits),
                host_allocate: Mutex::new(()),
                accepted: AtomicBool::new(false),
            }),
        }
    }

    /// The front-end's address.
    pub fn endpoint(&self) -> &str {
        &self.inner.endpoint
    }

    /// The user that the calls are made as.
    pub fn user(&self) -> &str {
        self.inner.credentials.user()
    }

    /// Makes a call; the session string is put before `params`. Repeats it while that is of use and
    /// safe: a read in any passing trouble, a write only if it was certainly not executed.
    ///
    /// # Errors
    /// [`Error`]; [`Error::is_unknown`] if a write may have been executed.
    pub async fn call(
        &self,
        effect: Effect,
        method: &str,
        params: Vec<Param>,
    ) -> Result<Param, Error> {
        self.call_with(effect, method, params, None).await
    }

    /// A read whose value may be a long string: `sink` gets its text, and the value has it no more. Only
    /// after `Ok` did it get all of it.
    pub(crate) async fn read_into(
        &self,
        method: &str,
        params: Vec<Param>,
        sink: &mut dyn TextSink,
    ) -> Result<Param, Error> {
        self.call_with(Effect::Read, method, params, Some(sink)).await
    }

    async fn call_with(
        &self,
        effect: Effect,
        method: &str,
        params: Vec<Param>,
        sink: Option<&mut dyn TextSink>,
    ) -> Result<Param, Error> {
        let begun = Instant::now();
        let mut attempts = 0;
        let outcome = self.attempts(effect, method, params, sink, begun, &mut attempts).await;
        let duration = begun.elapsed();
        tracing::debug!(
            method,
            ?effect,
            attempts,
            ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            ok = outcome.is_ok(),
            "call"
        );
        if let Some(observer) = &self.inner.observer {
            let outcome = outcome.as_ref().map(|_| ());
            observer.finished(&CallRecord { method, effect, duration, attempts, outcome });
        }
        outcome
    }

    async fn attempts(
        &self,
        effect: Effect,
        method: &str,
        mut params: Vec<Param>,
        mut sink: Option<&mut dyn TextSink>,
        begun: Instant,
        attempts: &mut u32,
    ) -> Result<Param, Error> {
        let takes_no_object = method_takes_no_object(method, &params);
        params.insert(0, Param::Str(self.inner.credentials.session().expose().to_owned()));
        let request = xmlrpc::write_call(&MethodCall { method: method.to_owned(), params })
            .map_err(|cause| self.error(method, ErrorKind::Unsendable(cause), false))?;
        loop {
            *attempts += 1;
            let attempt = match &mut sink {
                None => self.attempt(effect, method, &request).await,
                Some(sink) => self.attempt_into(method, &request, &mut **sink).await,
            };
            let error = match attempt {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let patience = self.patience(effect, &error, takes_no_object);
            let left = patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(error);
            }
            let pause = self.pause(*attempts).min(left);
            tracing::warn!(method, attempt = *attempts, ?pause, error = %error.kind, "call is repeated");
            if let Some(observer) = &self.inner.observer {
                let waited = begun.elapsed();
                let attempt = *attempts;
                observer.waiting(&Waiting {
                    method,
                    effect,
                    attempt,
                    waited,
                    pause,
                    error: &error,
                });
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// How long the call may go on after such an error; zero if it may not be repeated at all.
    fn patience(&self, effect: Effect, error: &Error, takes_no_object: bool) -> Duration {
        let settings = &self.inner.settings;
        let accepted = self.inner.accepted.load(Ordering::Relaxed);
        if effect == Effect::Write && error.is_unknown() {
            return Duration::ZERO;
        }
        match &error.kind {
            ErrorKind::Authentication { .. } if accepted => settings.patience.min(BUSY_PATIENCE),
            ErrorKind::Refused { code, text } if passing(*code, text) == Some(Passing::Busy) => {
                // A negative id in the call gets the same answer, for ever.
                let valid = *code != code::NO_EXISTS || takes_no_object;
                if valid { settings.patience.min(BUSY_PATIENCE) } else { Duration::ZERO }
            }
            // Where a front-end answered before, a page for people is one of those who maintain it.
            ErrorKind::NotOpenNebula(_) | ErrorKind::NotXmlRpc(_) if accepted => settings.patience,
            _ if !error.is_transient() => Duration::ZERO,
            _ if accepted => settings.patience,
            _ => settings.patience.min(settings.first_contact),
        }
    }

    /// Pause after the given attempt: exponential, and a random half of it, so that many waiting calls
    /// do not come back at the same time.
    fn pause(&self, attempt: u32) -> Duration {
        let settings = &self.inner.settings;
        let factor = 2_u32.saturating_pow(attempt.saturating_sub(1).min(30));
        let full = settings.backoff_base.saturating_mul(factor).min(settings.backoff_cap);
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    async fn attempt(&self, effect: Effect, method: &str, request: &[u8]) -> Result<Param, Error> {
        let inner = &self.inner;
        let answer = {
            // The semaphore is never closed.
            let _permit = inner.in_flight.acquire().await;
            inner.transport.exchange(request, inner.settings.call_deadline).await
        };
        let write = effect == Effect::Write;
        let body = answer.map_err(|cause| self.unanswered(write, method, cause))?;
        let heavy = body.len();
        let response = run(heavy, move || xmlrpc::parse_response(&body))
            .await
            .map_err(|what| self.error(method, ErrorKind::BadAnswer { what }, write))?
            .map_err(|cause| self.error(method, ErrorKind::NotXmlRpc(cause), write))?;
        self.outcome(write, method, response)
    }

    async fn attempt_into(
        &self,
        method: &str,
        request: &[u8],
        sink: &mut dyn TextSink,
    ) -> Result<Param, Error> {
        let inner = &self.inner;
        let mut lift = Lift::new(&mut *sink);
        let ended = {
            let _permit = inner.in_flight.acquire().await;
            let take = &mut |bytes: &[u8]| lift.feed(bytes);
            inner.transport.exchange_into(request, inner.settings.call_deadline, take).await
        };
        ended.map_err(|cause| self.unanswered(false, method, cause))?;
        let lifted = lift.finish();
        let not_xml_rpc = |cause| self.error(method, ErrorKind::NotXmlRpc(cause), false);
        let lifted = lifted.map_err(not_xml_rpc)?;
        let is_lifted = lifted.is_lifted();
        let response = run(lifted.len(), move || lifted.parse())
            .await
            .map_err(|what| self.error(method, ErrorKind::BadAnswer { what }, false))?
            .map_err(not_xml_rpc)?;
        match self.outcome(false, method, response)? {
            Param::Str(text) if !is_lifted => {
                sink.text(&text);
                Ok(Param::Str(String::new()))
            }
            value => Ok(value),
        }
    }

    fn unanswered(&self, write: bool, method: &str, cause: TransportError) -> Error {
        let unknown = write && cause.may_have_been_executed();
        self.error(method, transport_kind(self.scrubbed(cause)), unknown)
    }

    fn outcome(&self, write: bool, method: &str, response: MethodResponse) -> Result<Param, Error> {
        match response {
            MethodResponse::Fault { code, text } => {
                // -501 and below are xmlrpc-c's words for "did not begin", but for network (-504)
                // and time (-505).
                let unknown = write && !matches!(code, -509..=-506 | -503..=-501);
                let text = self.clean(method, &text);
                Err(self.error(method, ErrorKind::Fault { code, text }, unknown))
            }
            MethodResponse::Success(Param::Array(fields)) => self.value(write, method, fields),
            MethodResponse::Success(other) => {
                let what = format!("it is a {} and no array", other.type_name());
                Err(self.error(method, ErrorKind::BadAnswer { what }, write))
            }
        }
    }

    /// The value of `[true, value, …]`, or the error of `[false, text, code, id, …]`.
    fn value(&self, write: bool, method: &str, mut fields: Vec<Param>) -> Result<Param, Error> {
        match fields.first().and_then(Param::as_bool) {
            Some(true) if fields.len() >= 2 => {
                self.inner.accepted.store(true, Ordering::Relaxed);
                Ok(fields.swap_remove(1))
            }
            Some(false) => {
                let text = fields.get(1).and_then(Param::as_str).unwrap_or("no reason given");
                let code = fields.get(2).and_then(Param::as_i32).unwrap_or(0);
                let id = fields.get(3).and_then(Param::as_i32);
                let kind = refusal(self.clean(method, text), code, id);
                if !matches!(kind, ErrorKind::Authentication { .. }) {
                    self.inner.accepted.store(true, Ordering::Relaxed);
                }
                let handed_on = matches!(&kind, ErrorKind::Refused { code, text }
                    if passing(*code, text) == Some(Passing::HandedOn));
                Err(self.error(method, kind, write && handed_on))
            }
            _ => {
                let what = "it does not begin with true or false".to_owned();
                Err(self.error(method, ErrorKind::BadAnswer { what }, write))
            }
        }
    }

    pub(crate) fn error(&self, method: &str, kind: ErrorKind, unknown: bool) -> Error {
        let endpoint = Arc::clone(&self.inner.endpoint);
        Error { endpoint, method: method.to_owned(), kind, unknown }
    }

    /// Held while a host is made: release 7 now and then makes two of one name when two calls
    /// come at a time (OpenNebula/one#7527).
    pub(crate) async fn host_allocate_lock(&self) -> MutexGuard<'_, ()> {
        self.inner.host_allocate.lock().await
    }

    /// A server's text without its `[method] ` in front, without credentials, printable, not endless.
    fn clean(&self, method: &str, text: &str) -> String {
        const LONGEST: usize = 2000;
        let text = self.scrub(text);
        let own = text.strip_prefix('[').and_then(|rest| rest.strip_prefix(method));
        let text = own.and_then(|rest| rest.strip_prefix("] ")).unwrap_or(&text);
        let printable = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
        text.chars().take(LONGEST).map(printable).collect::<String>().trim().to_owned()
    }

    fn scrub(&self, text: &str) -> String {
        let credentials = &self.inner.credentials;
        let mut text = text.replace(credentials.session().expose(), model::secret::MASK);
        // A password of a few letters may be part of any word, and then hides nothing.
        if credentials.password().len() >= 4 {
            text = text.replace(credentials.password(), model::secret::MASK);
        }
        text
    }

    fn scrubbed(&self, error: TransportError) -> TransportError {
        match error {
            TransportError::NotOpenNebula { status, excerpt } => {
                TransportError::NotOpenNebula { status, excerpt: self.scrub(&excerpt) }
            }
            other => other,
        }
    }
}

/// Whether "Error getting … Pool" cannot come from an id in the call: a pool was asked for, or the
/// first parameter is no negative number.
fn method_takes_no_object(method: &str, params: &[Param]) -> bool {
    method.contains("pool.") || !matches!(params.first(), Some(Param::Int(id)) if *id < 0)
}

fn transport_kind(cause: TransportError) -> ErrorKind {
    match cause {
        TransportError::NotSent(_) | TransportError::Tls { .. } => ErrorKind::NotSent(cause),
        TransportError::MaybeSent(_) | TransportError::Deadline { .. } => {
            ErrorKind::Unanswered(cause)
        }
        TransportError::TooLarge { .. } => ErrorKind::TooLarge(cause),
        TransportError::NotOpenNebula { .. } => ErrorKind::NotOpenNebula(cause),
    }
}

/// Runs a computation over `size` bytes, a long one on a thread for such.
pub(crate) async fn run<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    if size <= HEAVY {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| "decoding it was broken off".to_owned())
}
