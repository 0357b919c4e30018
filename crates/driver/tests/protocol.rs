//! What well-behaved executables see, and what is made of their answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;

use driver::{Driver, ExecutableSettings, FailureKind, MachineState, Remotes, ShutdownKind};
use support::{Lab, call, id, write_program};

/// Notes how it was called, then answers like a driver.
const NOTING: &str = r#"
action=$(basename "$0")
{
  echo "argc=$#"
  for a in "$@"; do echo "arg=$a"; done
  echo "stdin=$(cat | tr -d '\n' | cut -c1-6)"
  echo "call=$ONEPROVISION_CALL"
  echo "file=$ONEPROVISION_DEPLOYMENT_FILE"
  echo "modes=$(stat -c %a "$ONEPROVISION_DEPLOYMENT_FILE") $(stat -c %a "$(dirname "$ONEPROVISION_DEPLOYMENT_FILE")")"
  echo "one=$ONE_XMLRPC $ONE_AUTH"
  echo "group=$(ps -o pgid= -p $$ | tr -d ' ') $$"
} > "$LAB/$action"
case "$action" in
  deploy) echo "m-1" ;;
  poll) echo 'STATE=a GUEST_IP_ADDRESSES="192.0.2.1,10.0.0.1"' ;;
  list) echo 'DEPLOY_ID=m-1 PROVISION_ID=p HOST_KEY=0' ;;
esac
"#;

fn args(noted: &str) -> Vec<&str> {
    noted.lines().filter_map(|line| line.strip_prefix("arg=")).collect()
}

fn field<'a>(noted: &'a str, name: &str) -> &'a str {
    noted.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap()
}

const NAME: &str = "node $(touch pwned); 'x'";

#[tokio::test]
async fn the_documented_arguments_and_surroundings_of_every_action() {
    let lab = Lab::new();
    let settings = ExecutableSettings {
        one_xmlrpc: Some("http://127.0.0.1:2633/RPC2".into()),
        one_auth: Some("/etc/one_auth".into()),
        ..lab.settings()
    };
    let script = lab.sh(NOTING);
    let driver = lab.driver_with(&script, &script, settings);
    let (call, ear) = call(NAME);
    let machine = driver.deploy(&call).await.unwrap();
    assert_eq!(machine, id("m-1"));
    assert_eq!(ear.ids(), ["m-1"]);
    let report = driver.poll(&call, &machine).await.unwrap();
    assert_eq!((report.state, report.address()), (Some(MachineState::Active), Some("192.0.2.1")));
    driver.reboot(&call, &machine).await.unwrap();
    driver.reset(&call, &machine).await.unwrap();
    driver.shutdown(&call, &machine, ShutdownKind::Poweroff).await.unwrap();
    driver.cancel(&call, &machine).await.unwrap();
    let listed = driver.list(&call).await.unwrap();
    assert_eq!((&listed[0].id, listed[0].attributes.text("HOST_KEY")), (&machine, Some("0")));

    let deploy = lab.read("deploy");
    let [file, rest @ ..] = args(&deploy).try_into().unwrap_or([""; 4]);
    assert_eq!(rest, [NAME, "42", NAME]);
    assert_eq!(file, field(&deploy, "file"));
    assert_eq!(field(&deploy, "argc"), "4");
    for action in ["poll", "reboot", "reset", "cancel"] {
        assert_eq!(args(&lab.read(action)), ["m-1", NAME, "42", NAME], "{action}");
    }
    assert_eq!(args(&lab.read("shutdown")), ["m-1", NAME, "SHUTDOWN_POWEROFF", "42", NAME]);
    assert!(args(&lab.read("list")).is_empty());
    for action in ["deploy", "poll", "reboot", "reset", "cancel", "shutdown", "list"] {
        let noted = lab.read(action);
        assert_eq!(field(&noted, "stdin"), "<HOST>", "{action}");
        assert_eq!(field(&noted, "call"), "key-1");
        assert_eq!(field(&noted, "modes"), "600 700");
        assert_eq!(field(&noted, "one"), "http://127.0.0.1:2633/RPC2 /etc/one_auth");
        let (group, pid) = field(&noted, "group").split_once(' ').unwrap();
        assert_eq!(group, pid, "it leads its own process group");
        assert!(!std::path::Path::new(field(&noted, "file")).exists(), "removed after {action}");
    }
    assert_eq!(ear.started.lock().unwrap().len(), 7);
    assert!(lab.leftovers().is_empty());
    assert!(!lab.path("pwned").exists() && !std::path::Path::new("pwned").exists());
}

#[tokio::test]
async fn the_old_tools_arguments_by_a_switch() {
    let lab = Lab::new();
    let settings = ExecutableSettings { legacy_args: true, ..lab.settings() };
    let script = lab.sh(NOTING);
    let driver = lab.driver_with(&script, &script, settings);
    let (mut call, _) = call("h");
    driver.deploy(&call).await.unwrap();
    assert_eq!(args(&lab.read("deploy"))[1..], ["TODO"]);
    call.host.template.vector_mut("PROVISION").push("DEPLOY_ID", "m-1");
    driver.deploy(&call).await.unwrap();
    assert_eq!(args(&lab.read("deploy"))[1..], ["h", "42", "h"]);
    driver.shutdown(&call, &id("m-1"), ShutdownKind::Poweroff).await.unwrap();
    assert_eq!(args(&lab.read("shutdown")), ["m-1", "h", "SHUTDOWN_POWEROFF", "42", "h"]);
}

#[tokio::test]
async fn a_resume_keeps_its_id_whatever_is_printed() {
    let lab = Lab::new();
    let (mut call, ear) = call("h");
    call.host.template.vector_mut("PROVISION").push("DEPLOY_ID", "m-1");
    for body in ["exit 0", "echo m-1", "echo powered", "echo powering on m-1"] {
        assert_eq!(lab.deploys(body).deploy(&call).await.unwrap(), id("m-1"), "{body}");
    }
    let error = lab.deploys("echo m-1; echo no power >&2; exit 1").deploy(&call).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (FailureKind::Definite, "no power"));
    assert!(ear.ids().is_empty(), "no machine was made");
}

#[tokio::test]
async fn a_host_without_an_id_has_minus_one() {
    let lab = Lab::new();
    let script = lab.sh(NOTING);
    let driver = lab.driver(&script, &script);
    let (mut call, _) = call("h");
    call.host.id = None;
    driver.deploy(&call).await.unwrap();
    assert_eq!(args(&lab.read("deploy"))[1..], ["h", "-1", "h"]);
}

#[tokio::test]
async fn six_executables_in_python_that_read_standard_input() {
    let lab = Lab::new();
    let script = r#"#!/usr/bin/env python3
import os, sys, xml.etree.ElementTree as tree
action = os.path.basename(sys.argv[0])
host = tree.parse(sys.stdin.buffer).getroot()
token = host.find("TEMPLATE/PROVISION/TOKEN").text
assert token == "s3cr3t-tok", token
if action == "deploy":
    sys.stdout.write("py-" + host.find("ID").text)
elif action == "poll":
    print('GUEST_IP_ADDRESSES="192.0.2.9 ')
elif action == "reset":
    sys.stderr.write("ERROR MESSAGE --8<------\nno reset with %s\n\nERROR MESSAGE ------>8--\n" % token)
    sys.exit(-1)
"#;
    let driver = lab.driver(script, script);
    let (call, ear) = call("h");
    let machine = driver.deploy(&call).await.unwrap();
    assert_eq!((machine.as_str(), ear.ids()), ("py-42", vec!["py-42".to_owned()]));
    assert_eq!(driver.poll(&call, &machine).await.unwrap().address(), Some("192.0.2.9"));
    driver.reboot(&call, &machine).await.unwrap();
    driver.shutdown(&call, &machine, ShutdownKind::Terminate).await.unwrap();
    driver.cancel(&call, &machine).await.unwrap();
    let error = driver.reset(&call, &machine).await.unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (FailureKind::Definite, "no reset with *****")
    );
    assert!(lab.leftovers().is_empty());
}

#[tokio::test]
async fn standard_input_may_be_written_to_the_deployment_file() {
    let lab = Lab::new();
    let body = "cat > \"$1\"; cp \"$1\" \"$LAB/seen\"; echo m-1";
    let (call, _) = call("h");
    lab.deploys(body).deploy(&call).await.unwrap();
    assert_eq!(lab.read("seen"), call.host.to_xml().unwrap());
}

#[tokio::test]
async fn a_greeting_before_the_id_leaves_it_unknown_which_machine_there_is() {
    let lab = Lab::new();
    let (call, _) = call("h");
    let error = lab.deploys("echo Welcome to the cloud; echo m-1").deploy(&call).await.unwrap_err();
    assert_eq!((error.kind, error.deploy_id), (FailureKind::Unknown, None));
    assert!(error.message.contains("cannot be one: \"Welcome to the cloud\""), "{}", error.message);
}

#[tokio::test]
async fn a_list_that_is_an_error_page_proves_nothing() {
    let lab = Lab::new();
    let list = |text: &str| lab.sh(&format!("echo '{text}'"));
    let (call, _) = call("h");
    let error = lab
        .driver(&list("{\"error\": \"token expired\"}"), "#!/bin/sh\n")
        .list(&call)
        .await
        .unwrap_err();
    assert_eq!(error.kind, FailureKind::Unknown);
    assert!(error.message.contains("token expired"), "{}", error.message);
    assert!(lab.driver(&list(""), "#!/bin/sh\n").list(&call).await.unwrap().is_empty());
    // Nor does nothing at all, of a pipe that broke at its beginning.
    let listing = |words: &str| lab.driver(&lab.sh(&format!("echo '{words}' >&2")), "#!/bin/sh\n");
    let broken = listing("curl: (6) Could not resolve host: api.example");
    assert_eq!(broken.list(&call).await.unwrap_err().kind, FailureKind::Unknown);
    let chatter = listing("Warning: api.example is asked without TLS");
    assert!(chatter.list(&call).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_cancel_or_poll_of_what_is_gone_is_told_apart() {
    let lab = Lab::new();
    let fails = |text: &str| lab.sh(&format!("echo '{text}' >&2; exit 1"));
    for (text, kind, polled) in [
        ("server m-1 not found", FailureKind::NotFound, FailureKind::NotFound),
        // Of a machine that is asked itself.
        ("connection refused", FailureKind::Definite, FailureKind::Definite),
        ("token has expired", FailureKind::Definite, FailureKind::Unknown),
        ("m-1 is unknown here", FailureKind::Definite, FailureKind::Definite),
    ] {
        let driver = lab.driver(&fails(text), "#!/bin/sh\n");
        let error = driver.cancel(&call("h").0, &id("m-1")).await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (kind, text));
        let error = driver.poll(&call("h").0, &id("m-1")).await.unwrap_err();
        assert_eq!(error.kind, polled);
    }
}

#[test]
fn a_machine_without_a_mark_may_be_anybodys() {
    let (call, _) = call("h");
    let list =
        |text: &str| driver::api::find_marked(driver::poll::parse_list(text).unwrap(), &call);
    let key = &call.key;
    assert_eq!(list("").unwrap(), None);
    assert_eq!(list("DEPLOY_ID=m-1 KEY=other NAME=other").unwrap(), None);
    assert_eq!(list(&format!("DEPLOY_ID=m-1\nDEPLOY_ID=m-2 KEY={key}")).unwrap(), Some(id("m-2")));
    assert_eq!(list("DEPLOY_ID=m-3 NAME=h").unwrap(), Some(id("m-3")));
    // An earlier attempt's has the same name.
    let both = format!("DEPLOY_ID=m-1 KEY=key-0 NAME=h\nDEPLOY_ID=m-2 KEY={key} NAME=h");
    assert_eq!(list(&both).unwrap(), Some(id("m-2")));
    // A server's own name is no mark.
    let unclear = list("DEPLOY_ID=m-1 NAME=web-1").unwrap_err();
    assert_eq!(unclear.kind, FailureKind::Unknown);
    let other = format!("DEPLOY_ID=m-1 NAME=provision-{}", "0a".repeat(24));
    assert_eq!(list(&other).unwrap(), None);
    let unclear = list("DEPLOY_ID=m-1 KEY=other\nDEPLOY_ID=m-2 PLAN=x").unwrap_err();
    assert_eq!(unclear.kind, FailureKind::Unknown);
    assert!(unclear.message.contains("m-2"), "{}", unclear.message);
}

#[tokio::test]
async fn a_script_without_a_first_line_is_one_for_the_shell() {
    let lab = Lab::new();
    let driver = lab.driver("exit 0\n", "echo from-sh-$#\n");
    assert_eq!(driver.deploy(&call("h").0).await.unwrap(), id("from-sh-4"));
}

#[tokio::test]
async fn what_cannot_be_started_asked_nothing_of_anybody() {
    let lab = Lab::new();
    let (first, _) = call("h");
    let driver = lab.driver("#!/bin/sh\n", "#!/bin/sh\n");
    // It was there when the driver was looked for.
    write_program(&lab.path("remotes/pm/site/deploy"), "#!/no/such/interpreter\n");
    let error = driver.deploy(&first).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Setup);
    assert!(error.message.contains("is the interpreter of its first line installed?"), "{error}");
    // A file of zeros is no program.
    write_program(&lab.path("remotes/pm/site/deploy"), &"\0".repeat(600));
    assert_eq!(driver.deploy(&first).await.unwrap_err().kind, FailureKind::Setup);
    fs::remove_file(lab.path("remotes/pm/site/deploy")).unwrap();
    let error = driver.deploy(&first).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Setup);
    assert!(error.message.contains("has no action deploy"), "{error}");
    fs::remove_file(lab.path("remotes/pm/site/list")).unwrap();
    assert_eq!(driver.list(&first).await.unwrap_err().kind, FailureKind::Unsupported);
    let (mut nul, _) = call("a");
    nul.host.name = "a\0b".into();
    let driver = lab.deploys("echo m-1");
    assert_eq!(driver.deploy(&nul).await.unwrap_err().kind, FailureKind::Setup);
    assert!(lab.leftovers().is_empty());
}

#[tokio::test]
async fn a_calls_folder_that_cannot_be_made_is_named() {
    let lab = Lab::new();
    lab.deploys("touch \"$LAB/started\"; echo m-1");
    fs::write(lab.path("file"), "").unwrap();
    let settings = ExecutableSettings::new(lab.path("file"));
    let driver = lab.open(settings);
    let error = driver.deploy(&call("h").0).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Setup);
    assert!(error.message.contains(lab.path("file").to_str().unwrap()), "{error}");
    assert!(!lab.path("started").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_run_side_by_side() {
    let lab = Lab::new();
    let driver = std::sync::Arc::new(lab.deploys("sleep 0.05; echo \"m-$2\""));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let driver = driver.clone();
        tasks.spawn(async move {
            let (call, ear) = call(&format!("h{n}"));
            let id = driver.deploy(&call).await.unwrap();
            assert_eq!(ear.ids(), [id.to_string()]);
            id.to_string()
        });
    }
    let mut ids: Vec<String> = tasks.join_all().await;
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40);
    assert!(lab.leftovers().is_empty());
}

#[test]
fn remotes_are_found_by_name_only() {
    let lab = Lab::new();
    lab.deploys("echo m-1");
    let remotes = Remotes::new(lab.path("remotes"));
    assert_eq!(remotes.names().unwrap(), ["site"]);
    assert!(remotes.has("site") && !remotes.has("../pm/site"));
    assert!(remotes.find("../pm/site").is_err());
}
