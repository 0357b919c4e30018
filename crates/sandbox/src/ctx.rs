//! What a call works with: one transaction, one user, one moment.

use std::cell::RefCell;
use std::collections::HashMap;

use model::Attributes;
use rusqlite::Connection;

use crate::crypt::Cipher;
use crate::failure::{Failure, Right};
use crate::kind::{Kind, Unique};
use crate::object::{NONE, Object};
use crate::settings::{EncryptedAttribute, EncryptedKind, SandboxSettings, Version};
use crate::store::Store;
use crate::template;

/// Group of administrators.
pub(crate) const ONEADMIN_GROUP: i32 = 0;
/// Group of everybody else.
pub(crate) const USERS_GROUP: i32 = 1;
/// The cluster that always exists.
pub(crate) const DEFAULT_CLUSTER: i32 = 0;

type Result<T> = std::result::Result<T, Failure>;

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) uid: i32,
    pub(crate) gid: i32,
}

impl Caller {
    /// Whether everything is allowed.
    pub(crate) fn is_admin(&self) -> bool {
        self.uid == 0 || self.gid == ONEADMIN_GROUP
    }
}

/// The surroundings of one call.
pub(crate) struct Ctx<'a> {
    pub(crate) store: Store<'a>,
    pub(crate) settings: &'a SandboxSettings,
    pub(crate) cipher: &'a Cipher,
    /// Milliseconds since 1970.
    pub(crate) now: i64,
    pub(crate) caller: Caller,
    names: RefCell<HashMap<(u8, i32), String>>,
}

impl<'a> Ctx<'a> {
    pub(crate) fn new(
        connection: &'a Connection,
        settings: &'a SandboxSettings,
        cipher: &'a Cipher,
        now: i64,
        caller: Caller,
    ) -> Self {
        Self { store: Store(connection), settings, cipher, now, caller, names: RefCell::default() }
    }

    pub(crate) fn is_7(&self) -> bool {
        self.settings.version == Version::V7_4
    }

    /// Seconds since 1970, as objects carry them.
    pub(crate) fn seconds(&self) -> i64 {
        self.now.div_euclid(1000)
    }

    /// When asynchronous work that begins now is done.
    pub(crate) fn later(&self) -> i64 {
        let delay = i64::try_from(self.settings.async_delay.as_millis()).unwrap_or(i64::MAX);
        self.now.saturating_add(delay)
    }

    /// The name of an object, remembered for the rest of the call; empty if there is none.
    pub(crate) fn name(&self, kind: Kind, id: i32) -> Result<String> {
        if id == NONE {
            return Ok(String::new());
        }
        if let Some(name) = self.names.borrow().get(&(kind as u8, id)) {
            return Ok(name.clone());
        }
        let name = self.store.name(kind, id)?.unwrap_or_default();
        self.names.borrow_mut().insert((kind as u8, id), name.clone());
        Ok(name)
    }

    /// The object without its template.
    pub(crate) fn head(&self, kind: Kind, id: i32) -> Result<Object> {
        self.store.head(kind, id)?.ok_or(Failure::NoObject { kind, id })
    }

    /// The whole object.
    pub(crate) fn load(&self, kind: Kind, id: i32) -> Result<Object> {
        self.store.load(kind, id)?.ok_or(Failure::NoObject { kind, id })
    }

    /// The object's template as a tree.
    pub(crate) fn template(&self, object: &Object) -> Result<Attributes> {
        template::from_inner(&object.template)
            .ok_or_else(|| Failure::Own("a stored template cannot be read".into()))
    }

    /// A tree in the form in which it is stored, sorted, secrets encrypted; `None` if it cannot be.
    pub(crate) fn stored(&self, kind: Kind, template: Attributes) -> Result<Option<String>> {
        let template = opennebula::text::sorted(template);
        let template = self.cipher.encrypt_all(template, &self.encrypted(kind))?;
        Ok(template::to_inner(&template))
    }

    /// Puts a tree into an object that is made.
    pub(crate) fn set_template(&self, object: &mut Object, template: Attributes) -> Result<()> {
        object.template = self.stored(object.kind, template)?.ok_or_else(|| {
            Failure::internal(format!("Error transforming the {} to XML.", object.kind.title()))
        })?;
        Ok(())
    }

    /// Which attributes of a kind are stored encrypted.
    pub(crate) fn encrypted(&self, kind: Kind) -> Vec<EncryptedAttribute> {
        let encrypted_kind = match kind {
            Kind::Cluster => EncryptedKind::Cluster,
            Kind::Host => EncryptedKind::Host,
            Kind::Datastore => EncryptedKind::Datastore,
            Kind::Vnet => EncryptedKind::Vnet,
            Kind::Document => EncryptedKind::Document,
            Kind::User => EncryptedKind::User,
            _ => return Vec::new(),
        };
        let configured = self.settings.encrypted.iter().filter(|a| a.kind == encrypted_kind);
        encrypted_by_release(self.settings.version, kind)
            .iter()
            .map(|key| EncryptedAttribute::new(encrypted_kind, key))
            .chain(configured.cloned())
            .collect()
    }

    /// The object that has the name already, among those it must differ from.
    pub(crate) fn taken(&self, kind: Kind, name: &str, owner: i32) -> Result<Option<i32>> {
        Ok(match kind.unique() {
            Unique::Everywhere => self.store.find(kind, name, None)?,
            Unique::PerOwner => self.store.find(kind, name, Some(owner))?,
            Unique::No => None,
        })
    }

    /// Fails with code 512 unless the caller has every right of the list. What is missing is named
    /// in one message, as `oned` does.
    pub(crate) fn authorize(&self, wanted: &[Wanted<'_>]) -> Result<()> {
        let missing: Vec<String> =
            wanted.iter().filter_map(|want| want.missing(&self.caller)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::Refused { uid: self.caller.uid, text: missing.join("; ") })
    }

    /// Fails with code 512 for an id below 0: that stands for all of a kind, to which nobody but
    /// administrators has a right.
    pub(crate) fn check_id(&self, right: Right, kind: Kind, id: i32) -> Result<()> {
        if id >= 0 || self.caller.is_admin() {
            return Ok(());
        }
        let text = Failure::not_authorized(right, kind, None);
        Err(Failure::Refused { uid: self.caller.uid, text })
    }

    /// Fails with code 512 unless the caller has the right to the object.
    pub(crate) fn allow(&self, right: Right, object: &Object) -> Result<()> {
        self.authorize(&[Wanted::Object(right, object)])
    }
}

/// The attributes that a release's `oned.conf` has as `HOST_ENCRYPTED_ATTR` and its like.
pub(crate) fn encrypted_by_release(version: Version, kind: Kind) -> &'static [&'static str] {
    match (kind, version) {
        (Kind::Document, _) => &["PROVISION_BODY"],
        (Kind::User, _) => &["SSH_PRIVATE_KEY", "SSH_PASSPHRASE"],
        (Kind::Host, Version::V6_10) => &[
            "EC2_ACCESS",
            "EC2_SECRET",
            "AZ_SUB",
            "AZ_CLIENT",
            "AZ_SECRET",
            "AZ_TENANT",
            "VCENTER_PASSWORD",
            "NSX_PASSWORD",
            "ONE_PASSWORD",
        ],
        (Kind::Datastore, Version::V6_10) => &["RESTIC_PASSWORD"],
        (Kind::Datastore, Version::V7_4) => &["RESTIC_PASSWORD", "NETAPP_PASS", "PUREFA_API_TOKEN"],
        _ => &[],
    }
}

/// One right that a call needs.
pub(crate) enum Wanted<'a> {
    /// A right to an object; a lock may stand in the way.
    Object(Right, &'a Object),
    /// To read an object, which no lock forbids.
    Read(&'a Object),
    /// To lock or unlock an object.
    Unlock(&'a Object),
    /// To make an object of a kind.
    Create(Kind),
}

impl Wanted<'_> {
    fn missing(&self, caller: &Caller) -> Option<String> {
        let (right, object, lock_counts) = match *self {
            Self::Create(kind) => {
                let allowed =
                    caller.is_admin() || (caller.gid == USERS_GROUP && default_rules_create(kind));
                return (!allowed).then(|| Failure::not_authorized(Right::Create, kind, None));
            }
            Self::Object(right, object) => (right, object, true),
            Self::Read(object) => (Right::Use, object, false),
            Self::Unlock(object) => (Right::Manage, object, false),
        };
        if lock_counts
            && let Some(lock) = object.detail.lock()
            && right as i32 + 1 >= lock.level
        {
            // Others than administrators are not told why.
            return Some(match caller.is_admin() {
                true => format!("{} is locked. [{}]", object.kind.upper(), object.id),
                false => Failure::not_authorized(right, object.kind, Some(object.id)),
            });
        }
        let allowed = caller.is_admin() || allowed(caller, right, object);
        (!allowed).then(|| Failure::not_authorized(right, object.kind, Some(object.id)))
    }
}

/// The rules that `oned` starts with let group `users` make these
/// (`src/acl/AclManager.cc`, 6.10 and 7.4).
fn default_rules_create(kind: Kind) -> bool {
    matches!(kind, Kind::Vm | Kind::Image | Kind::Template | Kind::Document)
}

/// The rules that `oned` starts with, through its default VDC, let every group but the administrators'
/// do these: a new group becomes part of that VDC.
fn default_rules_allow(right: Right, kind: Kind) -> bool {
    match kind {
        Kind::Datastore | Kind::Vnet => right == Right::Use,
        Kind::Host => right == Right::Manage,
        _ => false,
    }
}

/// Whether somebody who is no administrator has the right.
pub(crate) fn allowed(caller: &Caller, right: Right, object: &Object) -> bool {
    if default_rules_allow(right, object.kind) {
        return true;
    }
    let bit = match right {
        Right::Use => 4,
        Right::Manage => 2,
        Right::Admin => 1,
        Right::Create => return false,
    };
    match object.kind {
        Kind::User => object.id == caller.uid && right != Right::Admin,
        Kind::Group => object.id == caller.gid && right == Right::Use,
        kind if kind.is_owned() => {
            (object.uid == caller.uid && object.perms & (bit << 6) != 0)
                || (object.gid == caller.gid && object.perms & (bit << 3) != 0)
                || object.perms & bit != 0
        }
        _ => false,
    }
}
