//! The JSON Schema and the loader agree: what loads is valid, and what is wrong in a way that a
//! schema can say is refused by both.

#![allow(clippy::panic, reason = "clippy takes only the functions marked #[test] for tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{SMALL, load_text, rendered};
use model::{Parameter, ParameterType};
use serde_json::{Value, json};
use template::{DriverCatalog, FileReader, Options, load, schema, schema_with};

/// Whether a value is valid, by the keywords that the schema uses; another one fails the test.
fn is_valid(value: &Value, schema: &Value) -> bool {
    let Value::Object(keywords) = schema else { panic!("{schema}") };
    keywords.iter().all(|(keyword, wanted)| match keyword.as_str() {
        "$schema" | "title" | "description" => true,
        "type" => match wanted {
            Value::Array(types) => types.iter().any(|wanted| has_type(value, wanted)),
            wanted => has_type(value, wanted),
        },
        "enum" => wanted.as_array().is_some_and(|all| all.contains(value)),
        "maxLength" => {
            value.as_str().is_none_or(|text| text.chars().count() as u64 <= number(wanted))
        }
        "pattern" => value.as_str().is_none_or(|text| {
            // The only one that there is.
            assert_eq!(wanted, r"<%|\$\{|^\s|\s$");
            text.contains("<%") || text.contains("${") || text.trim() != text
        }),
        "allOf" => wanted.as_array().is_some_and(|all| all.iter().all(|s| is_valid(value, s))),
        "if" => !is_valid(value, wanted) || is_valid(value, &keywords["then"]),
        "then" => true,
        "anyOf" => wanted.as_array().is_some_and(|all| all.iter().any(|s| is_valid(value, s))),
        "required" => value.as_object().is_none_or(|object| {
            wanted.as_array().is_some_and(|keys| {
                keys.iter().all(|key| key.as_str().is_some_and(|key| object.contains_key(key)))
            })
        }),
        "properties" => value.as_object().is_none_or(|object| {
            object
                .iter()
                .all(|(key, value)| wanted.get(key).is_none_or(|schema| is_valid(value, schema)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = &keywords["properties"];
            let mut others = object.iter().filter(|(key, _)| known.get(key.as_str()).is_none());
            match wanted {
                Value::Bool(allowed) => *allowed || others.next().is_none(),
                schema => others.all(|(_, value)| is_valid(value, schema)),
            }
        }),
        "items" => {
            value.as_array().is_none_or(|items| items.iter().all(|item| is_valid(item, wanted)))
        }
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= number(wanted)),
        "minProperties" => value.as_object().is_none_or(|all| all.len() as u64 >= number(wanted)),
        "maxProperties" => value.as_object().is_none_or(|all| all.len() as u64 <= number(wanted)),
        "minLength" => {
            value.as_str().is_none_or(|text| text.chars().count() as u64 >= number(wanted))
        }
        "minimum" => value.as_f64().is_none_or(|value| value >= wanted.as_f64().unwrap_or(0.0)),
        "maximum" => value.as_f64().is_none_or(|value| value <= wanted.as_f64().unwrap_or(0.0)),
        other => panic!("the keyword {other} is not known here"),
    })
}

#[allow(clippy::unwrap_used, reason = "a part of the tests below")]
fn number(wanted: &Value) -> u64 {
    wanted.as_u64().unwrap()
}

fn has_type(value: &Value, wanted: &Value) -> bool {
    match wanted.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => panic!("{wanted}"),
    }
}

#[allow(clippy::unwrap_used, reason = "a part of the tests below")]
fn valid(yaml: &str) -> bool {
    is_valid(&serde_saphyr::from_str::<Value>(yaml).unwrap(), &schema())
}

const LARGE: &str = "\
name: edge
version: 1
description: A text
inputs:
  - {name: n, type: range, min_value: 1, max_value: 9, default: 2, mandatory: true}
  - {name: hosts, type: array, default: [a, b]}
ansible: {playbook: [p], ver_min: 2.8}
configure:
  files: [{path: /a, content: {env: A}, mode: 0644, owner: 'a:b'}, {path: /b, source: b}]
  commands: [a b, [c, 1, ''], 'true']
files: [{path: /c, content: 1}]
defaults:
  provision: {driver: dummy, token: {env: TOKEN}, other: {command: [get, 1]}, list: [1, a]}
  connection: {remote_port: 22, public_key: {file: a}, private_key: agent, jump_hosts: a@b}
  configuration: {a: {b: [1, {c: d}]}}
cluster: {name: '${provision}', reserved_cpu: 10}
datastores:
  - {name: d, tm_mad: ssh, ds_mad: fs, meta: {uid: 1, mode: 0640}}
networks:
  - {name: n, vn_mad: bridge, count: 2, ar: [{ip: '10.0.${index}.1', size: 1}]}
hosts:
  - {im_mad: kvm, vm_mad: kvm, count: '${input.n}', provision: {hostname: 'h${index}'}, configure: {commands: [d]}}
  - {im_mad: kvm, vm_mad: kvm, provision: {hostname: [x, y], count: 3}, note: {a: b}}
images:
  - {name: i, ds_id: '${datastore.d.id}', meta: {wait: true, wait_timeout: 3}}
marketplaceapps:
  - {name: a, appid: 3, dsid: 1}
templates:
  - {name: t, disk: [{image_id: 1}]}
vntemplates:
  - {name: v, vn_mad: bridge}
flowtemplates:
  - {name: f, roles: [{name: r, vm_template: 0}]}
x-anchors: [1]
";

#[test]
fn what_loads_is_valid() {
    for text in [SMALL, LARGE] {
        let loaded = load_text(text);
        assert!(!loaded.has_errors(), "{}", rendered(&loaded));
        assert!(valid(text), "{text}");
    }
}

#[test]
fn what_is_wrong_is_refused_by_both() {
    for (from, to) in [
        ("name: edge\n", ""),
        ("name: edge", "name: [edge]"),
        ("version: 1", "version: 2"),
        ("description: A text", "description: {a: b}"),
        ("type: range", "type: rang"),
        ("mandatory: true", "mandatory: often"),
        ("{name: n, type", "{type"),
        ("ansible: {", "ansible: [a]\nx: {"),
        ("playbook: [p]", "playbook: [{a: b}]"),
        ("defaults:\n", "defaults: [a]\nx:\n"),
        ("{env: TOKEN}", "{env: [T]}"),
        ("{env: TOKEN}", "{vault: T}"),
        ("{env: TOKEN}", "{env: T, file: f}"),
        ("{command: [get, 1]}", "{command: get}"),
        ("{command: [get, 1]}", "{command: []}"),
        ("list: [1, a]", "list: [1, {a: b}]"),
        ("driver: dummy", "driver: [dummy]"),
        ("remote_port: 22", "remote_port: 70000"),
        ("configuration: {a:", "configuration: [a]\n  x: {a:"),
        ("tm_mad: ssh, ", ""),
        ("uid: 1", "uid: -1"),
        ("vn_mad: bridge, count", "count"),
        ("count: 2", "count: 10001"),
        ("ar: [{ip: '10.0.${index}.1', size: 1}]", "ar: 3"),
        ("im_mad: kvm", "in_mad: kvm"),
        ("vm_mad: kvm", "vm_mad: ''"),
        ("vm_mad: kvm", "vm_mad: [kvm]"),
        ("count: 3", "count: -3"),
        ("hostname: 'h${index}'", "hostname: {a: b}"),
        ("ds_id: '${datastore.d.id}', ", ""),
        ("dsid: 1", "dsid: -1"),
        ("{name: t, ", "{"),
        ("{name: f, ", "{"),
        ("hosts:\n", "hosts: {a: b}\nx:\n"),
        ("  - {name: v, vn_mad: bridge}", "  - v"),
        ("files: [{path: /c, content: 1}]", "files: {path: /c, content: 1}"),
        ("files: [{path: /c, content: 1}]", "files: [/c]"),
        ("{path: /c, content: 1}", "{content: 1}"),
        ("{path: /c, content: 1}", "{path: [/c], content: 1}"),
        ("{path: /c, content: 1}", "{path: /c}"),
        ("content: 1", "content: [1]"),
        ("content: {env: A}", "content: {vault: A}"),
        ("source: b", "source: [b]"),
        ("mode: 0644", "mode: {a: b}"),
        ("owner: 'a:b'", "owner: [a]"),
        ("commands: [a b, ", "commands: ['', "),
        ("commands: [a b, ", "commands: [[], "),
        ("commands: [a b, ", "commands: [{a: b}, "),
        ("commands: [a b, ", "commands: [[a, [b]], "),
        ("commands: [d]", "commands: d"),
        ("configure: {commands: [d]}", "configure: [d]"),
        ("x-anchors", "provider: [aws]\nx-anchors"),
    ] {
        assert!(LARGE.contains(from), "{from}");
        let text = LARGE.replacen(from, to, 1);
        assert!(load_text(&text).has_errors(), "this loads: {to}");
        assert!(!valid(&text), "this is valid: {to}");
    }
}

#[test]
fn every_key_says_what_it_means() {
    fn visit(schema: &Value, path: &str) {
        let Some(Value::Object(keys)) = schema.get("properties") else { return };
        for (key, property) in keys {
            let path = format!("{path}/{key}");
            let of_a_secret = ["env", "file", "command"].contains(&key.as_str());
            assert!(of_a_secret || property["description"].is_string(), "{path}");
            visit(property, &path);
            if let Some(items) = property.get("items") {
                visit(items, &path);
            }
        }
    }
    visit(&schema(), "");
    assert_eq!(schema()["properties"]["hosts"]["items"]["required"], json!(["im_mad", "vm_mad"]));
}

#[test]
fn the_templates_of_opennebula_that_load_are_valid() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !corpus.is_dir() {
        println!("skipped: no ../shared/corpus beside the workspace");
        return;
    }
    let mut valid_ones = 0;
    let mut folders = vec![corpus];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let loaded = load(&path, &FileReader, &Options::default());
            let Some(dump) = loaded.dump().filter(|_| !loaded.has_errors()) else { continue };
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(valid(&text) && valid(&dump), "{}", path.display());
            valid_ones += 1;
        }
    }
    assert!(valid_ones >= 2, "{valid_ones}");
}

/// The driver `metal`.
struct Metal;

impl DriverCatalog for Metal {
    fn parameters(&self, driver: &str) -> Result<Option<Arc<[Parameter]>>, String> {
        Ok((driver == "metal").then(|| metal().into()))
    }

    fn names(&self) -> Vec<String> {
        vec!["metal".to_owned()]
    }
}

fn metal() -> Vec<Parameter> {
    vec![
        Parameter::new("TOKEN", "A token").credential().required(),
        Parameter::new("PLAN", "Size").allowed(["small", "large"]).default_value("small"),
        Parameter::new("DISKS", "How many").kind(ParameterType::Integer).aliases(["DRIVES"]),
    ]
}

#[test]
fn parameters_of_a_driver_are_those_of_hosts_that_name_it() {
    let metal = metal();
    let schema = schema_with([("metal", metal.as_slice())]);
    for (provision, loads) in [
        ("{driver: metal, token: t, plan: small, disks: 2}", true),
        ("{driver: metal, token: {env: T}, plan: '<%= @name %>', drives: '2'}", true),
        ("{driver: metal, token: t, plan: ' large', disks: [2]}", true),
        ("{driver: metal, token: t, plan: '', disks: }", true),
        ("{driver: metal, token: t, plan: ~, other: {file: f}}", true),
        ("{driver: metal, token: t, plan: medium}", false),
        ("{driver: metal, token: t, disks: 2.5}", false),
        ("{driver: metal, token: t, drives: true}", false),
        ("{driver: metal, token: t, other: {a: b}}", false),
        // Another driver's are its own affair.
        ("{driver: other, plan: medium, disks: 2.5}", true),
    ] {
        let text = format!(
            "name: n\nhosts:\n- {{im_mad: kvm, vm_mad: kvm, provision: {}}}\n",
            provision.replacen('{', "{hostname: h, ", 1)
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.yaml");
        std::fs::write(&path, &text).unwrap();
        let options = Options { drivers: Some(Arc::new(Metal)), ..Options::default() };
        let loaded = load(&path, &FileReader, &options);
        assert_eq!(!loaded.has_errors(), loads, "{text}{}", rendered(&loaded));
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(is_valid(&value, &schema), loads, "{text}");
    }
    let described = &schema["properties"]["hosts"]["items"]["properties"]["provision"]["allOf"];
    assert_eq!(described[0]["then"]["properties"]["plan"]["description"], "Size [default: small]");
}
