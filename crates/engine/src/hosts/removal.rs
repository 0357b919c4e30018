//! The end of a host object.

use journal::{Fact, HostRecord, Step, Subject};
use model::HostId;

use super::Work;
use crate::again::{Tell, delete};
use crate::observe::Note;
use crate::whose::Whose;
use crate::{EngineError, names};

impl Work {
    /// Whether there may be a host object whose id is not in the record. When all of a provision is
    /// removed, such an object was found and taken into the record before.
    fn may_be_half_made(&self, host: &HostRecord) -> bool {
        self.session.was_tried(Subject::Host(host.key)) && !self.session.record().doomed
    }

    /// Deletes the host object. One that is gone already was deleted by hand.
    pub(super) async fn remove(&self, host: &HostRecord) -> Result<(), EngineError> {
        let intent = self.intent(host, Step::Remove).await?;
        let id = match host.host_id {
            Some(id) => Some(HostId(id)),
            // Its create may have failed after its allocate.
            None if self.may_be_half_made(host) => {
                match self.find_host(&names::host_name(self.session.id, host.key)).await {
                    Ok(found) => found,
                    Err(error) => return self.written(intent, Err(error)).await,
                }
            }
            None => None,
        };
        let Some(id) = id else {
            return self.written(intent, Ok(Fact::Done)).await;
        };
        let engine = self.session.engine();
        let hosts = engine.opennebula.hosts();
        self.session.note(Note::Debug(format!("Deleting OpenNebula host: {id}")));
        let tell: Tell<'_> = &|text| self.session.note(Note::Warning(text));
        let marked = self.hosts.get(&host.key).is_some_and(|work| work.marked);
        let whose = match marked {
            true => Ok(Whose::Ours),
            false => self.session.whose(Subject::Host(host.key), id.into()).await,
        };
        let answer = match whose {
            Ok(Whose::Others(whose)) => {
                self.session.note(Note::Warning(whose));
                Ok(Fact::NotOurs)
            }
            Ok(_) => match delete(engine.settings.patience, tell, &hosts, id).await {
                Err(error) if error.is_gone() => {
                    self.session.note(Note::Warning(format!("host {id} was already deleted")));
                    Ok(Fact::Done)
                }
                answer => answer.map(|()| Fact::Done),
            },
            Err(error) => Err(error),
        };
        self.written(intent, answer).await
    }
}
