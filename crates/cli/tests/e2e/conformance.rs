//! `driver test` and `driver new`: what is asked, what is told, how it ends.

use std::fs;

use rustix::process::Signal;
use testkit::wrong_drivers;

use crate::support::{Home, python, skip};

/// Every machine of a driver that was written with `driver new`.
fn machines(home: &Home, driver: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(home.state().join(format!("{driver}-machines"))) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with(".new-")).collect()
}

#[test]
fn the_built_in_one_is_tried_in_both_ways() {
    let home = Home::new();
    let tested = home.tool(&["driver", "test", "dummy", "--yes", "-j"]).run().exits(0);
    let json = tested.json();
    let reports = json["DRIVER_TEST"]["REPORT"].as_array().unwrap();
    let ways: Vec<_> = reports.iter().map(|report| report["CALLED"].as_str().unwrap()).collect();
    assert_eq!(ways, ["as executables", "in the program"]);
    for check in reports.iter().flat_map(|report| report["CHECKS"].as_array().unwrap()) {
        assert_eq!(check["VERDICT"], "ok", "{check}");
        assert!(check["REFERENCE"].as_str().unwrap().starts_with("docs/DRIVER_PROTOCOL.md#"));
    }
    tested.says("makes up to 15 machines, 3 at the same time").says("none is left.");
    assert_eq!(home.bill(), [""; 0]);
    assert!(home.machines_ever().len() >= 12);
    // The links that it made for itself are gone.
    let left = fs::read_dir(home.state()).unwrap().map(|e| e.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with("driver-test")));
}

/// Real machines, of an empty disk.
#[test]
fn qemu_keeps_what_the_protocol_promises() {
    if std::process::Command::new("qemu-system-x86_64").arg("--version").output().is_err() {
        return skip("qemu-system-x86_64 is not installed");
    }
    let home = Home::new();
    let mut disk = vec![0; 1 << 20];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let image = format!("image={}", home.write("empty.img", disk).display());
    // Free on all addresses now, and seldom taken by somebody else meanwhile.
    let port = std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let port = format!("ssh_port={port}");
    let mut arguments = vec!["driver", "test", "qemu", "--yes"];
    for parameter in [&image, &port, "memory=32", "grace=1"] {
        arguments.extend(["--param", parameter]);
    }
    let tested = home.tool(&arguments).run().exits(0);
    tested.says("0 not kept, 0 not tried.").says("none is left.");
    let left = fs::read_dir(home.state().join("qemu")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

#[test]
fn nothing_is_bought_without_a_yes() {
    let home = Home::new();
    home.tool(&["driver", "test", "dummy"])
        .run()
        .exits(255)
        .says("The test of driver dummy makes up to 15 machines")
        .says("there is nobody to ask")
        .says("OP-CONFIRMATION");
    assert_eq!(home.machines_ever(), [""; 0]);
}

#[test]
fn parameters_are_checked_before_anything_is_bought() {
    let home = Home::new();
    let missing = home.tool(&["driver", "test", "packet", "--yes"]).run().exits(255);
    missing.says("packet_token is missing").says("--param NAME=VALUE");
    let wrong = ["driver", "test", "dummy", "--yes", "--param", "dummy_quota=many"];
    home.tool(&wrong).run().exits(255).says("dummy_quota must be a whole number");
    home.tool(&["driver", "test", "dummy", "--yes", "--param", "seed"])
        .run()
        .exits(255)
        .says("--param takes NAME=VALUE");
    home.tool(&["driver", "test", "nowhere", "--yes"]).run().exits(255).says("OP-DRIVER");
    home.tool(&["driver", "test", "./nowhere", "--yes"]).run().exits(255).says("OP-DRIVER");
    assert_eq!(home.machines_ever(), [""; 0]);
}

#[test]
fn a_template_gives_the_parameters_and_options_win() {
    let home = Home::new();
    let template =
        crate::support::template("dummy", 1, &[("dummy_boot", "100h"), ("ip", "192.0.2.9")]);
    let path = home.write("template.yaml", template);
    let tested = home
        .tool(&["driver", "test", "dummy", "--yes", "--param", "dummy_boot=1ms", "--template"])
        .args(&[path])
        .run()
        .exits(0);
    let tested = tested.says("dummy_boot=1ms, ip=192.0.2.9.");
    assert!(tested.stdout.contains("address 192.0.2.9"), "{}", tested.stdout);
}

#[test]
fn a_wrong_one_is_told_what_to_do() {
    let home = Home::new();
    let folder = wrong_drivers::write(&home.work(), "two-ids").unwrap();
    let tested =
        home.tool(&["driver", "test", "--yes"]).args(&[folder.as_os_str()]).run().exits(255);
    for text in [
        "FAILED id\n  promised: the id is the first line",
        "(docs/DRIVER_PROTOCOL.md#deploy)",
        "seen:     after m-1 it printed another one, m-1-too",
        "to do:    print the id and nothing else",
    ] {
        assert!(tested.stdout.contains(text), "{text}\n{}", tested.stdout);
    }
    assert_eq!(wrong_drivers::machines(&folder).unwrap(), [""; 0]);
}

#[test]
fn an_old_one_passes_with_a_warning() {
    let home = Home::new();
    let folder = wrong_drivers::write(&home.work(), "no-state").unwrap();
    home.tool(&["driver", "test", "--yes"])
        .args(&[folder.as_os_str()])
        .run()
        .exits(0)
        .says("1 warning, 0 not kept");
}

#[test]
fn what_may_be_left_is_named() {
    let home = Home::new();
    let folder = wrong_drivers::write(&home.work(), "cancel-fails").unwrap();
    let tested = home.tool(&["driver", "test", "--yes"]).args(&[folder.as_os_str()]).run().exits(3);
    tested.says("machine m-1 may be left: cancel: exit status 255: the provider says no");
    assert_eq!(wrong_drivers::machines(&folder).unwrap(), ["m-1"]);
}

#[test]
fn interrupted_it_leaves_nothing() {
    let home = Home::new();
    let arguments = ["driver", "test", "dummy", "--yes", "--param", "dummy_latency=200ms"];
    let mut running = home.tool(&arguments).start();
    running.wait_for("resume …");
    running.signal(Signal::INT);
    running.finish().exits(130).says("none is left.");
    assert_eq!(home.bill(), [""; 0]);
    assert!(!home.machines_ever().is_empty());
}

#[test]
fn a_new_one_passes_as_it_is() {
    let home = Home::new();
    for lang in ["sh", "python"] {
        if lang == "python" && python().is_none() {
            skip("there is no python3");
            continue;
        }
        let name = format!("my-{lang}");
        let made = home.tool(&["driver", "new", &name, "--lang", lang]).run().exits(0);
        assert!(made.stdout.trim().ends_with(&name), "{}", made.stdout);
        home.tool(&["driver", "test", &format!("./{name}"), "--yes"])
            .run()
            .exits(0)
            .says("0 warnings, 0 not kept, 0 not tried.");
        assert_eq!(machines(&home, &name), [""; 0]);
        // What is there is not written over.
        home.tool(&["driver", "new", &name, "--lang", lang])
            .run()
            .exits(255)
            .says("is there already");
    }
}

/// Building it takes minutes; that it works is seen in the tests of the crate `driver`.
#[test]
fn a_new_one_in_rust_leads_to_the_sources() {
    let home = Home::new();
    let made = home.tool(&["driver", "new", "lab", "--lang", "rust"]).run().exits(0);
    made.says("cargo build --release");
    let manifest = fs::read_to_string(home.work().join("lab/Cargo.toml")).unwrap();
    let path =
        manifest.lines().find_map(|line| line.strip_prefix("oneprovision-driver = { path = \""));
    let path = path.unwrap().trim_end_matches("\" }");
    assert!(std::path::Path::new(path).join("Cargo.toml").is_file(), "{manifest}");
    let link = fs::read_link(home.work().join("lab/deploy")).unwrap();
    assert_eq!(link, std::path::Path::new("target/release/lab"));
    home.tool(&["driver", "new", "../lab"]).run().exits(255).says("is no name of a driver");
}
