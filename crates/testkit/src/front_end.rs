//! A front-end that is away, busy, slow, or loses its answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use opennebula::xmlrpc::{MethodCall, MethodResponse, Param, parse_call, write_response};
use opennebula::{Transport, TransportError};
use sandbox::Sandbox;
use tokio::time::{Instant, sleep};

use crate::disk::Disk;
use crate::faults::{Fault, Faults};
use crate::lock;
use crate::trace::Trace;

/// The way to a [`Sandbox`] on the caller's own thread.
///
/// `sandbox::SandboxTransport` answers on a thread of its own, which a run that must be the same
/// each time cannot have.
pub struct InlineTransport(pub Sandbox);

#[async_trait]
impl Transport for InlineTransport {
    fn endpoint(&self) -> &str {
        self.0.name()
    }

    async fn exchange(&self, request: &[u8], _: Duration) -> Result<Vec<u8>, TransportError> {
        Ok(self.0.handle(request))
    }
}

/// A front-end that says no, or nothing, when it was told to, and executes nothing then.
pub struct RefusingTransport {
    inner: Arc<dyn Transport>,
    refusals: Mutex<Vec<Refusal>>,
}

/// The method, and what it is answered, if it is.
type Refusal = (&'static str, Option<Vec<u8>>);

impl RefusingTransport {
    /// A front-end that refuses nothing yet.
    pub fn new(inner: Arc<dyn Transport>) -> Self {
        Self { inner, refusals: Mutex::default() }
    }

    /// The next call of a method is refused with this code and this text; so is one more each time.
    pub fn refuse(&self, method: &'static str, code: i32, text: &str) {
        lock(&self.refusals).push((method, Some(refusal(code, text))));
    }

    /// The next call of a method is answered with this, whatever there is; so is one more each time.
    pub fn answer(&self, method: &'static str, value: impl Into<Param>) {
        let fields = vec![true.into(), value.into(), Param::Int(0)];
        let answer = write_response(&MethodResponse::Success(Param::Array(fields)));
        lock(&self.refusals).push((method, Some(answer)));
    }

    /// The next call of a method is not answered; so is one more each time.
    pub fn lose(&self, method: &'static str) {
        lock(&self.refusals).push((method, None));
    }
}

#[async_trait]
impl Transport for RefusingTransport {
    fn endpoint(&self) -> &str {
        self.inner.endpoint()
    }

    async fn exchange(
        &self,
        request: &[u8],
        deadline: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let call = parse_call(request).expect("the client writes calls");
        let refused = {
            let mut refusals = lock(&self.refusals);
            let first = refusals.iter().position(|(method, _)| *method == call.method);
            first.map(|n| refusals.remove(n).1)
        };
        match refused {
            Some(Some(answer)) => Ok(answer),
            Some(None) => Err(TransportError::maybe_sent("reset by peer")),
            None => self.inner.exchange(request, deadline).await,
        }
    }
}

/// A front-end with faults.
pub struct FaultyFrontEnd {
    inner: Arc<dyn Transport>,
    faults: Arc<Faults>,
    trace: Arc<Trace>,
    /// The journal, which must have an intent for what is done here.
    disk: Arc<Disk>,
    down_until: Mutex<Option<Instant>>,
}

impl FaultyFrontEnd {
    /// Puts faults in front of a front-end.
    pub fn new(
        inner: Arc<dyn Transport>,
        faults: Arc<Faults>,
        trace: Arc<Trace>,
        disk: Arc<Disk>,
    ) -> Self {
        Self { inner, faults, trace, disk, down_until: Mutex::new(None) }
    }

    /// Back in service, if it was away.
    pub fn mend(&self) {
        *lock(&self.down_until) = None;
    }

    fn is_down(&self) -> bool {
        let mut down = lock(&self.down_until);
        if down.is_none() && self.faults.strike(Fault::FrontEndDown) {
            let time = self.faults.time(Duration::from_secs(2), Duration::from_secs(30 * 60));
            *down = Some(Instant::now() + time);
        }
        if down.is_some_and(|until| Instant::now() >= until) {
            *down = None;
        }
        down.is_some()
    }

    /// Nothing is made or destroyed without an intent that is written down.
    fn check_intent(&self, call: &MethodCall) {
        let makes = call.method.ends_with(".allocate") || call.method.ends_with(".delete");
        if makes && !self.disk.has_open_intent() {
            self.trace.violation(format_args!("{} without an open intent", call.method));
        }
    }
}

/// The answer of `oned` that says no.
fn refusal(code: i32, text: &str) -> Vec<u8> {
    let fields = vec![false.into(), text.into(), code.into(), Param::Int(-1), Param::Long(-1)];
    write_response(&MethodResponse::Success(Param::Array(fields)))
}

const FAULTS: [Fault; 9] = [
    Fault::FrontEndUnreachable,
    Fault::FrontEndRequestLost,
    Fault::FrontEndAnswerLost,
    Fault::FrontEndAnswerLate,
    Fault::FrontEndSlow,
    Fault::FrontEndBusy,
    Fault::FrontEndStranger,
    Fault::FrontEndProxy,
    Fault::FrontEndGarbled,
];

#[async_trait]
impl Transport for FaultyFrontEnd {
    fn endpoint(&self) -> &str {
        self.inner.endpoint()
    }

    async fn exchange(
        &self,
        request: &[u8],
        deadline: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        if self.is_down() {
            return Err(TransportError::not_sent("connection refused"));
        }
        let call = parse_call(request).expect("the client writes calls");
        let fault = self.faults.first(&FAULTS);
        let words = fault.map_or("", Fault::words);
        // Not the parameters: the first one is the session.
        self.trace.line(format_args!("call {} {words}", call.method));
        let execute = async {
            self.check_intent(&call);
            self.inner.exchange(request, deadline).await
        };
        match fault {
            None => execute.await,
            Some(Fault::FrontEndUnreachable) => Err(TransportError::not_sent("no route to host")),
            Some(Fault::FrontEndRequestLost) => Err(TransportError::maybe_sent("reset by peer")),
            Some(Fault::FrontEndAnswerLost) => {
                execute.await?;
                Err(TransportError::maybe_sent("reset by peer"))
            }
            Some(Fault::FrontEndAnswerLate) => {
                execute.await?;
                sleep(deadline).await;
                Err(TransportError::Deadline { after: deadline })
            }
            Some(Fault::FrontEndSlow) => {
                let answer = execute.await;
                sleep(self.faults.time(Duration::from_millis(50), deadline)).await;
                answer
            }
            Some(Fault::FrontEndBusy) => Ok(refusal(8192, "database is locked")),
            Some(Fault::FrontEndStranger) => {
                Ok(refusal(256, "User couldn't be authenticated, aborting call."))
            }
            Some(Fault::FrontEndProxy) => {
                Err(TransportError::NotOpenNebula { status: 503, excerpt: "try later".into() })
            }
            Some(_) => {
                let mut answer = execute.await?;
                answer.truncate(answer.len() / 2);
                Ok(answer)
            }
        }
    }
}
