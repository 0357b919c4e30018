//! Virtual machines and bare metal of Amazon EC2, by its Query API.
//!
//! The parameters are those of OpenNebula 5.12, see `docs/drivers/ec2.md`. Each call has its own
//! credentials and region; what is asked of one account at nearly the same time is one request.
//!
//! An instance is marked by tags from birth, and ordered with a client token: EC2 answers the same order
//! with the same instance. Both are used: not everything that speaks this API honours the token.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use driver::{
    Call, Description, Driver, DriverError, FailureKind, ListedMachine, MachineState, PollReport,
    ShutdownKind,
};
use model::DeployId;
use tokio::time::Instant;

use crate::common::{Mark, definite, end_of, masked, unknown};
use crate::gather::Gather;
use crate::http::{Failure, Http, HttpSettings, SetupError};
use crate::pace::{Look, Lost, Pace, Seen};

mod api;
mod codes;
mod elastic;
mod instance;
mod parameters;
mod sign;

use api::{Api, ApiError};
use codes::advice;
use instance::{Instance, KEY};
use parameters::{Account, elastic, order};

/// How long an instance of ours may be unknown to the API after its order was answered: EC2 is eventually
/// consistent (Amazon EC2 API Reference, *Eventual consistency*).
const NEWBORN: Duration = Duration::from_secs(120);

/// One list for all who ask the same account by the same filter: endpoint, region, access key, secret,
/// filter.
type ListKey = (String, String, String, String, &'static str);
type Lists = Gather<ListKey, String, Result<Arc<Vec<Instance>>, ApiError>>;

/// The ec2 driver.
pub struct Ec2 {
    http: OnceLock<Result<Http, SetupError>>,
    lists: Lists,
    /// When the instances of this process were ordered.
    born: Mutex<HashMap<DeployId, Instant>>,
    pace: Pace,
}

impl Default for Ec2 {
    fn default() -> Self {
        Self::new(Pace::default())
    }
}

fn not_found(id: &DeployId) -> DriverError {
    DriverError::new(FailureKind::NotFound, format!("instance {id} not found"))
}

impl Ec2 {
    /// A driver of that pace. Nothing is opened yet.
    pub fn new(pace: Pace) -> Self {
        let lists = Gather::new(Duration::from_millis(100));
        Self { http: OnceLock::new(), lists, born: Mutex::default(), pace }
    }

    fn http(&self) -> Result<&Http, DriverError> {
        let patience = self.pace.patience;
        let settings = HttpSettings { patience, ..HttpSettings::default() };
        let made = self.http.get_or_init(|| Http::new(settings));
        made.as_ref().map_err(|error| DriverError::new(FailureKind::Setup, error.to_string()))
    }

    fn api<'a>(&'a self, account: &'a Account, until: Instant) -> Result<Api<'a>, DriverError> {
        Ok(Api { http: self.http()?, account, until })
    }

    /// The instances by a filter; with those that others ask for at the same time.
    async fn instances(
        &self,
        account: &Account,
        filter: &'static str,
        value: &str,
        until: Instant,
    ) -> Result<Arc<Vec<Instance>>, DriverError> {
        let http = self.http()?.clone();
        let owned = account.clone();
        let key = (
            account.endpoint.to_string(),
            account.region.clone(),
            account.access.clone(),
            account.secret.expose().to_owned(),
            filter,
        );
        let fetch = async move |mut values: Vec<String>| {
            values.sort();
            values.dedup();
            let api = Api { http: &http, account: &owned, until };
            api.instances(filter, &values).await.map(Arc::new)
        };
        match self.lists.ask(key, value.to_owned(), fetch).await {
            Some(answer) => answer.map_err(|error| error.of_look("the instances cannot be listed")),
            None => Err(unknown("the instances cannot be listed: the request was given up")),
        }
    }

    /// The instance that was made for this very call.
    async fn made_for(
        &self,
        account: &Account,
        mark: &Mark,
        until: Instant,
    ) -> Result<Option<DeployId>, DriverError> {
        let mut filters = vec![("tag:ONEPROVISION_KEY", mark.key.as_str())];
        if mark.is_on(None, Some(&mark.name)) {
            filters.push(("tag:ONEPROVISION_HOST", mark.name.as_str()));
        }
        for (filter, value) in filters {
            let all = self.instances(account, filter, value, until).await?;
            let ours = all.iter().filter(|one| one.is_for(mark) && !one.is_going());
            // The oldest, should there be two.
            if let Some(found) = ours.min_by_key(|one| one.launched()) {
                return Ok(Some(found.id.clone()));
            }
        }
        Ok(None)
    }

    /// The instance; `None` if it was ordered so lately that it may not be known everywhere yet.
    async fn instance(
        &self,
        account: &Account,
        id: &DeployId,
        until: Instant,
    ) -> Result<Option<Instance>, DriverError> {
        let all = self.instances(account, "instance-id", id.as_str(), until).await?;
        match all.iter().find(|instance| &instance.id == id) {
            Some(instance) if instance.state == "terminated" => {
                let gone = not_found(id);
                let reason = instance.reason.as_deref().unwrap_or("no reason is told");
                let message = format!("{}: it is terminated ({reason})", gone.message);
                Err(DriverError { message, ..gone })
            }
            Some(instance) => Ok(Some(instance.clone())),
            None if self.is_newborn(id) => Ok(None),
            None => Err(not_found(id)),
        }
    }

    fn is_newborn(&self, id: &DeployId) -> bool {
        let born = self.born.lock().unwrap_or_else(PoisonError::into_inner);
        born.get(id).is_some_and(|time| time.elapsed() < NEWBORN)
    }

    fn remember(&self, id: &DeployId) {
        let mut born = self.born.lock().unwrap_or_else(PoisonError::into_inner);
        born.retain(|_, time| time.elapsed() < NEWBORN);
        born.insert(id.clone(), Instant::now());
    }

    async fn order(&self, call: &Call) -> Result<DeployId, DriverError> {
        let until = end_of(call);
        let account = Account::of(&call.host)?;
        if let Some(id) = call.host.parameter("DEPLOY_ID") {
            let id = DeployId::new(id).ok_or_else(|| {
                definite("the DEPLOY_ID of the deployment file is no id of an instance")
            })?;
            self.start(&account, &id, until).await?;
            return Ok(id);
        }
        let (order, mark) = (order(call)?, Mark::of(call));
        let before = self.made_for(&account, &mark, until).await;
        let before = before
            .map_err(|error| definite(format!("no instance was ordered: {}", error.message)))?;
        if let Some(id) = before {
            return Ok(id);
        }
        let why = match self.api(&account, until)?.run(&order).await {
            Ok(id) => return Ok(id),
            Err(ApiError::Refused { code, words }) => {
                let advice = advice(&code, &words);
                return Err(definite(format!("the order was refused: {words}\n{advice}")));
            }
            // The same token was sent before, so there may be an instance of it.
            Err(ApiError::UsedToken(why) | ApiError::Failed(Failure::Unknown(why))) => why,
            Err(ApiError::NotFound(why)) => {
                return Err(definite(format!("the order was refused: {why}")));
            }
            Err(ApiError::Failed(why)) => {
                return Err(definite(format!("no instance was ordered: {why}")));
            }
        };
        let lost = Lost { why: &why, mark: &format!("the tag {KEY}={}", mark.key), until };
        let look = || Box::pin(self.made_for(&account, &mark, until)) as Look<'_, _>;
        self.pace.find_lost(&lost, look).await
    }

    async fn act(
        &self,
        account: &Account,
        action: &str,
        id: &DeployId,
        until: Instant,
    ) -> Result<(), DriverError> {
        let acted = self.api(account, until)?.act(action, id).await;
        acted.map_err(|error| match error.of_look(&format!("{action} of {id} failed")) {
            error if error.kind == FailureKind::NotFound && self.is_newborn(id) => {
                unknown(format!("{}\nIt was ordered just now; try again.", error.message))
            }
            error => error,
        })
    }

    /// Looks until the instance is in a state that is wanted.
    async fn wait(
        &self,
        account: &Account,
        id: &DeployId,
        until: Instant,
        wanted: impl Fn(&str) -> bool + Send + Sync,
    ) -> Result<Instance, DriverError> {
        let wanted = &wanted;
        let look = || {
            Box::pin(async move {
                Ok(match self.instance(account, id, until).await? {
                    Some(instance) if wanted(&instance.state) => Seen::Done(instance),
                    Some(instance) => Seen::NotYet(format!("it is {}", instance.state)),
                    None => Seen::NotYet("it is not known yet".to_owned()),
                })
            }) as Look<'_, _>
        };
        self.pace.wait(&format!("instance {id}"), until, look).await
    }

    async fn start(
        &self,
        account: &Account,
        id: &DeployId,
        until: Instant,
    ) -> Result<(), DriverError> {
        let instance = self.wait(account, id, until, |state| state != "stopping").await?;
        match instance.state.as_str() {
            "stopped" => self.act(account, "StartInstances", id, until).await,
            "shutting-down" => {
                Err(definite(format!("instance {id} cannot be started: it is shutting down")))
            }
            _ => Ok(()),
        }
    }

    async fn stop(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let (account, until) = (Account::of(&call.host)?, end_of(call));
        let now = self.wait(&account, id, until, |state| state != "pending").await?;
        if now.state != "stopped" {
            self.act(&account, "StopInstances", id, until).await?;
            self.wait(&account, id, until, |state| state == "stopped").await?;
        }
        Ok(())
    }

    async fn restart(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let (account, until) = (Account::of(&call.host)?, end_of(call));
        // EC2 takes the call for a stopped instance, too, and does nothing.
        match self.instance(&account, id, until).await? {
            Some(instance) if instance.state != "running" => {
                let state = &instance.state;
                Err(definite(format!("instance {id} cannot be rebooted: it is {state}")))
            }
            _ => self.act(&account, "RebootInstances", id, until).await,
        }
    }

    async fn destroy(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let (account, until) = (Account::of(&call.host)?, end_of(call));
        let terminated = match self.act(&account, "TerminateInstances", id, until).await {
            Ok(()) => match self.wait(&account, id, until, |_| false).await {
                Err(error) if error.kind == FailureKind::NotFound => Ok(()),
                Err(error) => Err(error),
                Ok(_) => Err(unknown(format!("instance {id} is still there"))),
            },
            Err(error) => Err(error),
        };
        let gone = match &terminated {
            Ok(()) => true,
            Err(error) => error.kind == FailureKind::NotFound,
        };
        if gone {
            // Also after an instance that was gone before: its address may have outlived it.
            self.release_addresses(&account, id, until).await?;
        }
        terminated
    }

    async fn look(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        let (account, until) = (Account::of(&call.host)?, end_of(call));
        let Some(mut instance) = self.instance(&account, id, until).await? else {
            return Ok(PollReport::new(MachineState::Paused, Vec::new()));
        };
        if instance.state == "running"
            && let Some(elastic) = elastic(&call.host)
            && !self.has_address(&account, &elastic, &instance, until).await?
        {
            self.give_address(&account, &elastic, &instance.id, until).await?;
            match self.instance(&account, id, until).await? {
                Some(now) => instance = now,
                None => return Ok(PollReport::new(MachineState::Paused, Vec::new())),
            }
        }
        Ok(instance.report())
    }
}

#[async_trait]
impl Driver for Ec2 {
    fn describe(&self) -> Description {
        Description {
            parameters: Some(parameters::parameters()),
            ..Description::new("ec2", "virtual machines and bare metal of Amazon EC2")
        }
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        let id = self.order(call).await.map_err(|error| masked(call, error))?;
        self.remember(&id);
        call.watch.deploy_id(&id).await;
        Ok(id)
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.destroy(call, id).await.map_err(|error| masked(call, error))
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        self.look(call, id).await.map_err(|error| masked(call, error))
    }

    fn polls_together(&self, call: &Call) -> bool {
        // An elastic IP is looked for by itself.
        elastic(&call.host).is_none()
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.restart(call, id).await.map_err(|error| masked(call, error))
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        // EC2 reboots hard by itself if the system does not within some minutes; to stop and start
        // would cost the machine its address.
        self.restart(call, id).await.map_err(|error| masked(call, error))
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        match kind {
            ShutdownKind::Terminate => self.cancel(call, id).await,
            ShutdownKind::Poweroff | ShutdownKind::Undeploy => {
                self.stop(call, id).await.map_err(|error| masked(call, error))
            }
        }
    }

    fn settle(&self) -> Duration {
        self.pace.settle
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        let listed = async {
            let (account, until) = (Account::of(&call.host)?, end_of(call));
            let all = self.instances(&account, "tag-key", KEY, until).await?;
            let there = all.iter().filter(|instance| instance.state != "terminated");
            Ok(there.filter_map(Instance::listed).collect())
        };
        listed.await.map_err(|error| masked(call, error))
    }
}
