//! Machines that are configured before their hosts are enabled: in virtual time, with what configures
//! them made up.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{
    ConfigureRequest, Decision, DeleteRequest, Engine, EngineError, Failover, Failure, Report,
};
use journal::{Journal, MemoryJournal};
use model::{HostId, HostKey, HostState, ProvisionState};
use testkit::cloud::Cloud;
use testkit::world::{World, template};

fn world() -> World {
    World::with(Cloud { configurable: true, ..Cloud::listing() })
}

fn two_playbooks(hosts: &[&str]) -> String {
    template(hosts).replace("playbook: []", "playbook: [default, static_vxlan]")
}

async fn create(world: &World, hosts: &[&str]) -> Report {
    let request = world.request(&two_playbooks(hosts));
    let report = world.engine.create(request).await.unwrap();
    world.check(&report.record).await;
    report
}

fn states(report: &Report) -> Vec<HostState> {
    report.record.hosts.values().map(journal::HostRecord::state).collect()
}

async fn statuses(world: &World) -> Vec<(String, String, bool)> {
    let mut hosts = world.client.hosts().pool().await.unwrap();
    hosts.sort_by_key(|host| host.id);
    let one = |host: opennebula::objects::Host| {
        let text = |key: &str| host.template.text(key).unwrap_or_default().to_owned();
        let online = host.state != opennebula::objects::HostState::Offline;
        (text("PROVISION/HOSTNAME"), text("PROVISION_CONFIGURATION_STATUS"), online)
    };
    hosts.into_iter().map(one).collect()
}

fn status(host: &str, status: &str, online: bool) -> (String, String, bool) {
    (host.to_owned(), status.to_owned(), online)
}

fn configure(world: &World, force: bool) -> ConfigureRequest {
    ConfigureRequest { id: world.id(), hosts: None, force }
}

#[tokio::test(start_paused = true)]
async fn hosts_are_configured_together_and_then_enabled() {
    let world = world();
    let report = create(&world, &["a", "b", "c"]).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(states(&report), [HostState::Enabled; 3]);
    let runs = world.configurer.runs.lock().unwrap().clone();
    let stages: Vec<(&str, usize)> = runs.iter().map(|(s, m, _)| (s.as_str(), m.len())).collect();
    assert_eq!(stages, [("default", 3), ("static_vxlan", 3)], "one run of each playbook");
    let expected = ["a", "b", "c"].map(|host| status(host, "configured", true));
    assert_eq!(statuses(&world).await, expected);
    let writes = world.calls.writes.lock().unwrap().clone();
    let of_hosts: usize =
        writes.iter().filter(|(method, _)| method.contains(".host.")).map(|(_, n)| n).sum();
    assert_eq!(of_hosts, 3 * 7, "one more than without: the status, after the fact: {writes:?}");
    world.delete().await;
    assert_eq!(*world.configurer.discarded.lock().unwrap(), [world.id()]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_fails_leaves_the_others_alone_and_is_mended_from_where_it_failed() {
    let world = world();
    world.configurer.fails("b", "static_vxlan", 1);
    let report = create(&world, &["a", "b", "c"]).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(states(&report), [HostState::Enabled, HostState::Failed, HostState::Enabled]);
    let failure = report.record.hosts[&HostKey(1)].failure.clone().unwrap();
    assert!(failure.contains("static_vxlan") && failure.contains("no space left"), "{failure}");
    let expected = [
        status("a", "configured", true),
        status("b", "error", false),
        status("c", "configured", true),
    ];
    assert_eq!(statuses(&world).await, expected);

    let failed = HostId(report.record.hosts[&HostKey(1)].host_id.unwrap());
    let request = ConfigureRequest { hosts: Some(vec![failed]), ..configure(&world, false) };
    let report = world.engine.configure(request).await.unwrap();
    world.check(&report.record).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(states(&report), [HostState::Enabled; 3]);
    assert_eq!(statuses(&world).await[1], status("b", "configured", true));
    let configurer = &world.configurer;
    assert_eq!((configurer.times("b", "default"), configurer.times("b", "static_vxlan")), (1, 2));
    assert_eq!(configurer.times("a", "static_vxlan"), 1);
    let last = configurer.runs.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last.2, ["a", "c"], "the playbook knows the others");
}

#[tokio::test(start_paused = true)]
async fn a_retry_runs_only_what_has_to_be_run() {
    struct Retry;
    #[async_trait]
    impl Failover for Retry {
        async fn decide(&self, failure: &Failure<'_>) -> Decision {
            if failure.attempt > 2 { Decision::Leave } else { Decision::Retry }
        }
    }
    let world = world();
    world.configurer.fails("a", "static_vxlan", 2);
    let engine = Engine { failover: Arc::new(Retry), ..world.engine.clone() };
    let report = engine.create(world.request(&two_playbooks(&["a", "b"]))).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    let times = |host, stage| world.configurer.times(host, stage);
    assert_eq!((times("a", "default"), times("a", "static_vxlan")), (1, 3));
    assert_eq!((times("b", "default"), times("b", "static_vxlan")), (1, 1));
    assert_eq!(statuses(&world).await[0], status("a", "configured", true));
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_slow_is_waited_for_but_not_for_long() {
    let world = world();
    let slow = |host: &str, seconds| {
        let slow = &world.configurer.slow;
        slow.lock().unwrap().insert(host.to_owned(), Duration::from_secs(seconds));
    };
    slow("b", 30);
    slow("c", 900);
    let report = create(&world, &["a", "b", "c"]).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    let runs = world.configurer.runs.lock().unwrap().clone();
    let first: Vec<&str> = runs[0].1.iter().map(String::as_str).collect();
    assert_eq!((runs[0].0.as_str(), first), ("default", vec!["a", "b"]));
    let last = runs.iter().find(|(_, machines, _)| machines.contains(&"c".to_owned())).unwrap();
    assert_eq!(last.1, ["c"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_lets_nobody_in_is_a_failure_of_its_host() {
    let world = world();
    world.configurer.closed.lock().unwrap().insert("b".to_owned());
    let report = create(&world, &["a", "b"]).await;
    assert_eq!(states(&report), [HostState::Enabled, HostState::Failed]);
    assert_eq!(report.record.machines(), 2, "its machine is kept in sight");
    assert_eq!(statuses(&world).await[1], status("b", "error", false));
    world.configurer.closed.lock().unwrap().clear();
    let spec = Some(testkit::templates::load(&two_playbooks(&["a", "b"])));
    let request = engine::ResumeRequest { id: world.id(), spec, public_keys: Vec::new() };
    let report = world.engine.resume(request).await.unwrap();
    assert_eq!(states(&report), [HostState::Enabled; 2]);
    assert_eq!(world.configurer.times("a", "default"), 1, "what is done is not done again");
}

#[tokio::test(start_paused = true)]
async fn skip_config_leaves_hosts_pending_until_configure() {
    let world = world();
    let mut request = world.request(&two_playbooks(&["a", "b"]));
    request.options.skip_config = true;
    let report = world.engine.create(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(states(&report), [HostState::Addressed; 2]);
    assert_eq!(statuses(&world).await[0], status("a", "pending", false));
    assert!(world.configurer.reached.lock().unwrap().is_empty());

    let report = world.engine.configure(configure(&world, false)).await.unwrap();
    world.check(&report.record).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(states(&report), [HostState::Enabled; 2]);
    let refused = world.engine.configure(configure(&world, false)).await.unwrap_err();
    assert!(refused.to_string().contains("already configured"), "{refused}");
    let report = world.engine.configure(configure(&world, true)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.configurer.times("a", "default"), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_beforehand_is_said_before_anything_is_written_or_bought() {
    let world = world();
    world.configurer.wrong.lock().unwrap().push("there is no ansible-playbook".to_owned());
    let refused = world.engine.create(world.request(&two_playbooks(&["a"]))).await.unwrap_err();
    assert!(matches!(refused, EngineError::Configuration(_)), "{refused}");
    assert!(refused.to_string().contains("no ansible-playbook"));
    let planned = world.engine.plan(None, &testkit::templates::load(&two_playbooks(&["a"]))).await;
    assert_eq!(planned.unwrap_err().to_string(), refused.to_string());
    assert!(world.journal.provisions().await.unwrap().is_empty());
    // Who wants no configuration needs nothing for it.
    let mut request = world.request(&two_playbooks(&["a"]));
    request.options.skip_config = true;
    assert_eq!(world.engine.create(request).await.unwrap().record.state, ProvisionState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_host_in_use_is_never_taken_out_because_its_configuration_failed() {
    let world = world();
    create(&world, &["a", "b"]).await;
    world.configurer.fails("b", "default", 1);
    let engine = Engine { failover: Arc::new(Skip), ..world.engine.clone() };
    let report = engine.configure(configure(&world, true)).await.unwrap();
    assert_eq!(report.skipped, 0);
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"]);
    assert_eq!(statuses(&world).await[1], status("b", "error", true), "it stays as it was");
    assert_eq!(report.record.state, ProvisionState::Failed);
}

#[tokio::test(start_paused = true)]
async fn a_configuration_killed_anywhere_is_finished_by_resume_and_no_status_is_written_ahead() {
    let start = |world: &World| {
        let (engine, request) = (world.engine.clone(), world.request(&two_playbooks(&["a", "b"])));
        async move { engine.create(request).await.unwrap() }
    };
    let again = |world: &World| {
        let (engine, id) = (world.engine.clone(), world.id());
        async move {
            let spec = Some(testkit::templates::load(&two_playbooks(&["a", "b"])));
            let request = engine::ResumeRequest { id, spec, public_keys: Vec::new() };
            engine.resume(request).await.unwrap()
        }
    };
    let whole = world();
    assert!(whole.until(0, start(&whole)).await.is_some());
    let points = whole.bomb.passed();
    for point in 1..=points {
        let world = world();
        assert!(world.until(point, start(&world)).await.is_none(), "{point} of {points}");
        for (name, status, online) in statuses(&world).await {
            let times = world.configurer.times(&name, "static_vxlan");
            assert!(status != "configured" || times == 1, "point {point}: {name} is {status}");
            // Until it has its template, a new object is not told from one that is enabled.
            let is_made = !name.is_empty();
            assert!(!is_made || !online || status == "configured", "point {point}: {name} is used");
        }
        if world.journal.record(world.id()).await.unwrap().is_none() {
            continue;
        }
        let report = again(&world).await;
        world.check(&report.record).await;
        assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
        let expected = ["a", "b"].map(|host| status(host, "configured", true));
        assert_eq!(statuses(&world).await, expected, "point {point}");
        assert_eq!(world.cloud.bill(), ["m-a", "m-b"], "point {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_configure_killed_anywhere_is_finished_by_resume() {
    let prepared = || async {
        let world = world();
        create(&world, &["a", "b"]).await;
        world
    };
    let again = |world: &World| {
        let (engine, request) = (world.engine.clone(), configure(world, true));
        async move { engine.configure(request).await.unwrap() }
    };
    let whole = prepared().await;
    assert!(whole.until(0, again(&whole)).await.is_some());
    let points = whole.bomb.passed();
    assert!(points > 20, "{points}");
    for point in 1..=points {
        let world = prepared().await;
        assert!(world.until(point, again(&world)).await.is_none(), "{point} of {points}");
        let record = world.journal.record(world.id()).await.unwrap().unwrap();
        let spec = Some(testkit::templates::load(&two_playbooks(&["a", "b"])));
        let request = engine::ResumeRequest { id: world.id(), spec, public_keys: Vec::new() };
        let report = world.engine.resume(request).await.unwrap();
        world.check(&report.record).await;
        assert_eq!(report.record.state, ProvisionState::Ready, "point {point}: {record:?}");
        let expected = ["a", "b"].map(|host| status(host, "configured", true));
        assert_eq!(statuses(&world).await, expected, "point {point}");
        assert_eq!(world.cloud.bill(), ["m-a", "m-b"], "point {point}");
        let request = DeleteRequest { id: world.id(), hosts: None, cleanup: None };
        let report = world.engine.delete(request).await.unwrap();
        assert_eq!(report.record.state, ProvisionState::Deleted, "point {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_journal_the_objects_say_how_hosts_are_configured() {
    let mut world = world();
    create(&world, &["a", "b"]).await;
    world.journal = Arc::new(MemoryJournal::new());
    world.engine.journal = Arc::clone(&world.journal) as Arc<dyn Journal>;
    let refused = world.engine.configure(configure(&world, false)).await.unwrap_err();
    assert!(refused.to_string().contains("already configured"), "{refused}");
    let report = world.engine.configure(configure(&world, true)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.configurer.times("a", "static_vxlan"), 2);
    world.configurer.fails("a", "default", 1);
    let report = world.engine.configure(configure(&world, true)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(statuses(&world).await[0], status("a", "error", true));
    let report = world.engine.configure(configure(&world, false)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(statuses(&world).await[0], status("a", "configured", true));
}

#[tokio::test(start_paused = true)]
async fn a_hard_reboot_and_a_removal_forget_the_host_key() {
    let world = world();
    let report = create(&world, &["a", "b"]).await;
    let id = |key| HostId(report.record.hosts[&HostKey(key)].host_id.unwrap());
    let request = engine::PowerRequest {
        id: world.id(),
        power: journal::Power::Reset,
        hosts: vec![id(0)],
        force: false,
    };
    world.engine.power(request).await.unwrap();
    assert_eq!(*world.configurer.forgotten.lock().unwrap(), ["cloud.m-a"]);
    let request = DeleteRequest { id: world.id(), hosts: Some(vec![id(1)]), cleanup: None };
    world.engine.delete(request).await.unwrap();
    assert_eq!(*world.configurer.forgotten.lock().unwrap(), ["cloud.m-a", "cloud.m-b"]);
}

#[tokio::test(start_paused = true)]
async fn a_vcenter_cluster_keeps_its_name_and_is_logged_in_to_by_nobody() {
    let world = world();
    let text = two_playbooks(&["a"]).replace("kvm", "vcenter");
    let report = world.engine.create(world.request(&text)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(states(&report), [HostState::Enabled]);
    let hosts = world.client.hosts().pool().await.unwrap();
    assert_eq!(hosts[0].name, "a");
    assert!(world.configurer.reached.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_of_a_playbook_is_taken_up_again() {
    let world = world();
    *world.configurer.takes.lock().unwrap() = Duration::from_secs(600);
    let (engine, request) = (world.engine.clone(), world.request(&two_playbooks(&["a", "b"])));
    let create = tokio::spawn(async move { engine.create(request).await.unwrap() });
    tokio::time::sleep(Duration::from_secs(300)).await;
    world.engine.stop.request();
    let report = create.await.unwrap();
    assert!(report.interrupted);
    assert_eq!(report.record.state, ProvisionState::Creating);
    assert!(world.configurer.runs.lock().unwrap().is_empty(), "it did not run to its end");
    let again = Engine { stop: engine::Stop::new(), ..world.engine.clone() };
    let spec = Some(testkit::templates::load(&two_playbooks(&["a", "b"])));
    let request = engine::ResumeRequest { id: world.id(), spec, public_keys: Vec::new() };
    let report = again.resume(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(states(&report), [HostState::Enabled; 2]);
}

const STEPS: &str = "configure: {files: [{path: /etc/motd, content: hello}], commands: [true]}\n";

#[tokio::test(start_paused = true)]
async fn an_update_that_changes_what_is_run_configures_anew_in_place() {
    let world = world();
    create(&world, &["a", "b"]).await;
    let update = |text: String| engine::update::UpdateRequest {
        id: world.id(),
        spec: testkit::templates::load(&text),
        template: "/t.yaml".into(),
        digest: String::new(),
        public_keys: vec![None; 2],
        replace: false,
        cleanup: None,
        shown: None,
    };
    // A variable of one host: that one alone is configured again.
    let changed = two_playbooks(&["a", "b"])
        .replace("provision: {hostname: b", "configuration: {x: 1}, provision: {hostname: b");
    let report = world.engine.update(update(changed)).await.unwrap();
    world.check(&report.record).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    let times = |host, stage| world.configurer.times(host, stage);
    assert_eq!((times("a", "default"), times("b", "default")), (1, 2));
    assert_eq!(times("b", "static_vxlan"), 2);
    // Playbooks: all of them. What fails is told, and mended by the same update.
    world.configurer.fails("a", "steps", 1);
    let changed = template(&["a", "b"]).replace("playbook: []\n", STEPS);
    let report = world.engine.update(update(changed.clone())).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(statuses(&world).await[0].1, "error");
    let report = world.engine.update(update(changed)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!((times("a", "steps"), times("b", "steps")), (2, 1));
    assert_eq!((times("a", "default"), times("b", "default")), (1, 2), "not of the new template");
    assert_eq!(statuses(&world).await, ["a", "b"].map(|host| status(host, "configured", true)));
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"]);
}

#[tokio::test(start_paused = true)]
async fn files_and_commands_come_before_playbooks_and_rest_in_the_host_object() {
    let world = world();
    let text = two_playbooks(&["a"]) + STEPS;
    let report = world.engine.create(world.request(&text)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    let runs = world.configurer.runs.lock().unwrap().clone();
    let stages: Vec<&str> = runs.iter().map(|(stage, ..)| stage.as_str()).collect();
    assert_eq!(stages, ["steps", "default", "static_vxlan"]);
    let exported = world.engine.export(world.id()).await.unwrap();
    assert_eq!(exported.hosts[0].steps, testkit::templates::load(&text).hosts[0].steps);
}

#[tokio::test(start_paused = true)]
async fn the_password_of_a_vcenter_is_opennebulas_to_encrypt() {
    let cloud = Cloud { configurable: true, ..Cloud::listing() };
    let front_end =
        sandbox::SandboxSettings { version: sandbox::Version::V6_10, ..testkit::world::at_once() };
    let world = World::with_front_end(cloud, front_end);
    let text = two_playbooks(&["a"]).replace(
        "vm_mad: kvm",
        "vm_mad: vcenter, vcenter_host: vc, vcenter_password: s3cret-of-vc",
    );
    world.engine.create(world.request(&text)).await.unwrap();
    let host = world.client.hosts().pool().await.unwrap().remove(0);
    let stored = host.template.text("VCENTER_PASSWORD").unwrap().to_owned();
    assert!(!stored.contains("s3cret") && !stored.contains("oneprovision:"), "{stored}");
    let clear = world.client.hosts().info_decrypted(host.id).await.unwrap();
    assert_eq!(clear.template.text("VCENTER_PASSWORD"), Some("s3cret-of-vc"));
}

#[tokio::test(start_paused = true)]
async fn a_machine_with_an_address_of_ipv6_goes_by_its_name() {
    let mut world = world();
    *world.cloud.address.lock().unwrap() = Some("2001:db8::7".into());
    let report = create(&world, &["a"]).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    let host = world.client.hosts().pool().await.unwrap().remove(0);
    assert_eq!(host.name, "a");
    assert_eq!(host.template.text("PROVISION_ADDRESS"), Some("2001:db8::7"));
    world.journal = Arc::new(MemoryJournal::new());
    world.engine.journal = Arc::clone(&world.journal) as Arc<dyn Journal>;
    let report = world.engine.configure(configure(&world, true)).await.unwrap();
    assert_eq!(report.record.hosts[&HostKey(0)].address.as_deref(), Some("2001:db8::7"));
}

struct Skip;

#[async_trait]
impl Failover for Skip {
    async fn decide(&self, _: &Failure<'_>) -> Decision {
        Decision::Skip
    }
}

async fn skipped_config(world: &World, hosts: &[&str]) -> Report {
    let mut request = world.request(&two_playbooks(hosts));
    request.options.skip_config = true;
    world.engine.create(request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_host_that_its_operator_enabled_is_in_use_whatever_the_journal_says() {
    let world = world();
    let report = skipped_config(&world, &["a", "b"]).await;
    let id = HostId(report.record.hosts[&HostKey(0)].host_id.unwrap());
    let enable = opennebula::objects::HostStatus::Enable;
    world.client.hosts().status(id, enable).await.unwrap();
    for host in ["a", "b"] {
        world.configurer.fails(host, "default", 1);
    }
    let engine = Engine { failover: Arc::new(Skip), ..world.engine.clone() };
    let report = engine.configure(configure(&world, false)).await.unwrap();
    assert_eq!(world.cloud.bill(), ["m-a"], "b was never in use");
    assert_eq!(report.skipped, 1);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_did_not_come_to_its_end_is_not_thrown_away() {
    let world = world();
    create(&world, &["a"]).await;
    let text = two_playbooks(&["a"])
        .replace("provision: {hostname: a", "configuration: {x: 1}, provision: {hostname: a");
    let update = |world: &World| {
        let request = engine::update::UpdateRequest {
            id: world.id(),
            spec: testkit::templates::load(&text),
            template: "/t.yaml".into(),
            digest: String::new(),
            public_keys: vec![None],
            replace: false,
            cleanup: None,
            shown: None,
        };
        let engine = world.engine.clone();
        async move { engine.update(request).await.unwrap() }
    };
    // Killed right after the new template was written down: the host object has the old one.
    let mut point = 1;
    loop {
        assert!(world.until(point, update(&world)).await.is_none(), "never outdated");
        let record = world.journal.record(world.id()).await.unwrap().unwrap();
        if record.hosts[&HostKey(0)].outdated.is_some() {
            break;
        }
        point += 1;
    }
    let refused = world.engine.configure(configure(&world, true)).await.unwrap_err();
    assert!(refused.to_string().contains("resume"), "{refused}");
    let report = update(&world).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.configurer.times("a", "default"), 2);
}

#[tokio::test(start_paused = true)]
async fn half_a_configuration_is_never_told_as_a_whole_one() {
    let world = world();
    let report = create(&world, &["a"]).await;
    world.configurer.fails("a", "static_vxlan", 1);
    world.engine.configure(configure(&world, true)).await.unwrap();
    assert_eq!(statuses(&world).await, [status("a", "error", true)]);
    let request = engine::PowerRequest {
        id: world.id(),
        power: journal::Power::Reset,
        hosts: vec![HostId(report.record.hosts[&HostKey(0)].host_id.unwrap())],
        force: false,
    };
    world.engine.power(request).await.unwrap();
    assert_eq!(statuses(&world).await, [status("a", "error", true)]);
    let report = world.engine.configure(configure(&world, false)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(statuses(&world).await, [status("a", "configured", true)]);
}

#[tokio::test(start_paused = true)]
async fn a_configure_after_skip_config_that_is_killed_anywhere_is_taken_up() {
    let prepared = || async {
        let world = world();
        skipped_config(&world, &["a", "b"]).await;
        world
    };
    let run = |world: &World, hosts| {
        let request = ConfigureRequest { hosts, ..configure(world, false) };
        let engine = world.engine.clone();
        async move { engine.configure(request).await.unwrap() }
    };
    let whole = prepared().await;
    assert!(whole.until(0, run(&whole, None)).await.is_some());
    let points = whole.bomb.passed();
    for point in 1..=points {
        for resumed in [true, false] {
            let world = prepared().await;
            assert!(world.until(point, run(&world, None)).await.is_none(), "{point} of {points}");
            let record = world.journal.record(world.id()).await.unwrap().unwrap();
            if record.state == ProvisionState::Ready {
                continue;
            }
            let report = match resumed {
                true => {
                    let spec = Some(testkit::templates::load(&two_playbooks(&["a", "b"])));
                    let id = world.id();
                    let request = engine::ResumeRequest { id, spec, public_keys: Vec::new() };
                    world.engine.resume(request).await.unwrap()
                }
                false => run(&world, None).await,
            };
            world.check(&report.record).await;
            assert_eq!(report.record.state, ProvisionState::Ready, "point {point} {resumed}");
            let expected = ["a", "b"].map(|host| status(host, "configured", true));
            assert_eq!(statuses(&world).await, expected, "point {point} {resumed}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_host_is_configured_and_the_others_wait_as_they_were_asked_to() {
    let world = world();
    let report = skipped_config(&world, &["a", "b"]).await;
    let first = vec![HostId(report.record.hosts[&HostKey(0)].host_id.unwrap())];
    let request = ConfigureRequest { hosts: Some(first), ..configure(&world, false) };
    let report = world.engine.configure(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    let expected = [status("a", "configured", true), status("b", "pending", false)];
    assert_eq!(statuses(&world).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_host_with_nothing_to_configure_is_enabled_by_configure() {
    let world = World::with(Cloud::listing());
    skipped_config(&world, &["a"]).await;
    let report = world.engine.configure(configure(&world, false)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(states(&report), [HostState::Enabled]);
    assert_eq!(statuses(&world).await, [status("a", "configured", true)]);
    assert!(world.configurer.reached.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn variables_that_cannot_be_read_are_not_left_out() {
    let mut world = world();
    let text = two_playbooks(&["a"]).replace(
        "provision: {hostname: a",
        "configuration: {db_password: s3}, provision: {hostname: a",
    );
    let report = world.engine.create(world.request(&text)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    // The document that has them is gone, and so is the journal.
    let pool = world.client.documents().pool(engine::secrets::DOCUMENT_TYPE).await.unwrap();
    world.client.documents().delete(pool[0].id).await.unwrap();
    world.journal = Arc::new(MemoryJournal::new());
    world.engine.journal = Arc::clone(&world.journal) as Arc<dyn Journal>;
    let report = world.engine.configure(configure(&world, true)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    let failure = report.record.hosts[&HostKey(0)].failure.clone().unwrap();
    assert!(failure.contains("PROVISION_CONFIGURATION_BASE64"), "{failure}");
    assert_eq!(world.configurer.times("a", "default"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_update_that_takes_the_playbooks_away_leaves_a_host_configured() {
    let world = world();
    create(&world, &["a"]).await;
    let update = |text: String| engine::update::UpdateRequest {
        id: world.id(),
        spec: testkit::templates::load(&text),
        template: "/t.yaml".into(),
        digest: String::new(),
        public_keys: vec![None],
        replace: false,
        cleanup: None,
        shown: None,
    };
    let report = world.engine.update(update(template(&["a"]))).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(statuses(&world).await, [status("a", "configured", true)]);
}

#[tokio::test(start_paused = true)]
async fn hosts_of_which_only_some_have_files_share_one_run_of_the_playbook() {
    let world = world();
    let text = two_playbooks(&["a", "b"]).replace(
        "provision: {hostname: a",
        "configure: {commands: [\"true\"]}, provision: {hostname: a",
    );
    let begun = tokio::time::Instant::now();
    let report = world.engine.create(world.request(&text)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    let runs = world.configurer.runs.lock().unwrap().clone();
    let stages: Vec<(&str, usize)> = runs.iter().map(|(s, m, _)| (s.as_str(), m.len())).collect();
    assert_eq!(stages, [("steps", 1), ("default", 2), ("static_vxlan", 2)]);
    assert!(begun.elapsed() < Duration::from_secs(50), "nobody is waited for in vain");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_configured_here_keeps_nobody_from_going_on() {
    let world = world();
    world.configurer.fails("a", "default", 1);
    create(&world, &["a", "b"]).await;
    world.configurer.wrong.lock().unwrap().push("there is no ansible-playbook".to_owned());
    let spec = Some(testkit::templates::load(&two_playbooks(&["a", "b"])));
    let request = engine::ResumeRequest { id: world.id(), spec, public_keys: Vec::new() };
    world.engine.resume(request).await.unwrap();
    // Nor an update that leaves nothing to be configured.
    let update = engine::update::UpdateRequest {
        id: world.id(),
        spec: testkit::templates::load(&two_playbooks(&["b"])),
        template: "/t.yaml".into(),
        digest: String::new(),
        public_keys: vec![None],
        replace: false,
        cleanup: None,
        shown: None,
    };
    let report = world.engine.update(update).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-b"]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_waits_for_others_is_let_go_when_one_of_them_ends_it_all() {
    struct Quit;
    #[async_trait]
    impl Failover for Quit {
        async fn decide(&self, _: &Failure<'_>) -> Decision {
            Decision::Quit
        }
    }
    let world = world();
    world.configurer.closed.lock().unwrap().insert("c".to_owned());
    let mut engine = Engine { failover: Arc::new(Quit), ..world.engine.clone() };
    engine.settings.ping = (3, Duration::from_secs(10));
    let create = engine.create(world.request(&two_playbooks(&["a", "b", "c"])));
    let ended = tokio::time::timeout(Duration::from_secs(24 * 3600), create).await;
    let report = ended.expect("it ends").unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert!(world.configurer.runs.lock().unwrap().is_empty(), "nothing new is begun");
    world.configurer.closed.lock().unwrap().clear();
    let spec = Some(testkit::templates::load(&two_playbooks(&["a", "b", "c"])));
    let request = engine::ResumeRequest { id: world.id(), spec, public_keys: Vec::new() };
    let report = world.engine.resume(request).await.unwrap();
    assert_eq!(states(&report), [HostState::Enabled; 3]);
}

#[tokio::test(start_paused = true)]
async fn without_the_journal_a_power_operation_leaves_hosts_to_be_configured_and_updated() {
    use journal::Power;
    for power in [Power::Reboot, Power::Reset, Power::Off] {
        let mut world = world();
        let report = create(&world, &["a", "b"]).await;
        let first = HostId(report.record.hosts[&HostKey(0)].host_id.unwrap());
        world.journal = Arc::new(MemoryJournal::new());
        world.engine.journal = Arc::clone(&world.journal) as Arc<dyn Journal>;
        let run = async |power| {
            let (id, hosts) = (world.id(), vec![first]);
            let request = engine::PowerRequest { id, power, hosts, force: false };
            world.engine.power(request).await.unwrap();
        };
        run(power).await;
        if power == Power::Off {
            let refused = world.engine.configure(configure(&world, false)).await.unwrap_err();
            assert!(refused.to_string().contains("already configured"), "{refused}");
            run(Power::On).await;
        }
        let one = ConfigureRequest { hosts: Some(vec![first]), ..configure(&world, false) };
        let refused = world.engine.configure(one).await.unwrap_err().to_string();
        assert!(refused.contains("already configured"), "{power:?}: {refused}");
        let report = world.engine.configure(configure(&world, true)).await.unwrap();
        assert_eq!(report.record.state, ProvisionState::Ready, "{power:?}");
        for host in ["a", "b"] {
            assert_eq!(world.configurer.times(host, "static_vxlan"), 2, "{power:?} {host}");
        }
        // A host that is new is configured, and those in use are not configured again.
        let text = two_playbooks(&["a", "b", "c"]);
        let spec = testkit::templates::load(&text);
        let update = engine::update::UpdateRequest {
            id: world.id(),
            template: "/u.yaml".into(),
            digest: text.len().to_string(),
            public_keys: vec![None; spec.hosts.len()],
            replace: false,
            cleanup: None,
            shown: None,
            spec,
        };
        let report = world.engine.update(update).await.unwrap();
        assert_eq!(report.record.state, ProvisionState::Ready, "{power:?}");
        let times = |host| world.configurer.times(host, "static_vxlan");
        assert_eq!([times("a"), times("b"), times("c")], [2, 2, 1], "{power:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_journal_a_host_without_a_machine_is_not_told_to_resume_the_provision() {
    let mut world = world();
    let mut request = world.request(&two_playbooks(&["a"]));
    request.options.skip_provision = true;
    let report = world.engine.create(request).await.unwrap();
    let first = HostId(report.record.hosts[&HostKey(0)].host_id.unwrap());
    world.journal = Arc::new(MemoryJournal::new());
    world.engine.journal = Arc::clone(&world.journal) as Arc<dyn Journal>;
    let refused = world.engine.configure(configure(&world, false)).await.unwrap_err().to_string();
    let (id, hosts, power) = (world.id(), vec![first], journal::Power::Reboot);
    let request = engine::PowerRequest { id, power, hosts, force: false };
    let powered = world.engine.power(request).await.unwrap_err().to_string();
    for refused in [refused, powered] {
        assert!(refused.contains(&format!("`oneprovision update {id} TEMPLATE`")), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_configured_because_it_is_off_is_told() {
    let mut world = world();
    let report = create(&world, &["a", "b"]).await;
    let id = HostId(report.record.hosts[&HostKey(1)].host_id.unwrap());
    let power = journal::Power::Off;
    let request = engine::PowerRequest { id: world.id(), power, hosts: vec![id], force: false };
    world.engine.power(request).await.unwrap();
    let warnings = world.hear_warnings();
    world.engine.configure(configure(&world, true)).await.unwrap();
    assert_eq!(
        warnings.heard(),
        ["not configured: host 1 (b) is powered off: `oneprovision host resume 1` powers it on"]
    );
}
