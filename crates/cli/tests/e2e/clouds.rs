//! The drivers of clouds, against what speaks their APIs: hosts appear, are listed, go, and nothing is
//! left on the bill.

use testkit::packet::{FakePacket, Fault, On, PROJECT, TOKEN};

use crate::support::{Home, template};

/// Creates three hosts, looks at them, deletes them. `billed` are the ids at the provider.
fn three_hosts(home: &Home, template: &str, billed: impl Fn() -> Vec<String>, secrets: &[&str]) {
    let path = home.write("t.yaml", template);
    let created = home.tool(&["--sandbox", "create", "-D"]).args(&[path]).run().exits(0);
    let id = created.id();
    let machines = billed();
    assert_eq!(machines.len(), 3);
    let shown = home.sandbox(&["show", "-j", &id]).exits(0);
    assert_eq!(shown.json()["PROVISION"]["HOSTS"].as_array().unwrap().len(), 3);
    let hosts = home.sandbox(&["host", "list", "--csv", "--no-header"]).exits(0).stdout;
    assert_eq!(hosts.lines().count(), 3, "{hosts}");
    let deleted = home.sandbox(&["delete", "-D", &id]).exits(0).says("No machine exists.");
    assert_eq!(billed(), Vec::<String>::new());
    for text in [&created.stderr, &deleted.stderr, &shown.stdout] {
        for secret in secrets {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn packet_makes_hosts_and_gives_them_back() {
    let cloud = FakePacket::start(0);
    // The first order's answer is lost, and the provider is busy.
    cloud.fault(On::Create, Fault::LoseAnswer, 1);
    cloud.fault(On::Look, Fault::Throttle(0), 3);
    let home = Home::new();
    let endpoint = cloud.endpoint();
    let parameters = [
        ("packet_endpoint", endpoint.as_str()),
        ("packet_token", TOKEN),
        ("packet_project", PROJECT),
        ("plan", "c3.small.x86"),
        ("os", "ubuntu_22_04"),
        ("metro", "sv"),
    ];
    three_hosts(&home, &template("packet", 3, &parameters), || cloud.billed(), &[TOKEN]);
    assert_eq!(cloud.ever(), 3);
}
