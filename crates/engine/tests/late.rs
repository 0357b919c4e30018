//! Values that are known only when the hosts are there: the name of the first host, and its network
//! interface.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::sync::Arc;

use engine::plan::Plan;
use engine::update::UpdateRequest;
use engine::{ConfigureRequest, CreateRequest, Report, ResumeRequest};
use journal::{Journal, MemoryJournal};
use model::ProvisionState;
use testkit::cloud::Cloud;
use testkit::templates;
use testkit::world::{SECRET, World};

fn text(hosts: &[&str]) -> String {
    let mut text = String::from(
        "name: web\nplaybook: [default]\ndefaults: {provision: {driver: cloud}}\n\
         datastores:\n- {name: images, ds_mad: fs, tm_mad: ssh}\n\
         - {name: store, type: system_ds, tm_mad: ssh, replica_host: '${updates.first_host}'}\n\
         networks:\n- {name: net, vn_mad: dummy, bridge: br0, phydev: '${updates.default_ipv4_nic}'}\n\
         vntemplates:\n- {name: private, vn_mad: vxlan, phydev: '${updates.default_ipv4_nic}', \
         note: 'on ${updates.first_host}', \
         first: '${host.0.name}'}\n\
         hosts:\n",
    );
    for host in hosts {
        text += &format!(
            "- {{im_mad: kvm, vm_mad: kvm, provision: {{hostname: {host}, cloud_token: {SECRET}}}}}\n"
        );
    }
    text
}

fn world() -> World {
    World::with(Cloud { configurable: true, ..Cloud::listing() })
}

/// `REPLICA_HOST` of the datastore, `PHYDEV` of the network and of the template, `NOTE` of the latter.
async fn values(world: &World) -> [String; 4] {
    let one = &world.client;
    let datastores = one.datastores().pool().await.unwrap();
    let networks = one.vnets().pool().await.unwrap();
    let templates = one.vntemplates().pool().await.unwrap();
    let datastore = datastores.iter().find(|d| d.name == "store").map(|d| &d.template);
    let (network, template) = (networks.first(), templates.first());
    let text = |template: Option<&model::Attributes>, key: &str| {
        template.and_then(|template| template.text(key)).unwrap_or_default().to_owned()
    };
    [
        text(datastore, "REPLICA_HOST"),
        text(network.map(|n| &n.template), "PHYDEV"),
        text(template.map(|t| &t.template), "PHYDEV"),
        text(template.map(|t| &t.template), "NOTE"),
    ]
}

fn create(world: &World, text: &str) -> impl Future<Output = Report> + Send + 'static {
    let (engine, request) = (world.engine.clone(), world.request(text));
    async move { engine.create(request).await.unwrap() }
}

async fn resume(world: &World, text: &str) -> Report {
    let request = ResumeRequest { spec: Some(templates::load(text)), ..world.resume_request() };
    let report = world.engine.resume(request).await.unwrap();
    world.check(&report.record).await;
    report
}

fn update(world: &World, text: &str) -> impl Future<Output = Report> + Send + 'static {
    let spec = templates::load(text);
    let request = UpdateRequest {
        id: world.id(),
        template: "/u.yaml".into(),
        digest: String::new(),
        public_keys: vec![None; spec.hosts.len()],
        replace: false,
        cleanup: None,
        shown: None,
        spec,
    };
    let engine = world.engine.clone();
    async move { engine.update(request).await.unwrap() }
}

async fn plan(world: &World, text: &str) -> Plan {
    world.engine.plan(Some(world.id()), &templates::load(text)).await.unwrap()
}

fn lines(plan: &Plan) -> Vec<String> {
    let of = |change: &engine::plan::Change| {
        let name = change.name.clone();
        let shown = |value: &Option<String>| value.clone().unwrap_or_default();
        let line = move |d: &engine::plan::Difference| {
            format!("{name} {}: {} -> {}", d.path, shown(&d.before), shown(&d.after))
        };
        let others = [engine::plan::Action::Create, engine::plan::Action::Destroy];
        match others.contains(&change.action) {
            true => Vec::new(),
            false => change.differences.iter().map(line).collect(),
        }
    };
    plan.changes.iter().flat_map(of).collect()
}

fn writes(world: &World, method: &str) -> usize {
    world.calls.writes.lock().unwrap().get(method).copied().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn objects_get_what_is_known_when_the_hosts_are_there() {
    let world = world();
    let text = text(&["a", "b"]);
    let report = create(&world, &text).await;
    world.check(&report.record).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await, ["10.0.0.1", "eth0", "eth0", "on 10.0.0.1"]);
    assert_eq!(*world.configurer.asked.lock().unwrap(), ["a"], "once");
    // What is made after the hosts is made with them.
    let made = world.client.vntemplates().pool().await.unwrap();
    assert_eq!(made[0].template.text("FIRST"), Some("10.0.0.1"));
    assert_eq!(writes(&world, "one.vntemplate.update"), 0);
    assert_eq!((writes(&world, "one.datastore.update"), writes(&world, "one.vn.update")), (1, 1));
    assert!(plan(&world, &text).await.is_empty(), "{:?}", lines(&plan(&world, &text).await));
    // What is exported still asks for them.
    let exported = template::export(&world.engine.export(world.id()).await.unwrap());
    assert!(exported.yaml.contains("replica_host: \"<%= @updates['first_host'] %>\""));
    world.delete().await;
}

#[tokio::test(start_paused = true)]
async fn a_create_killed_anywhere_gets_them_on_resume() {
    let text = text(&["a"]);
    let first = world();
    assert!(first.until(0, create(&first, &text)).await.is_some());
    let points = first.bomb.passed();
    for point in 1..=points {
        let world = world();
        assert!(world.until(point, create(&world, &text)).await.is_none(), "point {point}");
        if world.journal.record(world.id()).await.unwrap().is_none() {
            continue;
        }
        let report = resume(&world, &text).await;
        assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
        assert_eq!(values(&world).await, ["10.0.0.1", "eth0", "eth0", "on 10.0.0.1"], "{point}");
        assert!(plan(&world, &text).await.is_empty(), "point {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_nobody_logs_in_to_is_not_asked() {
    let mut world = World::new();
    let heard = world.hear_warnings();
    let text = text(&["a"]);
    let report = create(&world, &text).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await, ["10.0.0.1", "", "", "on 10.0.0.1"]);
    let heard = heard.heard();
    let expected = [
        "network \"net\" (0) has no PHYDEV yet: ${updates.default_ipv4_nic} is not known: nothing is \
         configured on host a",
        "network template \"private\" (0) has no PHYDEV yet",
    ];
    assert_eq!(heard.len(), 2, "{heard:?}");
    for (heard, expected) in heard.iter().zip(expected) {
        assert!(heard.starts_with(expected), "{heard}");
    }
    assert!(plan(&world, &text).await.is_empty(), "{:?}", lines(&plan(&world, &text).await));
    assert!(world.configurer.asked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn hosts_that_are_configured_later_are_asked_then() {
    let mut world = world();
    let heard = world.hear_warnings();
    let text = text(&["a"]);
    let mut request = world.request(&text);
    request.options.skip_config = true;
    let report = world.engine.create(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await, ["10.0.0.1", "", "", "on 10.0.0.1"]);
    assert!(heard.heard()[0].contains("`oneprovision configure 11111111-"), "{:?}", heard.heard());
    assert!(plan(&world, &text).await.is_empty());
    let configure = ConfigureRequest { id: world.id(), hosts: None, force: false };
    let report = world.engine.configure(configure).await.unwrap();
    world.check(&report.record).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await, ["10.0.0.1", "eth0", "eth0", "on 10.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_does_not_tell_is_a_failure_that_is_mended() {
    let world = world();
    world.configurer.nics.lock().unwrap().insert("a".to_owned(), String::new());
    let text = text(&["a", "b"]);
    let report = create(&world, &text).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let failures: Vec<String> =
        report.record.objects().filter_map(|object| object.failure.clone()).collect();
    assert_eq!(failures.len(), 2, "{failures:?}");
    let expected = "network \"net\" (0) has no PHYDEV: 10.0.0.1: it has no default route";
    assert_eq!(failures[0], expected);
    assert_eq!(values(&world).await, ["10.0.0.1", "", "", "on 10.0.0.1"]);
    let shown = lines(&plan(&world, &text).await);
    assert!(shown.contains(&"net PHYDEV:  -> ${updates.default_ipv4_nic}".to_owned()), "{shown:?}");

    world.configurer.nics.lock().unwrap().insert("a".to_owned(), "ens3".to_owned());
    let report = resume(&world, &text).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await, ["10.0.0.1", "ens3", "ens3", "on 10.0.0.1"]);
    assert!(plan(&world, &text).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_is_given_stays() {
    let world = world();
    let first = text(&["a"]);
    create(&world, &first).await;
    // Of another kind of machine, and asked for since something new needs it.
    world.configurer.nics.lock().unwrap().insert("a".to_owned(), "ens9".to_owned());
    let more = first.replace(
        "vntemplates:\n",
        "vntemplates:\n- {name: more, vn_mad: vxlan, phydev: '${updates.default_ipv4_nic}'}\n",
    );
    let report = update(&world, &more).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    let mut templates = world.client.vntemplates().pool().await.unwrap();
    templates.sort_by_key(|template| template.id);
    let phydevs: Vec<_> = templates.iter().map(|t| t.template.text("PHYDEV").unwrap()).collect();
    assert_eq!(phydevs, ["eth0", "ens9"]);
    assert_eq!(values(&world).await[1], "eth0");
    assert!(plan(&world, &more).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_first_host_is_written_by_the_update_that_makes_it() {
    let world = world();
    create(&world, &text(&["a", "b"])).await;
    let second = text(&["b"]);
    let found = plan(&world, &second).await;
    assert_eq!(
        lines(&found),
        ["store REPLICA_HOST: 10.0.0.1 -> 10.0.0.2", "private NOTE: on 10.0.0.1 -> on 10.0.0.2"]
    );
    let report = update(&world, &second).await;
    world.check(&report.record).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await, ["10.0.0.2", "eth0", "eth0", "on 10.0.0.2"]);
    assert!(plan(&world, &second).await.is_empty());

    // One that has no machine yet.
    let third = text(&["c", "b"]);
    assert_eq!(
        lines(&plan(&world, &third).await),
        [
            "store REPLICA_HOST: 10.0.0.2 -> ${updates.first_host}",
            "private NOTE: on 10.0.0.2 -> on ${updates.first_host}"
        ]
    );
    let report = update(&world, &third).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await, ["10.0.0.3", "eth0", "eth0", "on 10.0.0.3"]);
    assert!(plan(&world, &third).await.is_empty());
    assert_eq!(*world.configurer.asked.lock().unwrap(), ["a"], "the interface is asked for once");
}

#[tokio::test(start_paused = true)]
async fn an_update_killed_anywhere_writes_it_in_the_end() {
    let (before, after) = (text(&["a", "b"]), text(&["b"]));
    let first = world();
    create(&first, &before).await;
    assert!(first.until(0, update(&first, &after)).await.is_some());
    let points = first.bomb.passed();
    for point in 1..=points {
        let world = world();
        create(&world, &before).await;
        assert!(world.until(point, update(&world, &after)).await.is_none(), "point {point}");
        let report = update(&world, &after).await;
        assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
        assert_eq!(values(&world).await[0], "10.0.0.2", "point {point}");
        assert_eq!(values(&world).await[3], "on 10.0.0.2", "point {point}");
        assert!(plan(&world, &after).await.is_empty(), "point {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_attribute_can_begin_and_cease_to_wait() {
    let world = world();
    let waits = text(&["a"]);
    let set =
        waits.replace("'${updates.first_host}', ", "").replace("'${updates.first_host}'", "mine");
    create(&world, &set).await;
    assert_eq!(values(&world).await[0], "mine");
    assert_eq!(lines(&plan(&world, &waits).await), ["store REPLICA_HOST: mine -> 10.0.0.1"]);
    update(&world, &waits).await;
    assert_eq!(values(&world).await[0], "10.0.0.1");
    let none = waits.replace(", replica_host: '${updates.first_host}'", "");
    assert_eq!(
        lines(&plan(&world, &none).await),
        ["store REPLICA_HOST: ${updates.first_host} -> "]
    );
    update(&world, &none).await;
    assert_eq!(values(&world).await[0], "");
    update(&world, &waits).await;
    assert_eq!(values(&world).await[0], "10.0.0.1");
    assert!(plan(&world, &waits).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn machines_that_are_bought_later_are_waited_for() {
    let mut world = world();
    let heard = world.hear_warnings();
    let text = text(&["a"]);
    let request = world.request(&text);
    let options = journal::CreateOptions { skip_provision: true, ..request.options };
    let report = world.engine.create(CreateRequest { options, ..request }).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await, ["", "", "", ""]);
    let heard = heard.heard();
    assert!(
        heard[0].contains("${updates.first_host} is known when host a has its machine"),
        "{heard:?}"
    );
    let report = update(&world, &text).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await, ["10.0.0.1", "eth0", "eth0", "on 10.0.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_that_objects_failure() {
    let world = world();
    let text = text(&["a"]);
    world.refusing.refuse("one.datastore.update", 0x200, "not authorized");
    let report = create(&world, &text).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let failure = report.record.datastores[&1].failure.clone().unwrap();
    assert!(failure.starts_with("REPLICA_HOST of datastore \"store\""), "{failure}");
    assert_eq!(values(&world).await, ["", "eth0", "eth0", "on 10.0.0.1"]);
    assert_eq!(resume(&world, &text).await.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await[0], "10.0.0.1");
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_opennebula_has_what_there_is() {
    let mut world = world();
    let text = text(&["a"]);
    create(&world, &text).await;
    world.engine.journal = Arc::new(MemoryJournal::new());
    assert_eq!(lines(&plan(&world, &text).await), [""; 0]);
}
