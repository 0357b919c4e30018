//! Objects that are there and become what a changed template says.

use std::net::Ipv6Addr;

use journal::{Fact, ObjectRecord, Outcome, Step, Subject, VirtualKind};
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
use crate::objects::{Wanted, kind_word};
use crate::observe::Note;
use crate::session::Session;
use crate::whose::Whose;

/// Of an image: its template says that once, when it is made (`Image::insert`).
const PERSISTENT: &str = "PERSISTENT";

impl Session {
    /// Writes the template of an object anew, under an intent: the open one, if an earlier process
    /// left it. False if that failed; then the record says why.
    pub(crate) async fn refresh_object(
        &self,
        subject: Subject,
        id: i32,
        wanted: Wanted<'_>,
    ) -> Result<bool, EngineError> {
        let record = self.record().object(subject).cloned().unwrap_or_default();
        let intent = match &record.open {
            Some(open) if open.step == Step::Refresh => open.id,
            _ => self.intend(subject, Step::Refresh, None).await?,
        };
        self.note(Note::Debug(format!("Updating OpenNebula {}: {id}", kind_word(subject))));
        let answer = match self.whose(subject, id).await {
            Ok(Whose::Others(whose)) => Err(whose),
            Ok(_) => self.refresh(subject, id, wanted, &record).await.map_err(|e| describe(&e)),
            Err(error) => Err(describe(&error)),
        };
        let outcome = match answer {
            Ok(()) => Outcome::Done(Fact::Done),
            Err(why) => Outcome::Failed {
                message: format!("{} {:?} ({id}): {why}", kind_word(subject), wanted.name),
            },
        };
        let done = matches!(outcome, Outcome::Done(_));
        self.outcome(intent, outcome).await?;
        Ok(done)
    }

    async fn refresh(
        &self,
        subject: Subject,
        id: i32,
        wanted: Wanted<'_>,
        record: &ObjectRecord,
    ) -> Result<(), Error> {
        let Wanted { name, attributes, datastores } = wanted;
        let dropped = record.outdated.as_deref().unwrap_or_default();
        match subject {
            Subject::Cluster => {
                let id = ClusterId(id);
                self.refresh_cluster(id, name, attributes, dropped).await?;
                self.set_datastores(id, datastores, &record.taken_out).await
            }
            Subject::Datastore(_) => {
                self.refresh_datastore(DatastoreId(id), attributes, dropped).await
            }
            Subject::Network(_) => self.refresh_vnet(VnetId(id), attributes, dropped).await,
            Subject::Secrets => self.refresh_document(DocumentId(id), attributes).await,
            Subject::Virtual(kind, _) => self.refresh_virtual(kind, id, attributes, dropped).await,
            Subject::Host(_) => Ok(()),
        }
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
                let wanted = attributes.text(PERSISTENT).map(is_yes);
                let is_dropped = dropped.iter().any(|key| key == PERSISTENT);
                let wanted = wanted.or(is_dropped.then_some(false));
                let (mut template, how) = template(&there.template);
                template.remove(PERSISTENT);
                repeat(patience, || images.update(id, &template, how)).await?;
                match wanted.filter(|wanted| *wanted != there.persistent) {
                    Some(wanted) => repeat(patience, || images.set_persistent(id, wanted)).await,
                    None => Ok(()),
                }
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

/// As OpenNebula reads it.
pub(crate) fn is_yes(text: &str) -> bool {
    text.trim().eq_ignore_ascii_case("yes")
}

/// What tells one address range of a type from another (`src/vnm/AddressRange.cc`). OpenNebula drops addresses
/// that do not belong to a type, and the range of an IPAM driver gets its address from that driver: nothing
/// tells such ranges apart.
fn keys_of(range: &Attributes) -> &'static [&'static str] {
    if range.text("IPAM_MAD").is_some() {
        return &[];
    }
    match range.text("TYPE").unwrap_or_default().to_ascii_uppercase().as_str() {
        "ETHER" => &["MAC"],
        "IP6" => &["GLOBAL_PREFIX", "ULA_PREFIX", "MAC"],
        "IP6_STATIC" => &["IP6"],
        _ => &["IP"],
    }
}

/// The address ranges of a template that a network does not have. One is there if a range of the network is of
/// its type and begins where it does, or, if nothing says where, if there is any that is not another one's:
/// rather too few are added than one twice.
fn missing<'a>(there: &Attributes, wanted: &'a Attributes) -> Vec<&'a Attributes> {
    let mut left = ranges(there);
    let mut missing: Vec<&Attributes> = Vec::new();
    let key_of =
        |range: &Attributes| keys_of(range).iter().copied().find(|key| range.text(key).is_some());
    let (named, unnamed): (Vec<_>, Vec<_>) =
        ranges(wanted).into_iter().partition(|range| key_of(range).is_some());
    for range in named.into_iter().chain(unnamed) {
        let is_it = |there: &&Attributes| {
            let alike = |key| same(there.text(key).unwrap_or(""), range.text(key).unwrap_or(""));
            let of_type = range.text("TYPE").is_none() || alike("TYPE");
            of_type && alike("IPAM_MAD") && key_of(range).is_none_or(alike)
        };
        match left.iter().position(is_it) {
            Some(position) => drop(left.remove(position)),
            None => missing.push(range),
        }
    }
    missing
}

/// Whether two values say the same; of IPv6 addresses OpenNebula keeps the shortest form.
fn same(a: &str, b: &str) -> bool {
    let address = |text: &str| text.trim().parse::<Ipv6Addr>().ok();
    a.trim().eq_ignore_ascii_case(b.trim()) || address(a).is_some() && address(a) == address(b)
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

    fn network(ranges: &[&[(&str, &str)]]) -> Attributes {
        let mut network = Attributes::new();
        ranges.iter().for_each(|pairs| network.push("AR", range(pairs)));
        network
    }

    #[test]
    fn only_ranges_that_are_not_there_are_added() {
        let there = network(&[
            &[("TYPE", "IP4"), ("IP", "10.0.0.1"), ("SIZE", "9"), ("MAC", "a")],
            &[("TYPE", "ETHER"), ("MAC", "b"), ("SIZE", "4")],
        ]);
        let known: [&[(&str, &str)]; 2] = [
            &[("TYPE", "ETHER"), ("SIZE", "2")],
            &[("TYPE", "IP4"), ("IP", "10.0.0.1"), ("SIZE", "2")],
        ];
        assert!(missing(&there, &network(&known)).is_empty());
        let new: [&[(&str, &str)]; 2] =
            [&[("TYPE", "IP4"), ("IP", "10.0.1.1"), ("SIZE", "2")], &[("TYPE", "ETHER")]];
        let wanted = network(&[&known[..], &new[..]].concat());
        let added: Vec<_> = missing(&there, &wanted).iter().map(|r| r.text("IP")).collect();
        assert_eq!(added, [Some("10.0.1.1"), None]);
    }

    /// As OpenNebula has them: an IPAM driver chose the address (`register_address_range`), one that does not
    /// belong to the type is dropped, a prefix is written in its shortest form.
    #[test]
    fn a_range_whose_address_is_not_the_templates_is_not_added_again() {
        let there = network(&[
            &[("TYPE", "IP4"), ("IP", "34.1.2.3"), ("IPAM_MAD", "aws"), ("SIZE", "1")],
            &[("TYPE", "ETHER"), ("MAC", "02:00:a"), ("SIZE", "9")],
            &[("TYPE", "IP6"), ("GLOBAL_PREFIX", "2001:db8::"), ("SIZE", "9")],
        ]);
        let wanted = network(&[
            &[("TYPE", "IP4"), ("IP", "1.1.1.1"), ("IPAM_MAD", "aws"), ("SIZE", "1")],
            &[("TYPE", "ether"), ("IP", "10.9.9.9"), ("SIZE", "9")],
            &[("TYPE", "IP6"), ("GLOBAL_PREFIX", "2001:0db8:0::"), ("SIZE", "9")],
        ]);
        assert!(missing(&there, &wanted).is_empty());
        // Another one of the same driver is new.
        let two = network(&[&[("TYPE", "IP4"), ("IPAM_MAD", "aws")][..]; 2]);
        assert_eq!(missing(&there, &two).len(), 1);
    }
}
