//! The drivers of clouds, against what speaks their APIs: hosts appear, are listed, go, and nothing is
//! left on the bill.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use rustix::process::Signal;
use testkit::bmc::{FakeBmc, Habits};
use testkit::packet::{FakePacket, Fault, On, PROJECT, TOKEN};
use testkit::proxy::FaultProxy;

use crate::support::{Home, Running, skip, template, wait_until};

/// Creates three hosts, looks at them, operates one, deletes them. `billed` are the ids at the provider,
/// `running` those of them that run.
fn three_hosts(
    home: &Home,
    template: &str,
    billed: impl Fn() -> Vec<String>,
    running: impl Fn() -> usize,
    secrets: &[&str],
) {
    let path = home.write("t.yaml", template);
    let created = home.tool(&["--sandbox", "create", "-D"]).args(&[path]).run().exits(0);
    let id = created.id();
    let machines = billed();
    assert_eq!(machines.len(), 3);
    let shown = home.sandbox(&["show", "-j", &id]).exits(0);
    assert_eq!(shown.json()["PROVISION"]["HOSTS"].as_array().unwrap().len(), 3);
    let hosts = home.sandbox(&["host", "list", "--csv", "--no-header"]).exits(0).stdout;
    assert_eq!(hosts.lines().count(), 3, "{hosts}");
    let one = hosts.split(',').next().unwrap();
    for (operation, left) in [("reboot", 3), ("poweroff", 2), ("resume", 3)] {
        home.sandbox(&["host", operation, one]).exits(0);
        assert_eq!(running(), left, "{operation}");
    }
    assert_eq!(billed(), machines);
    let deleted = home.sandbox(&["delete", "-D", &id]).exits(0).says("No machine exists.");
    assert_eq!(billed(), Vec::<String>::new());
    for text in [&created.stderr, &deleted.stderr, &shown.stdout] {
        for secret in secrets {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

pub fn packet_parameters(endpoint: &str) -> [(&'static str, &str); 6] {
    [
        ("packet_endpoint", endpoint),
        ("packet_token", TOKEN),
        ("packet_project", PROJECT),
        ("plan", "c3.small.x86"),
        ("os", "ubuntu_22_04"),
        ("metro", "sv"),
    ]
}

pub fn ec2_parameters(endpoint: &str) -> [(&'static str, &str); 6] {
    [
        ("ec2_endpoint", endpoint),
        ("ec2_access", "AKIATEST"),
        ("ec2_secret", "sekrit-5f1c9d"),
        ("region_name", "us-east-1"),
        ("ami", "ami-12c6146b"),
        ("instancetype", "t2.micro"),
    ]
}

#[test]
fn packet_makes_hosts_and_gives_them_back() {
    let cloud = FakePacket::start(0);
    // The first order's answer is lost, and the provider is busy.
    cloud.fault(On::Create, Fault::LoseAnswer, 1);
    cloud.fault(On::Look, Fault::Throttle(0), 3);
    let home = Home::new();
    let endpoint = cloud.endpoint();
    let parameters = packet_parameters(&endpoint);
    let running = || cloud.running();
    three_hosts(&home, &template("packet", 3, &parameters), || cloud.billed(), running, &[TOKEN]);
    assert_eq!(cloud.ever(), 3);
}

/// An EC2 that is not ours; `None` if it is not installed.
pub fn moto(home: &Home) -> Option<(SocketAddr, Running)> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin/moto_server");
    if !program.is_file() {
        assert!(std::env::var_os("CI").is_none(), "moto is not installed: run scripts/test");
        skip("moto is not installed");
        return None;
    }
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let port = address.port().to_string();
    let server = home.program(&program.to_string_lossy()).args(&["-H", "127.0.0.1", "-p", &port]);
    let running = server.env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false").start();
    wait_until("moto", || TcpStream::connect(address).is_ok());
    Some((address, running))
}

/// The instances in some states, as the provider's own answer has them.
fn instances(address: SocketAddr, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = TcpStream::connect(address).unwrap();
    let body = "Action=DescribeInstances&Version=2016-11-15";
    let scope = "AKIATEST/20260101/us-east-1/ec2/aws4_request";
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: ec2.us-east-1.amazonaws.com\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, xml) = answer.split_once("\r\n\r\n").unwrap();
    let document = roxmltree::Document::parse(xml).unwrap();
    let states = document.descendants();
    states
        .filter(|node| node.tag_name().name() == "instanceState")
        .filter_map(|state| {
            let name = state.children().find(|child| child.tag_name().name() == "name")?.text()?;
            let id = state.parent()?;
            let id = id.children().find(|child| child.tag_name().name() == "instanceId")?.text()?;
            wanted(name).then(|| id.to_owned())
        })
        .collect()
}

#[test]
fn ec2_makes_hosts_and_gives_them_back() {
    let home = Home::new();
    let Some((address, _running)) = moto(&home) else { return };
    let proxy = FaultProxy::start(address);
    // The first order's answer is lost, and the provider is busy.
    proxy.fault("RunInstances", Fault::LoseAnswer, 1);
    proxy.fault("DescribeInstances", Fault::Throttle(0), 2);
    let endpoint = proxy.endpoint();
    let parameters = ec2_parameters(&endpoint);
    let secrets = ["sekrit-5f1c9d"];
    let billed = || instances(address, |state| state != "terminated");
    let running = || instances(address, |state| state == "running").len();
    three_hosts(&home, &template("ec2", 3, &parameters), billed, running, &secrets);
    assert_eq!(proxy.calls("RunInstances"), 3);
}

/// Kills the tool while its orders are with the provider, which carries them out and never answers, and goes
/// on: with `resume`, or with `delete`, when `answers` again.
fn killed_while_ordering(
    template: &str,
    billed: impl Fn() -> Vec<String>,
    silence: impl Fn(),
    answers: impl Fn(),
) {
    for resume in [true, false] {
        let home = Home::new();
        silence();
        let path = home.write("t.yaml", template);
        let running = home.tool(&["--sandbox", "create"]).args(&[path]).start();
        wait_until("the orders to be carried out", || billed().len() == 3);
        running.signal(Signal::KILL);
        let id = running.finish().id();
        answers();
        let ordered = billed();
        if resume {
            home.sandbox(&["resume", &id]).exits(0);
            assert_eq!(billed(), ordered, "what was ordered is taken, and nothing else");
        }
        home.sandbox(&["delete", &id]).exits(0).says("No machine exists.");
        assert_eq!(billed(), Vec::<String>::new());
    }
}

#[test]
fn packet_orders_of_a_killed_tool_are_found_again() {
    let cloud = FakePacket::start(0);
    let endpoint = cloud.endpoint();
    let template = template("packet", 3, &packet_parameters(&endpoint));
    let silence = || cloud.fault(On::Create, Fault::Hang, 3);
    killed_while_ordering(&template, || cloud.billed(), silence, || cloud.clear_faults());
    assert_eq!(cloud.ever(), 6);
}

#[test]
fn ec2_orders_of_a_killed_tool_are_found_again() {
    let home = Home::new();
    let Some((address, _running)) = moto(&home) else { return };
    let proxy = FaultProxy::start(address);
    let endpoint = proxy.endpoint();
    let template = template("ec2", 3, &ec2_parameters(&endpoint));
    let silence = || proxy.fault("RunInstances", Fault::Hang, 3);
    let billed = || instances(address, |state| state != "terminated");
    killed_while_ordering(&template, billed, silence, || proxy.clear_faults());
    assert_eq!(proxy.calls("RunInstances"), 6);
}

/// What `driver test` says of a driver of ours, built in and as executables.
fn keeps_every_promise(home: &Home, driver: &str, template: &str) {
    let path = home.write("t.yaml", template);
    let tested = home.tool(&["--yes", "driver", "test", driver, "--template"]).args(&[path]).run();
    // A warning may come of a busy machine: whether an id was printed early is a matter of time.
    tested.exits(0).says(" 0 not kept, 0 not tried.").says("none is left.");
}

#[test]
fn packet_keeps_what_the_protocol_promises() {
    let (home, cloud) = (Home::new(), FakePacket::start(0));
    let endpoint = cloud.endpoint();
    keeps_every_promise(&home, "packet", &template("packet", 1, &packet_parameters(&endpoint)));
    assert_eq!(cloud.billed(), Vec::<String>::new());
}

#[test]
fn ec2_keeps_what_the_protocol_promises() {
    let home = Home::new();
    let Some((address, _running)) = moto(&home) else { return };
    let endpoint = format!("http://{address}/");
    keeps_every_promise(&home, "ec2", &template("ec2", 1, &ec2_parameters(&endpoint)));
    assert_eq!(instances(address, |state| state != "terminated"), Vec::<String>::new());
}

/// The default waits of the driver: a claim is read back after three seconds.
#[test]
fn redfish_takes_machines_of_a_pool_and_gives_them_back() {
    let bmc = FakeBmc::start(Habits { systems: 3, ..Habits::default() });
    let home = Home::new();
    let endpoint = bmc.endpoint();
    let parameters = [
        ("redfish_address", endpoint.as_str()),
        ("redfish_user", testkit::bmc::USER),
        ("redfish_password", testkit::bmc::PASSWORD),
        ("redfish_system", "'1, 2, 3'"),
        ("boot", "pxe"),
        ("iso", "http://images.example.com/rescue.iso"),
    ];
    let path = home.write("t.yaml", template("redfish", 2, &parameters));
    let created = home.tool(&["--sandbox", "create", "-D"]).args(&[path]).run().exits(0);
    assert_eq!((bmc.tags().len(), bmc.busy()), (2, 2));
    let hosts = home.sandbox(&["host", "list", "--csv", "--no-header"]).exits(0).stdout;
    assert_eq!(hosts.lines().filter(|line| line.contains("192.0.2.")).count(), 2, "{hosts}");
    home.sandbox(&["host", "poweroff", "0"]).exits(0);
    assert_eq!(bmc.resets("GracefulShutdown"), 1);
    home.sandbox(&["host", "resume", "0"]).exits(0);
    home.sandbox(&["host", "reboot", "1"]).exits(0);
    home.sandbox(&["host", "reboot", "--hard", "1"]).exits(0);
    let resets = ["On", "GracefulRestart", "ForceRestart"].map(|kind| bmc.resets(kind));
    assert_eq!(resets, [3, 1, 1]);
    home.sandbox(&["orphans"]).exits(0);
    home.sandbox(&["delete", "-D", &created.id()]).exits(0).says("No machine exists.");
    assert_eq!((bmc.tags().len(), bmc.busy()), (0, 0));
    for text in [&created.stderr, &created.stdout, &hosts] {
        assert!(!text.contains(testkit::bmc::PASSWORD), "{text}");
    }
}
