//! Making and removal that last: networks and images are ready, or gone, some time after the call.

use std::time::Duration;

use tokio::time::Instant;

use super::{Deletable, Image, ImageState, Listed, Objects, Vnet, VnetState};
use crate::error::{Error, ErrorKind, code};
use crate::xmlrpc::Param;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A kind whose objects are removed in the background.
pub trait Lingering: Listed + Deletable {
    /// An operation of the front-end runs that comes to an end by itself; it will not take a `delete` now.
    fn is_busy(&self) -> bool;
    /// It is being removed or counts as removed.
    fn is_leaving(&self) -> bool;
    /// Why it cannot be used, if what makes it or removes it has failed.
    fn failure(&self) -> Option<&str>;
    /// Its state, for messages.
    fn state_name(&self) -> String;
    /// What keeps it from being removed may last for ever, and [`Lingering::FORCE`] removes it all the same.
    /// `tried` says that a removal was begun before.
    fn yields_to_force(&self, tried: bool) -> bool;
    /// The call that does so: its name, and what it is given after the id.
    const FORCE: (&'static str, Param);
}

/// What `one.vn.recover` is told so that the network is gone.
const RECOVER_DELETE: i32 = 2;
const NO_REASON: &str = "OpenNebula gives no reason";

impl Lingering for Vnet {
    fn is_busy(&self) -> bool {
        matches!(self.state, VnetState::Init | VnetState::LockCreate)
    }

    fn is_leaving(&self) -> bool {
        matches!(self.state, VnetState::LockDelete | VnetState::Done)
    }

    fn failure(&self) -> Option<&str> {
        let failed = self.state == VnetState::Error;
        failed.then(|| self.template.text("ERROR").unwrap_or(NO_REASON))
    }

    fn state_name(&self) -> String {
        named(format!("{:?}", self.state), self.failure())
    }

    /// An action of its IPAM driver whose end was lost with a restart of `oned` leaves it locked for ever, and
    /// `delete` is refused then (`src/rm/RequestManagerDelete.cc`, `VirtualNetworkRecover` in
    /// `src/rm/RequestManagerVirtualNetwork.cc`).
    fn yields_to_force(&self, _: bool) -> bool {
        self.is_busy() || self.state == VnetState::LockDelete
    }

    const FORCE: (&'static str, Param) = ("recover", Param::Int(RECOVER_DELETE));
}

impl Lingering for Image {
    fn is_busy(&self) -> bool {
        use ImageState::{Clone, Init, Locked, LockedUsed, LockedUsedPersistent};
        matches!(self.state, Init | Locked | Clone | LockedUsed | LockedUsedPersistent)
    }

    fn is_leaving(&self) -> bool {
        self.state == ImageState::Delete
    }

    fn failure(&self) -> Option<&str> {
        let failed = self.state == ImageState::Error;
        failed.then(|| self.template.text("ERROR").unwrap_or(NO_REASON))
    }

    fn state_name(&self) -> String {
        named(format!("{:?}", self.state), self.failure())
    }

    /// A copy that hangs, or whose end was lost with a restart of `oned`, leaves it locked for ever; a
    /// removal that the datastore refuses leaves it in ERROR (`ImageDelete` in
    /// `src/rm/RequestManagerDelete.cc`, `ImageManager::_rm` in `src/image/ImageManagerProtocol.cc`).
    fn yields_to_force(&self, tried: bool) -> bool {
        self.state == ImageState::Locked || tried && self.state == ImageState::Error
    }

    const FORCE: (&'static str, Param) = ("delete", Param::Bool(true));
}

fn named(state: String, failure: Option<&str>) -> String {
    match failure {
        Some(why) => format!("{state} ({why})"),
        None => state,
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

    /// Waits until an object that was made can be used: `allocate` answers before drivers and address ranges
    /// had their say.
    ///
    /// # Errors
    /// [`ErrorKind::Failed`] if it is in ERROR; [`ErrorKind::StillThere`] after the deadline.
    pub async fn usable(&self, id: O::Id, deadline: Duration) -> Result<(), Error> {
        let made = self.settled(id, deadline).await?;
        let (object, id) = (O::KIND.noun(), id.into());
        let kind = if let Some(why) = made.failure() {
            ErrorKind::Failed { object, id, why: why.to_owned() }
        } else if made.is_busy() {
            let (state, seconds) = (made.state_name(), deadline.as_secs());
            ErrorKind::StillThere { object, id, state, seconds }
        } else {
            return Ok(());
        };
        Err(self.client.error(&self.method("allocate"), kind, false))
    }

    /// Removes an object and waits until it is gone, at most `deadline` from now: waits while it is
    /// still being made (a network in `LOCK_CREATE` refuses to be removed), removes it, and looks
    /// until it is no longer there. What does not come to an end by itself is removed by force after half of
    /// that time; files of an image may stay then. One that is not there is
    /// success. A removal that was not answered is resolved by looking.
    ///
    /// # Errors
    /// A refusal that is not due to a state that has changed since, such as addresses in use;
    /// [`ErrorKind::StillThere`] after the deadline.
    pub async fn delete_and_wait(&self, id: O::Id, deadline: Duration) -> Result<(), Error> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut accepted = false;
        let mut refused: Option<(Error, String)> = None;
        loop {
            let Some(object) = self.look(id).await? else { return Ok(()) };
            let state = object.state_name();
            let forced = begun.elapsed() >= deadline / 2 && object.yields_to_force(accepted);
            if !forced && (object.is_busy() || object.is_leaving()) {
                refused = None;
            } else if let Some((refusal, _)) = refused.take_if(|(_, before)| *before == state) {
                // Its state is as it was before the refusal: waiting changes nothing.
                return Err(refusal);
            } else {
                let mut params = vec![Param::Int(id.into())];
                let mut method = "delete";
                if forced {
                    let (force, how) = O::FORCE;
                    params.push(how);
                    method = force;
                }
                match self.write(method, params).await {
                    Ok(_) => accepted = true,
                    Err(error) if error.is_gone() || error.is_unknown() => {}
                    // A second removal, because the first one has not begun yet, may be refused.
                    Err(error) if matches!(error.code(), Some(code::ACTION | code::INTERNAL)) => {
                        refused = (!accepted).then_some((error, state.clone()));
                    }
                    Err(error) => return Err(error),
                }
            }
            if begun.elapsed() + pause > deadline {
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
