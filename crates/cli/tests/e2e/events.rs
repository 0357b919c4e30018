//! `--events`: every line against the published schema, and an operation told by its lines alone.

use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::cloud::{Cloud, WAITS};
use crate::support::{Home, Output, template, wait_until};

/// Why a value is not valid, by the keywords that the schema uses; another one fails the test.
fn fault(value: &Value, schema: &Value, root: &Value) -> Option<String> {
    let keywords = schema.as_object().unwrap();
    keywords.iter().find_map(|(keyword, wanted)| {
        let wrong = || Some(format!("{value} against {keyword}: {wanted}"));
        let check = |right: bool| if right { None } else { wrong() };
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => None,
            "$ref" => {
                let path = wanted.as_str()?.strip_prefix('#').unwrap();
                fault(value, root.pointer(path).unwrap(), root)
            }
            "const" => check(value == wanted),
            "enum" => check(wanted.as_array()?.contains(value)),
            "type" => match wanted {
                Value::Array(types) => check(types.iter().any(|t| is(value, t.as_str().unwrap()))),
                one => check(is(value, one.as_str()?)),
            },
            "minimum" => check(value.as_f64() >= wanted.as_f64()),
            "required" => check(
                wanted.as_array()?.iter().all(|key| value.get(key.as_str().unwrap()).is_some()),
            ),
            "properties" => wanted
                .as_object()?
                .iter()
                .find_map(|(key, schema)| fault(value.get(key)?, schema, root)),
            "additionalProperties" => {
                let known = schema["properties"].as_object().unwrap();
                let mut others =
                    value.as_object()?.iter().filter(|(key, _)| !known.contains_key(*key));
                match wanted {
                    Value::Bool(false) => check(others.next().is_none()),
                    schema => others.find_map(|(_, value)| fault(value, schema, root)),
                }
            }
            "items" => value.as_array()?.iter().find_map(|item| fault(item, wanted, root)),
            "oneOf" => {
                let schemas = wanted.as_array()?;
                let faults: Vec<_> = schemas.iter().filter_map(|s| fault(value, s, root)).collect();
                match schemas.len() - faults.len() {
                    1 => None,
                    n => Some(format!("{n} of {} schemas fit {value}: {faults:#?}", schemas.len())),
                }
            }
            other => panic!("this test does not know {other}"),
        }
    })
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("this test does not know {other}"),
    }
}

/// The events of an output, each of which is valid; nothing else is on standard output.
#[track_caller]
fn events(home: &Home, output: &Output) -> Vec<Value> {
    let schema = home.tool(&["schema", "--events"]).run().exits(0).json();
    let mut events: Vec<Value> = Vec::new();
    for line in output.stdout.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(fault(&event, &schema, &schema), None);
        assert_eq!(event["sequence"], events.len() + 1, "{line}");
        let time: jiff::Timestamp = event["time"].as_str().unwrap().parse().unwrap();
        let before = events.last().map(|e| e["time"].as_str().unwrap().parse().unwrap());
        assert!(before.is_none_or(|before| time >= before), "{line}");
        events.push(event);
    }
    let exit = events.last().unwrap_or_else(|| panic!("no events:\n{}", output.stderr));
    assert_eq!(exit["type"], "exit");
    assert_eq!(Some(exit["code"].as_i64().unwrap()), output.status.code().map(i64::from));
    events
}

fn of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

#[test]
fn the_schema_refuses_what_is_no_event() {
    let home = Home::new();
    let schema = home.tool(&["schema", "--events"]).run().exits(0).json();
    let good = r#"{"version":1,"sequence":1,"time":"t","type":"exit","code":0,"error":null}"#;
    assert_eq!(fault(&serde_json::from_str(good).unwrap(), &schema, &schema), None);
    for (from, to) in [
        ("\"version\":1", "\"version\":2"),
        ("\"sequence\":1", "\"sequence\":0"),
        (",\"code\":0", ""),
        ("\"exit\"", "\"other\""),
        ("\"code\":0", "\"code\":\"0\""),
        ("null", "{\"code\":\"OP-X\"}"),
        ("null", "null,\"more\":1"),
    ] {
        let bad = good.replace(from, to);
        let value = serde_json::from_str(&bad).unwrap();
        assert!(fault(&value, &schema, &schema).is_some(), "{bad}");
    }
}

#[test]
fn a_create_and_a_delete_are_told_by_their_events() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 3, &[("token", "s3cr3t-token")]));
    let created = home.tool(&["--sandbox", "create", "--events"]).args(&[path]).run().exits(0);
    let told = events(&home, &created);
    assert!(!created.stdout.contains("s3cr3t"), "{}", created.stdout);
    let begun = of(&told, "begun");
    assert_eq!(
        (begun.len(), &begun[0]["operation"], &begun[0]["hosts"]),
        (1, &"create".into(), &3.into())
    );
    let id = begun[0]["provision"]["id"].as_str().unwrap().to_owned();
    let phases: Vec<&Value> = of(&told, "phase").iter().map(|event| &event["phase"]).collect();
    assert_eq!(phases, ["creating_objects", "deploying"]);
    // Every step that was begun has an outcome.
    let steps = of(&told, "step");
    let count = |step: &str, status: &str| {
        steps.iter().filter(|event| event["step"] == step && event["status"] == status).count()
    };
    for step in ["create", "deploy", "announce", "enlist"] {
        assert_eq!(count(step, "begun"), count(step, "done"), "{step}");
    }
    assert_eq!(count("deploy", "done"), 3);
    let report = of(&told, "report")[0];
    assert_eq!(report["totals"], serde_json::json!({ "all": 3, "enabled": 3 }));
    assert_eq!(report["machines"], serde_json::json!({ "exist": 3, "may_exist": 0 }));
    let mut told_ids: Vec<String> = report["hosts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|host| host["deploy_id"].as_str().unwrap().to_owned())
        .collect();
    told_ids.sort();
    let mut bill = home.bill();
    bill.sort();
    assert_eq!(told_ids, bill);

    let deleted = home.tool(&["--sandbox", "delete", "--events", &id]).run().exits(0);
    let told = events(&home, &deleted);
    assert_eq!(of(&told, "begun")[0]["operation"], "delete");
    assert_eq!(of(&told, "report")[0]["totals"], serde_json::json!({ "all": 3, "removed": 3 }));
    assert_eq!(home.bill(), Vec::<String>::new());
}

#[test]
fn failures_and_errors_are_events_too() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 1, &[("dummy_fail", "'deploy:1'")]));
    let failed = home.tool(&["--sandbox", "create", "--events"]).args(&[path]).run().exits(255);
    let told = events(&home, &failed);
    let steps = of(&told, "step");
    let failed: Vec<_> = steps.iter().filter(|event| event["status"] == "failed").collect();
    assert_eq!(failed.len(), 1, "{steps:#?}");
    assert!(failed[0]["message"].as_str().unwrap().contains("dummy_fail"), "{}", failed[0]);
    assert_eq!(of(&told, "report")[0]["totals"]["failed"], 1);
    assert_eq!(told.last().unwrap()["error"], Value::Null);

    let nobody = "00000000-0000-4000-8000-000000000000";
    let error = home.tool(&["--sandbox", "delete", "--events", nobody]).run();
    let told = events(&home, &error);
    let error = &told.last().unwrap()["error"];
    assert_eq!(error["code"], "OP-NOT-FOUND");
    assert!(error["hint"].as_str().unwrap().contains("`oneprovision --sandbox list`"), "{error}");
}

#[test]
fn a_reader_that_goes_away_ends_nothing() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 3, &[]));
    let tool = home.tool(&["--sandbox", "create", "--events"]).args(&[path]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let running = tool.start_with(Stdio::from(writer), Stdio::null());
    let ended = running.finish();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_eq!(home.bill().len(), 3);
}

#[test]
fn an_interrupted_operation_says_so_in_its_last_events() {
    let home = Home::new();
    let cloud = Cloud::with_steps(&home, "slow", WAITS, "");
    let path = home.write("t.yaml", template("slow", 3, &[]));
    let tool = home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]);
    let running = tool.args(&["create", "-t", "2", "--events"]).args(&[path]).start();
    cloud.wait_for(2);
    // Meanwhile it says what it waits for. The third is written down and waits for its turn.
    wait_until("a heartbeat", || {
        running.stderr().contains("all 3 hosts deploying. Waiting: host ")
    });
    running.signal(Signal::INT);
    wait_until("the word that it stops", || running.stderr().contains("Stopping"));
    std::fs::write(cloud.dir().join("go"), "").unwrap();
    let told = events(&home, &running.finish().exits(130));
    assert_eq!(of(&told, "report")[0]["interrupted"], true);
    let deploys = |status| {
        let steps = of(&told, "step").into_iter();
        steps.filter(|step| step["step"] == "deploy" && step["status"] == status).count()
    };
    assert_eq!(["done", "undone", "failed"].map(deploys), [2, 1, 0]);
    let heartbeat = of(&told, "heartbeat")[0]["message"].as_str().unwrap();
    assert!(heartbeat.contains(": deploying for "), "{heartbeat}");
}

#[test]
fn every_code_is_explained() {
    let home = Home::new();
    let codes = home.tool(&["explain"]).run().exits(0).stdout;
    assert!(codes.lines().count() > 50, "{codes}");
    for code in codes.lines() {
        let page = home.tool(&["explain", code]).run().exits(0).stdout;
        assert!(page.starts_with(&format!("{code}\n\n")), "{page}");
    }
    let unknown = home.tool(&["explain", "OP-NONE"]).run().one_error();
    assert!(unknown.contains("more: oneprovision explain OP-USAGE"), "{unknown}");
    // An error names the page that explains it.
    let usage = home.tool(&["list", "--no-such-option"]).run().one_error();
    assert!(usage.ends_with("more: oneprovision explain OP-USAGE\n"), "{usage}");
}
