//! The JSON Schema of a template, for editors.
//!
//! It is made from the table of keys that the checks use. It refuses nothing that loads, as long as
//! keys are in lower case, as the manuals write them; the checks know more, such as what a
//! reference may name.

use serde_json::{Map, Value, json};

use crate::keys::{self, Key, Shape};

/// The JSON Schema (2020-12) of a template, or of a file that one extends.
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
        {
            "type": "object",
            "properties": {
                "env": {"type": "string", "minLength": 1},
                "file": {"type": "string", "minLength": 1},
                "command": {"type": "array", "items": {"type": ["string", "number", "boolean"]}, "minItems": 1},
            },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        },
    ]})
}
