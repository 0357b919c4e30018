//! Service templates of OneFlow: what its server keeps, and what it would have kept.
//!
//! OneFlow stores a service template as a document of type 101 whose template is one attribute,
//! `BODY`, with JSON (`src/oca/ruby/opennebula/document_json.rb`, 5.8 to 7.4). Made directly, such a
//! document is the same as one made through its server, which need not be reachable. What the server
//! adds is added here: the time of registration, and, since 7.0, the newer names of attributes
//! (`src/flow/lib/models/service_template.rb`: `convert_template`).
//!
//! The mark is `provision.provision_id` in the body, as in 5.12: an update through the server keeps
//! nothing but the body.

use model::{Attributes, ProvisionId, Value};
use opennebula::objects::Document;
use opennebula::text;
use serde_json::{Map, Value as Json, json};

use crate::json::storable;

/// Type of the documents of service templates.
pub(crate) const DOCUMENT_TYPE: i32 = 101;

/// Whether a front-end of that version has the attributes of 7.0 (`6.99.80` was its beta).
pub(crate) fn has_new_attributes(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    major >= 7 || (major == 6 && minor >= 99)
}

/// The body of a service template's document.
///
/// # Errors
/// If the body is no JSON object, or a part of it cannot be turned into the newer form.
pub(crate) fn body(
    body: &str,
    provision: ProvisionId,
    provision_name: &str,
    new_attributes: bool,
    now_ms: i64,
) -> Result<String, String> {
    let mut body: Map<String, Json> = serde_json::from_str(body)
        .map_err(|error| format!("its body is no JSON object: {error}"))?;
    if new_attributes {
        convert(&mut body)?;
    }
    let mark = body.entry("provision").or_insert_with(|| json!({}));
    if !mark.is_object() {
        *mark = json!({});
    }
    mark["provision_id"] = provision.to_string().into();
    mark["name"] = provision_name.into();
    body.insert("registration_time".to_owned(), (now_ms / 1000).into());
    Ok(storable(&Json::Object(body).to_string()))
}

/// The provision that a service template belongs to, by its mark.
pub(crate) fn provision_of(document: &Document) -> Option<ProvisionId> {
    let body: Json = serde_json::from_str(document.template.text("BODY")?).ok()?;
    body.pointer("/provision/provision_id")?.as_str()?.trim().parse().ok()
}

/// Ids of the VM templates that its roles are made of.
pub(crate) fn vm_templates(document: &Document) -> Vec<i32> {
    let body = document.template.text("BODY").and_then(|body| serde_json::from_str(body).ok());
    let roles = body.as_ref().and_then(|body: &Json| body.get("roles")?.as_array());
    let id = |role: &Json| {
        let id = role.get("vm_template").or_else(|| role.get("template_id"))?;
        id.as_i64().or_else(|| id.as_str()?.parse().ok()).and_then(|id| i32::try_from(id).ok())
    };
    roles.into_iter().flatten().filter_map(id).collect()
}

/// From the attributes of 6.x to those of 7.x, as OneFlow 7 does it with what it is given.
fn convert(body: &mut Map<String, Json>) -> Result<(), String> {
    let is_old = |role: &Json| {
        role.get("vm_template").is_some() || role.get("vm_template_contents").is_some()
    };
    let Some(Json::Array(roles)) = body.get_mut("roles") else { return Ok(()) };
    if roles.is_empty() || !roles.iter().all(is_old) {
        return Ok(());
    }
    for role in roles.iter_mut().filter_map(Json::as_object_mut) {
        rename(role, "vm_template", "template_id");
        rename(role, "custom_attrs", "user_inputs");
        rename(role, "custom_attrs_values", "user_inputs_values");
        role.insert("type".to_owned(), "vm".into());
        if let Some(contents) = role.remove("vm_template_contents") {
            let contents = contents.as_str().unwrap_or_default();
            let read = text::parse(contents)
                .map_err(|error| format!("its vm_template_contents cannot be read: {error}"))?;
            role.insert("template_contents".to_owned(), attributes(&read));
        }
    }
    rename(body, "custom_attrs", "user_inputs");
    rename(body, "custom_attrs_values", "user_inputs_values");
    Ok(())
}

fn rename(object: &mut Map<String, Json>, old: &str, new: &str) {
    if let Some(value) = object.remove(old) {
        object.insert(new.to_owned(), value);
    }
}

/// A template as an object: vectors are lists of objects, also where there is one.
fn attributes(tree: &Attributes) -> Json {
    let mut object: Map<String, Json> = Map::new();
    for (key, value) in tree.iter() {
        match value {
            Value::Vector(inner) => {
                let list = object.entry(key).or_insert_with(|| Json::Array(Vec::new()));
                if let Json::Array(list) = list {
                    list.push(attributes(inner));
                }
            }
            other => {
                object.insert(key.to_owned(), other.expose().unwrap_or_default().into());
            }
        }
    }
    Json::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(body: &str, new: bool) -> Json {
        let id: ProvisionId = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        let body = super::body(body, id, "edge", new, 1_795_345_000_999).unwrap();
        serde_json::from_str(&body).unwrap()
    }

    const BODY: &str = r#"{"name":"s","custom_attrs":{"A":"M|text"},"roles":[
        {"name":"front","vm_template":41,"vm_template_contents":"NIC=[NAME=\"a\"]\nNIC=[NAME=\"b\"]\nCPU=2"}]}"#;

    #[test]
    fn a_release_before_7_gets_what_was_written() {
        assert_eq!(
            made(BODY, false),
            json!({
                "name": "s",
                "custom_attrs": {"A": "M|text"},
                "roles": [{"name": "front", "vm_template": 41,
                    "vm_template_contents": "NIC=[NAME=\"a\"]\nNIC=[NAME=\"b\"]\nCPU=2"}],
                "provision": {"provision_id": "11111111-2222-3333-4444-555555555555", "name": "edge"},
                "registration_time": 1_795_345_000,
            })
        );
    }

    #[test]
    fn release_7_gets_its_own_attributes() {
        let body = made(BODY, true);
        assert_eq!(body["user_inputs"], json!({"A": "M|text"}));
        assert_eq!(
            body["roles"],
            json!([{"name": "front", "type": "vm", "template_id": 41,
                "template_contents": {"NIC": [{"NAME": "a"}, {"NAME": "b"}], "CPU": "2"}}])
        );
        let new = r#"{"roles":[{"name":"r","type":"vr","template_id":3}]}"#;
        assert_eq!(made(new, true)["roles"], json!([{"name":"r","type":"vr","template_id":3}]));
        assert!(super::body("[1]", ProvisionId(uuid::Uuid::nil()), "", true, 0).is_err());
    }

    #[test]
    fn what_opennebula_cannot_store_is_written_otherwise() {
        let body = "{\"d\":\"a]]>b \u{1F600}\"}";
        let id = ProvisionId(uuid::Uuid::nil());
        let made = super::body(body, id, "edge", false, 0).unwrap();
        assert_eq!(model::unstorable(&made), None, "{made}");
        let made: Json = serde_json::from_str(&made).unwrap();
        assert_eq!(made["d"], "a]]>b \u{1F600}");
    }

    #[test]
    fn the_beta_of_7_counts_as_7() {
        for (version, new) in
            [("5.12.13", false), ("6.10.0", false), ("6.99.80", true), ("7.4.0", true)]
        {
            assert_eq!(has_new_attributes(version), new, "{version}");
        }
    }
}
