//! The ec2 driver against moto, a stateful emulator of EC2 that is not ours, directly and through a proxy
//! that spoils the traffic. moto is one process for all tests; each test has a region of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use driver::{
    Call, DeploymentFile, Driver, FailureKind, MachineState, PollReport, ShutdownKind, Unwatched,
};
use drivers::Pace;
use drivers::ec2::Ec2;
use model::{DeployId, HostId, Secret, Value};
use testkit::packet::Fault;
use testkit::proxy::FaultProxy;

const SECRET: &str = "sekrit/5f1c9d";

/// The address of moto, which ends with this process: it is killed when its shell's standard input ends.
fn moto() -> Option<SocketAddr> {
    static MOTO: OnceLock<Option<SocketAddr>> = OnceLock::new();
    *MOTO.get_or_init(|| {
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin/moto_server");
        if !program.is_file() {
            assert!(std::env::var_os("CI").is_none(), "moto is not installed: run scripts/test");
            println!("skipped: moto is not installed");
            return None;
        }
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let script = "exec 3<&0; \"$0\" -H 127.0.0.1 -p \"$1\" </dev/null >/dev/null 2>&1 & \
                      read line <&3; kill $!";
        let child = Command::new("sh")
            .arg("-c")
            .arg(script)
            .arg(program)
            .arg(address.port().to_string())
            .env("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        // Its standard input stays open as long as this process lives.
        std::mem::forget(child);
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(120), "moto does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(address)
    })
}

/// As fast as a test wants it.
fn driver() -> Ec2 {
    let look = Duration::from_millis(30);
    Ec2::new(Pace { look, settle: Duration::from_millis(600), patience: Duration::from_secs(8) })
}

fn call(endpoint: &str, region: &str, key: &str, parameters: &[(&str, &str)]) -> Call {
    let mut host = DeploymentFile {
        id: Some(HostId(7)),
        name: format!("provision-{key}"),
        ..DeploymentFile::default()
    };
    host.template.vector_mut("CONTEXT").push("SSH_PUBLIC_KEY", "ssh-ed25519 AAAA me@here");
    let provision = host.template.vector_mut("PROVISION");
    provision.push("EC2_ENDPOINT", endpoint);
    provision.push("EC2_ACCESS", Value::Secret(Secret::new("AKIATEST")));
    provision.push("EC2_SECRET", Value::Secret(Secret::new(SECRET)));
    provision.push("REGION_NAME", region);
    provision.push("PROVISION_ID", "prov-1");
    provision.push("AMI", "ami-12c6146b");
    provision.push("INSTANCETYPE", "t2.micro");
    for (name, value) in parameters {
        provision.set(*name, *value);
    }
    let deadline = Duration::from_secs(30);
    Call { key: key.to_owned(), host, deadline, watch: Arc::new(Unwatched) }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/")
}

async fn until_up(driver: &Ec2, call: &Call, id: &DeployId) -> PollReport {
    for _ in 0..50 {
        let report = driver.poll(call, id).await.unwrap();
        if report.is_up() {
            return report;
        }
        assert_eq!(report.state, Some(MachineState::Paused));
    }
    panic!("it never came up");
}

/// The machines of ours that exist, as the provider counts them.
async fn machines(call: &Call) -> Vec<String> {
    let all = driver().list(call).await.unwrap();
    all.into_iter().map(|machine| machine.id.to_string()).collect()
}

#[tokio::test]
async fn an_instances_life() {
    let Some(moto) = moto() else { return };
    let driver = driver();
    let more = [("HOSTNAME", "node-1"), ("TAGS", "team=blue, ONEPROVISION_KEY=stolen")];
    let call = call(&url(moto), "us-east-1", "k1", &more);
    let id = driver.deploy(&call).await.unwrap();
    assert_eq!(driver.deploy(&call).await.unwrap(), id, "one key, one instance");
    let report = until_up(&driver, &call, &id).await;
    let line = report.to_line();
    assert!(line.starts_with("STATE=a AWS_PUBLIC_IP_ADDRESS="), "{line}");
    for part in [
        " AWS_STATE=running AWS_INSTANCE_TYPE=t2.micro",
        " AWS_IMAGE_ID=ami-12c6146b",
        " AWS_AVAILABILITY_ZONE=us-east-1a",
        " AWS_PRIVATE_IP_ADDRESS=",
        " AWS_SUBNET_ID=subnet-",
    ] {
        assert!(line.contains(part), "{line} lacks {part}");
    }
    let public = report.attributes.text("AWS_PUBLIC_IP_ADDRESS").unwrap();
    assert_eq!(report.address(), Some(public));

    driver.reboot(&call, &id).await.unwrap();
    driver.reset(&call, &id).await.unwrap();
    driver.shutdown(&call, &id, ShutdownKind::Poweroff).await.unwrap();
    driver.shutdown(&call, &id, ShutdownKind::Undeploy).await.unwrap();
    assert_eq!(driver.poll(&call, &id).await.unwrap().state, Some(MachineState::Gone));
    let off = driver.reboot(&call, &id).await.unwrap_err();
    assert_eq!(off.kind, FailureKind::Definite, "{off}");
    let mut resume = call.clone();
    resume.host.template.vector_mut("PROVISION").push("DEPLOY_ID", id.as_str());
    assert_eq!(driver.deploy(&resume).await.unwrap(), id);
    until_up(&driver, &call, &id).await;

    let listed = driver.list(&call).await.unwrap();
    assert_eq!(listed.len(), 1);
    let marks = ["KEY", "NAME", "PROVISION_ID", "HOSTNAME", "STATE"];
    let told = marks.map(|key| listed[0].attributes.text(key).unwrap().to_owned());
    assert_eq!(told, ["k1", "provision-k1", "prov-1", "node-1", "a"]);
    assert!(listed[0].attributes.text("CREATED").unwrap().parse::<i64>().unwrap() > 1_700_000_000);
    assert_eq!(driver.recover(&call, None).await.unwrap(), Some(id.clone()));

    driver.cancel(&call, &id).await.unwrap();
    assert_eq!(driver.poll(&call, &id).await.unwrap_err().kind, FailureKind::NotFound);
    // EC2 terminates a terminated instance again without a word.
    driver.cancel(&call, &id).await.unwrap();
    let never = DeployId::new("i-0123456789abcdef0").unwrap();
    for gone in [
        driver.cancel(&call, &never).await,
        driver.poll(&call, &never).await.map(drop),
        driver.shutdown(&call, &never, ShutdownKind::Terminate).await,
    ] {
        assert_eq!(gone.unwrap_err().kind, FailureKind::NotFound);
    }
    assert_eq!(driver.recover(&call, None).await.unwrap(), None);
    assert!(machines(&call).await.is_empty());
}

#[tokio::test]
async fn whatever_happens_to_an_order_there_is_one_instance_and_it_is_named() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::start(moto);
    let throttled = "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request \
                     limit exceeded.</Message></Error></Errors></Response>";
    let mismatch = "<Response><Errors><Error><Code>IdempotentParameterMismatch</Code><Message>no\
                    </Message></Error></Errors></Response>";
    for (n, (fault, orders)) in [
        (Fault::Answer(503, throttled), 2),
        (Fault::Throttle(0), 2),
        (Fault::LoseAnswer, 1),
        (Fault::HalfAnswer, 1),
        (Fault::TroubledAfter, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let call = call(&proxy.endpoint(), "eu-west-1", &format!("k{n}"), &[]);
        let before = proxy.calls("RunInstances");
        proxy.fault("RunInstances", fault, 1);
        let id = driver().deploy(&call).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(proxy.calls("RunInstances") - before, orders, "{fault:?}");
        assert_eq!(machines(&call).await, [id.to_string()], "{fault:?}");
        driver().cancel(&call, &id).await.unwrap();
        assert!(machines(&call).await.is_empty());
    }
    for fault in [
        Fault::LoseRequest,
        Fault::Answer(502, "<h1>Bad Gateway</h1>"),
        Fault::Answer(400, mismatch),
    ] {
        let call = call(&proxy.endpoint(), "eu-west-1", "lost", &[]);
        proxy.fault("RunInstances", fault, 1);
        let error = driver().deploy(&call).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Definite, "{error}");
        assert!(error.message.contains("there is no machine of it"), "{error}");
        assert!(machines(&call).await.is_empty());
    }
}

#[tokio::test]
async fn an_order_is_unknown_while_nobody_can_look_and_found_when_one_can() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::start(moto);
    let mut call = call(&proxy.endpoint(), "eu-west-2", "k1", &[]);
    call.deadline = Duration::from_secs(3);
    proxy.fault("RunInstances", Fault::Hang, 1);
    let error = driver().deploy(&call).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Unknown);
    assert!(error.message.contains("ONEPROVISION_KEY=k1"), "{error}");
    call.deadline = Duration::from_secs(30);
    assert_eq!(machines(&call).await.len(), 1);
    let id = driver().recover(&call, None).await.unwrap().unwrap();
    driver().cancel(&call, &id).await.unwrap();
    assert!(machines(&call).await.is_empty());
}

#[tokio::test]
async fn every_refusal_is_in_the_providers_words_and_names_the_parameter() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::start(moto);
    for (code, status, message, advice) in [
        ("AuthFailure", 401, "AWS was not able to validate", "ec2_access, ec2_secret"),
        ("UnauthorizedOperation", 403, "You are not authorized", "IAM policy"),
        ("InvalidAMIID.NotFound", 400, "The image id '[ami-1]' does not exist", "parameters ami"),
        ("InvalidSubnetID.NotFound", 400, "The subnet ID does not exist", "subnetid"),
        ("InvalidKeyPair.NotFound", 400, "The key pair does not exist", "keypair"),
        ("InsufficientInstanceCapacity", 500, "There is no capacity", "Take another instancetype"),
        ("VcpuLimitExceeded", 400, "You have requested more vCPU", "quota"),
        ("IdempotentInstanceTerminated", 400, "was terminated", "A new attempt"),
        ("RequestExpired", 400, "Request has expired", "clock"),
    ] {
        let answer = format!(
            "<Response><Errors><Error><Code>{code}</Code><Message>{message}: {SECRET}</Message>\
             </Error></Errors></Response>"
        );
        proxy.fault("RunInstances", Fault::Answer(status, answer.leak()), 1);
        let call = call(&proxy.endpoint(), "eu-west-3", "k1", &[]);
        let error = driver().deploy(&call).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Definite, "{error}");
        assert!(error.message.contains(&format!("{code}: {message}")), "{error}");
        assert!(error.message.contains("Nothing was done."), "{error}");
        assert!(error.message.contains(advice), "{error}");
        assert!(!error.message.contains(SECRET), "{error}");
    }
    for (name, value, said) in [
        ("AMI", "", "parameter ami is missing: image"),
        ("REGION_NAME", "", "parameter region_name is missing"),
        ("REGION_NAME", "x.evil.example/", "region_name must be a region"),
        ("EC2_ENDPOINT", "ftp://x", "ec2_endpoint must be an address"),
        ("EC2_ENDPOINT", "http://127.0.0.1:1", "Connection refused"),
        ("TENANCY", "mine", "tenancy must be one of default, dedicated, host"),
        ("SPOT", "maybe", "spot must be yes or no"),
        ("SPOT_PRICE", "cheap", "spot_price must be a number"),
        ("TAGS", "blue", "tags must be a map"),
        ("BLOCKDEVICEMAPPING", "/dev/sda1=:big", "blockdevicemapping"),
        ("SUBNETID", "subnet-123", "subnetid"),
        ("SECURITYGROUPSIDS", "sg-123", "securitygroupids"),
    ] {
        let mut call = call(&proxy.endpoint(), "eu-west-3", "k1", &[(name, value)]);
        if name == "EC2_ENDPOINT" {
            call.deadline = Duration::from_secs(3);
        }
        let deployed = driver().deploy(&call).await;
        let Err(error) = deployed else { panic!("{name}={value} was taken") };
        assert_eq!(error.kind, FailureKind::Definite, "{name}={value}: {error}");
        assert!(error.message.contains(said), "{name}={value}: {error}");
    }
    let call = call(&proxy.endpoint(), "eu-west-3", "k1", &[]);
    assert!(machines(&call).await.is_empty());
}

#[tokio::test]
async fn questions_are_repeated_and_their_failure_says_nothing_of_the_instance() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::start(moto);
    let mut call = call(&proxy.endpoint(), "ap-south-1", "k1", &[]);
    let id = driver().deploy(&call).await.unwrap();
    for fault in [
        Fault::Throttle(0),
        Fault::LoseAnswer,
        Fault::HalfAnswer,
        Fault::TroubledAfter,
        Fault::Answer(200, "<html>Sign in to the hotel's network</html>"),
    ] {
        proxy.fault("DescribeInstances", fault, 2);
        assert!(driver().poll(&call, &id).await.unwrap().is_up(), "{fault:?}");
    }
    call.deadline = Duration::from_secs(2);
    for (fault, said) in [
        (Fault::Answer(500, "<p>down for ten minutes</p>"), "down for ten minutes (HTTP 500)"),
        (Fault::Answer(200, "{\"a\":"), "{\"a\": (HTTP 200)"),
        (Fault::Hang, "no answer came in time"),
    ] {
        proxy.fault("DescribeInstances", fault, 1000);
        let error = driver().poll(&call, &id).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Unknown, "{error}");
        assert!(error.message.contains(said), "{error}");
        proxy.clear_faults();
    }
    // A cancel whose end cannot be seen is no success.
    proxy.fault("DescribeInstances", Fault::Answer(500, "oops"), 1000);
    assert_eq!(driver().cancel(&call, &id).await.unwrap_err().kind, FailureKind::Unknown);
    proxy.clear_faults();
    call.deadline = Duration::from_secs(30);
    driver().cancel(&call, &id).await.unwrap();
    assert!(machines(&call).await.is_empty());
}

#[tokio::test]
async fn a_new_instance_that_is_not_known_everywhere_is_not_taken_for_gone() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::start(moto);
    let call = call(&proxy.endpoint(), "ap-southeast-1", "k1", &[]);
    let driver = driver();
    let id = driver.deploy(&call).await.unwrap();
    let nothing = "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>";
    proxy.fault("DescribeInstances", Fault::Answer(200, nothing), 1);
    assert_eq!(driver.poll(&call, &id).await.unwrap().state, Some(MachineState::Paused));
    let unknown = "<Response><Errors><Error><Code>InvalidInstanceID.NotFound</Code><Message>no\
                   </Message></Error></Errors></Response>";
    proxy.fault("TerminateInstances", Fault::Answer(400, unknown), 1);
    let error = driver.cancel(&call, &id).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Unknown, "{error}");
    driver.cancel(&call, &id).await.unwrap();
    assert!(machines(&call).await.is_empty());
}

#[tokio::test]
async fn all_are_polled_in_one_request_and_accounts_are_kept_apart() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::start(moto);
    let driver = Arc::new(driver());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..30 {
        let region = ["eu-north-1", "sa-east-1"][n % 2];
        let call = call(&proxy.endpoint(), region, &format!("k{n}"), &[]);
        let driver = driver.clone();
        tasks.spawn(async move { (driver.deploy(&call).await.unwrap(), call) });
    }
    let made = tasks.join_all().await;
    let before = proxy.calls("DescribeInstances");
    let polls = made.iter().map(|(id, call)| {
        let (driver, id, call) = (driver.clone(), id.clone(), call.clone());
        tokio::spawn(async move { driver.poll(&call, &id).await.unwrap().is_up() })
    });
    for poll in polls.collect::<Vec<_>>() {
        assert!(poll.await.unwrap());
    }
    assert_eq!(proxy.calls("DescribeInstances") - before, 2, "one for each region");
    assert_eq!(machines(&made[0].1).await.len(), 15);
    let mut tasks = tokio::task::JoinSet::new();
    for (id, call) in made.clone() {
        let driver = driver.clone();
        tasks.spawn(async move { driver.cancel(&call, &id).await.unwrap() });
    }
    tasks.join_all().await;
    for (_, call) in made.iter().take(2) {
        assert!(machines(call).await.is_empty());
    }
}

#[tokio::test]
async fn an_elastic_ip_of_its_own_comes_with_the_instance_and_goes_with_it() {
    let Some(moto) = moto() else { return };
    let proxy = FaultProxy::start(moto);
    let call = call(&proxy.endpoint(), "us-west-1", "k1", &[("ELASTICIP", "yes")]);
    let driver = driver();
    let id = driver.deploy(&call).await.unwrap();
    // The answer to the allocation is lost; a second one must not be made.
    proxy.fault("AllocateAddress", Fault::LoseAnswer, 1);
    let first = until_up(&driver, &call, &id).await;
    let second = driver.poll(&call, &id).await.unwrap();
    assert_eq!(first.address(), second.address());
    assert_eq!(proxy.calls("AllocateAddress"), 1);
    assert_eq!(proxy.calls("AssociateAddress"), 1);
    // The same address for another instance: refused, and not taken away.
    let address = first.address().unwrap();
    let other = self::call(&proxy.endpoint(), "us-west-1", "k2", &[("ELASTICIP", address)]);
    let thief = driver.deploy(&other).await.unwrap();
    let error = driver.poll(&other, &thief).await.unwrap_err();
    assert!(error.message.contains("belongs to instance"), "{error}");
    driver.cancel(&other, &thief).await.unwrap();
    // A cancel that cannot release comes again.
    proxy.fault("ReleaseAddress", Fault::Answer(400, "no"), 1);
    let error = driver.cancel(&call, &id).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Unknown, "{error}");
    driver.cancel(&call, &id).await.unwrap();
    assert!(machines(&call).await.is_empty());
    // Nothing is left of it.
    let gone = self::call(&proxy.endpoint(), "us-west-1", "k3", &[("ELASTICIP", address)]);
    let third = driver.deploy(&gone).await.unwrap();
    let error = driver.poll(&gone, &third).await.unwrap_err();
    assert!(error.message.contains("there is no elastic IP"), "{error}");
    driver.cancel(&gone, &third).await.unwrap();
}

#[tokio::test]
async fn spot_instances_are_bought_and_given_back() {
    let Some(moto) = moto() else { return };
    let more = [
        ("SPOT", "yes"),
        ("SPOT_PRICE", "0.05"),
        ("BLOCKDEVICEMAPPING", "/dev/sda1=:20:true:gp2"),
        ("EBS_OPTIMIZED", "yes"),
        ("AVAILABILITYZONE", "ca-central-1a"),
    ];
    let call = call(&url(moto), "ca-central-1", "k1", &more);
    let id = driver().deploy(&call).await.unwrap();
    let report = until_up(&driver(), &call, &id).await;
    assert_eq!(report.attributes.text("AWS_LIFECYCLE"), Some("spot"), "{}", report.to_line());
    driver().cancel(&call, &id).await.unwrap();
    assert!(machines(&call).await.is_empty());
}
