//! `sandbox serve`, used from other processes.

use crate::support::front_end::Served;
use crate::support::{Home, python, skip, template};

#[test]
fn the_binary_itself_connects_to_it() {
    let server = Home::new();
    let served = Served::start(&server);
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 3, &[]));
    let tool = |arguments: &[&str]| {
        let tool = home.tool(&["--endpoint", &served.endpoint]).args(arguments);
        tool.env("ONE_AUTH", &served.auth)
    };
    let created = tool(&["create"]).args(&[path]).run().exits(0);
    let id = created.says("Done: all 3 hosts enabled.").id();
    // The same by the environment alone, in another home: OpenNebula's objects are enough.
    let other = Home::new();
    let elsewhere = |arguments: &[&str]| {
        let tool = other.tool(arguments).env("ONE_XMLRPC", &served.endpoint);
        tool.env("ONE_AUTH", &served.auth).run()
    };
    let listed = elsewhere(&["list", "--csv", "--no-header"]).exits(0).stdout;
    assert_eq!(listed, format!("{id},test,1,3,0,0,configured\n"));
    let shown = elsewhere(&["show", "-j", &id]).exits(0).json();
    assert_eq!(shown["PROVISION"]["HOSTS"].as_array().unwrap().len(), 3);
    assert_eq!(home.bill().len(), 3);
    tool(&["delete", &id]).run().exits(0);
    assert_eq!(home.bill(), Vec::<String>::new());
    assert_eq!(elsewhere(&["list", "--no-header"]).exits(0).stdout, "");
    served.stop().exits(0);
}

#[test]
fn a_provision_can_be_deleted_without_its_journal() {
    let server = Home::new();
    let served = Served::start(&server);
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 2, &[]));
    let tool = |arguments: &[&str]| {
        let tool = home.tool(&["--endpoint", &served.endpoint]).args(arguments);
        tool.env("ONE_AUTH", &served.auth)
    };
    let id = tool(&["create"]).args(&[path]).run().exits(0).id();
    for name in ["journal.db", "journal.db-wal", "journal.db-shm"] {
        let _ = std::fs::remove_file(home.state().join(name));
    }
    assert!(tool(&["list", "--csv"]).run().exits(0).stdout.contains(&id));
    tool(&["delete", &id]).run().exits(0).says("No machine exists.");
    assert_eq!((home.bill().len(), home.machines_ever().len()), (0, 2));
}

/// Somebody elsewhere deletes the object of a host; of its machine he knows nothing.
#[test]
fn a_machine_whose_host_was_deleted_is_destroyed_by_its_place() {
    let server = Home::new();
    let served = Served::start(&server);
    let (home, other) = (Home::new(), Home::new());
    let at = |home: &Home, arguments: &[&str]| {
        let tool = home.tool(&["--endpoint", &served.endpoint]).args(arguments);
        tool.env("ONE_AUTH", &served.auth).run()
    };
    let path = home.write("t.yaml", template("dummy", 2, &[]));
    let id = at(&home, &["create", path.to_str().unwrap()]).exits(0).id();
    at(&other, &["host", "delete", "0", "--yes"]).exits(0);
    assert_eq!(home.bill().len(), 2);
    let place = format!("{id}:0");
    at(&home, &["resume", &id]).exits(0).says(&format!("host delete {place}"));
    at(&home, &["host", "reboot", &place, "--yes"]).exits(255).says("has no object in OpenNebula");
    at(&home, &["host", "delete", &place, "--yes"]).exits(0).says("Done: 1 of 2 removed");
    assert_eq!(home.bill().len(), 1);
    at(&home, &["delete", &id]).exits(0);
}

#[test]
fn pyone_connects_to_it() {
    let home = Home::new();
    let Some(python) = python() else { return skip("python3 is not installed") };
    if home.program(&python).args(&["-c", "import pyone"]).run().status.code() != Some(0) {
        return skip("pyone is not installed");
    }
    let path = home.write("t.yaml", template("dummy", 2, &[]));
    let id = home.tool(&["--sandbox", "create"]).args(&[path]).run().exits(0).id();
    let served = Served::start(&home);
    let script = "import os, pyone\n\
        one = pyone.OneServer(os.environ['ONE_XMLRPC'], session=open(os.environ['ONE_AUTH']).read().strip())\n\
        hosts = one.hostpool.info().HOST\n\
        print(one.system.version() != '', len(hosts), {h.TEMPLATE['PROVISION']['PROVISION_ID'] for h in hosts})\n";
    let asked = home.program(&python).args(&["-c", script]);
    let asked = asked.env("ONE_XMLRPC", &served.endpoint).env("ONE_AUTH", &served.auth).run();
    assert_eq!(asked.exits(0).stdout, format!("True 2 {{'{id}'}}\n"));
    // Another command on the same file, while it is served.
    home.sandbox(&["delete", &id]).exits(0);
    served.stop().exits(0);
    assert_eq!(home.bill(), Vec::<String>::new());
}

#[test]
fn an_address_that_is_taken_is_one_clear_error() {
    let home = Home::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = home.tool(&["sandbox", "serve", "--listen", &address]).run().one_error();
    assert!(error.contains(&address) && error.contains("in use"), "{error}");
    assert!(error.contains("hint: --listen"), "{error}");
}
