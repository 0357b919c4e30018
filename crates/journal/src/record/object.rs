//! An object of OpenNebula other than a host.

use model::DatastoreId;
use serde::Serialize;

use super::OpenIntent;
use crate::event::{Fact, Outcome, Step};

/// An object of OpenNebula other than a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ObjectRecord {
    /// Its id, once it is known.
    pub id: Option<i32>,
    /// Its name, if it was found rather than made, or leaves without an id.
    pub name: Option<String>,
    /// Whether it was made in full: it carries our mark and its final name.
    pub complete: bool,
    /// Whether it has the owner and permissions that the template gives.
    pub owned: bool,
    /// Whether it was waited for until it was ready.
    pub ready: bool,
    /// A step without outcome.
    pub open: Option<OpenIntent>,
    /// Why the last step failed.
    pub failure: Option<String>,
    /// The step that failed last.
    #[serde(skip)]
    pub failed_in: Option<Step>,
    /// Whether it was deleted, or there is nothing of it to be made.
    pub removed: bool,
    /// Whether the template does not have it any more, so that it is to be deleted.
    pub leaving: bool,
    /// Its template in OpenNebula is to be written anew: without these attributes.
    pub outdated: Option<Vec<String>>,
    /// Of a cluster that is to be written anew: datastores of others that are taken out of it.
    pub taken_out: Vec<DatastoreId>,
}

impl ObjectRecord {
    /// The step that failed, and was not mended since.
    pub fn failed_step(&self) -> Option<Step> {
        self.failed_in.filter(|_| self.failure.is_some())
    }

    /// Its id, if it was made in full and not deleted since.
    pub fn made(&self) -> Option<i32> {
        self.id.filter(|_| self.complete && !self.removed)
    }

    /// Whether it is known that there is nothing to be made, as with a marketplace app that has no
    /// template of a machine.
    pub fn is_needless(&self) -> bool {
        self.complete && self.removed && self.id.is_none()
    }
}

pub(super) fn end_object_step(object: &mut ObjectRecord, step: Step, outcome: &Outcome) {
    match (step, outcome) {
        (Step::Refresh, Outcome::Done(_)) => {
            object.outdated = None;
            object.taken_out.clear();
            object.complete = true;
            object.failure = None;
        }
        (_, Outcome::Done(Fact::Object(id))) => {
            object.id = Some(*id);
            object.complete = true;
            object.failure = None;
            (object.owned, object.ready, object.removed) = (false, false, false);
        }
        (Step::Own, Outcome::Done(_)) => (object.owned, object.failure) = (true, None),
        (Step::AwaitReady, Outcome::Done(_)) => (object.ready, object.failure) = (true, None),
        // There is nothing to be made.
        (Step::Create, Outcome::Done(_)) => {
            *object = ObjectRecord { complete: true, removed: true, ..Default::default() };
        }
        (_, Outcome::Done(_)) => (object.removed, object.failure) = (true, None),
        (_, Outcome::Failed { message: why } | Outcome::Unknown { evidence: why }) => {
            (object.failure, object.failed_in) = (Some(why.clone()), Some(step));
        }
    }
}
