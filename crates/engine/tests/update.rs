//! A provision becomes what a changed template says, also when it is killed anywhere on the way.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::sync::Arc;
use std::time::Duration;

use engine::plan::{Action, Plan};
use engine::update::UpdateRequest;
use engine::{Decision, DeleteRequest, EngineError, Failover, Failure};
use journal::{Journal, MemoryJournal};
use model::{HostId, HostKey, HostState, Parameter, ProvisionState};
use opennebula::xmlrpc::Param;
use sandbox::SandboxSettings;
use testkit::cloud::{Cloud, Deploy};
use testkit::templates;
use testkit::world::{SECRET, World, template};

fn request(world: &World, text: &str) -> UpdateRequest {
    let spec = templates::load(text);
    UpdateRequest {
        id: world.id(),
        template: "/u.yaml".into(),
        digest: format!("digest of {} bytes", text.len()),
        public_keys: vec![None; spec.hosts.len()],
        replace: false,
        cleanup: None,
        shown: None,
        spec,
    }
}

async fn plan(world: &World, text: &str) -> Plan {
    world.engine.plan(Some(world.id()), &templates::load(text)).await.unwrap()
}

fn lines(plan: &Plan) -> Vec<String> {
    let line = |change: &engine::plan::Change| {
        let paths: Vec<&str> = match change.action {
            Action::Create | Action::Destroy => Vec::new(),
            _ => change.differences.iter().map(|d| d.path.as_str()).collect(),
        };
        let (kind, name) = (change.kind.as_str(), &change.name);
        format!("{:?} {kind} {name} {}", change.action, paths.join(" ")).trim_end().to_owned()
    };
    plan.changes.iter().map(line).collect()
}

async fn update(world: &World, text: &str) -> engine::Report {
    let report = world.engine.update(request(world, text)).await.unwrap();
    world.check(&report.record).await;
    report
}

#[tokio::test(start_paused = true)]
async fn a_provision_grows_and_shrinks_and_then_there_is_nothing_to_do() {
    let world = World::new();
    world.create(&["a", "b"]).await;
    assert!(plan(&world, &template(&["a", "b"])).await.is_empty());

    let more = template(&["c", "a", "b", "d"]);
    let found = plan(&world, &more).await;
    assert_eq!(lines(&found), ["Create host c", "Create host d"]);
    assert_eq!((found.machines, found.bought(), found.destroyed()), (2, 2, 0));
    let report = update(&world, &more).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-a", "m-b", "m-c", "m-d"]);
    assert!(plan(&world, &more).await.is_empty());

    let less = template(&["d", "b"]);
    assert_eq!(lines(&plan(&world, &less).await), ["Destroy host a", "Destroy host c"]);
    let report = update(&world, &less).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-b", "m-d"]);
    assert_eq!(world.client.hosts().pool().await.unwrap().len(), 2);
    assert!(plan(&world, &less).await.is_empty());
    world.delete().await;
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_can_be_changed_in_place_is() {
    let world = World::new();
    world.create(&["a"]).await;
    let changed = template(&["a"])
        .replace("name: '<%= @name %>-images',", "name: '<%= @name %>-images', label: x,")
        .replace("bridge: br0,", "bridge: br1,")
        .replace("{ip: 10.1.0.1,", "{ip: 10.2.0.1, size: 3, type: IP4}, {ip: 10.1.0.1,")
        .replace("hostname: a,", "hostname: a, deploy_timeout: 7,")
        + "  reserved_cpu: 20\n  configuration: {x: 1}\n  connection: {remote_user: u}\n";
    let changed =
        changed.replace("- {im_mad: kvm, vm_mad: kvm, ", "- im_mad: kvm\n  vm_mad: kvm\n  ");
    let changed = changed.replace("}}\n  reserved", "}\n  reserved");
    let found = plan(&world, &changed).await;
    assert_eq!(
        lines(&found),
        [
            "Change datastore web-images LABEL",
            "Change network web-net BRIDGE AR[1]/IP AR[1]/SIZE AR[2]",
            "Change host a PROVISION/DEPLOY_TIMEOUT PROVISION_CONNECTION/REMOTE_USER configuration \
             RESERVED_CPU",
        ]
    );
    assert_eq!(found.refused, [""; 0]);
    let report = update(&world, &changed).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-a"]);
    let host = &world.client.hosts().pool().await.unwrap()[0];
    assert_eq!(host.template.text("RESERVED_CPU"), Some("20"));
    assert_eq!(host.template.text("PROVISION/DEPLOY_ID"), Some("m-a"));
    assert_eq!(host.template.text("PROVISION_CONNECTION/REMOTE_USER"), Some("u"));
    // Nothing is run on this machine, so nothing is left to be done.
    assert_eq!(host.template.text("PROVISION_CONFIGURATION_STATUS"), Some("configured"));
    let net = &world.client.vnets().pool().await.unwrap()[0];
    assert_eq!(net.address_ranges.all("AR").count(), 2, "one is new, none is there twice");
    assert!(plan(&world, &changed).await.is_empty());

    // And back: what the template does not have any more goes, what others wrote stays.
    let mut theirs = model::Attributes::new();
    theirs.push("THEIRS", "1");
    let id = host.id;
    world.client.hosts().update(id, &theirs, opennebula::objects::Update::Append).await.unwrap();
    let back = changed.replace("  reserved_cpu: 20\n", "");
    update(&world, &back).await;
    let host = world.client.hosts().info(id).await.unwrap();
    assert_eq!(host.template.get("RESERVED_CPU"), None);
    assert_eq!(host.template.text("THEIRS"), Some("1"));

    let lost =
        back.replace("{ip: 10.1.0.1, size: 9, type: IP4}", "{ip: 10.9.0.1, size: 9, type: IP4}");
    let refused = plan(&world, &lost).await.refused;
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(world.engine.update(request(&world, &lost)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_parameter_that_the_tool_itself_writes_makes_no_difference() {
    let world = World::new();
    let mut old = world.request(&template(&["a"]));
    old.spec.hosts[0].provision.set("HOST_KEY", "kept-by-an-earlier-version");
    world.engine.create(old).await.unwrap();
    assert_eq!(lines(&plan(&world, &template(&["a"])).await), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_never_bought_anew_without_a_word() {
    let world = World::new();
    world.create(&["a", "b"]).await;
    let changed = template(&["a", "b"]).replace("hostname: b,", "hostname: b, plan: big,");
    assert_eq!(lines(&plan(&world, &changed).await), ["Replace host b PROVISION/PLAN"]);
    let error = world.engine.update(request(&world, &changed)).await.unwrap_err();
    assert!(matches!(&error, EngineError::Refused(text) if text.contains("--replace")), "{error}");
    assert_eq!(*world.cloud.asked.lock().unwrap(), 2);
    let replace = UpdateRequest { replace: true, ..request(&world, &changed) };
    let report = world.engine.update(replace).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(*world.cloud.asked.lock().unwrap(), 3);
    assert_eq!(world.cloud.bill().len(), 2);
    assert!(plan(&world, &changed).await.is_empty());

    let other = changed.replace("name: web\n", "name: other\n");
    assert_eq!(plan(&world, &other).await.refused.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_done_is_what_was_shown_or_nothing() {
    let world = World::new();
    world.create(&["a", "b", "c"]).await;
    let less = template(&["a", "b"]);
    let shown = Some(plan(&world, &less).await);
    update(&world, &template(&["a", "b", "c", "d", "e"])).await;
    let before = world.journal.entries(world.id()).await.unwrap().len();
    let agreed = UpdateRequest { shown, ..request(&world, &less) };
    let error = world.engine.update(agreed.clone()).await.unwrap_err();
    let is_said = |text: &String| text.contains("has changed since the plan was shown");
    assert!(matches!(&error, EngineError::Refused(text) if is_said(text)), "{error}");
    assert_eq!(world.cloud.bill(), ["m-a", "m-b", "m-c", "m-d", "m-e"]);
    assert_eq!(world.journal.entries(world.id()).await.unwrap().len(), before);

    let shown = Some(plan(&world, &less).await);
    world.engine.update(UpdateRequest { shown, ..agreed }).await.unwrap();
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"]);
}

#[tokio::test(start_paused = true)]
async fn of_hosts_that_are_alike_the_failed_one_goes() {
    let world = World::new();
    world.deploys("a", Deploy::Refuse);
    world.create(&["a", "b", "c"]).await;
    assert_eq!(world.cloud.bill(), ["m-b", "m-c"]);
    let less = template(&["a", "b"]);
    let found = plan(&world, &less).await;
    let destroyed: Vec<_> = found.changes.iter().filter(|c| c.action == Action::Destroy).collect();
    assert_eq!(destroyed.len(), 1);
    assert_eq!(destroyed[0].name, "a");
    assert!(destroyed[0].note.as_deref().is_some_and(|note| note.contains('c')), "{found:?}");
    let report = update(&world, &less).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-b", "m-c"], "nothing is bought, nothing destroyed");
    assert!(plan(&world, &less).await.is_empty());
    // The name stays that of the machine, also when the host is written anew.
    let changed = less.replace("hostname: a,", "hostname: a, action_timeout: 9,");
    update(&world, &changed).await;
    let hosts = world.client.hosts().pool().await.unwrap();
    let mut names: Vec<_> =
        hosts.iter().filter_map(|h| h.template.text("PROVISION/HOSTNAME")).collect();
    names.sort_unstable();
    assert_eq!(names, ["b", "c"]);
}

/// Removes everything, whatever fails.
struct RemoveAll;

#[async_trait::async_trait]
impl Failover for RemoveAll {
    async fn decide(&self, _: &Failure<'_>) -> Decision {
        Decision::Cleanup
    }
}

#[tokio::test(start_paused = true)]
async fn a_provision_that_was_in_use_is_never_cleaned_up() {
    let world = World::new();
    world.create(&["a"]).await;
    world.deploys("b", Deploy::Refuse);
    let engine = engine::Engine { failover: Arc::new(RemoveAll), ..world.engine.clone() };
    let report = engine.update(request(&world, &template(&["a", "b"]))).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(world.cloud.bill(), ["m-a"]);
    // Nor by a resume of that update.
    let id = world.id();
    let resume = engine::ResumeRequest { id, spec: None, public_keys: Vec::new() };
    let report = engine.resume(resume).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(world.cloud.bill(), ["m-a"]);
    assert_eq!(world.client.hosts().pool().await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_create_is_mended_by_its_template() {
    let world = World::new();
    world.deploys("a", Deploy::Refuse);
    let report = world.create(&["a", "b"]).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    world.cloud.deploys.lock().unwrap().clear();
    let mended = template(&["a", "b"]).replace("hostname: a,", "hostname: a, plan: other,");
    assert_eq!(lines(&plan(&world, &mended).await), ["Change host a PROVISION/PLAN"]);
    let report = update(&world, &mended).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    let hosts = world.client.hosts().pool().await.unwrap();
    assert!(hosts.iter().any(|h| h.template.text("PROVISION/PLAN") == Some("other")));
}

#[tokio::test(start_paused = true)]
async fn objects_come_and_go() {
    let world = World::new();
    world.create(&["a"]).await;
    let other = template(&["a"])
        .replace("networks:\n", "networks:\n- {name: new, vn_mad: dummy, bridge: br9}\n")
        .replace("'<%= @name %>-images'", "other");
    assert_eq!(
        lines(&plan(&world, &other).await),
        ["Create datastore other", "Destroy datastore web-images", "Create network new",]
    );
    let report = update(&world, &other).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    let datastores = world.client.datastores().pool().await.unwrap();
    assert_eq!(datastores.iter().filter(|d| d.name == "web-images").count(), 0);
    assert_eq!(datastores.iter().filter(|d| d.name == "other").count(), 1);
    assert_eq!(world.client.vnets().pool().await.unwrap().len(), 2);
    assert!(plan(&world, &other).await.is_empty());
    world.delete().await;
    assert!(world.client.vnets().pool().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_changed_secret_reaches_the_driver_and_nobody_else() {
    let world = World::new();
    world.create(&["a"]).await;
    // The cloud takes no other token, so the new host shows which one its driver was given.
    let wrong = template(&["a", "b"]).replace(SECRET, "another-token-of-theirs");
    let report = world.engine.update(request(&world, &wrong)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(world.cloud.bill(), ["m-a"]);
    let report = update(&world, &template(&["a", "b"])).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"]);
}

#[tokio::test(start_paused = true)]
async fn without_the_journal_the_objects_say_what_there_is() {
    let world = World::new();
    world.create(&["a", "b"]).await;
    let exported = world.engine.export(world.id()).await.unwrap();
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let engine = engine::Engine { journal, ..world.engine.clone() };
    let spec = engine.export(world.id()).await.unwrap();
    assert_eq!(spec.name, exported.name);
    let names = |spec: &template::Spec| {
        spec.hosts.iter().map(|host| host.hostname.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&spec), names(&exported));
    let same =
        engine.plan(Some(world.id()), &templates::load(&template(&["a", "b"]))).await.unwrap();
    assert_eq!(lines(&same), [""; 0]);
    let report = engine.update(request(&world, &template(&["b", "c"]))).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    assert_eq!(world.cloud.bill(), ["m-b", "m-c"]);
    assert_eq!(world.client.clusters().pool().await.unwrap().len(), 2, "no second cluster is made");
    assert_eq!(world.client.vnets().pool().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_the_journal_what_others_put_into_the_cluster_stays_theirs() {
    let world = World::new();
    world.create(&["a"]).await;
    let clusters = world.client.clusters();
    let cluster = clusters.pool().await.unwrap().pop().unwrap().id;
    clusters.add_datastore(cluster, model::DatastoreId(1)).await.unwrap();
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let engine = engine::Engine { journal, ..world.engine.clone() };
    // As `host add` does it, and then an update by the template with that host.
    let mut spec = engine.spec_for_more(world.id()).await.unwrap();
    let new = templates::load(&template(&["a", "b"])).hosts.pop().unwrap();
    spec.hosts.push(new);
    let added = UpdateRequest { spec, ..request(&world, &template(&["a", "b"])) };
    assert_eq!(engine.update(added).await.unwrap().record.state, ProvisionState::Ready);
    let report = engine.update(request(&world, &template(&["b"]))).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    let there = clusters.info(cluster).await.unwrap().datastores;
    assert!(there.contains(&model::DatastoreId(1)), "{there:?}");
}

/// The other way round an update would take from datastores what keeps users from any file of the front-end.
#[tokio::test(start_paused = true)]
async fn what_opennebula_itself_has_added_stays_also_after_hosts_were_added_without_the_journal() {
    let world = World::new();
    let refers = |hosts: &[&str]| {
        let text = template(hosts);
        text.replace("hostname: ", "zone: \"<%= @networks[0]['NAME'] %>\", hostname: ")
    };
    world.engine.create(world.request(&refers(&["a"]))).await.unwrap();
    let objects = async || {
        let datastore = world.client.datastores().pool().await.unwrap().remove(0).template;
        (datastore, world.client.vnets().pool().await.unwrap().remove(0).template)
    };
    let before = objects().await;
    assert_eq!(before.0.text("RESTRICTED_DIRS"), Some("/"));
    assert_eq!(before.1.text("SECURITY_GROUPS"), Some("0"));
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let engine = engine::Engine { journal, ..world.engine.clone() };
    let mut spec = engine.spec_for_more(world.id()).await.unwrap();
    spec.hosts.push(templates::load(&refers(&["a", "b"])).hosts.pop().unwrap());
    let added = UpdateRequest { spec, ..request(&world, &refers(&["a", "b"])) };
    assert_eq!(engine.update(added).await.unwrap().record.state, ProvisionState::Ready);

    let template = refers(&["a", "b"]).replace("ds_mad: fs,", "ds_mad: fs, label: x,");
    let plan = engine.plan(Some(world.id()), &templates::load(&template)).await.unwrap();
    assert_eq!(lines(&plan), ["Change datastore web-images LABEL"]);
    let report = engine.update(request(&world, &template)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"]);
    let after = objects().await;
    assert_eq!(after.0.text("LABEL"), Some("x"));
    for key in ["RESTRICTED_DIRS", "SAFE_DIRS", "DISK_TYPE"] {
        assert_eq!(after.0.get(key), before.0.get(key), "{key}");
    }
    assert_eq!(after.1, before.1);
}

/// Documents need no unique name, and names are unique for an owner only.
#[tokio::test(start_paused = true)]
async fn without_the_journal_no_virtual_object_is_made_a_second_time() {
    let world = World::new();
    let user = ["web".into(), "pw".into(), "core".into(), Param::Array(vec![])];
    world.call("one.user.allocate", &user).await;
    let before = with_virtuals(
        "images:\n- {name: one, ds_id: 1, size: 1, type: DATABLOCK, meta: {uname: web}}\n\
         templates:\n- {name: vm, cpu: 1, meta: {uname: web}}\n\
         vntemplates:\n- {name: vn, vn_mad: bridge, meta: {uname: web}}\n\
         flowtemplates:\n- {name: own, roles: [], meta: {uname: web}}\n- {name: svc, roles: []}\n",
    );
    let report = world.engine.create(world.request(&before)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let engine = engine::Engine { journal, ..world.engine.clone() };
    let after = before
        .replace("playbook: []\n", "playbook: []\ncluster: {label: l}\n")
        .replace("{name: vm, cpu: 1,", "{name: vm, cpu: 2,");
    let report = engine.update(request(&world, &after)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record.virtuals);
    let one = &world.client;
    let counts = [
        one.images().pool().await.unwrap().len(),
        one.vntemplates().pool().await.unwrap().len(),
        one.documents().pool(101).await.unwrap().len(),
    ];
    assert_eq!(counts, [1, 1, 2]);
    let [vm] = one.templates().pool().await.unwrap().try_into().unwrap();
    assert_eq!((vm.template.text("CPU"), vm.owner.uname.as_str()), (Some("2"), "web"));
}

/// What is found is numbered before there is anything that draws numbers.
#[tokio::test(start_paused = true)]
async fn what_is_found_has_intents_of_its_own() {
    let world = World::new();
    world.create(&["a", "b"]).await;
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let engine = engine::Engine { journal, ..world.engine.clone() };
    let report = engine.update(request(&world, &template(&["b", "c"]))).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    let entries = engine.journal.entries(world.id()).await.unwrap();
    let intents = entries.iter().filter_map(|entry| match &entry.event {
        journal::Event::Intent { id, .. } => Some(*id),
        _ => None,
    });
    let (mut seen, intents): (std::collections::BTreeSet<_>, Vec<_>) =
        (<_>::default(), intents.collect());
    assert!(intents.len() > 6 && intents.iter().all(|id| seen.insert(*id)), "{intents:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_driver_calls_a_secret_is_one_also_where_a_template_of_5_12_has_it_in_clear() {
    let pin = Parameter { secret: true, ..Parameter::new("PIN", "A number") };
    let parameters = Some(vec![pin.aliases(["KNOCK"])]);
    let world = World::with(Cloud { parameters, ..Cloud::default() });
    let text = template(&["a", "b"]).replacen("hostname: a,", "hostname: a, pin: 8642,", 1);
    let text = text.replacen("hostname: b,", "hostname: b, knock: 9753, colour: red,", 1);
    let mut create = world.request(&text);
    create.options.secrets_in_template = true;
    world.engine.create(create).await.unwrap();
    let hosts = world.client.hosts().pool().await.unwrap();
    assert!(hosts.iter().any(|host| host.template.text("PROVISION/PIN") == Some("8642")));

    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let engine = engine::Engine { journal, ..world.engine.clone() };
    let spec = engine.export(world.id()).await.unwrap();
    let shown = format!("{spec:?}");
    for secret in ["8642", "9753", SECRET] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert!(shown.contains("red"));
    // The driver has them nevertheless.
    let given = |host: &template::spec::HostSpec, name: &str| {
        host.provision.get(name).and_then(model::Value::expose).map(str::to_owned)
    };
    assert!(spec.hosts.iter().any(|host| given(host, "PIN").as_deref() == Some("8642")));
    assert!(spec.hosts.iter().any(|host| given(host, "KNOCK").as_deref() == Some("9753")));
}

/// In real time: the front-end makes a network in its own.
#[tokio::test]
async fn a_network_that_is_still_being_made_gets_no_range_twice() {
    let slow =
        SandboxSettings { async_delay: Duration::from_millis(400), ..SandboxSettings::default() };
    let world = World::with_front_end(Cloud::listing(), slow);
    world.create(&["a"]).await;
    let changed = template(&["a"]).replace("bridge: br0,", "bridge: br1,");
    let report = update(&world, &changed).await;
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record.networks);
    let net = &world.client.vnets().pool().await.unwrap()[0];
    assert_eq!(net.address_ranges.all("AR").count(), 1);
}

fn with_virtuals(virtuals: &str) -> String {
    template(&["a"]) + virtuals
}

#[tokio::test(start_paused = true)]
async fn images_and_templates_come_go_and_change() {
    let world = World::new();
    let before = with_virtuals(
        "images:
- {name: one, ds_id: \"<%= @datastores[0]['ID'] %>\", type: DATABLOCK, size: 1}\n\
         - {name: two, ds_id: \"<%= @datastores[0]['ID'] %>\", type: DATABLOCK, size: 1}\n\
         templates:\n- {name: vm, memory: 64, meta: {mode: 640}}\n\
         vntemplates:\n- {name: vn, vn_mad: dummy, note: x}\n\
         flowtemplates:\n- {name: flow, deployment: straight}\n",
    );
    let created = world.engine.create(world.request(&before)).await.unwrap();
    assert_eq!(created.record.state, ProvisionState::Ready, "{:?}", created.record);
    assert_eq!(lines(&plan(&world, &before).await), [""; 0]);
    let after = with_virtuals(
        "images:\n- {name: new, ds_id: \"<%= @datastores[0]['ID'] %>\", type: DATABLOCK, size: 1}\n\
         - {name: two, ds_id: \"<%= @datastores[0]['ID'] %>\", type: DATABLOCK, size: 1, label: l}\n\
         templates:\n- {name: vm, memory: 128, disk: {image_id: \"<%= @images[1]['ID'] %>\"}, \
         meta: {mode: 600}}\n\
         flowtemplates:\n- {name: flow, deployment: none}\n",
    );
    let found = plan(&world, &after).await;
    assert_eq!(
        lines(&found),
        [
            "Create image new",
            "Change image two LABEL",
            "Change template vm MEMORY DISK meta/mode",
            "Change flowtemplate flow BODY",
            "Destroy image one",
            "Destroy vntemplate vn",
        ]
    );
    let report = update(&world, &after).await;
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    let images = world.client.images().pool().await.unwrap();
    let mut names: Vec<_> = images.iter().map(|image| image.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["new", "two"]);
    let vm = &world.client.templates().pool().await.unwrap()[0];
    assert_eq!(vm.template.text("MEMORY"), Some("128"));
    let two = images.iter().find(|image| image.name == "two").unwrap();
    assert_eq!(two.template.text("LABEL"), Some("l"));
    let id = two.id.to_string();
    assert_eq!(vm.template.text("DISK/IMAGE_ID"), Some(id.as_str()));
    assert_eq!(vm.permissions.octal(), 0o600);
    assert!(world.client.vntemplates().pool().await.unwrap().is_empty());
    assert_eq!(lines(&plan(&world, &after).await), [""; 0]);

    let larger = after.replace("size: 1, label", "size: 2, label");
    assert_eq!(plan(&world, &larger).await.refused.len(), 1);
    // Without the journal nothing of it is made a second time.
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let engine = engine::Engine { journal, ..world.engine.clone() };
    let same = engine.plan(Some(world.id()), &templates::load(&after)).await.unwrap();
    assert_eq!(lines(&same), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_object_somebody_deleted_is_told_of_and_its_machine_goes_alone() {
    let mut world = World::new();
    let report = world.create(&["a", "b"]).await;
    let id = HostId(report.record.hosts[&HostKey(0)].host_id.unwrap());
    world.client.hosts().delete(id).await.unwrap();
    let told = format!(
        "host {id} (a) is not in OpenNebula any more, and its machine may still be there: \
         `oneprovision host delete {}:0` destroys it",
        world.id()
    );
    let heard = world.hear_warnings();
    assert!(plan(&world, &template(&["a", "b"])).await.is_empty());
    assert_eq!(heard.heard(), [told.as_str()]);
    let heard = world.hear_warnings();
    world.resume().await;
    assert_eq!(heard.heard(), [told.as_str()]);

    let request = DeleteRequest { id: world.id(), hosts: Some(vec![id]), cleanup: None };
    let report = world.engine.delete(request).await.unwrap();
    world.check(&report.record).await;
    assert_eq!(world.cloud.bill(), ["m-b"]);
    assert!(report.record.hosts[&HostKey(0)].removed);
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.client.hosts().pool().await.unwrap().len(), 1);
    let heard = world.hear_warnings();
    assert!(plan(&world, &template(&["b"])).await.is_empty());
    assert_eq!(heard.heard(), [""; 0]);
}

/// An image's template says it once; another call changes it.
#[tokio::test(start_paused = true)]
async fn an_image_becomes_persistent_and_no_more() {
    let world = World::new();
    let text = |more: &str| {
        let image = format!("images:\n- {{name: i, ds_id: 1, size: 1, type: DATABLOCK{more}}}\n");
        with_virtuals(&image)
    };
    world.engine.create(world.request(&text(", persistent: 'YES'"))).await.unwrap();
    for (more, persistent) in
        [(", persistent: 'NO'", false), (", persistent: 'Yes'", true), ("", false)]
    {
        let report = update(&world, &text(more)).await;
        assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record.virtuals);
        let image = &world.client.images().pool().await.unwrap()[0];
        assert_eq!(
            (image.persistent, image.template.get("PERSISTENT")),
            (persistent, None),
            "{more}"
        );
        assert!(plan(&world, &text(more)).await.is_empty());
    }
}

/// OpenNebula drops what an update says of it.
#[tokio::test(start_paused = true)]
async fn a_network_keeps_whether_its_vlan_was_chosen_for_it() {
    let world = World::new();
    let text = |vlan: &str| {
        let network = format!("vn_mad: 802.1Q, phydev: eth0, {vlan}, ");
        template(&["a"]).replace("vn_mad: dummy, ", &network)
    };
    let (chosen, given) = (text("automatic_vlan_id: 'YES'"), text("vlan_id: 77"));
    world.engine.create(world.request(&chosen)).await.unwrap();
    let refused = plan(&world, &given).await.refused;
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("keeps a VLAN that OpenNebula chose"), "{refused:?}");
    assert!(world.engine.update(request(&world, &given)).await.is_err());
    assert!(plan(&world, &chosen).await.is_empty());
    // Nor is it said to be new where the objects alone are known.
    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let engine = engine::Engine { journal, ..world.engine.clone() };
    let same = engine.plan(Some(world.id()), &templates::load(&chosen)).await.unwrap();
    assert_eq!(lines(&same), [""; 0]);
}

/// Two hosts stay, one goes, two come, a network changes, a secret is new.
fn much() -> String {
    template(&["b", "c", "d"]).replace("bridge: br0,", "bridge: br1,")
}

#[tokio::test(start_paused = true)]
async fn an_update_killed_anywhere_is_finished_by_itself_or_by_resume() {
    let begin = async || {
        let world = World::new();
        world.create(&["a", "b"]).await;
        world
    };
    let run = |world: &World| {
        let (engine, request) = (world.engine.clone(), request(world, &much()));
        async move { engine.update(request).await.unwrap() }
    };
    let world = begin().await;
    assert!(world.until(0, run(&world)).await.is_some());
    let points = world.bomb.passed();
    assert!(points > 60, "{points}");
    let mut resumed = 0;
    for point in 1..=points {
        for resume in [false, true] {
            let world = begin().await;
            assert!(world.until(point, run(&world)).await.is_none(), "point {point}");
            let record = world.journal.record(world.id()).await.unwrap().unwrap();
            let begun = record.wanted().is_some_and(|c| c.template.ends_with("u.yaml"));
            assert!(begun || world.cloud.bill() == ["m-a", "m-b"], "point {point}");
            if resume && begun {
                resumed += 1;
                // Without the file: what the journal and the document have must do.
                let id = world.id();
                let request = engine::ResumeRequest { id, spec: None, public_keys: Vec::new() };
                let report = world.engine.resume(request).await.unwrap();
                assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
                assert_eq!(world.cloud.bill(), ["m-b", "m-c", "m-d"], "point {point}");
                assert!(plan(&world, &much()).await.is_empty(), "point {point}");
            }
            let report = update(&world, &much()).await;
            assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
            assert_eq!(world.cloud.bill(), ["m-b", "m-c", "m-d"], "point {point}");
            let hosts = report.record.hosts.values().filter(|host| !host.removed);
            assert!(hosts.clone().all(|host| host.state() == HostState::Enabled), "point {point}");
            assert_eq!(hosts.count(), 3, "point {point}");
            assert_eq!(world.client.hosts().pool().await.unwrap().len(), 3, "point {point}");
            let net = &world.client.vnets().pool().await.unwrap()[0];
            assert_eq!(net.bridge, "br1", "point {point}");
            assert!(plan(&world, &much()).await.is_empty(), "point {point}");
        }
    }
    assert!(resumed > points * 2 / 3, "{resumed} of {points}");
}

fn resume(world: &World) -> impl Future<Output = engine::Report> + Send + 'static {
    let (engine, id) = (world.engine.clone(), world.id());
    let request = engine::ResumeRequest { id, spec: None, public_keys: Vec::new() };
    async move { engine.resume(request).await.unwrap() }
}

/// A world whose update, which replaces one host of two, was killed when its removal was written down.
async fn half_replaced() -> (World, String) {
    let world = World::new();
    world.create(&["a", "b"]).await;
    let changed = template(&["a", "b"]).replace("hostname: b,", "hostname: b, plan: big,");
    let replace = UpdateRequest { replace: true, ..request(&world, &changed) };
    for point in 1.. {
        let (engine, replace) = (world.engine.clone(), replace.clone());
        let update = async move { engine.update(replace).await.unwrap() };
        assert!(world.until(point, update).await.is_none());
        let record = world.journal.record(world.id()).await.unwrap().unwrap();
        if record.planned.is_some() {
            return (world, changed);
        }
    }
    unreachable!("an update that replaces a host removes one");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_replaced_is_bought_again_by_resume_also_if_that_is_killed() {
    let (world, _) = half_replaced().await;
    assert_eq!(world.cloud.bill().len(), 2);
    assert!(world.until(0, resume(&world)).await.is_some());
    let points = world.bomb.passed();
    assert!(points > 30, "{points}");
    for point in 1..=points {
        let (world, changed) = half_replaced().await;
        assert!(world.until(point, resume(&world)).await.is_none(), "point {point}");
        let report = resume(&world).await;
        assert_eq!(report.record.state, ProvisionState::Ready, "point {point}");
        assert_eq!(world.cloud.bill().len(), 2, "point {point}");
        assert_eq!(*world.cloud.asked.lock().unwrap(), 3, "point {point}");
        assert!(plan(&world, &changed).await.is_empty(), "point {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_removal_failed_is_finished_by_resume() {
    let world = World::new();
    world.create(&["a", "b"]).await;
    *world.cloud.denying.lock().unwrap() = usize::MAX;
    let report = world.engine.update(request(&world, &much())).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"], "nothing is bought before it is gone");
    let report = resume(&world).await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    *world.cloud.denying.lock().unwrap() = 0;
    let report = resume(&world).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-b", "m-c", "m-d"]);
    assert!(plan(&world, &much()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_update_takes_the_place_of_one_that_was_interrupted() {
    let (world, _) = half_replaced().await;
    let other = template(&["a", "c"]);
    let report = update(&world, &other).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert!(report.record.planned.is_none());
    assert_eq!(world.cloud.bill(), ["m-a", "m-c"]);
    let (world, _) = half_replaced().await;
    world.delete().await;
    assert!(world.cloud.bill().is_empty());
}

/// Whether something of it is there is looked for: its create may have been killed.
#[tokio::test(start_paused = true)]
async fn an_object_that_is_not_wanted_any_more_is_done_with_also_if_it_was_never_made() {
    let two = |kind: &str| {
        let other = format!(
            "- {{name: other, vn_mad: dummy, bridge: br1, ar: [{{ip: 10.2.0.1, size: 9, type: {kind}}}]}}\n"
        );
        template(&["a"]).replace("hosts:\n", &format!("{other}hosts:\n"))
    };
    let world = World::new();
    let report = world.engine.create(world.request(&two("BOGUS"))).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(update(&world, &template(&["a"])).await.record.state, ProvisionState::Ready);

    for point in 0.. {
        let world = World::new();
        let (engine, request) = (world.engine.clone(), world.request(&two("IP4")));
        let ended = world.until(point, async move { engine.create(request).await.unwrap() }).await;
        let is_begun = world.journal.record(world.id()).await.unwrap().is_some();
        if is_begun {
            let report = update(&world, &template(&["a"])).await;
            assert_eq!(report.record.state, ProvisionState::Ready, "killed at point {point}");
            let networks = world.client.vnets().pool().await.unwrap();
            assert_eq!(networks.len(), 1, "killed at point {point}");
        }
        if ended.is_some() {
            break;
        }
    }
}

/// Two operators, each with a journal of his own: a host that is added gets the number, and so the machine, of the
/// one that the other has added.
#[tokio::test(start_paused = true)]
async fn a_host_that_another_journal_has_added_is_no_place_to_go_on_from() {
    let world = World::new();
    world.create(&["a"]).await;
    let host = world
        .call("one.host.allocate", &["other".into(), "kvm".into(), "kvm".into(), (-1).into()])
        .await;
    let mark = format!("PROVISION=[PROVISION_ID=\"{}\"]", world.id());
    world.call("one.host.update", &[host.into(), mark.as_str().into(), 1.into()]).await;
    let more = request(&world, &template(&["a", "b"]));
    let refused = world.engine.update(more.clone()).await.unwrap_err().to_string();
    assert!(
        refused.contains(&format!("host {host} (other)"))
            && refused.contains("this journal does not"),
        "{refused}"
    );
    assert_eq!(world.cloud.bill(), ["m-a"]);
    world.call("one.host.delete", &[host.into()]).await;
    assert_eq!(world.engine.update(more).await.unwrap().record.state, ProvisionState::Ready);
}

/// Release 7 trims every value, and any release writes the type of a datastore in capitals.
#[tokio::test(start_paused = true)]
async fn without_the_journal_what_opennebula_trims_makes_no_difference() {
    let world = World::new();
    let text = |type_: &str| {
        let text = template(&["a"]).replace("ds_mad: fs,", &format!("type: {type_},"));
        text + "  note: \" both ends \"\ncluster: {description: \"a\\nb\\n\"}\n"
    };
    let text = |type_: &str| {
        text(type_)
            .replace("- {im_mad: kvm, vm_mad: kvm, ", "- im_mad: kvm\n  vm_mad: kvm\n  ")
            .replace("}}\n  note", "}\n  note")
    };
    world.engine.create(world.request(&text("system_ds"))).await.unwrap();
    let host = world.client.hosts().pool().await.unwrap().remove(0);
    let cluster = world.client.clusters().pool().await.unwrap().remove(0);
    let datastore = world.client.datastores().pool().await.unwrap().remove(0);
    let one = |key: &str, value: &str| -> model::Attributes {
        [(key.to_owned(), value.into())].into_iter().collect()
    };
    let append = opennebula::objects::Update::Append;
    let note = one("NOTE", "both ends");
    world.client.hosts().update(host.id, &note, append).await.unwrap();
    let description = one("DESCRIPTION", "a\nb");
    world.client.clusters().update(cluster.id, &description, append).await.unwrap();
    let type_ = one("TYPE", "SYSTEM_DS");
    world.client.datastores().update(datastore.id, &type_, append).await.unwrap();

    let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new());
    let engine = engine::Engine { journal, ..world.engine.clone() };
    let spec = templates::load(&text("system_ds"));
    let plan = engine.plan(Some(world.id()), &spec).await.unwrap();
    assert_eq!(lines(&plan), [""; 0]);
    // Nor does it make one with the journal.
    let spec = templates::load(&text("SYSTEM_DS"));
    assert_eq!(lines(&world.engine.plan(Some(world.id()), &spec).await.unwrap()), [""; 0]);
}
