//! Machines that are there already, reached over SSH.
//!
//! A list names them; `deploy` claims one, `cancel` releases it. The claim is a file on the machine itself,
//! made so that one of all who try gets it, and read back: whoever else works with the same list, from wherever,
//! respects it. `docs/drivers/ssh.md` is for who uses it.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `addresses` | lists and ranges of machines |
//! | `attempts` | which machines a `deploy` may have claimed, on disk |
//! | `claim` | the scripts that run on machines, and what they answer |
//! | `parameters` | what a host's `provision` may say |
//! | `remote` | the system's `ssh` |

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use driver::{
    Call, Description, Driver, DriverError, FailureKind, ListedMachine, MachineState, PollReport,
    ProcessRecord, ShutdownKind,
};
use model::{Attributes, DeployId};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{definite, end_of, tag_of, unknown};

mod addresses;
mod attempts;
mod claim;
mod parameters;
mod remote;

use addresses::Place;
use attempts::Attempts;
use claim::{Act, Answer, Claim};
use parameters::Parameters;
use remote::Failure;

/// How many machines are looked at at once.
const AT_ONCE: usize = 16;
/// How often a machine is asked again whose answer was lost.
const LOST_AGAIN: usize = 3;
/// Pause between looks at a machine that reboots, or is waited for.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How many machines are named that could not be had, or not be asked.
const MOST_REASONS: usize = 10;

/// The ssh driver.
#[derive(Clone, Debug)]
pub struct Ssh {
    state_dir: PathBuf,
    /// One at a time of this process tries a machine: the others would only lose the race.
    doors: Arc<Mutex<HashMap<Place, Arc<tokio::sync::Mutex<()>>>>>,
}

/// A machine that a call is about.
struct Target {
    id: DeployId,
    tag: String,
    place: Place,
    parameters: Parameters,
    attempts: Attempts,
}

/// The id of the machine there, claimed by the call with that tag: `ssh-TAG-PORT-HOST`.
fn id_text(tag: &str, place: &Place) -> String {
    format!("ssh-{tag}-{}-{}", place.port, place.host)
}

/// Tag and place of an id; `None` if it is not one of ours.
fn parse_id(id: &DeployId) -> Option<(String, Place)> {
    let mut parts = id.as_str().strip_prefix("ssh-")?.splitn(3, '-');
    let (tag, port, host) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    let is_tag = tag.len() == 16 && tag.bytes().all(|b| b.is_ascii_hexdigit());
    // What cannot be in a list is no machine either.
    let place = addresses::parse(&Place { host: host.to_owned(), port }.to_string(), 22).ok()?;
    let place = place.into_iter().next().filter(|place| place.host == host)?;
    is_tag.then(|| (tag.to_owned(), place))
}

fn not_found(id: &DeployId, why: &str) -> DriverError {
    DriverError::new(FailureKind::NotFound, format!("machine {id} not found: {why}"))
}

impl Ssh {
    /// A driver with its notes and known hosts in that state folder. Nothing is opened yet.
    pub fn new(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), doors: Arc::default() }
    }

    fn in_state(&self, error: &io::Error) -> DriverError {
        definite(format!("the folder {}: {error}", self.state_dir.join("ssh").display()))
    }

    fn attempts(&self) -> Result<Attempts, DriverError> {
        if self.state_dir.as_os_str().is_empty() {
            let text = "there is no state folder: ONEPROVISION_STATE_DIR or HOME must say where";
            return Err(DriverError::new(FailureKind::Setup, text));
        }
        Attempts::open(&self.state_dir).map_err(|e| self.in_state(&e))
    }

    fn target(&self, call: &Call, id: &DeployId) -> Result<Target, DriverError> {
        let (tag, place) = parse_id(id).ok_or_else(|| not_found(id, "it is no id of ours"))?;
        let attempts = self.attempts()?;
        // The old tool hands no deployment file to most actions.
        let noted = match call.host.template.get("PROVISION") {
            None => attempts.of(&tag).map_err(|e| self.in_state(&e))?,
            Some(_) => None,
        };
        let parameters = match noted {
            Some(noted) => noted,
            None => Parameters::of(&call.host).map_err(definite)?,
        };
        Ok(Target { id: id.clone(), tag, place, parameters, attempts })
    }

    fn door(&self, place: &Place) -> Arc<tokio::sync::Mutex<()>> {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.entry(place.clone()).or_default().clone()
    }

    /// Claims the first machine of the list that nobody has.
    async fn claim(&self, call: &Call) -> Result<DeployId, DriverError> {
        let parameters = Parameters::of(&call.host).map_err(definite)?;
        if parameters.places.is_empty() {
            return Err(definite("parameter addresses is missing: it names the machines"));
        }
        let attempts = self.attempts()?;
        let tag = tag_of(call);
        if let Some(id) = self.claimed_before(&parameters, &attempts, &tag).await? {
            return Ok(id);
        }
        let mut reasons = Vec::new();
        let mut later = Vec::new();
        for place in &parameters.places {
            let door = self.door(place);
            let Ok(_open) = door.try_lock() else {
                later.push(place);
                continue;
            };
            match self.claim_one(call, &parameters, &attempts, &tag, place).await? {
                Ok(id) => return Ok(id),
                Err(reason) => reasons.push(format!("{place}: {reason}")),
            }
        }
        for place in later {
            let door = self.door(place);
            let _open = door.lock().await;
            match self.claim_one(call, &parameters, &attempts, &tag, place).await? {
                Ok(id) => return Ok(id),
                Err(reason) => reasons.push(format!("{place}: {reason}")),
            }
        }
        attempts.forget(&tag);
        Err(definite(format!(
            "none of the {} machines can be had\n{}",
            parameters.places.len(),
            bounded(reasons)
        )))
    }

    /// Claims that machine; the inner error is why it cannot be had, for certain.
    async fn claim_one(
        &self,
        call: &Call,
        parameters: &Parameters,
        attempts: &Attempts,
        tag: &str,
        place: &Place,
    ) -> Result<Result<DeployId, String>, DriverError> {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let ours = Claim {
            id: id_text(tag, place),
            key: call.key.clone(),
            name: call.host.name.clone(),
            provision_id: call.host.parameter("PROVISION_ID").unwrap_or_default().to_owned(),
            created: created.to_string(),
        };
        let script = claim::claim(&parameters.claim_file, &ours);
        attempts.note(tag, parameters, place).map_err(|e| self.in_state(&e))?;
        // The same script again is as good as a look: it does not claim what is claimed.
        for attempt in 1.. {
            let answer = match ask(place, parameters, attempts, &script).await {
                Ok(answer) => answer,
                Err(Failure::Lost(why)) if attempt < LOST_AGAIN => {
                    tracing::info!(%place, why, "an answer was lost; asking again");
                    sleep(LOOK_AGAIN).await;
                    continue;
                }
                Err(Failure::Lost(why)) => {
                    return Err(unknown(format!(
                        "machine {place} may have been claimed, its answer was lost: {why}"
                    )));
                }
                Err(failure @ Failure::NoProgram) => {
                    return Err(DriverError::new(FailureKind::Setup, failure.text()));
                }
                // An answer that was lost before may have been a claim.
                Err(failure) if attempt > 1 => {
                    return Err(unknown(format!(
                        "machine {place} may have been claimed, and cannot be asked any more: {}",
                        failure.text()
                    )));
                }
                Err(failure) => return Ok(Err(failure.text().to_owned())),
            };
            return Ok(match (answer.claim, answer.wrong) {
                (Some(claim), _) if claim.id == ours.id => match DeployId::new(&claim.id) {
                    Some(id) => Ok(id),
                    None => Err("it has no id".to_owned()),
                },
                (Some(claim), _) if claim.name.is_empty() => Err("it is claimed".to_owned()),
                (Some(claim), _) => Err(format!("it is claimed for {}", claim.name)),
                (None, Some(wrong)) => {
                    Err(format!("the claim {} cannot be made: {wrong}", parameters.claim_file))
                }
                (None, None) => Err("the claim was made and is not there".to_owned()),
            });
        }
        Ok(Err("it was not asked".to_owned()))
    }

    /// The machine that an earlier call with the same tag claimed.
    async fn claimed_before(
        &self,
        parameters: &Parameters,
        attempts: &Attempts,
        tag: &str,
    ) -> Result<Option<DeployId>, DriverError> {
        let tried = attempts.of(tag).map_err(|e| self.in_state(&e))?;
        let mut doubt = None;
        for place in tried.map(|noted| noted.places).unwrap_or_default() {
            let wanted = id_text(tag, &place);
            let script = claim::look(&parameters.claim_file);
            match ask(&place, parameters, attempts, &script).await {
                Ok(Answer { claim: Some(claim), .. }) if claim.id == wanted => {
                    return Ok(DeployId::new(&wanted));
                }
                Ok(_) => {}
                Err(failure) => doubt = Some(format!("{place}: {}", failure.text())),
            }
        }
        match doubt {
            None => Ok(None),
            Some(doubt) => Err(unknown(format!(
                "a machine may have been claimed before, and cannot be asked: {doubt}"
            ))),
        }
    }

    /// What the machine says, if it is ours.
    async fn look(&self, target: &Target) -> Result<Result<Answer, Failure>, DriverError> {
        let script = claim::look(&target.parameters.claim_file);
        match ask(&target.place, &target.parameters, &target.attempts, &script).await {
            Ok(answer) => target.ours(answer).map(Ok),
            Err(Failure::NoProgram) => {
                Err(DriverError::new(FailureKind::Setup, Failure::NoProgram.text()))
            }
            Err(failure) => Ok(Err(failure)),
        }
    }

    /// Does something to a machine of ours.
    async fn act(&self, target: &Target, act: Act) -> Result<Answer, DriverError> {
        let script = claim::act(&target.parameters.claim_file, target.id.as_str(), act);
        let Target { place, parameters, attempts, .. } = target;
        match ask(place, parameters, attempts, &script).await {
            Ok(answer) => {
                let wrong = answer.wrong.clone();
                let answer = target.ours(answer)?;
                match (answer.done, wrong) {
                    (true, _) => Ok(answer),
                    (false, Some(wrong)) => Err(definite(format!("machine {place}: {wrong}"))),
                    (false, None) => Err(definite(format!("machine {place} did not do it"))),
                }
            }
            Err(failure @ Failure::Lost(_)) => {
                Err(unknown(format!("machine {place}: {}", failure.text())))
            }
            Err(failure @ Failure::NoProgram) => {
                Err(DriverError::new(FailureKind::Setup, failure.text()))
            }
            // For certain nothing was done; but whether the machine is still ours is not known.
            Err(failure) if act == Act::Release => Err(unknown(format!(
                "machine {place} cannot be asked to forget that it is ours: {}",
                failure.text()
            ))),
            Err(failure) => Err(definite(format!("machine {place}: {}", failure.text()))),
        }
    }

    /// Reboots, and waits until the machine is there again in another boot.
    async fn boot_anew(&self, call: &Call, id: &DeployId, how: Act) -> Result<(), DriverError> {
        let target = self.target(call, id)?;
        let end = end_of(call);
        let before = self.act(&target, how).await?.boot;
        let Some(before) = before else {
            // It does not tell its boots apart, so there is nothing to wait for.
            return Ok(());
        };
        let mut last = "it does not go down".to_owned();
        while Instant::now() < end {
            sleep(LOOK_AGAIN).await;
            let script = claim::look(&target.parameters.claim_file);
            match ask(&target.place, &target.parameters, &target.attempts, &script).await {
                Ok(answer) if answer.boot.as_ref() != Some(&before) => return Ok(()),
                Ok(_) => {}
                Err(failure) => last = failure.text().to_owned(),
            }
        }
        Err(unknown(format!("machine {} was told to reboot and is not back: {last}", target.place)))
    }

    async fn power_off(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let target = self.target(call, id)?;
        let end = end_of(call);
        self.act(&target, Act::Poweroff).await?;
        while Instant::now() < end {
            sleep(LOOK_AGAIN).await;
            if let Err(Failure::Away(_)) = self.look(&target).await? {
                return Ok(());
            }
        }
        Err(unknown(format!("machine {} was told to power off and still answers", target.place)))
    }

    async fn release(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let target = self.target(call, id)?;
        self.act(&target, Act::Release).await?;
        target.attempts.forget(&target.tag);
        Ok(())
    }

    /// Waits until a machine of ours answers; SSH cannot switch one on.
    async fn wait_for(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        let target = self.target(call, id)?;
        let end = end_of(call);
        loop {
            let failure = match self.look(&target).await? {
                Ok(_) => return Ok(()),
                Err(failure) => failure,
            };
            if let Some(mac) = target.parameters.wake_mac
                && let Err(error) = wake(mac).await
            {
                tracing::warn!(%error, "wake-on-LAN cannot be sent");
            }
            if Instant::now() + LOOK_AGAIN >= end {
                let hint = match target.parameters.wake_mac {
                    None => "; switch it on, or name its network card in wake_mac",
                    Some(_) => "",
                };
                let text = failure.text();
                return Err(definite(format!(
                    "machine {} does not answer: {text}{hint}",
                    target.place
                )));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Looks at all machines of the list. That a machine is not in it is proof that it was not claimed, so
    /// there is none if one cannot be asked.
    async fn look_at_all(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        let parameters = Arc::new(Parameters::of(&call.host).map_err(definite)?);
        let attempts = Arc::new(self.attempts()?);
        let mut waiting = parameters.places.clone().into_iter();
        let mut tasks = JoinSet::new();
        let mut machines = Vec::new();
        let mut doubts = Vec::new();
        loop {
            while tasks.len() < AT_ONCE
                && let Some(place) = waiting.next()
            {
                let (parameters, attempts) = (parameters.clone(), attempts.clone());
                tasks.spawn(async move {
                    let script = claim::look(&parameters.claim_file);
                    let answer = ask(&place, &parameters, &attempts, &script).await;
                    (place, answer)
                });
            }
            match tasks.join_next().await {
                None => break,
                Some(Ok((place, Ok(answer)))) => machines.extend(listed(&place, answer)),
                Some(Ok((_, Err(failure @ Failure::NoProgram)))) => {
                    return Err(DriverError::new(FailureKind::Setup, failure.text()));
                }
                Some(Ok((place, Err(failure)))) => {
                    doubts.push(format!("machine {place} cannot be asked: {}", failure.text()));
                }
                Some(Err(error)) => doubts.push(format!("a machine could not be asked: {error}")),
            }
        }
        if !doubts.is_empty() {
            doubts.sort();
            return Err(unknown(bounded(doubts)));
        }
        machines.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(machines)
    }
}

impl Target {
    /// An answer of a machine that is ours.
    fn ours(&self, answer: Answer) -> Result<Answer, DriverError> {
        match &answer.claim {
            Some(claim) if claim.id == self.id.as_str() => Ok(answer),
            Some(_) => Err(not_found(&self.id, "somebody else has that machine")),
            None => Err(not_found(&self.id, "nobody has that machine")),
        }
    }
}

async fn ask(
    place: &Place,
    parameters: &Parameters,
    attempts: &Attempts,
    script: &str,
) -> Result<Answer, Failure> {
    let out = remote::run(place, &parameters.login, &attempts.known_hosts(), script).await?;
    claim::answer(&out).ok_or_else(|| Failure::Lost("its answer is cut off".to_owned()))
}

/// The first reasons, a line each.
fn bounded(mut reasons: Vec<String>) -> String {
    let more = reasons.len().saturating_sub(MOST_REASONS);
    reasons.truncate(MOST_REASONS);
    if more > 0 {
        reasons.push(format!("… and {more} more"));
    }
    reasons.join("\n")
}

fn listed(place: &Place, answer: Answer) -> Option<ListedMachine> {
    let claim = answer.claim?;
    let mut attributes = Attributes::new();
    for (key, value) in [
        ("KEY", claim.key),
        ("PROVISION_ID", claim.provision_id),
        ("NAME", claim.name),
        ("CREATED", claim.created),
        ("STATE", MachineState::Active.letter().to_string()),
        ("IP", place.host.clone()),
    ] {
        if !value.is_empty() {
            attributes.push(key, value);
        }
    }
    Some(ListedMachine { id: DeployId::new(&claim.id)?, attributes })
}

/// Sends a magic packet: six times 255, sixteen times the address (AMD, *Magic Packet Technology*).
async fn wake(mac: [u8; 6]) -> io::Result<()> {
    let mut packet = vec![0xff; 6];
    for _ in 0..16 {
        packet.extend(mac);
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.set_broadcast(true)?;
    socket.send_to(&packet, (IpAddr::V4(Ipv4Addr::BROADCAST), 9)).await.map(drop)
}

/// Carries out an action within the call's time; what it was about to do is not known after that.
async fn within<T>(
    call: &Call,
    act: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    let text = || unknown(format!("it did not end within {:?}", call.deadline));
    timeout(call.deadline, act).await.unwrap_or_else(|_| Err(text()))
}

#[async_trait]
impl Driver for Ssh {
    fn describe(&self) -> Description {
        Description {
            parameters: Some(parameters::described()),
            ..Description::new("ssh", "machines that are there already, reached over SSH")
        }
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        let Some(text) = call.host.parameter("DEPLOY_ID") else {
            return within(call, self.claim(call)).await;
        };
        let id = DeployId::new(text)
            .ok_or_else(|| definite("the DEPLOY_ID of the deployment file is no id"))?;
        within(call, self.wait_for(call, &id)).await.map(|()| id)
    }

    async fn cancel(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        within(call, self.release(call, id)).await
    }

    async fn poll(&self, call: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        let target = self.target(call, id)?;
        let (state, words) = match within(call, self.look(&target)).await? {
            Ok(_) => (MachineState::Active, "answers".to_owned()),
            Err(Failure::Away(why)) => (MachineState::Gone, why),
            Err(failure) => (MachineState::NotKnown, failure.text().to_owned()),
        };
        let mut report = PollReport::new(state, vec![target.place.host.clone()]);
        report.attributes.push("SSH_PORT", target.place.port.to_string());
        report.attributes.push("SSH_STATUS", words.replace(char::is_whitespace, "_"));
        Ok(report)
    }

    async fn reboot(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        within(call, self.boot_anew(call, id, Act::Reboot)).await
    }

    async fn reset(&self, call: &Call, id: &DeployId) -> Result<(), DriverError> {
        within(call, self.boot_anew(call, id, Act::Reset)).await
    }

    async fn shutdown(
        &self,
        call: &Call,
        id: &DeployId,
        kind: ShutdownKind,
    ) -> Result<(), DriverError> {
        match kind {
            ShutdownKind::Terminate => within(call, self.release(call, id)).await,
            ShutdownKind::Poweroff | ShutdownKind::Undeploy => {
                within(call, self.power_off(call, id)).await
            }
        }
    }

    async fn recover(
        &self,
        call: &Call,
        _: Option<&ProcessRecord>,
    ) -> Result<Option<DeployId>, DriverError> {
        let act = async {
            let parameters = Parameters::of(&call.host).map_err(definite)?;
            self.claimed_before(&parameters, &self.attempts()?, &tag_of(call)).await
        };
        within(call, act).await.map_err(|e| DriverError { kind: FailureKind::Unknown, ..e })
    }

    async fn list(&self, call: &Call) -> Result<Vec<ListedMachine>, DriverError> {
        within(call, self.look_at_all(call)).await
    }
}
