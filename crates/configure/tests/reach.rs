//! Reaching machines, and files and commands on them, with real sshd: several on addresses of
//! 127.0.0.0/8, each with its own host key and home folder.
//!
//! They run as whoever runs the tests. Where there is no sshd the tests are passed over, and say so; with
//! CI=true that is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use configure::steps::Steps;
use configure::{
    Configure as _, Connection, Done, Key, Machine, Patience, Plan, Settings, System, Trouble,
};
use model::Secret;

mod lab;
use lab::{Ear, LONG, Lab, PROVISION, SHORT, file, keygen, line, until};

async fn reach(lab: &Lab, machine: &Machine, patience: Patience) -> Result<(), Trouble> {
    lab.system.reach(PROVISION, machine, patience, &Ear::default()).await
}

async fn refusal(lab: &Lab, machine: &Machine) -> String {
    reach(lab, machine, SHORT).await.unwrap_err().0
}

#[tokio::test]
async fn ten_at_once() {
    let Some(lab) = Lab::running(10) else { return };
    let lab = Arc::new(lab);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..10 {
        let (lab, machine) = (Arc::clone(&lab), lab.machine(n));
        tasks.spawn(async move { reach(&lab, &machine, LONG).await });
    }
    for result in tasks.join_all().await {
        result.unwrap();
    }
    let known = fs::read_to_string(lab.known_hosts()).unwrap();
    for n in 0..10 {
        assert!(known.lines().any(|line| line.starts_with(&format!("m-{n} "))), "{known}");
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&lab.known_hosts()), 0o600);
    assert_eq!(mode(lab.known_hosts().parent().unwrap()), 0o700);
    lab.system.discard(PROVISION);
    assert!(!lab.known_hosts().parent().unwrap().exists());
}

#[tokio::test]
async fn a_key_that_is_refused_and_then_accepted() {
    let Some(lab) = Lab::running(1) else { return };
    let machine = lab.machine(0);
    let authorized = lab.hosts[0].home.join("authorized");
    fs::write(&authorized, "").unwrap();
    let error = refusal(&lab, &machine).await;
    let key = lab.dir.path().join("key").display().to_string();
    for part in ["127.0.8.1: ", &lab.user, &key, "Permission denied", "is the user right"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let ear = Ear::default();
    let (reached, ()) = tokio::join!(lab.system.reach(PROVISION, &machine, LONG, &ear), async {
        ear.wait_for("is refused with the key").await;
        fs::copy(lab.dir.path().join("key.pub"), &authorized).unwrap();
    });
    reached.unwrap();
    assert_eq!(ear.waits().len(), 1, "a reason is told once: {:?}", ear.waits());
}

#[tokio::test]
async fn another_host_key_is_another_machine_until_it_is_forgotten() {
    let Some(mut lab) = Lab::running(2) else { return };
    let (machine, other) = (lab.machine(0), lab.machine(1));
    reach(&lab, &machine, LONG).await.unwrap();
    reach(&lab, &other, LONG).await.unwrap();
    lab.install_anew(0);
    let ear = Ear::default();
    let error = lab.system.reach(PROVISION, &machine, LONG, &ear).await.unwrap_err().0;
    assert!(error.contains("host key is another one"), "{error}");
    assert!(error.contains("`oneprovision host reboot --hard HOST`"), "{error}");
    assert_eq!(ear.waits(), [""; 0], "it is not waited for");
    let steps = Steps { files: Vec::new(), commands: vec![line("true")] };
    let results = lab.steps(&[Machine { steps, ..machine.clone() }], &ear).await;
    assert!(results[0].as_ref().unwrap_err().0.contains("another one"), "{results:?}");
    lab.system.forget(PROVISION, &machine.alias);
    let known = fs::read_to_string(lab.known_hosts()).unwrap();
    assert!(known.contains("\nm-1 ") && !known.contains("m-0"), "{known}");
    reach(&lab, &machine, LONG).await.unwrap();
    // The address does not matter: another machine under it has another alias.
    lab.install_anew(0);
    reach(&lab, &Machine { alias: "m-9".to_owned(), ..machine }, LONG).await.unwrap();
}

#[tokio::test]
async fn what_answers_and_is_no_ssh() {
    let Some(lab) = Lab::new(1) else { return };
    let machine = lab.machine(0);
    let at = (machine.address.as_str(), lab.port);
    let error = refusal(&lab, &machine).await;
    assert!(error.contains("nothing listens on port"), "{error}");
    let silent = std::net::TcpListener::bind(at).unwrap();
    let error = refusal(&lab, &machine).await;
    assert!(error.contains("SSH does not answer"), "{error}");
    drop(silent);
    let closing = tokio::net::TcpListener::bind(at).await.unwrap();
    let close = async {
        while let Ok((stream, _)) = closing.accept().await {
            drop(stream);
        }
    };
    let error = tokio::select! {
        error = refusal(&lab, &machine) => error,
        () = close => panic!("it does not listen any more"),
    };
    assert!(error.contains("closes the connection before the login"), "{error}");
}

#[tokio::test]
async fn a_machine_that_boots() {
    let Some(mut lab) = Lab::new(1) else { return };
    let machine = lab.machine(0);
    let ear = Ear::default();
    // One of its own, for the lab is changed meanwhile.
    let at = |name: &str| lab.dir.path().join(name);
    let (state, temporary) = (at("state"), at("temporary"));
    let system = System::new(Settings {
        state,
        temporary,
        logins: 1,
        forks: 1,
        ansible: Settings::ANSIBLE.into(),
    });
    let (reached, ()) = tokio::join!(system.reach(PROVISION, &machine, LONG, &ear), async {
        ear.wait_for("connection refused").await;
        lab.start(0, "");
    });
    reached.unwrap();
    assert!(ear.waits()[0].contains("nothing listens"), "{:?}", ear.waits());
}

#[tokio::test]
async fn a_login_without_a_shell() {
    let Some(mut lab) = Lab::new(1) else { return };
    lab.start(0, "echo 'Please login as the user ubuntu.'; exit 142");
    let mut machine = lab.machine(0);
    let error = refusal(&lab, &machine).await;
    assert!(error.contains("no command can be run") && error.contains("ubuntu"), "{error}");
    machine.steps.commands = vec![line("true")];
    let results = lab.steps(&[machine], &Ear::default()).await;
    let error = &results[0].as_ref().unwrap_err().0;
    assert!(error.contains("no command can be run") && error.contains("ubuntu"), "{error}");
}

#[tokio::test]
async fn through_jump_hosts() {
    let Some(mut lab) = Lab::running(3) else { return };
    let gate = |n: usize| format!("{}@{}:{}", lab.user, lab.hosts[n].address, lab.port);
    let (one, two) = (gate(0), format!("{},{}", gate(0), gate(1)));
    for jump in [&one, &two] {
        let mut machine = lab.machine(2);
        machine.connection.jump = Some(jump.clone());
        reach(&lab, &machine, LONG).await.unwrap_or_else(|error| panic!("{jump}: {error}"));
        machine.steps.commands = vec![line("true")];
        let results = lab.steps(&[machine], &Ear::default()).await;
        assert_eq!(results, [Ok(Done { changed: 1 })]);
    }
    let known = fs::read_to_string(lab.known_hosts()).unwrap();
    for name in ["[127.0.8.1]:", "[127.0.8.2]:", "m-2 "] {
        assert!(known.contains(name), "{name}: {known}");
    }
    let mut machine = lab.machine(2);
    machine.connection.jump = Some(one);
    lab.stop(2);
    let error = refusal(&lab, &machine).await;
    assert!(
        error.contains("the jump host does not get to") && error.contains("through"),
        "{error}"
    );
    lab.start(2, "");
    lab.install_anew(0);
    let error = refusal(&lab, &machine).await;
    assert!(error.contains("host key of a jump host is another one"), "{error}");
    lab.system.forget(PROVISION, &format!("[127.0.8.1]:{}", lab.port));
    fs::write(lab.hosts[0].home.join("authorized"), "").unwrap();
    let error = refusal(&lab, &machine).await;
    assert!(error.contains("a jump host refuses us") && error.contains("127.0.8.1"), "{error}");
    lab.stop(0);
    let error = refusal(&lab, &machine).await;
    assert!(error.contains("through"), "there is no other way: {error}");
}

#[tokio::test]
async fn a_key_by_content_leaves_nothing_behind() {
    let Some(mut lab) = Lab::running(1) else { return };
    let authorized = lab.hosts[0].home.join("authorized");
    let content = Secret::new(fs::read_to_string(lab.dir.path().join("key")).unwrap());
    let mut machine = lab.machine(0);
    machine.connection.key = Key::Content(content);
    reach(&lab, &machine, LONG).await.unwrap();
    assert_eq!(lab.keys_left(), 0);
    fs::write(&authorized, "").unwrap();
    let error = refusal(&lab, &machine).await;
    assert!(error.contains("the key in the template's private_key"), "{error}");
    assert_eq!(lab.keys_left(), 0);
    // One that is given up in the middle.
    fs::copy(lab.dir.path().join("key.pub"), &authorized).unwrap();
    lab.start(0, "while kill -0 $PPID 2>/dev/null; do sleep 0.1; done");
    tokio::select! {
        ended = reach(&lab, &machine, LONG) => panic!("{ended:?}"),
        () = until(|| lab.programs() > 0 && lab.keys_left() == 1) => {}
    }
    assert_eq!(lab.keys_left(), 0);
    until(|| lab.programs() == 0).await;
    // What cannot be a key is not waited for.
    lab.start(0, "");
    let broken = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n";
    machine.connection.key = Key::Content(Secret::new(broken));
    let error = reach(&lab, &machine, LONG).await.unwrap_err().0;
    assert!(error.contains("cannot be used") && !error.contains("AAAA"), "{error}");
    assert_eq!(lab.keys_left(), 0);
}

#[tokio::test]
async fn a_key_with_a_passphrase_is_found_before_anything_is_bought() {
    let Some(lab) = Lab::new(1) else { return };
    let locked = lab.dir.path().join("locked");
    keygen(&locked, "open sesame");
    let plan = |connection: Connection| Plan {
        connections: vec![("line 3".to_owned(), connection)],
        steps: vec![("line 9".to_owned(), Steps::default())],
        ..Plan::default()
    };
    let good = lab.machine(0).connection;
    assert_eq!(lab.system.check(&plan(good.clone())).await, Ok(vec![]));
    let mut plan = plan(Connection { key: Key::File(locked), ..good });
    plan.steps[0].1.files.push(file(Path::new("relative"), ""));
    let wrong = lab.system.check(&plan).await.unwrap_err();
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].0.starts_with("line 3: ") && wrong[0].0.contains("has a passphrase"));
    assert!(wrong[1].0.starts_with("line 9: ") && wrong[1].0.contains("absolute"), "{wrong:?}");
}

#[tokio::test]
async fn ipv6() {
    let Some(mut lab) = Lab::new(1) else { return };
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: there is no IPv6 here");
        return;
    }
    lab.hosts[0].address = "::1".to_owned();
    lab.start(0, "");
    let mut machine = lab.machine(0);
    machine.steps.commands = vec![line("true")];
    reach(&lab, &machine, LONG).await.unwrap();
    let results = lab.steps(std::slice::from_ref(&machine), &Ear::default()).await;
    assert_eq!(results, [Ok(Done { changed: 1 })]);
    assert!(lab.log(&machine).contains("command true"));
    machine.connection.jump = Some(format!("{}@[::1]:{}", lab.user, lab.port));
    reach(&lab, &machine, LONG).await.unwrap();
    // The zone of an address is the interface; its name is taken for addresses of a link only.
    machine.address = "::1%1".to_owned();
    machine.connection.jump = None;
    reach(&lab, &machine, LONG).await.unwrap();
}

#[tokio::test]
async fn a_name_that_stands_for_nothing() {
    let Some(lab) = Lab::new(1) else { return };
    let mut machine = lab.machine(0);
    machine.address = "no-such-host.invalid".to_owned();
    let patience = Patience { retries: 1, pause: Duration::from_secs(2) };
    let error = reach(&lab, &machine, patience).await.unwrap_err().0;
    // A resolver that cannot be reached is waited for, too.
    assert!(error.contains("cannot be resolved") || error.contains("timed out"), "{error}");
}

/// A machine that answers every command so, and with that status.
fn answering(answer: &str, status: u32) -> String {
    format!(
        "case $SSH_ORIGINAL_COMMAND in *' ip -4 route get '*) echo '{answer}'; exit {status};; esac"
    )
}

#[tokio::test]
async fn a_machine_is_asked_for_its_network_interface() {
    let Some(mut lab) = Lab::new(1) else { return };
    let machine = lab.machine(0);
    lab.start(0, &answering("8.8.8.8 via 10.0.0.1 dev enp1s0f0 src 10.0.0.5 uid 0", 0));
    let asked = lab.system.default_nic(PROVISION, &machine).await;
    assert_eq!(asked.as_deref(), Ok("enp1s0f0"));

    lab.start(0, &answering("RTNETLINK answers: Network is unreachable", 2));
    let error = lab.system.default_nic(PROVISION, &machine).await.unwrap_err().0;
    assert!(error.contains("no default route") && error.contains("unreachable"), "{error}");

    // Without a wrapper, whatever this computer says.
    lab.start(0, "");
    let here = std::process::Command::new("ip").args(["-4", "route", "get", "8.8.8.8"]).output();
    let here = here.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let expected = here.ok().and_then(|text| {
        let mut words = text.split_whitespace().skip_while(|word| *word != "dev");
        words.nth(1).map(str::to_owned)
    });
    let asked = lab.system.default_nic(PROVISION, &machine).await;
    assert_eq!(asked.ok(), expected);

    fs::write(lab.hosts[0].home.join("authorized"), "").unwrap();
    let error = lab.system.default_nic(PROVISION, &machine).await.unwrap_err().0;
    assert!(error.contains(&machine.address) && error.contains("refused"), "{error}");
}
