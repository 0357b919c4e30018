//! The drivers of clouds as executables, called as the Ruby tool of 5.8 to 5.12 calls them: its argument
//! vectors, no standard input, nothing of ours in the environment.

use testkit::packet::{FakePacket, Fault, On, PROJECT, TOKEN};

use crate::clouds::{ec2_parameters, moto, packet_parameters};
use crate::support::front_end::Served;
use crate::support::{Home, Output, template};

/// Installs the executables; `(action, arguments)` calls one.
struct Old<'a> {
    home: &'a Home,
    driver: &'a str,
    served: Option<&'a Served>,
}

impl Old<'_> {
    fn call(&self, action: &str, arguments: &[&str]) -> Output {
        let pm = self.home.root().join("remotes/pm");
        if !pm.exists() {
            self.home.tool(&["driver", "install"]).args(&[&pm]).run().exits(0);
        }
        let program = pm.join(self.driver).join(action);
        let mut called = self.home.program(&program.to_string_lossy()).args(arguments);
        if let Some(served) = self.served {
            called = called.env("ONE_XMLRPC", &served.endpoint).env("ONE_AUTH", &served.auth);
        }
        called.run()
    }
}

fn host_file(home: &Home, cloud: &FakePacket, plan: &str) -> String {
    let endpoint = cloud.endpoint();
    let xml = format!(
        "<HOST><ID>7</ID><NAME>provision-c968</NAME><TEMPLATE><PM_MAD>packet</PM_MAD><PROVISION>\
         <PACKET_ENDPOINT>{endpoint}</PACKET_ENDPOINT><PACKET_TOKEN>{TOKEN}</PACKET_TOKEN>\
         <PACKET_PROJECT>{PROJECT}</PACKET_PROJECT><PLAN>{plan}</PLAN><OS>ubuntu_22_04</OS>\
         <FACILITY>ams1</FACILITY><HOSTNAME>node-1</HOSTNAME></PROVISION></TEMPLATE></HOST>"
    );
    home.write("xmlDeploy7", xml).to_string_lossy().into_owned()
}

fn block_of(output: &Output) -> &str {
    let block = output.stderr.strip_prefix("ERROR MESSAGE --8<------\n").unwrap();
    block.strip_suffix("ERROR MESSAGE ------>8--\n").unwrap()
}

/// The old tool's own way to read a poll (host.rb of 5.12.13).
fn old_name(poll: &Output) -> String {
    let token = |key: &str| {
        let tokens = poll.stdout.split(' ').filter_map(|token| token.split_once('='));
        tokens.filter(|(name, _)| *name == key).map(|(_, value)| value.trim().to_owned()).next()
    };
    match token("GUEST_IP_ADDRESSES") {
        Some(value) => value.split(',').next().unwrap()[1..].replace('"', ""),
        None => token("AWS_PUBLIC_IP_ADDRESS").unwrap().replace('"', ""),
    }
}

#[test]
fn deploy_prints_the_id_at_once_and_ends_when_the_machine_is_up() {
    let (home, cloud) = (Home::new(), FakePacket::start(3));
    let old = Old { home: &home, driver: "packet", served: None };
    let file = host_file(&home, &cloud, "c3.small.x86");
    let deploy = old.call("deploy", &[&file, "TODO"]).exits(0);
    assert_eq!(deploy.stdout.trim(), cloud.billed().join(" "));
    assert_eq!(cloud.calls(On::Look), 4, "it looked until the device was active");
    // Resume, with the file of a host that has its id.
    let resume = home.work().join("xmlResume7");
    let xml = std::fs::read_to_string(&file).unwrap();
    let id = deploy.stdout.trim();
    let with_id = format!("<DEPLOY_ID>{id}</DEPLOY_ID></PROVISION>");
    std::fs::write(&resume, xml.replace("</PROVISION>", &with_id)).unwrap();
    let resume = resume.to_string_lossy().into_owned();
    let resumed = old.call("deploy", &[&resume, "198.51.100.1", "7", "198.51.100.1"]).exits(0);
    assert_eq!(resumed.stdout, deploy.stdout);
    assert_eq!(cloud.ever(), 1);
}

#[test]
fn a_failed_deploy_leaves_its_reason_and_the_id_if_there_is_one() {
    let (home, cloud) = (Home::new(), FakePacket::start(0));
    let old = Old { home: &home, driver: "packet", served: None };
    let refused = old.call("deploy", &[&host_file(&home, &cloud, "huge"), "TODO"]).exits(255);
    assert_eq!(refused.stdout, "");
    assert!(block_of(&refused).starts_with("the order was refused: huge is not a valid plan"));

    let failed = r#"{"id":"@","state":"failed","ip_addresses":[]}"#;
    let file = host_file(&home, &cloud, "c3.small.x86");
    // The device is made and fails: which one it is, is on standard output all the same.
    let made = "cafebabe-0000-4000-8000-00000000000f";
    cloud.fault(On::Create, Fault::Answer(201, failed.replace('@', made).leak()), 1);
    cloud.fault(On::Look, Fault::Answer(200, failed.replace('@', made).leak()), 1);
    let deploy = old.call("deploy", &[&file, "TODO"]).exits(255);
    assert_eq!(deploy.stdout, format!("{made}\n"));
    assert!(block_of(&deploy).contains("is in an error state"), "{}", deploy.stderr);
}

/// The other actions come without a file: who the account is, the front-end says, as it did to the drivers of
/// 5.12.
#[test]
fn the_other_actions_take_the_account_from_the_front_end() {
    let (home, cloud) = (Home::new(), FakePacket::start(0));
    let served = Served::start(&home);
    let endpoint = cloud.endpoint();
    let parameters = packet_parameters(&endpoint);
    let path = home.write("t.yaml", template("packet", 1, &parameters));
    let tool = home.tool(&["--endpoint", &served.endpoint, "create", "--secrets-in-template"]);
    tool.env("ONE_AUTH", &served.auth).args(&[path]).run().exits(0);
    let id = cloud.billed().remove(0);

    let old = Old { home: &home, driver: "packet", served: Some(&served) };
    let tail = ["198.51.100.1", "0", "198.51.100.1"];
    let call = |action: &str| old.call(action, &[&[id.as_str()], &tail[..]].concat());
    let poll = call("poll").exits(0);
    assert_eq!(old_name(&poll), "198.51.100.1", "{}", poll.stdout);
    for action in ["reboot", "reset"] {
        let done = call(action).exits(0);
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""), "{action}");
    }
    let off = [id.as_str(), "198.51.100.1", "SHUTDOWN_POWEROFF", "0", "198.51.100.1"];
    old.call("shutdown", &off).exits(0);
    assert!(call("poll").exits(0).stdout.starts_with("STATE=d "));
    call("cancel").exits(0);
    assert_eq!(cloud.billed(), Vec::<String>::new());
    let again = call("cancel").exits(255);
    assert!(block_of(&again).contains("not found"), "{}", again.stderr);

    // Without a front-end it cannot be known.
    let alone = Old { home: &home, driver: "packet", served: None };
    let lost = alone.call("poll", &[&[id.as_str()], &tail[..]].concat()).exits(255);
    let words = block_of(&lost);
    assert!(words.starts_with("parameter packet_token is missing"), "{words}");
    assert!(words.contains("The host could not be read from OpenNebula: "), "{words}");
}

#[test]
fn ec2_is_called_and_read_as_ever() {
    let home = Home::new();
    let Some((address, _running)) = moto(&home) else { return };
    let served = Served::start(&home);
    let endpoint = format!("http://{address}/");
    let parameters = ec2_parameters(&endpoint);
    let path = home.write("t.yaml", template("ec2", 1, &parameters));
    let tool = home.tool(&["--endpoint", &served.endpoint, "create", "--secrets-in-template"]);
    tool.env("ONE_AUTH", &served.auth).args(&[path]).run().exits(0);
    let old = Old { home: &home, driver: "ec2", served: Some(&served) };
    // A host that is there, asked for again as by the old tool: another machine, its own.
    let xml = "<HOST><ID>0</ID><NAME>provision-c968</NAME><TEMPLATE><PROVISION>\
               <EC2_ENDPOINT>@</EC2_ENDPOINT><EC2_ACCESS>AKIATEST</EC2_ACCESS>\
               <EC2_SECRET>sekrit-5f1c9d</EC2_SECRET><REGION_NAME>us-east-1</REGION_NAME>\
               <AMI>ami-12c6146b</AMI><INSTANCETYPE>t2.micro</INSTANCETYPE>\
               </PROVISION></TEMPLATE></HOST>";
    let file = home.write("xmlDeploy0", xml.replace('@', &endpoint));
    let file = file.to_string_lossy().into_owned();
    let deploy = old.call("deploy", &[&file, "TODO"]).exits(0);
    let id = deploy.stdout.trim();
    assert!(id.starts_with("i-") && deploy.stdout.lines().count() == 1, "{}", deploy.stdout);
    let again = old.call("deploy", &[&file, "TODO"]).exits(0);
    assert_eq!(again.stdout, deploy.stdout, "a host's name is drawn once, so it is the same order");

    let tail = ["192.0.2.1", "0", "192.0.2.1"];
    let call = |action: &str| old.call(action, &[&[id], &tail[..]].concat());
    let poll = call("poll").exits(0);
    assert!(poll.stdout.starts_with("STATE=a AWS_PUBLIC_IP_ADDRESS="), "{}", poll.stdout);
    assert!(old_name(&poll).parse::<std::net::Ipv4Addr>().is_ok(), "{}", poll.stdout);
    for action in ["reboot", "reset"] {
        call(action).exits(0);
    }
    old.call("shutdown", &[id, "192.0.2.1", "SHUTDOWN_POWEROFF", "0", "192.0.2.1"]).exits(0);
    assert!(call("poll").exits(0).stdout.starts_with("STATE=d "));
    call("cancel").exits(0);
    let gone = call("poll").exits(255);
    let words = block_of(&gone);
    assert!(words.contains("not found: it is terminated"), "{words}");
}
