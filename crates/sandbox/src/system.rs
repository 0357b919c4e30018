//! Methods that are about the front-end, and pools that are the same everywhere.

use model::Attributes;

use crate::calls::Value;
use crate::ctx::{Ctx, encrypted_by_release};
use crate::failure::Failure;
use crate::kind::Kind;
use crate::method::Method;
use crate::params::Params;
use crate::render;
use crate::settings::EncryptedKind;

/// Answers everything but objects and their pools.
pub(crate) fn run(ctx: &Ctx<'_>, method: Method, params: &Params<'_>) -> Result<Value, Failure> {
    let text = match method {
        Method::Version => ctx.settings.version.as_str().to_owned(),
        Method::Config => config(ctx)?,
        // Apps have a market, but nobody asks for more of it than its name.
        Method::MarketPool => "<MARKETPLACE_POOL></MARKETPLACE_POOL>".to_owned(),
        Method::MarketAppPool => {
            // Filter and range, which everybody asks for all with.
            for place in 1..=3 {
                params.int(place)?;
            }
            let apps: String = ctx.settings.apps.iter().map(render::market_app).collect();
            format!("<MARKETPLACEAPP_POOL>{apps}</MARKETPLACEAPP_POOL>")
        }
        Method::MarketAppInfo => {
            let id = params.int(1)?;
            let app = ctx.settings.apps.iter().find(|app| app.id == id);
            render::market_app(app.ok_or(Failure::NoSuch { words: "marketplaceapp", id })?)
        }
        Method::ZonePool => zones(ctx),
        Method::Pool(_) | Method::Object(..) => {
            return Err(Failure::Own("a method without an answer".into()));
        }
    };
    Ok(Value::Text(text))
}

fn zones(ctx: &Ctx<'_>) -> String {
    let grpc = match ctx.is_7() {
        true => "<ENDPOINT_GRPC><![CDATA[localhost:2634]]></ENDPOINT_GRPC>",
        false => "",
    };
    format!(
        "<ZONE_POOL><ZONE><ID>0</ID><NAME>OpenNebula</NAME><STATE>0</STATE><TEMPLATE>\
         <ENDPOINT><![CDATA[http://localhost:2633/RPC2]]></ENDPOINT>{grpc}</TEMPLATE>\
         <SERVER_POOL></SERVER_POOL></ZONE></ZONE_POOL>"
    )
}

/// The configuration, as far as it means something here. Administrators see which attributes are
/// encrypted.
fn config(ctx: &Ctx<'_>) -> Result<String, Failure> {
    let mut all = Attributes::new();
    for (key, value) in [
        ("API_LIST_ORDER", "DESC"),
        ("DATASTORE_LOCATION", "/var/lib/one//datastores"),
        ("DEFAULT_DEVICE_PREFIX", "sd"),
        ("DEFAULT_IMAGE_TYPE", "OS"),
        ("DEFAULT_UMASK", "177"),
        ("ENABLE_OTHER_PERMISSIONS", "YES"),
        ("MAC_PREFIX", "02:00"),
        ("MAX_CONN", "15"),
        ("PORT", "2633"),
    ] {
        all.push(key, value);
    }
    if ctx.caller.is_admin() {
        for (kind, of, key) in [
            (Kind::Cluster, EncryptedKind::Cluster, "CLUSTER_ENCRYPTED_ATTR"),
            (Kind::Datastore, EncryptedKind::Datastore, "DATASTORE_ENCRYPTED_ATTR"),
            (Kind::Document, EncryptedKind::Document, "DOCUMENT_ENCRYPTED_ATTR"),
            (Kind::Host, EncryptedKind::Host, "HOST_ENCRYPTED_ATTR"),
            (Kind::User, EncryptedKind::User, "USER_ENCRYPTED_ATTR"),
            (Kind::Vnet, EncryptedKind::Vnet, "VNET_ENCRYPTED_ATTR"),
        ] {
            for path in encrypted_by_release(ctx.settings.version, kind) {
                all.push(key, *path);
            }
            for attribute in ctx.settings.encrypted.iter().filter(|a| a.kind == of) {
                let path = match &attribute.sub {
                    Some(sub) => format!("{}/{sub}", attribute.key),
                    None => attribute.key.clone(),
                };
                all.push(key, path);
            }
        }
    }
    opennebula::text::sorted(all)
        .to_xml("OPENNEBULA_CONFIGURATION")
        .map_err(|error| Failure::Own(error.to_string()))
}
