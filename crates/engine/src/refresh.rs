//! Objects that are there and become what a changed template says.

use journal::{Fact, Outcome, Step, Subject, VirtualKind};
use model::{
    Attributes, ClusterId, DatastoreId, DocumentId, ImageId, TemplateId, Value, VnetId,
    VntemplateId,
};
use opennebula::Error;
use opennebula::objects::Update;

use crate::EngineError;
use crate::again::repeat;
use crate::error::describe;
use crate::hosts::rewritten;
use crate::objects::kind_word;
use crate::observe::Note;
use crate::session::Session;

impl Session {
    /// Writes the template of an object anew, under an intent: the open one, if an earlier process
    /// left it. False if that failed; then the record says why.
    pub(crate) async fn refresh_object(
        &self,
        subject: Subject,
        id: i32,
        name: &str,
        attributes: &Attributes,
    ) -> Result<bool, EngineError> {
        let record = self.record().object(subject).cloned().unwrap_or_default();
        let intent = match &record.open {
            Some(open) if open.step == Step::Refresh => open.id,
            _ => self.intend(subject, Step::Refresh, None).await?,
        };
        let dropped = record.outdated.unwrap_or_default();
        self.note(Note::Debug(format!("Updating OpenNebula {}: {id}", kind_word(subject))));
        let answer = match subject {
            Subject::Cluster => {
                self.refresh_cluster(ClusterId(id), name, attributes, &dropped).await
            }
            Subject::Datastore(_) => {
                self.refresh_datastore(DatastoreId(id), attributes, &dropped).await
            }
            Subject::Network(_) => self.refresh_vnet(VnetId(id), attributes, &dropped).await,
            Subject::Secrets => self.refresh_document(DocumentId(id), attributes).await,
            Subject::Virtual(kind, _) => self.refresh_virtual(kind, id, attributes, &dropped).await,
            Subject::Host(_) => Ok(()),
        };
        let outcome = match answer {
            Ok(()) => Outcome::Done(Fact::Done),
            Err(error) => Outcome::Failed {
                message: format!("{} {name:?} ({id}): {}", kind_word(subject), describe(&error)),
            },
        };
        let done = matches!(outcome, Outcome::Done(_));
        self.outcome(intent, outcome).await?;
        Ok(done)
    }

    async fn refresh_cluster(
        &self,
        id: ClusterId,
        name: &str,
        attributes: &Attributes,
        dropped: &[String],
    ) -> Result<(), Error> {
        let clusters = self.engine().opennebula.clusters();
        let patience = self.engine().settings.patience;
        let there = repeat(patience, || clusters.info(id)).await?;
        let (template, how) = rewritten(&there.template, attributes.clone(), dropped);
        repeat(patience, || clusters.update(id, &template, how)).await?;
        match there.name == name {
            true => Ok(()),
            false => repeat(patience, || clusters.rename(id, name)).await,
        }
    }

    async fn refresh_datastore(
        &self,
        id: DatastoreId,
        attributes: &Attributes,
        dropped: &[String],
    ) -> Result<(), Error> {
        let datastores = self.engine().opennebula.datastores();
        let patience = self.engine().settings.patience;
        let there = repeat(patience, || datastores.info(id)).await?;
        let (template, how) = rewritten(&there.template, attributes.clone(), dropped);
        repeat(patience, || datastores.update(id, &template, how)).await
    }

    /// Address ranges are no part of a network's template: those that are missing are added.
    async fn refresh_vnet(
        &self,
        id: VnetId,
        attributes: &Attributes,
        dropped: &[String],
    ) -> Result<(), Error> {
        let vnets = self.engine().opennebula.vnets();
        let patience = self.engine().settings.patience;
        let there = repeat(patience, || vnets.settled(id, patience)).await?;
        let mut template = attributes.clone();
        template.remove("AR");
        let (template, how) = rewritten(&there.template, template, dropped);
        repeat(patience, || vnets.update(id, &template, how)).await?;
        for range in missing(&there.address_ranges, attributes) {
            let mut template = Attributes::new();
            template.push("AR", range.clone());
            // Not repeated: it would be there twice. An update that is repeated looks first.
            vnets.add_ranges(id, &template).await?;
        }
        Ok(())
    }

    async fn refresh_virtual(
        &self,
        kind: VirtualKind,
        id: i32,
        attributes: &Attributes,
        dropped: &[String],
    ) -> Result<(), Error> {
        let opennebula = &self.engine().opennebula;
        let patience = self.engine().settings.patience;
        let template = |there: &Attributes| rewritten(there, attributes.clone(), dropped);
        match kind {
            VirtualKind::Image => {
                let (images, id) = (opennebula.images(), ImageId(id));
                let there = repeat(patience, || images.info(id)).await?;
                let (template, how) = template(&there.template);
                repeat(patience, || images.update(id, &template, how)).await
            }
            VirtualKind::Template => {
                let (templates, id) = (opennebula.templates(), TemplateId(id));
                let there = repeat(patience, || templates.info(id)).await?;
                let (template, how) = template(&there.template);
                repeat(patience, || templates.update(id, &template, how)).await
            }
            VirtualKind::Vntemplate => {
                let (templates, id) = (opennebula.vntemplates(), VntemplateId(id));
                let there = repeat(patience, || templates.info(id)).await?;
                let (template, how) = template(&there.template);
                repeat(patience, || templates.update(id, &template, how)).await
            }
            VirtualKind::Flowtemplate => self.refresh_document(DocumentId(id), attributes).await,
        }
    }

    async fn refresh_document(&self, id: DocumentId, template: &Attributes) -> Result<(), Error> {
        let documents = self.engine().opennebula.documents();
        let patience = self.engine().settings.patience;
        let mut template = template.clone();
        template.remove("NAME");
        repeat(patience, || documents.update(id, &template, Update::Append)).await
    }
}

/// What tells one address range from another, in this order.
const RANGE_KEYS: [&str; 5] = ["IP", "IP6", "GLOBAL_PREFIX", "ULA_PREFIX", "MAC"];

/// The address ranges of a template that a network does not have. One is there if a range of the
/// network begins where it does, or, if it does not say where, if there is any that is not another
/// one's: rather too few are added than one twice.
fn missing<'a>(there: &Attributes, wanted: &'a Attributes) -> Vec<&'a Attributes> {
    let mut left = ranges(there);
    let mut missing: Vec<&Attributes> = Vec::new();
    let (named, unnamed): (Vec<_>, Vec<_>) = ranges(wanted)
        .into_iter()
        .partition(|range| RANGE_KEYS.iter().any(|key| range.text(key).is_some()));
    for range in named.into_iter().chain(unnamed) {
        let key = RANGE_KEYS.into_iter().find(|key| range.text(key).is_some());
        let is_it = |there: &&Attributes| {
            key.is_none_or(|key| {
                let (there, wanted) = (there.text(key), range.text(key));
                there.zip(wanted).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
            })
        };
        match left.iter().position(is_it) {
            Some(position) => drop(left.remove(position)),
            None => missing.push(range),
        }
    }
    missing
}

fn ranges(attributes: &Attributes) -> Vec<&Attributes> {
    let ranges = attributes.all("AR").filter_map(|value| match value {
        Value::Vector(range) => Some(range),
        _ => None,
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(pairs: &[(&str, &str)]) -> Value {
        Value::Vector(pairs.iter().map(|(k, v)| ((*k).to_owned(), Value::from(*v))).collect())
    }

    #[test]
    fn only_ranges_that_are_not_there_are_added() {
        let mut there = Attributes::new();
        there
            .push("AR", range(&[("TYPE", "IP4"), ("IP", "10.0.0.1"), ("SIZE", "9"), ("MAC", "a")]));
        there.push("AR", range(&[("TYPE", "ETHER"), ("MAC", "b"), ("SIZE", "4")]));
        let mut wanted = Attributes::new();
        wanted.push("AR", range(&[("TYPE", "ETHER"), ("SIZE", "2")]));
        wanted.push("AR", range(&[("TYPE", "IP4"), ("IP", "10.0.0.1"), ("SIZE", "2")]));
        assert!(missing(&there, &wanted).is_empty());
        wanted.push("AR", range(&[("TYPE", "IP4"), ("IP", "10.0.1.1"), ("SIZE", "2")]));
        wanted.push("AR", range(&[("TYPE", "ETHER"), ("SIZE", "2")]));
        let added: Vec<_> = missing(&there, &wanted).iter().map(|r| r.text("IP")).collect();
        assert_eq!(added, [Some("10.0.1.1"), None]);
    }
}
