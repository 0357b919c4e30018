//! What a machine boots: the virtual CD, and the override of the boot order.

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::bmc::{ApiError, Bmc, Resource, link};
use super::parameters::Boot;
use super::power::Machine;
use super::system::System;
use crate::http::{Effect, Failure};

/// The drives of a system, its own (since VirtualMedia of 2020.4) or those of its manager.
async fn drives(bmc: &Bmc<'_>, system: &System) -> Result<Vec<Resource>, ApiError> {
    let mut collections: Vec<String> = system.link("VirtualMedia").into_iter().collect();
    if collections.is_empty() {
        let managers = system.0.json.pointer("/Links/ManagedBy").and_then(Value::as_array);
        for manager in managers.into_iter().flatten().filter_map(link) {
            let json = bmc.get(&manager).await?.json;
            collections.extend(json.get("VirtualMedia").and_then(link));
        }
    }
    let mut found = Vec::new();
    for collection in collections {
        let members = match bmc.members(&collection).await {
            Err(error) if error.is_refusal() => continue,
            members => members?,
        };
        for path in members {
            found.push(bmc.get(&path).await?);
        }
    }
    Ok(found)
}

fn is_cd(drive: &Resource) -> bool {
    let types = drive.json.get("MediaTypes").and_then(Value::as_array).into_iter().flatten();
    types.filter_map(Value::as_str).any(|kind| matches!(kind, "CD" | "DVD"))
}

fn image(drive: &Resource) -> &str {
    drive.json.get("Image").and_then(Value::as_str).unwrap_or_default()
}

fn is_inserted(drive: &Resource) -> bool {
    match drive.json.get("Inserted").and_then(Value::as_bool) {
        Some(inserted) => inserted,
        None => !image(drive).is_empty(),
    }
}

fn action<'a>(drive: &'a Resource, name: &str) -> Option<&'a str> {
    drive.json.get("Actions")?.get(name)?.get("target")?.as_str()
}

impl Machine<'_> {
    /// Puts an image into the virtual CD, and sees it there.
    pub(super) async fn insert(&self, iso: &str) -> Result<(), ApiError> {
        let bmc = self.bmc;
        let system = self.look().await?;
        let drive = drives(bmc, &system).await?.into_iter().find(is_cd);
        let Some(drive) = drive else {
            let words = "the system has no virtual CD; parameter iso cannot be used".to_owned();
            return Err(ApiError::Refused { status: 501, words });
        };
        if is_inserted(&drive) {
            if image(&drive) == iso {
                return Ok(());
            }
            self.eject_drive(&drive).await?;
        }
        let full = json!({ "Image": iso, "Inserted": true, "WriteProtected": true });
        let inserted = match action(&drive, "#VirtualMedia.InsertMedia") {
            Some(target) => {
                let asked = bmc.post(target, &full, Effect::Repeatable).await;
                match asked {
                    // Some take nothing but the address.
                    Err(ApiError::Refused { status: 400, .. }) => {
                        bmc.post(target, &json!({ "Image": iso }), Effect::Repeatable).await
                    }
                    asked => asked,
                }
            }
            None => {
                let body = json!({ "Image": iso, "Inserted": true });
                bmc.patch(&drive.path, drive.etag.as_deref(), &body).await
            }
        };
        let until = bmc.until.min(Instant::now() + bmc.patience);
        match inserted {
            Err(ApiError::Failed(Failure::Unknown(_))) | Ok(()) => {}
            // Also when it broke: the image could not be had, says the emulator of sushy-tools so.
            Err(ApiError::Refused { words, .. }) => {
                let words = format!("the image of parameter iso could not be inserted: {words}");
                return Err(ApiError::Refused { status: 400, words });
            }
            Err(error) => return Err(error),
        }
        loop {
            let now = bmc.get(&drive.path).await?;
            if is_inserted(&now) {
                return Ok(());
            }
            if Instant::now() + self.waits.look >= until {
                let text = "the image of parameter iso does not appear in the virtual CD";
                return Err(Failure::Unknown(text.to_owned()).into());
            }
            sleep(self.waits.look).await;
        }
    }

    async fn eject_drive(&self, drive: &Resource) -> Result<(), ApiError> {
        let bmc = self.bmc;
        let ejected = match action(drive, "#VirtualMedia.EjectMedia") {
            Some(target) => bmc.post(target, &json!({}), Effect::Repeatable).await,
            None => {
                let body = json!({ "Image": null, "Inserted": false });
                bmc.patch(&drive.path, drive.etag.as_deref(), &body).await
            }
        };
        let until = bmc.until.min(Instant::now() + bmc.patience);
        loop {
            if !is_inserted(&bmc.get(&drive.path).await?) {
                return Ok(());
            }
            if Instant::now() + self.waits.look >= until {
                return Err(ejected.err().unwrap_or_else(|| {
                    Failure::Unknown("the virtual CD is not ejected".to_owned()).into()
                }));
            }
            sleep(self.waits.look).await;
        }
    }

    /// Takes out what is in the virtual drives.
    pub(super) async fn eject(&self) -> Result<(), ApiError> {
        let system = self.look().await?;
        for drive in drives(self.bmc, &system).await?.iter().filter(|drive| is_inserted(drive)) {
            self.eject_drive(drive).await?;
        }
        Ok(())
    }

    /// Has the next start boot something else than usual.
    pub(super) async fn boot_from(&self, boot: Boot) -> Result<(), ApiError> {
        let Some(target) = boot.target() else { return Ok(()) };
        let system = self.look().await?;
        let body = json!({
            "Boot": { "BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": target }
        });
        self.bmc.patch(system.path(), system.0.etag.as_deref(), &body).await?;
        let seen = self.look().await?;
        match boot_of(&seen, "BootSourceOverrideTarget") {
            Some(now) if now != target => {
                let words = format!("parameter boot: the BMC keeps {now} and not {target}");
                Err(ApiError::Refused { status: 400, words })
            }
            _ => Ok(()),
        }
    }

    /// Ends the override of the boot order.
    pub(super) async fn boot_as_usual(&self) -> Result<(), ApiError> {
        let system = self.look().await?;
        if is_usual(&system) {
            return Ok(());
        }
        let allowed = boot_values(&system);
        // One that takes no "None" has no other rest than its disk.
        let rest = match allowed.is_empty() || allowed.contains(&"None") {
            true => "None",
            false => "Hdd",
        };
        let body = json!({
            "Boot": { "BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": rest }
        });
        let etag = system.0.etag.as_deref();
        let changed = self.bmc.patch(system.path(), etag, &body).await;
        let now = self.look().await?;
        if is_usual(&now) || boot_of(&now, "BootSourceOverrideTarget") == Some(rest) {
            return Ok(());
        }
        let body = json!({ "Boot": { "BootSourceOverrideEnabled": "Disabled" } });
        self.bmc.patch(now.path(), now.0.etag.as_deref(), &body).await?;
        match is_usual(&self.look().await?) {
            true => Ok(()),
            false => Err(changed.err().unwrap_or_else(|| {
                Failure::Unknown("the override of the boot order does not end".to_owned()).into()
            })),
        }
    }
}

fn boot_of<'a>(system: &'a System, name: &str) -> Option<&'a str> {
    system.0.json.get("Boot")?.get(name)?.as_str()
}

fn boot_values(system: &System) -> Vec<&str> {
    let boot = system.0.json.get("Boot");
    let values = boot.and_then(|boot| boot.get("BootSourceOverrideTarget@Redfish.AllowableValues"));
    values.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether nothing is overridden. A system that always says `Continuous` boots its disk by it.
fn is_usual(system: &System) -> bool {
    let (enabled, target) =
        (boot_of(system, "BootSourceOverrideEnabled"), boot_of(system, "BootSourceOverrideTarget"));
    matches!(enabled, None | Some("Disabled")) || matches!(target, None | Some("None" | "Hdd"))
}
