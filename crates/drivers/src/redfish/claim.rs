//! The claim on a machine, written on the machine itself.
//!
//! There is no server that hands machines out, so who takes one writes it there: into the `AssetTag` of the
//! system, changed with `If-Match` where the BMC knows ETags, and read back after a moment. A system without
//! an AssetTag (the emulator of sushy-tools has none) may have a place for a certificate of its virtual
//! CD's server (DSP2046, VirtualMedia 1.4), which holds one and no second: the claim is put there.
//!
//! A BMC without ETags takes whatever is written last. Who took longer to look and write than the others
//! wait before they read back may have written over a claim that was already believed, so it steps back;
//! and who is about to power a machine on reads its claim once more.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use driver::Call;
use model::{HostKey, ProvisionId};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep};

use super::Waits;
use super::bmc::{ApiError, Bmc, link};
use super::system::System;
use crate::common::Mark;
use crate::http::Effect;

/// What claims of ours begin with. They have at most 32 characters if the host's number has at most
/// three: some BMCs keep no more.
const PREFIX: &str = "1p.";
/// How often a claim is tried that fails though the machine stays free: ETags of some BMCs change by
/// themselves.
const ATTEMPTS: usize = 3;

/// A claim that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// As it stands on the machine.
    pub text: String,
    /// Provision, host's number and attempt, if the call's key told them.
    parts: Option<(String, String, String)>,
}

impl Claim {
    /// The claim that a deploy writes. A caller of the old protocol has no key that it would repeat; its
    /// hosts' names are drawn at random and serve.
    pub(super) fn of(call: &Call) -> Self {
        if let Some((provision, host, attempt)) = split(&call.key)
            && let Ok(bytes) = hex(&provision)
        {
            let id = URL_SAFE_NO_PAD.encode(bytes);
            let text = format!("{PREFIX}{id}.{host}.{attempt}");
            return Self { text, parts: Some((provision, host, attempt)) };
        }
        let by_name = Mark::of(call).is_on(None, Some(&call.host.name));
        let identity = if by_name { &call.host.name } else { &call.key };
        Self { text: digest(identity), parts: None }
    }

    /// The claim in a text that stands on a machine; `None` if it is none of ours.
    pub(super) fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?;
        let mut pieces = rest.split('.');
        let id: [u8; 16] = URL_SAFE_NO_PAD.decode(pieces.next()?).ok()?.try_into().ok()?;
        let parts = match (pieces.next(), pieces.next(), pieces.next()) {
            (None, ..) => None,
            (Some(host), Some(attempt), None) => {
                let digits: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
                let part = |from, to| digits.get(from..to).unwrap_or_default();
                let (a, b, c) = (part(0, 8), part(8, 12), part(12, 16));
                let provision = format!("{a}-{b}-{c}-{}-{}", part(16, 20), part(20, 32));
                Some((provision, host.to_owned(), attempt.to_owned()))
            }
            _ => return None,
        };
        Some(Self { text: text.to_owned(), parts })
    }

    pub(super) fn provision(&self) -> Option<&str> {
        self.parts.as_ref().map(|(provision, ..)| provision.as_str())
    }

    /// The key of the call that wrote it, if that can be told.
    pub(super) fn key(&self) -> Option<String> {
        let (provision, host, attempt) = self.parts.as_ref()?;
        Some(format!("{provision}-{host}-{attempt}"))
    }

    /// What the list gives as the host's name, by which an orphan's `cancel` names it: the one that the
    /// host had when the claim was written. A claim has no room for it, so it is made again from what
    /// the claim does tell; where that is nothing, the claim is the name.
    pub(super) fn name(&self) -> String {
        let number = |host: &str| host.parse().ok().filter(|n: &u32| n.to_string() == host);
        let told = self.parts.as_ref().and_then(|(provision, host, _)| {
            let provision: ProvisionId = provision.parse().ok()?;
            Some(provision.host_name(HostKey(number(host)?)))
        });
        told.unwrap_or_else(|| self.text.clone())
    }

    /// Whether the machine is that of a call's host, so that the call may act on it.
    pub(super) fn is_of(&self, call: &Call) -> bool {
        let (host, key) = (&call.host, &call.key);
        if host.name == self.name() || *self == Self::of(call) {
            return true;
        }
        let provision = host.parameter("PROVISION_ID");
        let old = key.starts_with("once-");
        match &self.parts {
            Some((id, number, _)) => match (split(key), provision) {
                (Some((of, at, _)), _) => of == *id && at == *number,
                (None, Some(of)) => {
                    of == id && host.parameter("HOST_KEY").is_none_or(|key| key == number)
                }
                (None, None) => old,
            },
            // Of a caller of the old protocol, who names a machine by nothing but its id.
            None => old || (split(key).is_none() && provision.is_none()),
        }
    }
}

/// Provision, host and attempt of an engine's key: `UUID-HOST-ATTEMPT`.
fn split(key: &str) -> Option<(String, String, String)> {
    let (id, rest) = key.split_at_checked(36)?;
    let (host, attempt) = rest.strip_prefix('-')?.split_once('-')?;
    let word = |text: &str| {
        (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let dashes = [8, 13, 18, 23].iter().all(|at| id.as_bytes().get(*at) == Some(&b'-'));
    (dashes && hex(id).is_ok() && id == id.to_ascii_lowercase() && word(host) && word(attempt))
        .then(|| (id.to_owned(), host.to_owned(), attempt.to_owned()))
}

/// The 16 bytes of a UUID.
fn hex(id: &str) -> Result<[u8; 16], ()> {
    let digits: Vec<u8> = id.bytes().filter(|byte| *byte != b'-').collect();
    let mut bytes = [0; 16];
    if digits.len() != 32 {
        return Err(());
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(drop)?;
        if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(());
        }
        *byte = u8::from_str_radix(pair, 16).map_err(drop)?;
    }
    Ok(bytes)
}

fn digest(identity: &str) -> String {
    let digest = Sha256::digest(identity.as_bytes());
    let half: Vec<u8> = digest.iter().take(16).copied().collect();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(half))
}

/// Where a system keeps its claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    AssetTag,
    /// A collection of certificates of a virtual drive.
    Certificate(String),
}

/// What stands in the place of a claim.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub place: Place,
    /// Empty if nothing does.
    pub text: String,
    /// The ETag of the system, or the path of the certificate.
    handle: Option<String>,
}

impl Held {
    /// What stands on a system; `None` if it has no place for a claim.
    pub(super) async fn read(bmc: &Bmc<'_>, system: &System) -> Result<Option<Self>, ApiError> {
        if let Some(tag) = system.asset_tag() {
            let (text, handle) = (tag.to_owned(), system.0.etag.clone());
            return Ok(Some(Self { place: Place::AssetTag, text, handle }));
        }
        let Some(drives) = system.link("VirtualMedia") else { return Ok(None) };
        let mut drives = match bmc.members(&drives).await {
            Err(error) if error.is_refusal() => return Ok(None),
            drives => drives?,
        };
        // All must look in the same place, in whatever order the BMC lists them.
        drives.sort();
        for drive in drives {
            let Some(place) = bmc.get(&drive).await?.json.get("Certificates").and_then(link) else {
                continue;
            };
            return Self::certificate(bmc, place).await.map(Some);
        }
        Ok(None)
    }

    async fn certificate(bmc: &Bmc<'_>, place: String) -> Result<Self, ApiError> {
        let handle = bmc.members(&place).await?.into_iter().next();
        let text = match &handle {
            None => String::new(),
            Some(path) => match bmc.get(path).await {
                Err(error) if error.is_not_found() => String::new(),
                certificate => {
                    let json = certificate?.json;
                    let pem = json.get("CertificateString").and_then(Value::as_str);
                    unwrap(pem.unwrap_or_default())
                }
            },
        };
        Ok(Self { place: Place::Certificate(place), text, handle })
    }

    /// The claim that it is, if it is one of ours.
    pub(super) fn claim(&self) -> Option<Claim> {
        Claim::read(&self.text)
    }

    pub(super) fn is_free(&self, free_tag: Option<&str>) -> bool {
        self.text.is_empty() || free_tag == Some(&self.text)
    }

    async fn write(&self, bmc: &Bmc<'_>, path: &str, text: &str) -> Result<(), ApiError> {
        match (&self.place, &self.handle) {
            (Place::AssetTag, etag) => {
                bmc.patch(path, etag.as_deref(), &json!({ "AssetTag": text })).await
            }
            (Place::Certificate(_), Some(path)) if text.is_empty() => bmc.delete(path).await,
            (Place::Certificate(_), None) if text.is_empty() => Ok(()),
            (Place::Certificate(place), _) => {
                let body = json!({ "CertificateType": "PEM", "CertificateString": wrap(text) });
                bmc.post(place, &body, Effect::Creates).await
            }
        }
    }
}

/// A claim in the form of a certificate, which is all that the place takes.
fn wrap(text: &str) -> String {
    let body = STANDARD.encode(text);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

/// The claim in the form of a certificate; something else that is not empty for a certificate that is one.
fn unwrap(pem: &str) -> String {
    let body: String =
        pem.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let text = STANDARD.decode(body).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    text.filter(|text| text.starts_with(PREFIX)).unwrap_or_else(|| "a certificate".to_owned())
}

/// What came of taking a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Ours,
    /// Somebody else was quicker, or it was not to be had, in words.
    Not(String),
}

/// Writes a claim on a free machine and reads it back.
///
/// # Errors
/// What it came to is not known: the claim may stand there.
pub(super) async fn take(
    bmc: &Bmc<'_>,
    path: &str,
    claim: &Claim,
    free_tag: Option<&str>,
    waits: &Waits,
) -> Result<Taken, ApiError> {
    let (mut refused, mut mismatch) = (String::new(), false);
    for attempt in 0..=ATTEMPTS {
        let begun = Instant::now();
        let system = System::read(bmc, path).await?;
        let Some(mut held) = Held::read(bmc, &system).await? else {
            return Ok(Taken::Not("it has no place for a claim".to_owned()));
        };
        if held.text == claim.text {
            return Ok(Taken::Ours);
        }
        if !held.is_free(free_tag) {
            return Ok(Taken::Not(format!("it was claimed ({}) meanwhile", held.text)));
        }
        let mut guarded = held.handle.is_some() || held.place != Place::AssetTag;
        if attempt == ATTEMPTS && mismatch {
            (held.handle, guarded) = (None, false);
        }
        let written = held.write(bmc, system.path(), &claim.text).await;
        let slow = !guarded && begun.elapsed() >= waits.claim;
        sleep(waits.claim).await;
        let now = System::read(bmc, path).await?;
        let seen = Held::read(bmc, &now).await?.map(|held| held.text).unwrap_or_default();
        if seen == claim.text {
            if !slow {
                return Ok(Taken::Ours);
            }
            release(bmc, path, free_tag, |text| text == claim.text).await?;
            return Ok(Taken::Not("the BMC is too slow for a claim to be safe".to_owned()));
        }
        let free = seen.is_empty() || free_tag == Some(seen.as_str());
        match written {
            _ if !free && !seen.is_empty() && claim.text.starts_with(&seen) => {
                release(bmc, path, free_tag, |text| text == seen).await?;
                let kept = seen.len();
                return Ok(Taken::Not(format!("its AssetTag keeps only {kept} characters")));
            }
            _ if !free => return Ok(Taken::Not(format!("somebody else claimed it ({seen})"))),
            Ok(()) => "the claim did not stay".clone_into(&mut refused),
            Err(ApiError::Refused { status: status @ (409 | 412 | 428), words }) => {
                mismatch |= status == 412;
                refused = words;
            }
            Err(error) if error.is_refusal() => {
                return Ok(Taken::Not(format!("its AssetTag cannot be written: {error}")));
            }
            // Nobody knows whether it still arrives.
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(error) => refused = error.to_string(),
        }
    }
    Ok(Taken::Not(format!("it could not be claimed: {refused}")))
}

/// Takes a claim off until it is read to be gone. One that `is_ours` does not know stays.
///
/// # Errors
/// It may still stand there.
pub(super) async fn release(
    bmc: &Bmc<'_>,
    path: &str,
    free_tag: Option<&str>,
    is_ours: impl Fn(&str) -> bool,
) -> Result<(), ApiError> {
    let mut last = None;
    for _ in 0..=ATTEMPTS {
        let system = System::read(bmc, path).await?;
        let Some(held) = Held::read(bmc, &system).await? else { return Ok(()) };
        if !is_ours(&held.text) {
            return Ok(());
        }
        let text = match held.place {
            Place::AssetTag => free_tag.unwrap_or_default(),
            Place::Certificate(_) => "",
        };
        last = held.write(bmc, system.path(), text).await.err();
    }
    let system = System::read(bmc, path).await?;
    match Held::read(bmc, &system).await? {
        Some(held) if is_ours(&held.text) => Err(last.unwrap_or_else(|| {
            crate::http::Failure::Unknown("its claim does not go away".to_owned()).into()
        })),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
