//! Attributes whose values are known only when the hosts are there: `${updates.first_host}` and
//! `${updates.default_ipv4_nic}` of 6.x.
//!
//! What is made before the hosts is made without them, and gets them here. What they are is not written
//! down: OpenNebula has it, so that what is missing or differs is written, under an intent, and nothing
//! else. The first host's name may change, and is written again; its network interface is asked for
//! once, and stays.

use std::sync::{MutexGuard, PoisonError};

use journal::{Fact, HostRecord, Layout, Outcome, ProvisionRecord, Step, Subject, VirtualKind};
use model::{
    Attributes, ClusterId, DatastoreId, ImageId, ProvisionState, TemplateId, Value, VnetId,
    VntemplateId,
};
use opennebula::Error;
use opennebula::objects::Update;
use template::reference::{EvaluateError, Late};
use template::spec::Spec;

use crate::again::repeat;
use crate::error::describe;
use crate::hosts::Work;
use crate::objects::{Made, infrastructure, kind_word};
use crate::observe::Note;
use crate::session::Session;
use crate::values::{Known, late_of};
use crate::virtuals::{OF_THE_FILE, entries};
use crate::{Decision, EngineError};

/// An object of a template with attributes that have to wait for the hosts.
pub(crate) struct Waiting<'s> {
    pub subject: Subject,
    pub name: &'s str,
    /// These attributes alone.
    pub attributes: Vec<(&'s str, &'s Value)>,
}

/// Those of a template, in the order in which they are made.
pub(crate) fn waiting<'s>(spec: &'s Spec, layout: &Layout) -> Vec<Waiting<'s>> {
    let of = |subject, name, attributes: &'s Attributes| {
        // OpenNebula does not keep in an image's template where its file comes from.
        let is_image = matches!(subject, Subject::Virtual(VirtualKind::Image, _));
        let waits = |(key, value): &(&str, &Value)| {
            let is_kept = !is_image || !OF_THE_FILE.contains(key);
            is_kept && !late_of(value).is_empty()
        };
        let attributes: Vec<_> = attributes.iter().filter(waits).collect();
        (!attributes.is_empty()).then_some(Waiting { subject, name, attributes })
    };
    let objects =
        infrastructure(spec, layout).map(|(subject, .., o)| (subject, &o.name, &o.attributes));
    let objects = objects.filter_map(|(subject, name, attributes)| of(subject, name, attributes));
    let virtuals = entries(spec, layout).into_iter();
    let virtuals =
        virtuals.filter_map(|entry| of(entry.subject, entry.name, &entry.spec.attributes));
    objects.chain(virtuals).collect()
}

/// The first host of a template that is not deleted.
pub(crate) fn first_host<'r>(record: &'r ProvisionRecord, spec: &Spec) -> Option<&'r HostRecord> {
    let keys = (0..spec.hosts.len()).map(|index| record.layout.host(index));
    let mut hosts = keys.filter_map(|key| record.hosts.get(&key));
    hosts.find(|host| !host.removed && !host.removing)
}

/// The name that a host has for good, once it has it.
pub(crate) fn name_of(host: &HostRecord) -> Option<&str> {
    host.name.as_deref().filter(|_| host.enlisted.is_some())
}

/// Takes note of the first host's name, if it has one.
pub(crate) fn tell_first_host(known: &mut Known, record: &ProvisionRecord, spec: &Spec) {
    let name = first_host(record, spec).and_then(name_of).map(str::to_owned);
    known.set_late(Late::FirstHost, name);
}

/// Those attributes whose values are known, with them; and why others are not, although they have not to
/// wait for hosts.
pub(crate) fn known_of<'a>(
    attributes: &[(&'a str, &Value)],
    known: &Known,
) -> (Attributes, Vec<(&'a str, EvaluateError)>) {
    let (mut found, mut unknown) = (Attributes::new(), Vec::new());
    for (key, value) in attributes.iter().filter(|(_, value)| !known.awaits(value)) {
        let only: Attributes = [((*key).to_owned(), (*value).clone())].into_iter().collect();
        match known.attributes(&only) {
            Ok(only) => only.iter().for_each(|(key, value)| found.push(key, value.clone())),
            Err(why) => unknown.push((*key, why)),
        }
    }
    (found, unknown)
}

/// Whether an attribute is nothing but a network interface that is given: it stays. No plan tells of another
/// one.
pub(crate) fn stays(there: &Attributes, attributes: &[(&str, &Value)], key: &str) -> bool {
    let late = attributes.iter().filter(|(other, _)| *other == key);
    let mut late = late.flat_map(|(_, value)| late_of(value));
    is_given(there, key) && late.all(|late| late == Late::DefaultIpv4Nic)
}

/// Whether an attribute has that value already.
pub(crate) fn has(there: &Attributes, key: &str, value: &Value) -> bool {
    is_given(there, key)
        && there.get(key).and_then(Value::expose).map(str::trim) == value.expose().map(str::trim)
}

/// Whether an attribute is there, and not empty: OpenNebula gives networks a `PHYDEV` without a value
/// (`src/vnm/VirtualNetwork.cc`).
pub(crate) fn is_given(there: &Attributes, key: &str) -> bool {
    let value = there.get(key);
    value.is_some_and(|value| value.expose().is_none_or(|text| !text.trim().is_empty()))
}

/// Why the network interface of the first host is not known.
enum Lack {
    /// Nobody can be asked; why, and what can be done.
    Unasked(String),
    /// The machine was asked.
    Trouble(String),
}

/// What there is to do about an object.
struct Found {
    /// To be written.
    values: Attributes,
    /// Why something of it cannot be had.
    trouble: Option<String>,
    /// What it has to do without for now.
    missing: Vec<Note>,
}

impl Work {
    /// Asks for what objects need that are made from here on.
    pub(crate) async fn ask_late(&self, spec: &Spec, known: &mut Known) {
        tell_first_host(known, &self.session.record(), spec);
        let is_needed = {
            let record = self.session.record();
            let unmade = |subject| record.object(subject).is_none_or(|o| o.made().is_none());
            let waiting = waiting(spec, &record.layout);
            waiting.iter().any(|object| unmade(object.subject) && needs_nic(&object.attributes))
        };
        if is_needed && let Ok(nic) = self.ask_nic(spec).await {
            known.set_late(Late::DefaultIpv4Nic, Some(nic));
        }
    }

    /// Gives all objects their values, as far as these are known by now. [`Made::All`] if nothing of it is
    /// left to be done: what cannot be known for now, or failed, is told.
    pub(crate) async fn write_late(
        &self,
        spec: &Spec,
        known: &mut Known,
    ) -> Result<Made, EngineError> {
        let layout = self.session.record().layout.clone();
        self.write_all(waiting(spec, &layout), spec, known).await
    }

    /// Before some hosts are destroyed: what names the first host is to name the first of those that stay.
    /// Of a provision that failed nothing else may be missing either: what failed may be gone with the
    /// hosts. False if something could not be done; it is told.
    pub(crate) async fn write_without_hosts(&self, spec: &Spec) -> Result<bool, EngineError> {
        let layout = self.session.record().layout.clone();
        let mut objects = waiting(spec, &layout);
        if objects.is_empty() {
            return Ok(true);
        }
        let record = self.session.record().clone();
        let mut known = Known::of(spec, &record, &layout);
        if record.state != ProvisionState::Failed {
            let names_host = |(_, value): &(&str, &Value)| {
                late_of(value).into_iter().all(|late| late == Late::FirstHost)
            };
            objects.iter_mut().for_each(|object| object.attributes.retain(names_host));
        }
        objects.retain(|object| !object.attributes.is_empty());
        let subjects: Vec<Subject> = objects.iter().map(|object| object.subject).collect();
        let made = self.write_all(objects, spec, &mut known).await?;
        let record = self.session.record();
        let fails = |subject| record.object(subject).is_some_and(|o| o.failure.is_some());
        Ok(made == Made::All && !subjects.into_iter().any(fails))
    }

    async fn write_all(
        &self,
        objects: Vec<Waiting<'_>>,
        spec: &Spec,
        known: &mut Known,
    ) -> Result<Made, EngineError> {
        tell_first_host(known, &self.session.record(), spec);
        for object in objects {
            let made = self.write_object(&object, spec, known).await?;
            if made != Made::All {
                return Ok(made);
            }
        }
        Ok(Made::All)
    }

    /// One object, as often as that is the decision.
    async fn write_object(
        &self,
        object: &Waiting<'_>,
        spec: &Spec,
        known: &mut Known,
    ) -> Result<Made, EngineError> {
        let (subject, word) = (object.subject, kind_word(object.subject));
        let mut is_written = false;
        loop {
            if self.is_stopping() {
                return Ok(Made::Stopped);
            }
            let record = self.session.record().object(subject).cloned().unwrap_or_default();
            let is_busy = record.open.as_ref().is_some_and(|open| open.step != Step::Refresh);
            let is_failed = record.failed_step().is_some_and(|step| step != Step::Refresh);
            let is_off = record.outdated.is_some() || is_busy || is_failed;
            // What is not as it should be otherwise is told already, and comes again.
            let Some(id) = record.made().filter(|_| !is_off) else {
                return Ok(Made::All);
            };
            let there = match self.session.template_of(subject, id).await {
                Err(error) if error.is_gone() => {
                    let message =
                        format!("{word} {:?} ({id}) is not in OpenNebula any more", object.name);
                    self.session.note(Note::Warning(message.clone()));
                    if let Some(open) = record.open {
                        self.session.outcome(open.id, Outcome::Failed { message }).await?;
                    }
                    return Ok(Made::All);
                }
                there => {
                    there.map_err(EngineError::opennebula(format!("{word} {id} cannot be read")))?
                }
            };
            let Found { values, trouble, missing } =
                self.look(object, id, &there, spec, known).await;
            if self.is_stopping() {
                return Ok(Made::Stopped);
            }
            let is_due = !values.is_empty() && !is_written;
            if !is_due && trouble.is_none() {
                missing.into_iter().for_each(|note| self.session.note(note));
                if let Some(open) = record.open {
                    // It was written, and that was not written down.
                    self.session.outcome(open.id, Outcome::Done(Fact::Done)).await?;
                }
                return Ok(Made::All);
            }
            let intent = match &record.open {
                Some(open) => open.id,
                None => self.session.intend(subject, Step::Refresh, None).await?,
            };
            let is_all = trouble.is_none() && missing.is_empty();
            let outcome = match is_due {
                true => self.session.write_values(subject, id, object.name, &values).await,
                false => Outcome::Failed { message: trouble.unwrap_or_default() },
            };
            is_written = matches!(outcome, Outcome::Done(_));
            self.session.outcome(intent, outcome).await?;
            match is_written {
                true if is_all => return Ok(Made::All),
                true => continue,
                false => {}
            }
            let failure = self.session.record().object(subject).and_then(|o| o.failure.clone());
            match self.session.decide(subject, &failure.unwrap_or_default()).await {
                Decision::Retry => drop(self.nic_trouble().take()),
                Decision::Cleanup => return Ok(Made::Cleanup),
                Decision::Quit => return Ok(Made::Stopped),
                Decision::Leave | Decision::Skip => return Ok(Made::All),
            }
        }
    }

    /// What an object has to get, and what it has to do without.
    async fn look(
        &self,
        object: &Waiting<'_>,
        id: i32,
        there: &Attributes,
        spec: &Spec,
        known: &mut Known,
    ) -> Found {
        let attributes = &object.attributes;
        let mut lacking = attributes.clone();
        lacking.retain(|(key, value)| known.awaits(value) && !is_given(there, key));
        let mut lack = None;
        if needs_nic(&lacking) {
            match self.ask_nic(spec).await {
                Ok(nic) => known.set_late(Late::DefaultIpv4Nic, Some(nic)),
                Err(found) => lack = Some(found),
            }
            lacking.retain(|(_, value)| known.awaits(value));
        }
        let (values, unknown) = known_of(attributes, known);
        let is_due =
            |key: &str, value: &Value| !has(there, key, value) && !stays(there, attributes, key);
        let values = values.iter().filter(|(key, value)| is_due(key, value));
        let values = values.map(|(key, value)| (key.to_owned(), value.clone())).collect();
        let what = format!("{} {:?} ({id})", kind_word(object.subject), object.name);
        let trouble = match (&lack, lacking.first()) {
            (Some(Lack::Trouble(why)), Some((key, _))) => {
                Some(format!("{what} has no {key}: {why}"))
            }
            _ => None,
        };
        let missing = |(key, value): &(&str, &Value)| {
            let why = match &lack {
                Some(Lack::Unasked(why)) if needs_nic(&[(*key, *value)]) => {
                    format!("{} is not known: {why}", Late::DefaultIpv4Nic)
                }
                _ => {
                    let host = self.first_name(spec);
                    format!("{} is known when {host} has its machine", Late::FirstHost)
                }
            };
            Note::Warning(format!("{what} has no {key} yet: {why}"))
        };
        let mut missing: Vec<Note> = lacking.iter().map(missing).collect();
        // Its address may be somebody else's next.
        let waits_for_host = |value: &Value| late_of(value).contains(&Late::FirstHost);
        let is_old = |(key, value): &&(&str, &Value)| {
            is_given(there, key) && waits_for_host(value) && !known.has_late(Late::FirstHost)
        };
        missing.extend(attributes.iter().filter(is_old).map(|(key, _)| {
            let host = self.first_name(spec);
            Note::Warning(format!(
                "{what} keeps the {key} that it has, which may name a host that is not there any more, \
                 until {host} has its machine"
            ))
        }));
        missing.extend(unknown.iter().map(|(key, why)| {
            Note::Warning(format!("{key} of {what} is not set: {}", describe(why)))
        }));
        Found { missing, values, trouble }
    }

    /// What people call the first host.
    fn first_name(&self, spec: &Spec) -> String {
        let record = self.session.record();
        let called = first_host(&record, spec).and_then(|host| record.called(host.key));
        called.map_or_else(|| "its first host".to_owned(), |name| format!("host {name}"))
    }

    /// Asks the first host's machine for its network interface, if it is one that was configured: only of
    /// those it is known that they can be logged in to.
    async fn ask_nic(&self, spec: &Spec) -> Result<String, Lack> {
        let called = self.first_name(spec);
        let host = first_host(&self.session.record(), spec).cloned();
        let work = host.as_ref().and_then(|host| self.hosts.get(&host.key));
        let (Some(host), Some(work)) = (host.as_ref(), work) else {
            return Err(Lack::Unasked(format!("{called} is not there")));
        };
        if work.configuration.stages.is_empty() {
            return Err(Lack::Unasked(format!(
                "nothing is configured on {called}, so that its machine is not logged in to; give the \
                 interface in the template"
            )));
        }
        if !host.configuration.is_whole() {
            return Err(Lack::Unasked(format!(
                "{called} is not configured; `oneprovision configure {}` does that, and asks it",
                self.session.id
            )));
        }
        if let Some(why) = self.nic_trouble().clone() {
            return Err(Lack::Trouble(why));
        }
        let machine = work.configuration.machine(host).map_err(Lack::Trouble)?;
        self.session.note(Note::Debug(format!("Asking {called} for its network interface")));
        let asked = self.session.engine().configure.default_nic(self.session.id, &machine);
        tokio::select! {
            biased;
            () = self.stopping() => Err(Lack::Trouble("it was not asked".to_owned())),
            nic = asked => nic.map_err(|trouble| {
                *self.nic_trouble() = Some(trouble.0.clone());
                Lack::Trouble(trouble.0)
            }),
        }
    }

    /// Why the first host did not tell it when it was asked: that takes its time, and is not repeated for
    /// each object.
    fn nic_trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.no_nic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn needs_nic(attributes: &[(&str, &Value)]) -> bool {
    attributes.iter().any(|(_, value)| late_of(value).contains(&Late::DefaultIpv4Nic))
}

impl Session {
    /// The template as the journal has it, without its secrets.
    pub(crate) fn stored_spec(&self) -> Option<Spec> {
        self.record().create.as_ref()?.spec.read().ok()
    }

    /// The template of an object, as OpenNebula has it.
    async fn template_of(&self, subject: Subject, id: i32) -> Result<Attributes, Error> {
        let one = &self.engine().opennebula;
        Ok(match subject {
            Subject::Cluster => one.clusters().info(ClusterId(id)).await?.template,
            Subject::Datastore(_) => one.datastores().info(DatastoreId(id)).await?.template,
            Subject::Network(_) => one.vnets().info(VnetId(id)).await?.template,
            Subject::Virtual(VirtualKind::Image, _) => {
                one.images().info(ImageId(id)).await?.template
            }
            Subject::Virtual(VirtualKind::Template, _) => {
                one.templates().info(TemplateId(id)).await?.template
            }
            Subject::Virtual(VirtualKind::Vntemplate, _) => {
                one.vntemplates().info(VntemplateId(id)).await?.template
            }
            Subject::Virtual(VirtualKind::Flowtemplate, _)
            | Subject::Secrets
            | Subject::Host(_) => Attributes::new(),
        })
    }

    /// Writes attributes of an object; its others stay.
    async fn write_values(
        &self,
        subject: Subject,
        id: i32,
        name: &str,
        values: &Attributes,
    ) -> Outcome {
        let keys: Vec<&str> = values.iter().map(|(key, _)| key).collect();
        let (word, keys) = (kind_word(subject), keys.join(", "));
        self.note(Note::Debug(format!("Updating OpenNebula {word}: {id}: {keys}")));
        let one = &self.engine().opennebula;
        let (patience, how) = (self.engine().settings.patience, Update::Append);
        let (clusters, datastores, vnets) = (one.clusters(), one.datastores(), one.vnets());
        let (images, templates, vntemplates) = (one.images(), one.templates(), one.vntemplates());
        let answer = match subject {
            Subject::Cluster => {
                repeat(patience, || clusters.update(ClusterId(id), values, how)).await
            }
            Subject::Datastore(_) => {
                repeat(patience, || datastores.update(DatastoreId(id), values, how)).await
            }
            Subject::Network(_) => repeat(patience, || vnets.update(VnetId(id), values, how)).await,
            Subject::Virtual(VirtualKind::Image, _) => {
                repeat(patience, || images.update(ImageId(id), values, how)).await
            }
            Subject::Virtual(VirtualKind::Template, _) => {
                repeat(patience, || templates.update(TemplateId(id), values, how)).await
            }
            Subject::Virtual(VirtualKind::Vntemplate, _) => {
                repeat(patience, || vntemplates.update(VntemplateId(id), values, how)).await
            }
            Subject::Virtual(VirtualKind::Flowtemplate, _)
            | Subject::Secrets
            | Subject::Host(_) => Ok(()),
        };
        let message = |error| format!("{keys} of {word} {name:?} ({id}): {}", describe(error));
        match answer {
            Ok(()) => Outcome::Done(Fact::Done),
            Err(error) if error.is_unknown() => Outcome::Unknown { evidence: message(&error) },
            Err(error) => Outcome::Failed { message: message(&error) },
        }
    }
}
