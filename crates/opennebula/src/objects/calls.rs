//! Calls that every kind of object has.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use model::Attributes;
use tokio::time::{Instant, sleep};

use super::xml::PoolReader;
use super::{
    Cluster, Datastore, Document, Group, GroupId, Host, Image, MarketApp, Object, ObjectKind,
    Permissions, User, UserId, Vm, VmTemplate, VnTemplate, Vnet, xml,
};
use crate::client::{Client, Effect, run};
use crate::error::{Error, ErrorKind};
use crate::xmlrpc::Param;

/// How long a front-end of several servers may take until each has what was written, and the pause
/// between looks.
const LAG: Duration = Duration::from_secs(10);
const LAG_PAUSE: Duration = Duration::from_millis(250);

/// The calls on one kind of object.
pub struct Objects<O> {
    pub(super) client: Client,
    kind: PhantomData<fn() -> O>,
}

impl<O> Clone for Objects<O> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), kind: PhantomData }
    }
}

impl<O: Object> fmt::Debug for Objects<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Objects({:?} of {:?})", O::KIND, self.client)
    }
}

/// Whether an update keeps what it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// The attributes become the whole template.
    Replace,
    /// Attributes of other names stay. A vector is replaced as a whole.
    Append,
}

/// Whose objects a pool has (`src/oca/ruby/opennebula/pool.rb`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// All that the caller may see.
    All,
    /// The caller's own.
    Mine,
    /// The caller's own and those of the caller's groups.
    MineAndGroups,
    /// Those of the caller's primary group.
    Group,
    /// Those of a user.
    User(UserId),
}

impl Filter {
    fn number(self) -> i32 {
        match self {
            Self::MineAndGroups => -1,
            Self::All => -2,
            Self::Mine => -3,
            Self::Group => -4,
            Self::User(id) => id.0,
        }
    }
}

/// A kind whose pool can be read without further parameters.
pub trait Listed: Object {}

/// A kind whose objects can be renamed.
pub trait Renamable: Object {}

/// A kind whose objects have an owner and permissions that can be changed.
pub trait Owned: Object {}

/// A kind whose objects are removed by `delete`.
pub trait Deletable: Object {}

macro_rules! mark {
    ($($what:ident: $($kind:ident)*;)*) => { $($(impl $what for $kind {})*)* };
}

mark! {
    Listed: Cluster Host Datastore Vnet Image VmTemplate VnTemplate User Group MarketApp Vm;
    Renamable: Cluster Host Datastore Vnet Image VmTemplate VnTemplate Document MarketApp Vm;
    Owned: Datastore Vnet Image VmTemplate VnTemplate Document MarketApp Vm;
    Deletable: Cluster Host Datastore Vnet Image VmTemplate VnTemplate Document MarketApp;
}

impl<O: Object> Objects<O> {
    pub(super) fn new(client: &Client) -> Self {
        Self { client: client.clone(), kind: PhantomData }
    }

    pub(super) fn method(&self, action: &str) -> String {
        format!("one.{}.{action}", O::KIND.method())
    }

    pub(super) async fn read(&self, action: &str, params: Vec<Param>) -> Result<Param, Error> {
        self.client.call(Effect::Read, &self.method(action), params).await
    }

    pub(super) async fn write(&self, action: &str, params: Vec<Param>) -> Result<Param, Error> {
        self.client.call(Effect::Write, &self.method(action), params).await
    }

    /// A write that makes an object and answers its id.
    pub(super) async fn make(&self, params: Vec<Param>) -> Result<O::Id, Error> {
        let answer = self.write("allocate", params).await?;
        answer.as_i32().filter(|id| *id >= 0).map(O::Id::from).ok_or_else(|| {
            // The server says that it is done: something is there and its id is not known.
            self.bad("allocate", "it has no id".to_owned(), true)
        })
    }

    /// Attributes as the parameter of a write.
    pub(super) fn template(&self, action: &str, template: &Attributes) -> Result<Param, Error> {
        template.to_xml("TEMPLATE").map(Param::Str).map_err(|cause| {
            self.client.error(&self.method(action), ErrorKind::Attributes(cause), false)
        })
    }

    fn bad(&self, action: &str, what: String, unknown: bool) -> Error {
        self.client.error(&self.method(action), ErrorKind::BadAnswer { what }, unknown)
    }

    /// One object; encrypted attributes as cipher text.
    ///
    /// # Errors
    /// [`Error::is_gone`] if it is not there.
    pub async fn info(&self, id: O::Id) -> Result<O, Error> {
        self.info_with(vec![Param::Int(id.into())]).await
    }

    /// One object, encrypted attributes in clear, for an administrator.
    ///
    /// # Errors
    /// As [`Objects::info`].
    pub async fn info_decrypted(&self, id: O::Id) -> Result<O, Error> {
        let mut params = vec![Param::Int(id.into())];
        if O::KIND == ObjectKind::VmTemplate {
            // Whether the disks' images are to be listed with it.
            params.push(Param::Bool(false));
        }
        params.push(Param::Bool(true));
        self.info_with(params).await
    }

    pub(super) async fn info_with(&self, params: Vec<Param>) -> Result<O, Error> {
        let answer = self.read("info", params).await?;
        let found = match answer {
            Param::Str(text) => run(text.len(), move || xml::object(&text)).await,
            other => Ok(Err(format!("it is a {} and no string", other.type_name()))),
        };
        found.and_then(|read| read).map_err(|what| self.bad("info", what, false))
    }

    pub(super) async fn pool_with<T: Send>(
        &self,
        params: Vec<Param>,
        keep: impl Fn(O) -> Option<T> + Send,
    ) -> Result<Vec<T>, Error> {
        let method = format!("one.{}pool.info", O::KIND.method());
        let mut reader = PoolReader::new(keep);
        let found = match self.client.read_into(&method, params, &mut reader).await? {
            Param::Str(_) => reader.finish(),
            other => Err(format!("it is a {} and no string", other.type_name())),
        };
        found.map_err(|what| self.client.error(&method, ErrorKind::BadAnswer { what }, false))
    }

    /// Changes the template. Changing it again in the same way does no harm.
    ///
    /// # Errors
    /// [`Error::is_gone`]; attributes that XML cannot carry.
    pub async fn update(&self, id: O::Id, template: &Attributes, how: Update) -> Result<(), Error> {
        let how = match how {
            Update::Replace => 0,
            Update::Append => 1,
        };
        let template = self.template("update", template)?;
        self.write("update", vec![Param::Int(id.into()), template, Param::Int(how)]).await?;
        Ok(())
    }

    /// The same, and reads the object back: of a template that cannot be kept OpenNebula says that it
    /// was stored, and the object has an empty one (`Cluster` and `Host`, 6.10 and 7.4). Of several
    /// servers a follower has it a moment later, so it is read for some seconds.
    ///
    /// # Errors
    /// As [`Objects::update`], [`Error::is_unknown`] also if the object cannot be read just then;
    /// [`ErrorKind::NotStored`] if it is not as `is_stored` wants it.
    pub async fn update_checked(
        &self,
        id: O::Id,
        template: &Attributes,
        how: Update,
        is_stored: impl Fn(&O) -> bool,
    ) -> Result<(), Error> {
        self.update(id, template, how).await?;
        let begun = Instant::now();
        loop {
            match self.info(id).await {
                Ok(object) if is_stored(&object) => return Ok(()),
                // Whether it was stored is not known as long as nobody answers.
                Err(mut error) if !error.is_gone() => {
                    error.unknown = error.is_transient();
                    return Err(error);
                }
                _ if begun.elapsed() >= LAG => break,
                _ => sleep(LAG_PAUSE).await,
            }
        }
        let kind = ErrorKind::NotStored { object: O::KIND.noun(), id: id.into() };
        Err(self.client.error(&self.method("update"), kind, false))
    }
}

impl<O: Listed> Objects<O> {
    /// All objects that the caller may see.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn pool(&self) -> Result<Vec<O>, Error> {
        self.pool_of(Filter::All).await
    }

    /// What `keep` makes of all objects that the caller may see. It is given one after the other while
    /// the pool is read, so that what is not kept takes no room; if the read is repeated, they are
    /// given anew.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn pool_map<T: Send>(
        &self,
        keep: impl Fn(O) -> Option<T> + Send,
    ) -> Result<Vec<T>, Error> {
        self.pool_with(Self::whole(Filter::All), keep).await
    }

    /// The objects of somebody. Kinds without an owner have no filter: all of them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn pool_of(&self, filter: Filter) -> Result<Vec<O>, Error> {
        self.pool_with(Self::whole(filter), Some).await
    }

    fn whole(filter: Filter) -> Vec<Param> {
        let mut params = Vec::new();
        if has_filter(O::KIND) {
            params.extend(whole_pool(filter));
        }
        if O::KIND == ObjectKind::Vm {
            // Any state but done.
            params.push(Param::Int(-1));
        }
        params
    }
}

impl<O: Renamable> Objects<O> {
    /// Gives an object another name.
    ///
    /// # Errors
    /// [`Error::name_taken`], [`Error::is_gone`].
    pub async fn rename(&self, id: O::Id, name: &str) -> Result<(), Error> {
        self.write("rename", vec![Param::Int(id.into()), name.into()]).await?;
        Ok(())
    }
}

impl<O: Deletable> Objects<O> {
    /// Removes an object. Networks and images are still there for a while afterwards: see
    /// [`Objects::delete_and_wait`].
    ///
    /// # Errors
    /// [`Error::is_gone`] if it is not there, which for most callers is success.
    pub async fn delete(&self, id: O::Id) -> Result<(), Error> {
        self.write("delete", vec![Param::Int(id.into())]).await?;
        Ok(())
    }
}

impl<O: Owned> Objects<O> {
    /// Gives an object to another user or group; `None` leaves one as it is.
    ///
    /// # Errors
    /// [`Error::is_gone`] if the object, the user or the group is not there.
    pub async fn chown(
        &self,
        id: O::Id,
        user: Option<UserId>,
        group: Option<GroupId>,
    ) -> Result<(), Error> {
        let user = user.map_or(-1, i32::from);
        let group = group.map_or(-1, i32::from);
        self.write("chown", vec![Param::Int(id.into()), user.into(), group.into()]).await?;
        Ok(())
    }

    /// Changes who may do what with an object.
    ///
    /// # Errors
    /// [`Error::is_gone`].
    pub async fn chmod(&self, id: O::Id, permissions: Permissions) -> Result<(), Error> {
        let mut params = vec![Param::Int(id.into())];
        params.extend(permissions.0.map(|flag| Param::Int(flag.map_or(-1, i32::from))));
        self.write("chmod", params).await?;
        Ok(())
    }
}

/// Filter and range of ids, -1 being no limit.
pub(super) fn whole_pool(filter: Filter) -> [Param; 3] {
    [filter.number().into(), Param::Int(-1), Param::Int(-1)]
}

fn has_filter(kind: ObjectKind) -> bool {
    use ObjectKind as K;
    matches!(
        kind,
        K::Vnet | K::Image | K::VmTemplate | K::VnTemplate | K::Document | K::MarketApp | K::Vm
    )
}
