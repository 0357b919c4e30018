//! Engines that break one rule each, to prove that the checks can fail.
//!
//! Each is the real engine with one neighbour that lies in the way in which an engine without the
//! rule would behave.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use driver::api::{
    Call, Description, Driver, DriverError, FailureKind, ListedMachine, ProcessRecord, ShutdownKind,
};
use driver::poll::PollReport;
use journal::{Entry, Event, Fact, Journal, JournalError, Outcome, ProvisionRecord, Step};
use model::{DeployId, ProvisionId};
use opennebula::xmlrpc::{MethodResponse, Param, parse_call, write_response};
use opennebula::{Transport, TransportError};

use crate::lock;

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident = $words:literal,)*) => {
        /// A rule that is broken.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mutation {
            $($(#[$doc])* $name,)*
        }

        impl Mutation {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What the table calls it.
            pub fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                }
            }
        }
    };
}

mutations! {
    /// Machines are asked for without an intent.
    NoDeployIntent = "deploy without an intent",
    /// Machines are destroyed without an intent.
    NoCancelIntent = "cancel without an intent",
    /// Objects are made without an intent.
    NoCreateIntent = "object made without an intent",
    /// Outcomes of deploys are not written down.
    NoDeployOutcome = "outcome of a deploy not written down",
    /// What was written last is lost when the power is cut.
    NoSync = "journal without fsync",
    /// What a lost deploy made is not looked for.
    NoLook = "retry without looking",
    /// A machine that is not in the list yet is taken for one that does not exist.
    NoSettle = "a list that lags is believed",
    /// A deploy without an answer is taken for one that failed.
    UnknownIsFailure = "no answer taken for a failure",
    /// An id that a driver names before it fails is not written down.
    IdOfFailureLost = "id lost when the driver fails",
    /// A cancel is believed, whatever came of it.
    CancelAssumed = "cancel assumed to succeed",
    /// A cancel that is answered with success is believed without a look.
    CancelBelieved = "gone taken from the cancel alone",
    /// The first error of a cancel is taken for "it is gone".
    GoneOnError = "gone assumed at the first error",
    /// The deploy id is not written into OpenNebula.
    NotAnnounced = "deploy id not written into OpenNebula",
    /// Deletions in OpenNebula are assumed.
    RemoveAssumed = "deletion in OpenNebula assumed",
    /// Two processes work on a provision at once.
    NoLease = "lease ignored",
    /// A driver's message takes a secret into the journal.
    SecretTold = "secret in a message",
}

impl Mutation {
    /// The journal of an engine with this mutation.
    pub fn journal(mutation: Option<Self>, inner: Arc<dyn Journal>) -> Arc<dyn Journal> {
        match mutation {
            Some(
                Self::NoDeployIntent
                | Self::NoCancelIntent
                | Self::NoCreateIntent
                | Self::NoDeployOutcome,
            ) => Arc::new(Forgetful { inner, mutation }),
            _ => inner,
        }
    }

    /// The driver as an engine with this mutation understands it.
    pub fn driver(
        mutation: Option<Self>,
        inner: Arc<dyn Driver>,
        secrets: &[String],
    ) -> Arc<dyn Driver> {
        match mutation {
            Some(
                mutation @ (Self::NoLook
                | Self::NoSettle
                | Self::UnknownIsFailure
                | Self::IdOfFailureLost
                | Self::CancelAssumed
                | Self::CancelBelieved
                | Self::GoneOnError
                | Self::SecretTold),
            ) => Arc::new(Misunderstood {
                inner,
                mutation,
                secrets: secrets.to_vec(),
                taken: Mutex::default(),
            }),
            _ => inner,
        }
    }

    /// The front-end as an engine with this mutation uses it.
    pub fn transport(mutation: Option<Self>, inner: Arc<dyn Transport>) -> Arc<dyn Transport> {
        match mutation {
            Some(mutation @ (Self::NotAnnounced | Self::RemoveAssumed)) => {
                Arc::new(Assumed { inner, mutation })
            }
            _ => inner,
        }
    }
}

/// A journal that keeps back what is to be written.
struct Forgetful {
    inner: Arc<dyn Journal>,
    mutation: Option<Mutation>,
}

impl Forgetful {
    fn forgets(&self, event: &Event) -> bool {
        let intent =
            |event: &Event, wanted| matches!(event, Event::Intent { step, .. } if *step == wanted);
        match self.mutation {
            Some(Mutation::NoDeployIntent) => intent(event, Step::Deploy),
            Some(Mutation::NoCancelIntent) => intent(event, Step::Cancel),
            Some(Mutation::NoCreateIntent) => intent(event, Step::Create),
            Some(Mutation::NoDeployOutcome) => {
                matches!(event, Event::Outcome { outcome: Outcome::Done(Fact::Machine(_)), .. })
            }
            _ => false,
        }
    }
}

#[async_trait]
impl Journal for Forgetful {
    async fn append(
        &self,
        provision: ProvisionId,
        at: i64,
        mut events: Vec<Event>,
    ) -> Result<(), JournalError> {
        events.retain(|event| !self.forgets(event));
        if events.is_empty() {
            return Ok(());
        }
        self.inner.append(provision, at, events).await
    }

    async fn entries(&self, provision: ProvisionId) -> Result<Vec<Entry>, JournalError> {
        self.inner.entries(provision).await
    }

    async fn provisions(&self) -> Result<Vec<ProvisionId>, JournalError> {
        self.inner.provisions().await
    }

    async fn record(&self, id: ProvisionId) -> Result<Option<ProvisionRecord>, JournalError> {
        self.inner.record(id).await
    }
}

/// A driver whose answers are understood wrongly.
struct Misunderstood {
    inner: Arc<dyn Driver>,
    mutation: Mutation,
    secrets: Vec<String>,
    /// Machines that were taken for gone: nobody looks at them again.
    taken: Mutex<BTreeSet<DeployId>>,
}

impl Misunderstood {
    fn gone(&self, id: &DeployId) -> DriverError {
        lock(&self.taken).insert(id.clone());
        DriverError::new(FailureKind::NotFound, "taken for gone")
    }
}

#[async_trait]
impl Driver for Misunderstood {
    fn describe(&self) -> Description {
        self.inner.describe()
    }

    fn polls_together(&self, call: &Call) -> bool {
        self.inner.polls_together(call)
    }

    fn settle(&self) -> Duration {
        match self.mutation {
            Mutation::NoSettle | Mutation::NoLook => Duration::ZERO,
            _ => self.inner.settle(),
        }
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        let mut error = match self.inner.deploy(call).await {
            Ok(id) => return Ok(id),
            Err(error) => error,
        };
        match self.mutation {
            Mutation::UnknownIsFailure => error.kind = FailureKind::Definite,
            Mutation::IdOfFailureLost if error.deploy_id.is_some() => {
                error.deploy_id = None;
                error.kind = FailureKind::Definite;
            }
            Mutation::SecretTold => error.message += &self.secrets.concat(),
            _ => {}
        }
        Err(error)
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let answer = self.inner.cancel(call, id).await;
        match (self.mutation, answer) {
            (Mutation::CancelAssumed, _) => Err(self.gone(id)),
            (Mutation::CancelBelieved, Ok(())) => Err(self.gone(id)),
            (Mutation::GoneOnError, Err(_)) => Err(self.gone(id)),
            (_, answer) => answer,
        }
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        let taken = lock(&self.taken).contains(id);
        match taken {
            true => Err(self.gone(id)),
            false => self.inner.poll(call, id).await,
        }
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.inner.reboot(call, id).await
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.inner.reset(call, id).await
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        self.inner.shutdown(call, id, kind).await
    }

    async fn recover(
        &self,
        call: &Call,
        process: Option<&ProcessRecord>,
    ) -> Result<Option<DeployId>, DriverError> {
        match self.mutation {
            Mutation::NoLook => Ok(None),
            _ => self.inner.recover(call, process).await,
        }
    }

    async fn finish(
        &self,
        call: &Call,
        process: Option<&ProcessRecord>,
    ) -> Result<(), DriverError> {
        self.inner.finish(call, process).await
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        match self.mutation {
            Mutation::NoLook => Ok(Vec::new()),
            _ => self.inner.list(call).await,
        }
    }
}

/// A front-end whose calls are taken for done without being made.
struct Assumed {
    inner: Arc<dyn Transport>,
    mutation: Mutation,
}

#[async_trait]
impl Transport for Assumed {
    fn endpoint(&self) -> &str {
        self.inner.endpoint()
    }

    async fn exchange(
        &self,
        request: &[u8],
        deadline: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let call = parse_call(request).expect("the client writes calls");
        let says = |part: &str| {
            call.params.iter().any(|param| param.as_str().is_some_and(|text| text.contains(part)))
        };
        let assumed = match self.mutation {
            Mutation::NotAnnounced => call.method == "one.host.update" && says("DEPLOY_ID"),
            Mutation::RemoveAssumed => call.method == "one.host.delete",
            _ => false,
        };
        if !assumed {
            return self.inner.exchange(request, deadline).await;
        }
        let fields = vec![true.into(), Param::Int(0), Param::Int(0)];
        Ok(write_response(&MethodResponse::Success(Param::Array(fields))))
    }
}
