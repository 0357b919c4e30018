//! What drivers say of themselves, and the mistakes that are found by it before anything is bought.

use crate::support::cloud::Cloud;
use crate::support::{Home, Invocation, executable, template};
use crate::views::told;

const LAB: &str = "\
protocol: 1
description: Machines of our lab
configurable: false
parameters:
  - {name: lab_token, required: true, account: true, description: Key of the lab}
  - {name: plan, required: true, allowed: [small, large], default: small, description: Size}
  - {name: disks, type: integer, aliases: [drives], description: How many}
  - {name: pin, secret: true, description: Of the door}
";

fn tool(home: &Home, arguments: &[&str]) -> Invocation {
    home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]).args(arguments)
}

/// A driver `lab` that says what it takes.
fn lab(home: &Home) -> Cloud {
    let cloud = Cloud::in_shell(home, "lab");
    std::fs::write(home.remotes().join("pm/lab/driver.yaml"), LAB).unwrap();
    cloud
}

#[test]
fn drivers_are_listed_and_shown() {
    let home = Home::new();
    lab(&home);
    Cloud::in_shell(&home, "silent");
    let broken = home.remotes().join("pm/broken");
    std::fs::create_dir(&broken).unwrap();
    let mut all = String::new();
    for command in [
        &["driver", "list", "--csv"][..],
        &["driver", "show", "lab"],
        &["driver", "show", "lab", "-y"],
        &["driver", "show", "lab", "-x"],
        &["driver", "show", "silent"],
        &["driver", "show", "dummy"],
        &["driver", "show", "builtin:dummy", "-j"],
        &["driver", "show", "none"],
    ] {
        let output = tool(&home, command).run();
        if command.last() == Some(&"-j") {
            let value: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
            assert_eq!(value["DRIVER"]["FROM"], "built in");
            assert!(value["DRIVER"]["PARAMETERS"].as_array().unwrap().len() > 10);
            continue;
        }
        all += &told(&home, &command.join(" "), &output);
    }
    // Which drivers are built in is no matter of this test.
    let ours = |line: &&str| !line.contains(",built in,");
    let all: Vec<&str> = all.lines().filter(ours).collect();
    let all: Vec<&str> =
        all.iter().map(|line| line.split("; built in: ").next().unwrap_or(line)).collect();
    insta::assert_snapshot!("driver_list_and_show", all.join("\n"));
    assert!(!home.state().exists(), "nothing was written");
}

#[test]
fn ten_different_mistakes_in_one_run() {
    let home = Home::new();
    lab(&home);
    let text = "\
---
name: edge/one
clustr:
  name: edge
defaults:
  provision:
    driver: lab
    lab_token: {env: LAB_TOKEN}
    plan: smal
hosts:
  - im_mad: kvm
    provision:
      hostname: h1
      disk: 2
  - im_mad: kvm
    vm_mad: kvm
    provision:
      hostname: h1
      plan: large
      disks: two
    connection:
      remote_port: 70000
  - im_mad: kvm
    vm_mad: kvm
    provision:
      hostname: h3
      driver: lap
      plan: \"<%= @clusters[1]['ID'] %>\"
datastores:
  - name: images
    tm_mad: [ssh]
networks:
  - name: net
    vn_mad: bridge
    ar: [{ip: 10.0.0.1}
";
    // A file that is no YAML has one mistake; the others come to light when it is mended.
    let path = home.write("edge.yaml", text);
    let first = tool(&home, &["validate"]).args(&[&path]).run().exits(255);
    let path = home.write("edge.yaml", text.replace("10.0.0.1}", "10.0.0.1}]"));
    let output = tool(&home, &["validate"]).args(&[&path]).run().exits(255);
    let all =
        told(&home, "validate edge.yaml", &first) + &told(&home, "validate edge.yaml", &output);
    let all: Vec<&str> =
        all.lines().map(|line| line.split("; built in: ").next().unwrap_or(line)).collect();
    insta::assert_snapshot!("ten_mistakes", all.join("\n"));
    let count = |kind: &str| output.stderr.matches(kind).count();
    assert!(count(": error[") + count(": warning[") >= 10, "{}", output.stderr);
}

#[test]
fn a_wrong_parameter_buys_nothing() {
    let home = Home::new();
    let cloud = lab(&home);
    for parameters in [&[("lab_token", "t-1"), ("plan", "huge")][..], &[("plan", "small")]] {
        let path = home.write("t.yaml", template("lab", 2, parameters));
        let refused = tool(&home, &["create"]).args(&[&path]).run().exits(255);
        assert!(refused.stderr.contains("of driver 'lab'") || refused.stderr.contains("needs the"));
    }
    assert!(cloud.calls().is_empty(), "{:?}", cloud.calls());
    assert!(!home.state().join("journal.db").exists(), "nothing was begun");
}

#[test]
fn what_the_driver_calls_secret_is_hidden_whatever_its_name() {
    const PIN: &str = "pin-5b1f-never-to-be-seen";
    let home = Home::new();
    let cloud = lab(&home);
    let parameters = [("lab_token", "t-1"), ("plan", "small"), ("pin", PIN)];
    let path = home.write("t.yaml", template("lab", 2, &parameters));
    let dump = tool(&home, &["validate", "--dump"]).args(&[&path]).run().exits(0);
    let created = tool(&home, &["create", "-D"]).args(&[&path]).run().exits(0);
    let id = created.id();
    let shown = tool(&home, &["show", "-j", &id]).run().exits(0);
    let exported = tool(&home, &["journal", "export"]).run().exits(0);
    for output in [&dump, &created, &shown, &exported] {
        assert!(!output.stdout.contains(PIN) && !output.stderr.contains(PIN));
    }
    for file in std::fs::read_dir(home.state()).unwrap().flatten() {
        if file.path().is_file() {
            let bytes = std::fs::read(file.path()).unwrap();
            let found = bytes.windows(PIN.len()).any(|window| window == PIN.as_bytes());
            assert!(!found, "{}", file.path().display());
        }
    }
    let file = cloud.file("m-1", "stdin");
    assert!(file.contains(PIN), "its driver is told");
    tool(&home, &["delete", &id]).run().exits(0);
    assert!(cloud.machines().is_empty());
}

#[test]
fn a_broken_description_keeps_nobody_from_deleting() {
    let home = Home::new();
    let cloud = lab(&home);
    let parameters = [("lab_token", "t-1"), ("plan", "small")];
    let path = home.write("t.yaml", template("lab", 1, &parameters));
    let id = tool(&home, &["create"]).args(&[&path]).run().exits(0).id();
    let file = home.remotes().join("pm/lab/driver.yaml");
    std::fs::write(&file, "parameters:\n  - nane: plan\n").unwrap();
    let told = tool(&home, &["validate"]).args(&[&path]).run().exits(0);
    assert!(told.stderr.contains("driver.yaml:2:"), "{}", told.stderr);
    // What of it is secret is not known, so nothing of it is written anywhere.
    for command in [&["create"][..], &["update", &id], &["plan"]] {
        let refused = tool(&home, command).args(&[&path]).run().exits(255);
        assert!(refused.stderr.contains("driver.yaml:2:"), "{command:?}: {}", refused.stderr);
        assert!(refused.stderr.contains("nothing was done"), "{command:?}: {}", refused.stderr);
    }
    for command in [
        &["host", "add", &id, "--amount", "1"][..],
        &["provider", "create", "p", "--driver", "lab", "pin=1"],
    ] {
        let refused = tool(&home, command).run().exits(255);
        assert!(refused.stderr.contains("nothing was done"), "{command:?}: {}", refused.stderr);
    }
    assert_eq!(cloud.machines().len(), 1);
    std::fs::remove_file(&file).unwrap();
    executable(&home.remotes().join("pm/lab/describe"), "#!/bin/sh\necho oops >&2\nexit 7\n");
    let told = tool(&home, &["driver", "show", "lab"]).run().exits(0);
    assert!(told.stderr.contains("describe failed: exit status: 7"), "{}", told.stderr);
    tool(&home, &["delete", &id]).run().exits(0);
    assert!(cloud.machines().is_empty());
}

#[test]
fn the_schema_has_the_parameters_of_the_built_in_drivers() {
    let home = Home::new();
    let schema = home.tool(&["schema"]).run().exits(0).json();
    let drivers = schema
        .pointer("/properties/hosts/items/properties/provision/allOf")
        .and_then(serde_json::Value::as_array)
        .unwrap();
    let of = |driver: &str, parameter: &str| {
        let mut drivers = drivers.iter();
        let found = drivers.find(|d| d["if"]["properties"]["driver"]["enum"][0] == driver);
        found.unwrap()["then"]["properties"][parameter]["description"].is_string()
    };
    assert!(of("packet", "packet_token") && of("ec2", "securitygroupsids") && of("qemu", "image"));
    assert!(!of("packet", "ec2_access"));
    // It asks nobody and leaves nothing behind.
    assert!(!home.state().exists());
}
