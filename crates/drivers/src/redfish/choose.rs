//! Which machine a host gets: those that it may have, the one that it has, a free one.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use driver::{Call, DriverError};
use tokio::time::{Instant, sleep};

use super::bmc::{ApiError, Bmc};
use super::claim::{self, Claim, Held, Taken};
use super::parameters::Wanted;
use super::system::{Power, System};
use super::{Redfish, SYSTEMS, nothing_taken};
use crate::common::{definite, end_of, unknown};

/// How many machines' reasons are told if none is free.
const REASONS: usize = 8;

/// A system among those that a host may have.
pub(super) struct Candidate<'a> {
    pub bmc: &'a Bmc<'a>,
    pub path: String,
}

impl Candidate<'_> {
    /// BMC and path: `bmc.example.com/redfish/v1/Systems/1`.
    pub(super) fn id(&self) -> String {
        format!("{}{}", self.bmc.site.authority, self.path)
    }
}

/// A system that is being claimed, until this is dropped.
struct Choice<'a> {
    chosen: &'a Mutex<HashSet<String>>,
    id: String,
}

impl Drop for Choice<'_> {
    fn drop(&mut self) {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Redfish {
    /// The systems that a host may have, by their paths.
    pub(super) async fn candidates<'a>(
        &self,
        wanted: &Wanted,
        bmcs: &'a [Bmc<'a>],
    ) -> Result<Vec<Candidate<'a>>, DriverError> {
        let mut found = Vec::new();
        for bmc in bmcs {
            if !wanted.systems.is_empty() {
                let all = wanted.systems.iter().cloned();
                found.extend(all.map(|path| Candidate { bmc, path }));
                continue;
            }
            let members = bmc
                .members(SYSTEMS)
                .await
                .map_err(|error| error.of("the systems cannot be listed", bmc.site))?;
            let authority = &bmc.site.authority;
            match <[String; 1]>::try_from(members) {
                Ok([path]) => found.push(Candidate { bmc, path }),
                Err(members) if members.is_empty() => {
                    return Err(definite(format!("BMC {authority} has no system")));
                }
                Err(members) => {
                    let ids: Vec<&str> =
                        members.iter().filter_map(|path| path.rsplit('/').next()).collect();
                    return Err(definite(format!(
                        "BMC {authority} has {} systems, and parameter redfish_system must say which: {}",
                        ids.len(),
                        crate::http::excerpt(ids.join(", ").as_bytes())
                    )));
                }
            }
        }
        Ok(found)
    }

    /// The claim on every candidate, and its power. One that cannot be looked at may be the one that is
    /// looked for, so it ends this.
    pub(super) async fn claims<'a>(
        &self,
        candidates: &'a [Candidate<'a>],
    ) -> Result<Vec<(&'a Candidate<'a>, Power, Option<Held>)>, DriverError> {
        let mut found = Vec::new();
        for candidate in candidates {
            let Candidate { bmc, path } = candidate;
            let looked = async {
                let system = System::read(bmc, path).await?;
                Ok((system.power(), Held::read(bmc, &system).await?))
            };
            let (power, held) = looked.await.map_err(|error: ApiError| {
                error.of(&format!("cannot look at {}", candidate.id()), bmc.site)
            })?;
            found.push((candidate, power, held));
        }
        Ok(found)
    }

    pub(super) async fn made_for<'a>(
        &self,
        call: &Call,
        candidates: &'a [Candidate<'a>],
    ) -> Result<Option<&'a Candidate<'a>>, DriverError> {
        let claim = Claim::of(call);
        let all = self.claims(candidates).await?;
        let ours = |held: &Option<Held>| held.as_ref().is_some_and(|held| held.text == claim.text);
        Ok(all.into_iter().find(|(_, _, held)| ours(held)).map(|(candidate, ..)| candidate))
    }

    /// Chooses a system for a claim; `None` if another call of this process has it in hand.
    fn choose(&self, id: String) -> Option<Choice<'_>> {
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        chosen.insert(id.clone()).then(|| Choice { chosen: &self.chosen, id })
    }

    /// Claims a free machine, or finds the one that this very call has claimed before.
    pub(super) async fn acquire<'a>(
        &self,
        call: &Call,
        wanted: &Wanted,
        candidates: &'a [Candidate<'a>],
    ) -> Result<&'a Candidate<'a>, DriverError> {
        let claim = Claim::of(call);
        let free_tag = wanted.free_tag.as_deref();
        let until = end_of(call);
        loop {
            let all = self.claims(candidates).await.map_err(nothing_taken)?;
            let ours =
                |held: &Option<Held>| held.as_ref().is_some_and(|held| held.text == claim.text);
            if let Some((candidate, ..)) = all.iter().find(|(_, _, held)| ours(held)) {
                return Ok(candidate);
            }
            let (mut reasons, mut busy) = (Vec::new(), false);
            for (candidate, power, held) in all {
                let id = candidate.id();
                let why = match held {
                    None => {
                        "it has no AssetTag and no other place for a claim: this driver cannot \
                             use it without another coordinator being able to take it, too"
                            .to_owned()
                    }
                    Some(held) if !held.is_free(free_tag) => {
                        let text = crate::http::excerpt(held.text.as_bytes());
                        match held.claim() {
                            Some(_) => format!("it is claimed ({text})"),
                            None => format!(
                                "its AssetTag is {text:?}; set redfish_free_tag, or empty the tag"
                            ),
                        }
                    }
                    Some(_) if power != Power::Off => {
                        format!(
                            "it is {}, and nobody claims it; power it off to have it used",
                            power.as_str()
                        )
                    }
                    Some(_) => {
                        let Some(_choice) = self.choose(id.clone()) else {
                            busy = true;
                            continue;
                        };
                        let taken = claim::take(
                            candidate.bmc,
                            &candidate.path,
                            &claim,
                            free_tag,
                            &self.waits,
                        );
                        match taken.await {
                            Ok(Taken::Ours) => return Ok(candidate),
                            Ok(Taken::Not(why)) => why,
                            Err(error) => {
                                let what = format!(
                                    "machine {id} may carry the claim {}, or not",
                                    claim.text
                                );
                                return Err(unknown(error.of(&what, candidate.bmc.site).message));
                            }
                        }
                    }
                };
                reasons.push(format!("{id}: {why}"));
            }
            if !busy || Instant::now() + self.waits.look >= until {
                let more = reasons.len().saturating_sub(REASONS);
                reasons.truncate(REASONS);
                if more > 0 {
                    reasons.push(format!("and {more} more"));
                }
                return Err(definite(format!("no machine is free\n{}", reasons.join("\n"))));
            }
            sleep(self.waits.look).await;
        }
    }
}
