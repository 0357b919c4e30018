//! What stands in a front-end that was started for the first time.

use model::Attributes;
use rusqlite::Connection;

use crate::crypt::{Cipher, KEY_LEN, new_password, password_hash, random};
use crate::ctx::{Caller, Ctx, DEFAULT_CLUSTER, ONEADMIN_GROUP, USERS_GROUP};
use crate::db::{META_KEY, META_SESSION};
use crate::error::SandboxError;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::kinds::{cluster, datastore, user};
use crate::object::{Detail, Object};
use crate::settings::{SandboxSettings, Version, unix_ms};
use crate::store::Store;

const ADMIN: &str = "oneadmin";

/// Makes the administrator with a new password, the two groups, the default cluster and the three
/// datastores, with the ids that they have everywhere.
pub(crate) fn fill(
    connection: &Connection,
    settings: &SandboxSettings,
) -> Result<(), SandboxError> {
    let store = Store(connection);
    let key: [u8; KEY_LEN] = random()?;
    let password = new_password()?;
    store.set_meta(META_KEY, &key)?;
    store.set_meta(META_SESSION, format!("{ADMIN}:{password}").as_bytes())?;

    for (id, name) in [(ONEADMIN_GROUP, ADMIN), (USERS_GROUP, "users")] {
        store.insert(&Object { id, ..Object::new(Kind::Group, name, Detail::Group) })?;
    }

    let cipher =
        Cipher::new(&key).ok_or_else(|| rusqlite::Error::InvalidParameterName("key".to_owned()))?;
    let now = unix_ms(settings.clock.now());
    let caller = Caller { uid: 0, gid: ONEADMIN_GROUP };
    let ctx = Ctx::new(connection, settings, &cipher, now, caller);
    people(&ctx, &password).and_then(|()| objects(&ctx)).map_err(|failure| match failure {
        Failure::Database(source) => SandboxError::Database(source),
        // The objects below are our own; that one of them is refused is a defect.
        other => {
            SandboxError::Database(rusqlite::Error::InvalidParameterName(format!("{other:?}")))
        }
    })
}

/// The administrator, and the user that `oned` has for its other servers.
fn people(ctx: &Ctx<'_>, password: &str) -> Result<(), Failure> {
    let admin = user::new(ctx, ADMIN, password, "core", ONEADMIN_GROUP)?;
    ctx.store.insert(&Object { id: 0, ..admin })?;
    let server_password = password_hash(&new_password()?);
    let server = user::new(ctx, "serveradmin", &server_password, "server_cipher", ONEADMIN_GROUP)?;
    ctx.store.insert(&Object { id: 1, ..server })?;
    let mut users = ctx.head(Kind::Group, USERS_GROUP)?;
    let mut template = Attributes::new();
    let views = template.vector_mut("SUNSTONE");
    for (key, value) in [
        ("DEFAULT_VIEW", "cloud"),
        ("GROUP_ADMIN_DEFAULT_VIEW", "groupadmin"),
        ("GROUP_ADMIN_VIEWS", "groupadmin,cloud"),
        ("VIEWS", "cloud"),
    ] {
        views.push(key, value);
    }
    ctx.set_template(&mut users, template)?;
    ctx.store.save(&users)?;
    Ok(())
}

fn objects(ctx: &Ctx<'_>) -> Result<(), Failure> {
    let mut default = cluster::new(ctx, "default")?;
    default.id = DEFAULT_CLUSTER;
    ctx.store.insert(&default)?;
    let tm_mad = match ctx.settings.version {
        Version::V6_10 => "ssh",
        Version::V7_4 => "local",
    };
    for (id, source) in [
        (0, format!("NAME=system\nTYPE=SYSTEM_DS\nTM_MAD={tm_mad}")),
        (1, format!("NAME=default\nTYPE=IMAGE_DS\nDS_MAD=fs\nTM_MAD={tm_mad}")),
        (2, format!("NAME=files\nTYPE=FILE_DS\nDS_MAD=fs\nTM_MAD={tm_mad}")),
    ] {
        let template =
            crate::template::parse(ctx.settings.version, &source).map_err(Failure::Own)?;
        let mut object = datastore::new(ctx, template)?;
        object.id = id;
        // These were measured long ago.
        object.due = None;
        ctx.store.insert(&object)?;
        ctx.store.add_member(Kind::Datastore, id, DEFAULT_CLUSTER)?;
    }
    Ok(())
}
