//! Making and removal that last: networks and images are ready, or gone, some time after the call.

use std::time::Duration;

use tokio::time::Instant;

use super::{Deletable, Image, ImageState, Listed, Objects, Vnet, VnetState};
use crate::error::{Error, ErrorKind, code};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A kind whose objects are removed in the background.
pub trait Lingering: Listed + Deletable {
    /// An operation of the front-end runs; it will not take a `delete` now.
    fn is_busy(&self) -> bool;
    /// It is being removed or counts as removed.
    fn is_leaving(&self) -> bool;
    /// Its state, for messages.
    fn state_name(&self) -> String;
}

impl Lingering for Vnet {
    fn is_busy(&self) -> bool {
        matches!(self.state, VnetState::Init | VnetState::LockCreate)
    }

    fn is_leaving(&self) -> bool {
        matches!(self.state, VnetState::LockDelete | VnetState::Done)
    }

    fn state_name(&self) -> String {
        format!("{:?}", self.state)
    }
}

impl Lingering for Image {
    fn is_busy(&self) -> bool {
        matches!(self.state, ImageState::Init | ImageState::Locked)
    }

    fn is_leaving(&self) -> bool {
        self.state == ImageState::Delete
    }

    fn state_name(&self) -> String {
        format!("{:?}", self.state)
    }
}

impl<O: Listed> Objects<O> {
    /// Whether an object is there. A busy database can answer "no such object" for one that is, so
    /// that answer is believed only if the pool does not have it either.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn exists(&self, id: O::Id) -> Result<bool, Error> {
        Ok(self.look(id).await?.is_some())
    }

    /// The object, or `None` if both `info` and the pool say that it is not there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn look(&self, id: O::Id) -> Result<Option<O>, Error> {
        match self.info(id).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_gone() => {
                let wanted: i32 = id.into();
                Ok(self.pool().await?.into_iter().find(|object| object.id().into() == wanted))
            }
            Err(error) => Err(error),
        }
    }
}

impl<O: Lingering> Objects<O> {
    /// The object, once the front-end is not busy with it any more: a network that is being made has
    /// no address ranges yet. After `deadline` it is returned as it is.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn settled(&self, id: O::Id, deadline: Duration) -> Result<O, Error> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let object = self.info(id).await?;
            if !object.is_busy() || begun.elapsed() + pause > deadline {
                return Ok(object);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Removes an object and waits until it is gone, at most `deadline` from now: waits while it is
    /// still being made (a network in `LOCK_CREATE` refuses to be removed), removes it, and looks
    /// until it is no longer there. One that is not there is success. A removal that was not answered is
    /// resolved by looking.
    ///
    /// # Errors
    /// A refusal that is not due to its state, such as addresses in use;
    /// [`ErrorKind::StillThere`] after the deadline.
    pub async fn delete_and_wait(&self, id: O::Id, deadline: Duration) -> Result<(), Error> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut accepted = false;
        let mut refused: Option<Error> = None;
        loop {
            let Some(object) = self.look(id).await? else { return Ok(()) };
            if object.is_busy() || object.is_leaving() {
                refused = None;
            } else if let Some(refusal) = refused {
                // Its state is as it should be, before and after the refusal: waiting changes nothing.
                return Err(refusal);
            } else {
                match self.delete(id).await {
                    Ok(()) => accepted = true,
                    Err(error) if error.is_gone() || error.is_unknown() => {}
                    // A second removal, because the first one has not begun yet, may be refused.
                    Err(error) if error.code() == Some(code::ACTION) => {
                        refused = (!accepted).then_some(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            if begun.elapsed() + pause > deadline {
                let state = object.state_name();
                let seconds = deadline.as_secs();
                let object = O::KIND.noun();
                let kind = ErrorKind::StillThere { object, id: id.into(), state, seconds };
                return Err(self.client.error(&self.method("delete"), kind, false));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
