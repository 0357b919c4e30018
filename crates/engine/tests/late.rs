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
use engine::{ConfigureRequest, CreateRequest, DeleteRequest, Report, ResumeRequest, Stop};
use journal::{Journal, MemoryJournal};
use model::{HostId, ProvisionState, Secret, Value, VnetId};
use opennebula::objects::Update;
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

/// What [`values`] are when all is there.
const WHOLE: [&str; 4] = ["10.0.0.1", "eth0", "eth0", "on 10.0.0.1"];

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
    let (engine, request) = (world.engine.clone(), world.update_request(text));
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
async fn a_create_stopped_anywhere_gets_them_on_resume() {
    let text = text(&["a"]);
    let first = world();
    assert!(first.until(0, create(&first, &text)).await.is_some());
    for point in 1..=first.bomb.passed() {
        let mut world = world();
        world.bomb.stop_at(point, &world.engine.stop);
        let report = create(&world, &text).await;
        let is_ready = report.record.state == ProvisionState::Ready;
        assert_eq!(report.interrupted, !is_ready, "point {point}");
        assert!(!is_ready || values(&world).await == WHOLE, "point {point}");
        world.engine.stop = Stop::new();
        let report = resume(&world, &text).await;
        assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
        assert_eq!(values(&world).await, WHOLE, "point {point}");
    }
}

async fn create_unconfigured(world: &World, text: &str) {
    let mut request = world.request(text);
    request.options.skip_config = true;
    world.engine.create(request).await.unwrap();
}

fn configure(world: &World) -> impl Future<Output = Report> + Send + 'static {
    let (engine, id) = (world.engine.clone(), world.id());
    let request = ConfigureRequest { id, hosts: None, force: false };
    async move { engine.configure(request).await.unwrap() }
}

#[tokio::test(start_paused = true)]
async fn a_configure_stopped_anywhere_gets_them_on_resume() {
    let text = text(&["a"]);
    let first = world();
    create_unconfigured(&first, &text).await;
    assert!(first.until(0, configure(&first)).await.is_some());
    for point in 1..=first.bomb.passed() {
        let mut world = world();
        create_unconfigured(&world, &text).await;
        world.bomb.stop_at(point, &world.engine.stop);
        let report = configure(&world).await;
        let is_ready = report.record.state == ProvisionState::Ready;
        assert!(!is_ready || values(&world).await == WHOLE, "point {point}");
        world.engine.stop = Stop::new();
        let report = resume(&world, &text).await;
        assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
        assert_eq!(values(&world).await, WHOLE, "point {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_failed_otherwise_stays_so() {
    let world = world();
    let text = text(&["a"]).replace("{name: private", "{name: private, meta: {mode: 640}");
    world.refusing.refuse("one.vntemplate.chmod", 0x200, "not authorized");
    create_unconfigured(&world, &text).await;
    let report = configure(&world).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    let failure = report.record.objects().find_map(|object| object.failure.clone()).unwrap();
    assert!(failure.starts_with("owner and permissions"), "{failure}");
    assert_eq!(values(&world).await, ["10.0.0.1", "eth0", "", "on 10.0.0.1"]);
    assert_eq!(resume(&world, &text).await.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await, WHOLE);
}

/// Deletes a host of the provision by its place.
fn delete(
    world: &World,
    report: &Report,
    place: usize,
) -> impl Future<Output = Report> + Send + 'static {
    let host = report.record.hosts.values().nth(place).unwrap().host_id.unwrap();
    let request = DeleteRequest { id: world.id(), hosts: Some(vec![HostId(host)]), cleanup: None };
    let engine = world.engine.clone();
    async move { engine.delete(request).await.unwrap() }
}

#[tokio::test(start_paused = true)]
async fn a_first_host_that_is_deleted_is_named_no_more() {
    let both = text(&["a", "b"]);
    let first = world();
    let report = create(&first, &both).await;
    assert!(first.until(0, delete(&first, &report, 0)).await.is_some());
    let points = first.bomb.passed();
    assert_eq!(values(&first).await, ["10.0.0.2", "eth0", "eth0", "on 10.0.0.2"]);
    let record = first.journal.record(first.id()).await.unwrap().unwrap();
    assert_eq!(record.state, ProvisionState::Ready);
    assert_eq!(lines(&plan(&first, &text(&["b"])).await), [""; 0]);
    assert_eq!(*first.configurer.asked.lock().unwrap(), ["a"], "the interface is asked for once");
    for point in 1..=points {
        let world = world();
        let report = create(&world, &both).await;
        assert!(world.until(point, delete(&world, &report, 0)).await.is_none(), "point {point}");
        let named = values(&world).await;
        assert!(world.cloud.bill().len() == 2 || named[0] == "10.0.0.2", "{point}: {named:?}");
        let removes = world.journal.record(world.id()).await.unwrap().unwrap().is_removing();
        let report = resume(&world, &both).await;
        assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
        assert!(!removes || values(&world).await[0] == "10.0.0.2", "point {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_host_that_stays_named_is_told() {
    let mut world = world();
    let heard = world.hear_warnings();
    let text = text(&["a", "b"]);
    let report = create(&world, &text).await;
    world.refusing.refuse("one.datastore.update", 0x200, "not authorized");
    let deleted = delete(&world, &report, 0).await;
    world.check(&deleted.record).await;
    assert_eq!(deleted.record.state, ProvisionState::Failed);
    assert_eq!(world.cloud.bill(), ["m-b"], "the machine goes all the same");
    assert_eq!(values(&world).await[0], "10.0.0.1");
    assert_eq!(resume(&world, &text).await.record.state, ProvisionState::Ready);
    assert_eq!(values(&world).await[0], "10.0.0.2");
    // None is left that it could be.
    assert_eq!(heard.heard(), [""; 0]);
    let deleted = delete(&world, &report, 1).await;
    assert_eq!(deleted.record.state, ProvisionState::Ready);
    let heard = heard.heard();
    assert!(
        heard[0].starts_with("datastore \"store\" (101) keeps the REPLICA_HOST that it has"),
        "{heard:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_asked_only_if_there_is_something_to_configure() {
    let mut world = world();
    let text = text(&["a"]);
    let report = create(&world, &text).await;
    // As 5.12 has it: configured, and no playbook is named.
    let one = &world.client;
    let id = HostId(report.record.hosts.values().next().unwrap().host_id.unwrap());
    let mut host = one.hosts().info(id).await.unwrap().template;
    host.remove("ANSIBLE_PLAYBOOK");
    one.hosts().update(id, &host, Update::Replace).await.unwrap();
    let mut net = one.vnets().pool().await.unwrap().remove(0).template;
    net.remove("PHYDEV");
    one.vnets().update(VnetId(0), &net, Update::Replace).await.unwrap();
    world.engine.journal = Arc::new(MemoryJournal::new());
    let text = text.replace("playbook: [default]", "playbook: []");
    assert_eq!(lines(&plan(&world, &text).await), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_interface_that_was_set_by_hand_stays_without_a_word() {
    let world = world();
    let waits = text(&["a"]);
    let set = waits.replace("br0, phydev: '${updates.default_ipv4_nic}'", "br0, phydev: eth1");
    create(&world, &set).await;
    assert!(plan(&world, &waits).await.is_empty(), "{:?}", lines(&plan(&world, &waits).await));
    let more = waits.replace("bridge: br0", "bridge: br0, dns: 10.0.0.9");
    assert_eq!(lines(&plan(&world, &more).await), ["net DNS:  -> 10.0.0.9"]);
    update(&world, &more).await;
    assert_eq!(values(&world).await, ["10.0.0.1", "eth1", "eth0", "on 10.0.0.1"]);
    assert!(plan(&world, &more).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn values_may_refer_to_objects_as_well() {
    let world = world();
    let more = "br0, note: '${datastore.images.id} ${updates.default_ipv4_nic}'";
    let text = text(&["a"]).replace("br0", more);
    create_unconfigured(&world, &text).await;
    assert_eq!(configure(&world).await.record.state, ProvisionState::Ready);
    let note = async || {
        let net = world.client.vnets().info(VnetId(0)).await.unwrap();
        net.template.text("NOTE").map(str::to_owned)
    };
    assert_eq!(note().await.as_deref(), Some("100 eth0"));
    assert!(plan(&world, &text).await.is_empty(), "{:?}", lines(&plan(&world, &text).await));

    let text = text.replace("id} ${updates.default_ipv4_nic}", "id} ${updates.first_host}");
    assert_eq!(lines(&plan(&world, &text).await), ["net NOTE: 100 eth0 -> 100 10.0.0.1"]);
    update(&world, &text).await;
    assert_eq!(note().await.as_deref(), Some("100 10.0.0.1"));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_refers_to_what_is_not_there_is_told() {
    let mut world = world();
    let heard = world.hear_warnings();
    let none = "br0, note: '${datastore.images.nothing} ${updates.first_host}'";
    create(&world, &text(&["a"]).replace("br0", none)).await;
    let told = "NOTE of network \"net\" (0) is not set: <%= @datastores[0]['NOTHING'] %> not found";
    assert_eq!(heard.heard(), [told]);
    assert_eq!(values(&world).await, WHOLE);
}

#[tokio::test(start_paused = true)]
async fn a_value_of_a_secret_is_not_shown() {
    let world = world();
    let text = text(&["a"]);
    create(&world, &text).await;
    let mut spec = templates::load(&text);
    let secret = Secret::new("<%= @updates['first_host'] %>:s3cret");
    spec.datastores[1].attributes.set("REPLICA_HOST", Value::Secret(secret));
    let plan = world.engine.plan(Some(world.id()), &spec).await.unwrap();
    assert_eq!(lines(&plan), ["store REPLICA_HOST: ***** -> *****"]);
}

#[tokio::test(start_paused = true)]
async fn where_an_image_comes_from_is_written_once() {
    let world = world();
    let image = "images:\n- {name: disk, ds_id: '${datastore.images.id}', \
                 path: 'http://${updates.first_host}/disk', note: 'of ${updates.first_host}'}\nhosts:\n";
    let text = text(&["a"]).replace("hosts:\n", image);
    let report = create(&world, &text).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(writes(&world, "one.image.update"), 0);
    assert!(plan(&world, &text).await.is_empty(), "{:?}", lines(&plan(&world, &text).await));
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
    assert_eq!(*world.configurer.asked.lock().unwrap(), ["a"], "once");
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
    let updates = ["one.datastore.update", "one.vntemplate.update", "one.vn.update"];
    let before = updates.map(|method| writes(&world, method));
    let report = update(&world, &third).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    let after = updates.map(|method| writes(&world, method));
    assert_eq!([0, 1, 2].map(|n| after[n] - before[n]), [1, 1, 0], "nothing else is written");
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
