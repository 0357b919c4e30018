//! The JSON Schema of a template, for editors.
//!
//! It is made from the table of keys that the checks use. It refuses nothing that loads, as long as
//! keys are in lower case, as the manuals write them; the checks know more, such as what a
//! reference may name.

use model::{Parameter, ParameterType};
use serde_json::{Map, Value, json};

use crate::keys::{self, Key, Shape};

/// The JSON Schema (2020-12) of a template, or of a file that one extends. For a host that names
/// its driver it has the parameters of that driver, if it is one of `drivers`, by its name.
///
/// That a parameter is required is left to the checks: it may come from `defaults`, from a named
/// provider, or from a file that is extended.
pub fn schema_with<'d>(drivers: impl IntoIterator<Item = (&'d str, &'d [Parameter])>) -> Value {
    let mut root = schema();
    let conditions: Vec<Value> = drivers
        .into_iter()
        .map(|(driver, parameters)| {
            let properties: Map<String, Value> = parameters.iter().flat_map(described).collect();
            json!({
                "if": {"properties": {"driver": {"enum": [driver, format!("builtin:{driver}")]}}, "required": ["driver"]},
                "then": {"properties": properties},
            })
        })
        .collect();
    if let Some(provision) = root.pointer_mut(PROVISION_OF_HOSTS) {
        provision["allOf"] = Value::Array(conditions);
    }
    root
}

/// Where the schema has the parameters of hosts.
const PROVISION_OF_HOSTS: &str = "/properties/hosts/items/properties/provision";

/// A parameter under all its names.
fn described(parameter: &Parameter) -> impl Iterator<Item = (String, Value)> + '_ {
    std::iter::once(&parameter.name).chain(&parameter.aliases).map(|name| {
        let mut text = parameter.text.clone();
        if let Some(default) = &parameter.default {
            text += &format!(" [default: {default}]");
        }
        // Its form is checked as that of every parameter is. This is for completion: what stands for
        // a value, a reference or an input, is allowed beside the values.
        let mut property = json!({"description": text});
        if let ParameterType::Integer = parameter.kind {
            property["type"] = json!(["integer", "string", "null", "array", "object"]);
        }
        if !parameter.allowed.is_empty() {
            property["anyOf"] = json!([
                {"enum": parameter.allowed},
                {"type": ["number", "boolean", "null", "array", "object"]},
                {"type": "string", "maxLength": 0},
                {"type": "string", "pattern": REFERENCE},
            ]);
        }
        (name.to_ascii_lowercase(), property)
    })
}

/// A text that holds a reference or has blanks at an end, which are no part of the value.
const REFERENCE: &str = r"<%|\$\{|^\s|\s$";

/// The JSON Schema (2020-12) of a template, or of a file that one extends, without the parameters of
/// any driver.
pub fn schema() -> Value {
    let mut root = group(keys::TOP);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "oneprovision template",
        "description": "A cluster of OpenNebula: hosts, datastores, networks, images, and how its machines are had and reached",
        // A template that extends others may have its name from them.
        "anyOf": [{"required": ["name"]}, {"required": ["extends"]}],
    });
    if let (Value::Object(root), Value::Object(head)) = (&mut root, head) {
        root.extend(head);
        // A template without anything is no group.
        root.insert("type".to_owned(), json!("object"));
    }
    root
}

/// A group of keys. Other ones are attributes of OpenNebula, or warned about.
fn group(keys: &[Key]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required: Vec<&str> = keys.iter().filter(|k| k.required).map(|k| k.name).collect();
    let mut group = json!({"type": ["object", "null"], "properties": properties});
    if let (Value::Object(group), false) = (&mut group, required.is_empty()) {
        group.insert("required".to_owned(), json!(required));
        group.insert("type".to_owned(), json!("object"));
    }
    group
}

fn property(key: &Key) -> Value {
    let mut property = shape(key.shape);
    if let Value::Object(property) = &mut property {
        property.insert("description".to_owned(), json!(key.about));
    }
    property
}

fn shape(shape: Shape) -> Value {
    match shape {
        Shape::Single => json!({"type": ["string", "number", "boolean", "null"]}),
        Shape::Text => json!({"type": ["string", "number", "boolean"], "minLength": 1}),
        Shape::Word(words) => {
            // YAML makes numbers and switches of some words.
            let mut allowed: Vec<Value> = words.iter().map(|word| json!(word)).collect();
            for word in words {
                match *word {
                    "true" => allowed.push(json!(true)),
                    "false" => allowed.push(json!(false)),
                    word => allowed.extend(word.parse::<u64>().ok().map(Value::from)),
                }
            }
            allowed.push(Value::Null);
            json!({"enum": allowed})
        }
        Shape::Number(min, max) => json!({
            "type": ["integer", "string", "null", "object"],
            "minimum": min,
            "maximum": max,
        }),
        Shape::Texts => json!({
            "type": ["string", "number", "boolean", "null", "array"],
            "items": {"type": ["string", "number", "boolean", "null"]},
        }),
        Shape::Group(keys) => group(keys),
        Shape::Parameters(keys) => {
            let mut parameters = group(keys);
            if let Value::Object(parameters) = &mut parameters {
                parameters.insert("additionalProperties".to_owned(), parameter());
            }
            parameters
        }
        Shape::List(keys) => json!({"type": ["array", "null"], "items": group(keys)}),
        Shape::Groups => json!({
            "type": ["object", "array", "null"],
            "items": {"type": "object"},
        }),
        Shape::Content => content(),
        Shape::Files(keys) => {
            let mut file = group(keys);
            file["anyOf"] = json!([{"required": ["content"]}, {"required": ["source"]}]);
            json!({"type": ["array", "null"], "items": file})
        }
        Shape::Commands => json!({
            "type": ["array", "null"],
            "items": {
                "type": ["string", "number", "boolean", "array"],
                "minLength": 1,
                "minItems": 1,
                "items": {"type": ["string", "number", "boolean"]},
            },
        }),
        Shape::Any => json!({}),
    }
}

/// A parameter: a single value, a list of them, or where a secret is.
fn parameter() -> Value {
    json!({"anyOf": [
        {
            "type": ["string", "number", "boolean", "null", "array"],
            "items": {"type": ["string", "number", "boolean", "null"]},
        },
        elsewhere(),
    ]})
}

/// The content of a file, or where it is.
fn content() -> Value {
    json!({"anyOf": [{"type": ["string", "number", "boolean", "null"]}, elsewhere()]})
}

/// Where a secret is.
fn elsewhere() -> Value {
    json!({
        "type": "object",
        "properties": {
            "env": {"type": "string", "minLength": 1},
            "file": {"type": "string", "minLength": 1},
            "command": {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1},
        },
        "additionalProperties": false,
        "minProperties": 1,
        "maxProperties": 1,
    })
}
