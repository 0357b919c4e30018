//! Bare metal on premises, by its BMC and Redfish (DMTF DSP0266, DSP2046).
//!
//! Machines are not bought here but taken: a host names one system, or several to choose a free one from.
//! What shows that a system is taken is the claim on it (`claim`): that is how two coordinators do not
//! deploy one machine twice, and how an interrupted deploy is found again. Only a system that is off and
//! carries no claim is free. `docs/drivers/redfish.md` is for who uses it.
//!
//! | module | what it holds |
//! | --- | --- |
//! | this one | the driver: deploying, looking, giving back |
//! | `parameters` | what a host's `provision` holds |
//! | `choose` | which machine a host gets |
//! | `tls` | which certificate is believed |
//! | `bmc` | requests, logging in, tasks |
//! | `system` | what a system says of itself |
//! | `claim` | the claim on a machine |
//! | `power` | power, asked for and waited for |
//! | `media` | virtual CD and boot order |

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use driver::{
    Call, Description, Driver, DriverError, FailureKind, ListedMachine, PollReport, ShutdownKind,
};
use model::{Attributes, DeployId};
use tokio::time::Instant;

use crate::common::{definite, end_of, masked, unknown};
use crate::http::{Http, HttpSettings};

mod bmc;
mod choose;
mod claim;
mod media;
mod parameters;
mod power;
mod system;
mod tls;

use bmc::{ApiError, Bmc};
use choose::Candidate;
use claim::{Claim, Held};
use parameters::Wanted;
use power::Machine;
use system::{Power, System};
use tls::Trust;

/// Largest answer of a BMC, in bytes.
const ANSWER_LIMIT: usize = 4 << 20;
/// Where a BMC lists its systems.
const SYSTEMS: &str = "/redfish/v1/Systems";

/// How long the driver waits for what.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// Between two looks at a machine that changes its power.
    pub look: Duration,
    /// After a claim was written, before it is read back and believed.
    pub claim: Duration,
    /// How long an order to power on may take to show: so long a machine is watched that was off before
    /// it is given back.
    pub late: Duration,
    /// How long a single question is repeated while the BMC is in trouble.
    pub patience: Duration,
}

impl Default for Waits {
    /// 2 s between looks, 3 s before a claim is believed, 15 s watched, two minutes of patience.
    fn default() -> Self {
        Self {
            look: Duration::from_secs(2),
            claim: Duration::from_secs(3),
            late: Duration::from_secs(15),
            patience: Duration::from_secs(120),
        }
    }
}

/// The redfish driver.
pub struct Redfish {
    clients: Mutex<HashMap<Trust, Http>>,
    /// Systems that a call of this process is about to claim.
    chosen: Mutex<HashSet<String>>,
    waits: Waits,
}

impl Default for Redfish {
    fn default() -> Self {
        Self::new(Waits::default())
    }
}

fn not_found(id: &str, why: &str) -> DriverError {
    DriverError::new(FailureKind::NotFound, format!("machine {id} not found: {why}"))
}

/// The same failure, of which it is certain that nothing came of it.
fn nothing_taken(error: DriverError) -> DriverError {
    definite(format!("no machine was taken: {}", error.message))
}

impl Redfish {
    /// A driver that waits so long. Nothing is opened yet.
    pub fn new(waits: Waits) -> Self {
        Self { clients: Mutex::default(), chosen: Mutex::default(), waits }
    }

    fn http(&self, trust: &Trust) -> Result<Http, DriverError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(http) = clients.get(trust) {
            return Ok(http.clone());
        }
        let tls = Some(trust.config().map_err(definite)?);
        let settings = HttpSettings { tls, answer_limit: ANSWER_LIMIT, ..HttpSettings::default() };
        let http = Http::new(settings)
            .map_err(|error| DriverError::new(FailureKind::Setup, error.to_string()))?;
        clients.insert(trust.clone(), http.clone());
        Ok(http)
    }

    fn bmcs<'a>(&self, http: &'a Http, wanted: &'a Wanted, until: Instant) -> Vec<Bmc<'a>> {
        let new = |site| Bmc::new(http, site, until, self.waits.patience);
        wanted.sites.iter().map(new).collect()
    }

    fn machine<'a>(&self, bmc: &'a Bmc<'a>, path: &'a str) -> Machine<'a> {
        Machine { bmc, path, waits: self.waits }
    }

    /// The machine of that id among the BMCs of the parameters: credentials go to no other one.
    fn by_id<'a>(&self, bmcs: &'a [Bmc<'a>], id: &DeployId) -> Result<Candidate<'a>, DriverError> {
        let (authority, path) = match id.as_str().find('/') {
            Some(at) => id.as_str().split_at(at),
            None => return Err(not_found(id.as_str(), "that is no id of this driver")),
        };
        let known = bmcs.iter().find(|bmc| bmc.site.authority == authority);
        let bmc = known.ok_or_else(|| {
            definite(format!("machine {id} is of another BMC than parameter redfish_address names"))
        })?;
        Ok(Candidate { bmc, path: path.to_owned() })
    }

    /// A machine of the call's host, as it is now.
    async fn ours(
        &self,
        call: &Call,
        candidate: &Candidate<'_>,
        id: &DeployId,
    ) -> Result<System, DriverError> {
        let Candidate { bmc, path } = candidate;
        let failed = |error: ApiError| error.of(&format!("cannot look at machine {id}"), bmc.site);
        let system = match System::read(bmc, path).await {
            // So answers a wrong address, too: who lists the systems says whether it is one of them.
            Err(error) if error.is_not_found() => {
                return Err(match bmc.members(SYSTEMS).await {
                    Ok(all) if !all.contains(path) => {
                        not_found(id.as_str(), "the BMC has no such system")
                    }
                    _ => failed(error),
                });
            }
            system => system.map_err(failed)?,
        };
        let held = Held::read(bmc, &system).await.map_err(failed)?;
        match held.as_ref().and_then(Held::claim) {
            Some(claim) if claim.is_of(call) => Ok(system),
            Some(claim) => Err(not_found(
                id.as_str(),
                &format!("the claim on it is another host's ({})", claim.text),
            )),
            None => Err(not_found(id.as_str(), "there is no claim on it")),
        }
    }

    /// Everything between the claim and a machine that runs.
    async fn set_up(
        &self,
        call: &Call,
        wanted: &Wanted,
        candidate: &Candidate<'_>,
    ) -> Result<(), ApiError> {
        let machine = self.machine(candidate.bmc, &candidate.path);
        // A deploy that comes again to a machine that runs has nothing left to do.
        if machine.calm().await? == Power::On {
            return Ok(());
        }
        if let Some(iso) = &wanted.iso {
            machine.insert(iso).await?;
        }
        machine.boot_from(wanted.boot).await?;
        let held = Held::read(candidate.bmc, &machine.look().await?).await?;
        if held.is_none_or(|held| held.text != Claim::of(call).text) {
            let words = "somebody else wrote over the claim".to_owned();
            return Err(ApiError::Refused { status: 412, words });
        }
        machine.on().await
    }

    async fn resume(&self, call: &Call, id: &str) -> Result<DeployId, DriverError> {
        let id = DeployId::new(id).ok_or_else(|| {
            definite("the DEPLOY_ID of the deployment file is no id of a machine")
        })?;
        let wanted = Wanted::of(&call.host)?;
        let http = self.http(&wanted.trust)?;
        let bmcs = self.bmcs(&http, &wanted, end_of(call));
        let resumed = async {
            let candidate = self.by_id(&bmcs, &id)?;
            self.ours(call, &candidate, &id).await?;
            let on = self.machine(candidate.bmc, &candidate.path).on().await;
            on.map_err(|error| {
                error.of(&format!("machine {id} was not powered on"), candidate.bmc.site)
            })
        };
        ended(&bmcs, resumed).await.map(|()| id)
    }

    async fn deploy_new(&self, call: &Call) -> Result<DeployId, DriverError> {
        let wanted = Wanted::of(&call.host)?;
        let http = self.http(&wanted.trust)?;
        let bmcs = self.bmcs(&http, &wanted, end_of(call));
        let deployed = async {
            let candidates = self.candidates(&wanted, &bmcs).await.map_err(nothing_taken)?;
            let candidate = self.acquire(call, &wanted, &candidates).await?;
            let id = DeployId::new(&candidate.id())
                .ok_or_else(|| definite("the system's path can be no id"))?;
            call.watch.deploy_id(&id).await;
            let Err(error) = self.set_up(call, &wanted, candidate).await else { return Ok(id) };
            let refusal = error.is_refusal();
            let error = error.of(&format!("machine {id} was not deployed"), candidate.bmc.site);
            if refusal {
                let given_back = self.give_back(&wanted, candidate, &Claim::of(call)).await;
                let Err(trouble) = given_back else {
                    let text = format!("{}\nIts claim was taken off again.", error.message);
                    return Err(definite(text));
                };
                let trouble = trouble.of("it was not given back", candidate.bmc.site);
                let message = format!("{}\n{}", error.message, trouble.message);
                return Err(DriverError { deploy_id: Some(id), ..unknown(message) });
            }
            Err(DriverError { deploy_id: Some(id), ..unknown(error.message) })
        };
        ended(&bmcs, deployed).await
    }

    /// Powers a machine off, empties its drives and takes the claim off, in this order: as long as anything
    /// is left to do the claim names it.
    async fn give_back(
        &self,
        wanted: &Wanted,
        candidate: &Candidate<'_>,
        claim: &Claim,
    ) -> Result<(), ApiError> {
        let Candidate { bmc, path } = candidate;
        let machine = self.machine(bmc, path);
        let held = Held::read(bmc, &machine.look().await?).await?;
        if held.is_none_or(|held| held.text != claim.text) {
            return Ok(());
        }
        machine.off_for_good(wanted.grace).await?;
        machine.eject().await?;
        machine.boot_as_usual().await?;
        claim::release(bmc, path, wanted.free_tag.as_deref(), |text| text == claim.text).await
    }

    async fn destroy(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let wanted = Wanted::of(&call.host)?;
        let http = self.http(&wanted.trust)?;
        let bmcs = self.bmcs(&http, &wanted, end_of(call));
        let destroyed = async {
            let candidate = self.by_id(&bmcs, id)?;
            let system = self.ours(call, &candidate, id).await?;
            let site = candidate.bmc.site;
            let failed =
                |error: ApiError| error.of(&format!("machine {id} was not given back"), site);
            let held = Held::read(candidate.bmc, &system).await.map_err(failed)?;
            let Some(claim) = held.as_ref().and_then(Held::claim) else { return Ok(()) };
            self.give_back(&wanted, &candidate, &claim).await.map_err(failed)
        };
        ended(&bmcs, destroyed).await
    }

    async fn look(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        let wanted = Wanted::of(&call.host)?;
        let http = self.http(&wanted.trust)?;
        let bmcs = self.bmcs(&http, &wanted, end_of(call));
        let looked = async {
            let candidate = self.by_id(&bmcs, id)?;
            let system = self.ours(call, &candidate, id).await?;
            let site = bmcs.iter().position(|bmc| std::ptr::eq(bmc, candidate.bmc)).unwrap_or(0);
            let addresses = match wanted.address(site, &candidate.path) {
                Some(address) => vec![address.to_owned()],
                None if system.power() == Power::On => {
                    let found = system.addresses(candidate.bmc).await;
                    found.map_err(|error| {
                        error.of(
                            &format!("cannot ask for the addresses of {id}"),
                            candidate.bmc.site,
                        )
                    })?
                }
                None => Vec::new(),
            };
            Ok(system.report(addresses))
        };
        ended(&bmcs, looked).await
    }

    /// An action on the power of a machine that is the call's.
    async fn power(&self, call: &Call, id: &DeployId, act: Act) -> Result<(), DriverError> {
        let wanted = Wanted::of(&call.host)?;
        let http = self.http(&wanted.trust)?;
        let bmcs = self.bmcs(&http, &wanted, end_of(call));
        let acted = async {
            let candidate = self.by_id(&bmcs, id)?;
            let system = self.ours(call, &candidate, id).await?;
            if act != Act::Off && system.power() == Power::Off {
                return Err(definite(format!("machine {id} cannot be rebooted: it is off")));
            }
            let machine = self.machine(candidate.bmc, &candidate.path);
            let (what, acted) = match act {
                Act::Off => ("powered off", machine.off(wanted.grace).await),
                Act::Reboot => ("rebooted", machine.reboot(wanted.grace).await),
                Act::Restart => ("reset", machine.restart().await),
            };
            acted.map_err(|error| {
                error.of(&format!("machine {id} was not {what}"), candidate.bmc.site)
            })
        };
        ended(&bmcs, acted).await
    }
}

/// What is done to the power of a machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Off,
    Reboot,
    Restart,
}

/// Waits for the work and ends the sessions that it opened.
async fn ended<T>(
    bmcs: &[Bmc<'_>],
    work: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    let done = work.await;
    for bmc in bmcs {
        bmc.close().await;
    }
    done
}

#[async_trait]
impl Driver for Redfish {
    fn describe(&self) -> Description {
        Description {
            parameters: Some(parameters::parameters()),
            ..Description::new("redfish", "bare metal on premises, by BMCs that speak Redfish")
        }
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        let deployed = match call.host.parameter("DEPLOY_ID") {
            Some(id) => self.resume(call, id).await,
            None => self.deploy_new(call).await,
        };
        deployed.map_err(|error| masked(call, error))
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.destroy(call, id).await.map_err(|error| masked(call, error))
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        self.look(call, id).await.map_err(|error| masked(call, error))
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.power(call, id, Act::Reboot).await.map_err(|error| masked(call, error))
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        self.power(call, id, Act::Restart).await.map_err(|error| masked(call, error))
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
                self.power(call, id, Act::Off).await.map_err(|error| masked(call, error))
            }
        }
    }

    async fn recover(
        &self,
        call: &Call,
        _: Option<&driver::ProcessRecord>,
    ) -> Result<Option<DeployId>, DriverError> {
        let recovered = async {
            let wanted = Wanted::of(&call.host)?;
            let http = self.http(&wanted.trust)?;
            let bmcs = self.bmcs(&http, &wanted, end_of(call));
            let sought = async {
                let candidates = self.candidates(&wanted, &bmcs).await?;
                let found = self.made_for(call, &candidates).await?;
                Ok(found.and_then(|candidate| DeployId::new(&candidate.id())))
            };
            ended(&bmcs, sought).await
        };
        recovered.await.map_err(|error| {
            let text =
                format!("whether a machine was claimed cannot be found out: {}", error.message);
            masked(call, unknown(text))
        })
    }

    fn settle(&self) -> Duration {
        self.waits.claim * 2
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        let listed = async {
            let wanted = Wanted::of(&call.host)?;
            let http = self.http(&wanted.trust)?;
            let bmcs = self.bmcs(&http, &wanted, end_of(call));
            let all = async {
                let candidates = self.candidates(&wanted, &bmcs).await?;
                let claims = self.claims(&candidates).await?;
                Ok(claims
                    .into_iter()
                    .filter_map(|(at, power, held)| listed(at, power, held?))
                    .collect())
            };
            ended(&bmcs, all).await
        };
        listed.await.map_err(|error| masked(call, error))
    }
}

fn listed(candidate: &Candidate<'_>, power: Power, held: Held) -> Option<ListedMachine> {
    let claim = held.claim()?;
    let mut attributes = Attributes::new();
    if let (Some(key), Some(provision)) = (claim.key(), claim.provision()) {
        attributes.push("KEY", key.as_str());
        attributes.push("PROVISION_ID", provision);
    }
    attributes.push("NAME", claim.name().as_str());
    attributes.push("CLAIM", claim.text.as_str());
    attributes.push("POWER", power.as_str());
    Some(ListedMachine { id: DeployId::new(&candidate.id())?, attributes })
}
