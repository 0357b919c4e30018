//! Bare metal of Packet, later Equinix Metal, by its public API.
//!
//! The service closed on 2026-06-30; what speaks its API (`PACKET_ENDPOINT`) can still be used. The
//! parameters are those of OpenNebula 5.12, see `docs/drivers/packet.md`.
//!
//! A device is marked by tags from birth. The API knows no idempotency token, so the tags are looked for
//! before a device is ordered, and after an order that was not answered.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use driver::{
    Call, Description, Driver, DriverError, FailureKind, ListedMachine, PollReport, ShutdownKind,
};
use model::DeployId;
use tokio::time::Instant;

use crate::common::{Mark, definite, end_of, masked, unknown};
use crate::gather::Gather;
use crate::http::{Failure, Http, HttpSettings, SetupError};
use crate::pace::{Look, Lost, Pace, Seen};

mod api;
mod device;
mod parameters;

use api::{Api, ApiError, advice};
use device::Device;
use parameters::{Account, is_id, order};

/// What one list serves: all who ask for the same account at once.
type Lists = Gather<(String, String, String), (), Result<Arc<Vec<Device>>, ApiError>>;

/// The same of those who ask for one device each. `None` to one who is alone.
type Polls = Gather<(String, String, String), DeployId, Result<Option<Arc<Vec<Device>>>, ApiError>>;

/// What a poll sees.
struct Polled {
    device: Device,
    /// Whether nobody else asked at the same time: then there is time to ask for its traffic, too.
    alone: bool,
}

/// Who gets the same answers.
fn key_of(account: &Account) -> (String, String, String) {
    let Account { endpoint, project, token } = account;
    (endpoint.to_string(), project.clone(), token.expose().to_owned())
}

/// The packet driver.
pub struct Packet {
    http: OnceLock<Result<Http, SetupError>>,
    lists: Lists,
    polls: Polls,
    pace: Pace,
}

impl Default for Packet {
    fn default() -> Self {
        Self::new(Pace::default())
    }
}

impl Packet {
    /// A driver of that pace. Nothing is opened yet.
    pub fn new(pace: Pace) -> Self {
        let window = Duration::from_millis(50);
        let (lists, polls) = (Gather::new(window), Gather::new(window));
        Self { http: OnceLock::new(), lists, polls, pace }
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

    /// All devices of the account; one request for all who ask at once.
    async fn devices(
        &self,
        account: &Account,
        until: Instant,
    ) -> Result<Arc<Vec<Device>>, DriverError> {
        let http = self.http()?.clone();
        let owned = account.clone();
        let fetch = async move |_| {
            let api = Api { http: &http, account: &owned, until };
            api.devices().await.map(Arc::new)
        };
        match self.lists.ask(key_of(account), (), fetch).await {
            Some(answer) => answer.map_err(|error| error.of_look("the devices cannot be listed")),
            None => Err(unknown("the devices cannot be listed: the request was given up")),
        }
    }

    /// The device that was made for this very call.
    async fn made_for(
        &self,
        account: &Account,
        mark: &Mark,
        until: Instant,
    ) -> Result<Option<DeployId>, DriverError> {
        let all = self.devices(account, until).await?;
        let ours = all.iter().filter(|device| device.is_for(mark) && !device.is_going());
        // The oldest, should there be two.
        Ok(ours.min_by_key(|device| device.created()).map(|device| device.id.clone()))
    }

    /// The device, or that it is not there.
    async fn device(
        &self,
        account: &Account,
        id: &DeployId,
        until: Instant,
    ) -> Result<Device, DriverError> {
        let found = self.api(account, until)?.device(id).await;
        let found = found.map_err(|error| error.of_look(&format!("cannot look at device {id}")))?;
        found.filter(|device| device.state() != "deleted").ok_or_else(|| {
            DriverError::new(FailureKind::NotFound, format!("device {id} not found"))
        })
    }

    /// The device, from one list if others ask for theirs at the same time.
    async fn polled(
        &self,
        account: &Account,
        id: &DeployId,
        until: Instant,
    ) -> Result<Polled, DriverError> {
        let (http, owned) = (self.http()?.clone(), account.clone());
        let fetch = async move |ids: Vec<DeployId>| {
            if ids.len() == 1 {
                return Ok(None);
            }
            let api = Api { http: &http, account: &owned, until };
            api.devices().await.map(|all| Some(Arc::new(all)))
        };
        let listed = self.polls.ask(key_of(account), id.clone(), fetch).await;
        let listed = listed.unwrap_or(Ok(None));
        let listed = listed.map_err(|error| error.of_look("the devices cannot be listed"))?;
        let alone = listed.is_none();
        let found = listed.and_then(|all| all.iter().find(|device| &device.id == id).cloned());
        match found.filter(|device| device.state() != "deleted") {
            Some(device) => Ok(Polled { device, alone }),
            // A list may lag; that one is not there is believed its own address only.
            None => Ok(Polled { device: self.device(account, id, until).await?, alone }),
        }
    }

    async fn order(&self, call: &Call) -> Result<DeployId, DriverError> {
        let until = end_of(call);
        let account = Account::of(&call.host)?;
        if let Some(id) = call.host.parameter("DEPLOY_ID") {
            let id = DeployId::new(id).filter(|id| is_id(id.as_str())).ok_or_else(|| {
                definite("the DEPLOY_ID of the deployment file is no id of a device")
            })?;
            self.power_on(&account, &id, until).await?;
            return Ok(id);
        }
        let (order, mark) = (order(call)?, Mark::of(call));
        let before = self.made_for(&account, &mark, until).await;
        let before = before
            .map_err(|error| definite(format!("no device was ordered: {}", error.message)))?;
        if let Some(id) = before {
            return Ok(id);
        }
        let why = match self.api(&account, until)?.create(&order).await {
            Ok(device) => return Ok(device.id),
            Err(ApiError::Refused { status, words }) => {
                let advice = advice(status, &words);
                return Err(definite(format!("the order was refused: {words}\n{advice}")));
            }
            Err(ApiError::Failed(Failure::Unknown(why))) => why,
            Err(ApiError::Failed(why)) => {
                return Err(definite(format!("no device was ordered: {why}")));
            }
        };
        let lost =
            Lost { why: &why, mark: &format!("the tag ONEPROVISION_KEY={}", mark.key), until };
        let look = || Box::pin(self.made_for(&account, &mark, until)) as Look<'_, _>;
        self.pace.find_lost(&lost, look).await
    }

    async fn act(
        &self,
        account: &Account,
        id: &DeployId,
        action: &str,
        until: Instant,
    ) -> Result<(), DriverError> {
        let acted = self.api(account, until)?.act(id, action).await;
        acted.map_err(|error| error.of_look(&format!("{action} of device {id} failed")))
    }

    async fn power_on(
        &self,
        account: &Account,
        id: &DeployId,
        until: Instant,
    ) -> Result<(), DriverError> {
        let device = self.wait(account, id, until, |state| state != "powering_off").await?;
        match device.state() {
            "inactive" => self.act(account, id, "power_on", until).await,
            "failed" | "deprovisioning" => {
                let state = device.state();
                Err(definite(format!("device {id} cannot be powered on: it is {state}")))
            }
            _ => Ok(()),
        }
    }

    /// Looks until the device is in a state that is wanted, or failed.
    async fn wait(
        &self,
        account: &Account,
        id: &DeployId,
        until: Instant,
        wanted: impl Fn(&str) -> bool + Send + Sync,
    ) -> Result<Device, DriverError> {
        let what = format!("device {id}");
        let wanted = &wanted;
        let look = || {
            Box::pin(async move {
                let device = self.device(account, id, until).await?;
                Ok(match device.state() {
                    state if wanted(state) => Seen::Done(device),
                    "failed" => {
                        return Err(definite(format!("device {id} is in the state failed")));
                    }
                    state => Seen::NotYet(format!("it is {state}")),
                })
            }) as Look<'_, _>
        };
        self.pace.wait(&what, until, look).await
    }

    async fn destroy(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let (account, until) = (Account::of(&call.host)?, end_of(call));
        if !self.device(&account, id, until).await?.is_going() {
            let deleted = self.api(&account, until)?.delete(id).await;
            deleted.map_err(|error| error.of_look(&format!("device {id} was not given back")))?;
        }
        // Whatever state it is in, also `failed`: it is paid for until it is not there any more.
        let look = || {
            Box::pin(async {
                let device = self.device(&account, id, until).await?;
                Ok(Seen::<()>::NotYet(format!("it is {}", device.state())))
            }) as Look<'_, _>
        };
        match self.pace.wait(&format!("device {id}"), until, look).await {
            Err(error) if error.kind == FailureKind::NotFound => Ok(()),
            ended => ended,
        }
    }

    async fn power_off(
        &self,
        account: &Account,
        id: &DeployId,
        until: Instant,
    ) -> Result<(), DriverError> {
        if self.device(account, id, until).await?.state() != "inactive" {
            self.act(account, id, "power_off", until).await?;
            self.wait(account, id, until, |state| state == "inactive").await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Driver for Packet {
    fn describe(&self) -> Description {
        Description {
            parameters: Some(parameters::parameters()),
            ..Description::new(
                "packet",
                "bare metal of Packet (Equinix Metal), or what speaks its API",
            )
        }
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        let id = self.order(call).await.map_err(|error| masked(call, error))?;
        call.watch.deploy_id(&id).await;
        Ok(id)
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.destroy(call, id).await.map_err(|error| masked(call, error))
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        let polled = async {
            let (account, until) = (Account::of(&call.host)?, end_of(call));
            let Polled { device, alone } = self.polled(&account, id, until).await?;
            let traffic = match device.state() {
                "active" if alone => self.api(&account, until)?.traffic(&device).await,
                _ => None,
            };
            Ok(device.report(traffic))
        };
        polled.await.map_err(|error| masked(call, error))
    }

    fn polls_together(&self, _: &Call) -> bool {
        true
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let rebooted = async {
            let (account, until) = (Account::of(&call.host)?, end_of(call));
            self.device(&account, id, until).await?;
            self.act(&account, id, "reboot", until).await?;
            self.wait(&account, id, until, |state| state == "active").await.map(drop)
        };
        rebooted.await.map_err(|error| masked(call, error))
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let reset = async {
            let (account, until) = (Account::of(&call.host)?, end_of(call));
            self.power_off(&account, id, until).await?;
            self.power_on(&account, id, until).await?;
            self.wait(&account, id, until, |state| state == "active").await.map(drop)
        };
        reset.await.map_err(|error| masked(call, error))
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        if kind == ShutdownKind::Terminate {
            return self.cancel(call, id).await;
        }
        let off = async {
            let (account, until) = (Account::of(&call.host)?, end_of(call));
            self.power_off(&account, id, until).await
        };
        off.await.map_err(|error| masked(call, error))
    }

    fn settle(&self) -> Duration {
        self.pace.settle
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        let listed = async {
            let all = self.devices(&Account::of(&call.host)?, end_of(call)).await?;
            let there = all.iter().filter(|device| device.state() != "deleted");
            Ok(there.filter_map(Device::listed).collect())
        };
        listed.await.map_err(|error| masked(call, error))
    }
}
