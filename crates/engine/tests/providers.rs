//! Named providers: kept in the front-end, followed by their provisions, and never missed by them.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::path::Path;
use std::sync::Arc;

use engine::providers::PROVIDER_TYPE;
use engine::{CreateRequest, Engine, ResumeRequest};
use model::{DocumentId, ProvisionState, Secret};
use template::{
    Options, Provider, ProviderValue, Providers, SecretError, SecretReference, SecretSource,
    SourceReader, Spec,
};
use testkit::world::{SECRET, World};

const HOSTS: &str = "name: web\nplaybook: []\nprovider: ours\nhosts:\n\
    - {im_mad: kvm, vm_mad: kvm, provision: {hostname: a}}\n\
    - {im_mad: kvm, vm_mad: kvm, provision: {hostname: b}}\n";

fn token(secret: &str) -> ProviderValue {
    ProviderValue::Secret(Secret::new(secret))
}

fn ours(value: ProviderValue) -> Provider {
    Provider {
        id: -1,
        name: "ours".into(),
        driver: "cloud".into(),
        description: "Our <cloud>".into(),
        values: vec![
            ("CLOUD_TOKEN".into(), value),
            ("ZONE".into(), ProviderValue::Text("z-1".into())),
        ],
    }
}

struct Text;

impl SourceReader for Text {
    fn read(&self, _: &Path, _: u64) -> std::io::Result<Vec<u8>> {
        Ok(HOSTS.into())
    }
}

/// The environment of this test: one variable, with this value.
struct Variable(&'static str);

impl SecretSource for Variable {
    fn secret(&self, _: &SecretReference) -> Result<Secret, SecretError> {
        match self.0 {
            "" => Err(SecretError("is not set".into())),
            value => Ok(value.into()),
        }
    }
}

async fn spec(engine: &Engine, id: DocumentId, variable: &'static str) -> Spec {
    let provider = engine.provider(id).await.unwrap();
    let options = Options {
        providers: Providers::Known(vec![provider]),
        secrets: Some(Arc::new(Variable(variable))),
        ..Options::default()
    };
    let loaded = template::load(Path::new("t.yaml"), &Text, &options);
    loaded.spec.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
}

fn request(world: &World, spec: Spec) -> CreateRequest {
    let request = world.request("name: x\n");
    CreateRequest { public_keys: vec![None; spec.hosts.len()], spec, ..request }
}

/// A provision of two hosts whose provider has the right token.
async fn created(world: &World) -> DocumentId {
    let id = world.engine.create_provider(&ours(token(SECRET))).await.unwrap();
    let spec = spec(&world.engine, id, "").await;
    let report = world.engine.create(request(world, spec)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    world.check(&report.record).await;
    id
}

/// Writes a provider with another token.
async fn rotate(engine: &Engine, id: DocumentId, value: ProviderValue) {
    engine.update_provider(&Provider { id: id.0, ..ours(value) }).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_made_read_listed_and_removed() {
    let world = World::new();
    let id = world.engine.create_provider(&ours(token(SECRET))).await.unwrap();
    let read = world.engine.provider(id).await.unwrap();
    assert_eq!(read, Provider { id: id.0, ..ours(token(SECRET)) });
    let entries = world.engine.providers().await.unwrap();
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((entry.name.as_str(), entry.driver.as_str()), ("ours", "cloud"));
    assert_eq!(entry.description, "Our <cloud>");
    let pool = world.client.documents().pool(PROVIDER_TYPE).await.unwrap();
    assert!(!format!("{pool:?}").contains(SECRET), "encrypted");

    let again = world.engine.create_provider(&ours(token("x"))).await.unwrap_err();
    assert!(again.to_string().contains("there is a provider ours already"), "{again}");
    for name in ["", "a b", "a/b", "a\n", &"x".repeat(129)] {
        let bad = Provider { name: name.into(), ..ours(token("x")) };
        assert!(world.engine.create_provider(&bad).await.is_err(), "{name:?}");
    }
    let other = Provider { id: id.0, driver: "other".into(), ..ours(token("x")) };
    let refused = world.engine.update_provider(&other).await.unwrap_err();
    assert!(refused.to_string().contains("that cannot change"), "{refused}");

    let value = ProviderValue::Reference(SecretReference::Command(vec!["pass".into(), "x".into()]));
    rotate(&world.engine, id, value.clone()).await;
    assert_eq!(world.engine.provider(id).await.unwrap().values[0].1, value);
    world.engine.delete_provider(entry).await.unwrap();
    world.engine.delete_provider(entry).await.unwrap();
    assert!(world.engine.providers().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_new_token_reaches_machines_that_are_there() {
    let world = World::new();
    let id = created(&world).await;
    let host = world.client.hosts().pool().await.unwrap().remove(0);
    assert_eq!(host.template.text("PROVISION/PROVIDER"), Some("ours"));
    assert_eq!(host.template.text("PROVISION/ZONE"), Some("z-1"));
    let reference = host.template.text("PROVISION/CLOUD_TOKEN").unwrap();
    assert!(reference.ends_with(&format!(":{id}")), "{reference}");

    // The cloud takes the old token only: that the delete fails shows that the new one is used.
    rotate(&world.engine, id, token("another-token")).await;
    let report = world.delete().await;
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert_eq!(world.cloud.bill().len(), 2);
    rotate(&world.engine, id, token(SECRET)).await;
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_provider_in_use_stays_and_one_that_is_gone_is_not_missed() {
    let world = World::new();
    let id = created(&world).await;
    let entry = world.engine.providers().await.unwrap().remove(0);
    let refused = world.engine.delete_provider(&entry).await.unwrap_err();
    assert!(refused.to_string().contains(testkit::world::ID), "{refused}");
    // Somebody deletes it all the same, with another tool.
    world.client.documents().delete(id).await.unwrap();
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_reference_is_followed_where_it_leads_somewhere() {
    let mut world = World::new();
    let reference = ProviderValue::Reference(SecretReference::Env("TOKEN".into()));
    let id = world.engine.create_provider(&ours(reference)).await.unwrap();
    let spec = spec(&world.engine, id, SECRET).await;
    let report = world.engine.create(request(&world, spec)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    world.engine.secrets = Some(Arc::new(Variable("another-token")));
    assert_eq!(world.delete().await.record.state, ProvisionState::Failed);
    // A coordinator without the variable has the copy.
    world.engine.secrets = Some(Arc::new(Variable("")));
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_resume_without_the_template_has_the_new_token() {
    let world = World::new();
    let id = world.engine.create_provider(&ours(token("old-token"))).await.unwrap();
    let spec = spec(&world.engine, id, "").await;
    let report = world.engine.create(request(&world, spec)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    assert!(world.cloud.bill().is_empty(), "the cloud does not know the old token");
    rotate(&world.engine, id, token(SECRET)).await;
    let resume = ResumeRequest { id: world.id(), spec: None, public_keys: Vec::new() };
    let report = world.engine.resume(resume).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    world.check(&report.record).await;
    assert_eq!(world.cloud.bill().len(), 2);
    // The copy is the new one, too.
    world.client.documents().delete(id).await.unwrap();
    assert_eq!(world.delete().await.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
}

#[tokio::test(start_paused = true)]
async fn machines_do_not_move_with_their_provider() {
    let world = World::new();
    let id = created(&world).await;
    let zones = async || {
        let hosts = world.client.hosts().pool().await.unwrap();
        let zone = |host: &opennebula::objects::Host| {
            let text = |path| host.template.text(path).unwrap_or("-").to_owned();
            format!("{} {}", text("PROVISION/HOSTNAME"), text("PROVISION/ZONE"))
        };
        let mut zones: Vec<String> = hosts.iter().map(zone).collect();
        zones.sort_unstable();
        zones
    };
    let plan = async |spec: &Spec| world.engine.plan(Some(world.id()), spec).await.unwrap();
    let moved = Provider {
        values: vec![
            ("CLOUD_TOKEN".into(), token(SECRET)),
            ("ZONE".into(), ProviderValue::Text("z-2".into())),
            ("RACK".into(), ProviderValue::Text("r-2".into())),
        ],
        id: id.0,
        ..ours(token(SECRET))
    };
    world.engine.update_provider(&moved).await.unwrap();
    let unchanged = spec(&world.engine, id, "").await;
    assert!(plan(&unchanged).await.is_empty());

    // A host that is written anew keeps what it has, a new one gets what is new; also by a resume.
    let mut more = unchanged.clone();
    more.hosts[0].provision.set("ACTION_TIMEOUT", "9");
    let mut third = more.hosts[0].clone();
    third.hostname = "c".into();
    third.provision.set("HOSTNAME", "c");
    more.hosts.push(third);
    let update = |spec: &Spec, replace| engine::update::UpdateRequest {
        id: world.id(),
        template: "/u.yaml".into(),
        digest: "u".into(),
        public_keys: vec![None; spec.hosts.len()],
        replace,
        cleanup: None,
        shown: None,
        spec: spec.clone(),
    };
    let found = plan(&more).await;
    assert_eq!((found.bought(), found.destroyed(), found.changes.len()), (1, 0, 2));
    world.deploys("c", testkit::cloud::Deploy::Refuse);
    let report = world.engine.update(update(&more, false)).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Failed);
    world.cloud.deploys.lock().unwrap().clear();
    let resume = ResumeRequest { spec: Some(more.clone()), ..world.resume_request() };
    let report = world.engine.resume(resume).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(zones().await, ["a z-1", "b z-1", "c z-2"]);
    assert!(plan(&more).await.is_empty());

    // What the provider does not say any more, they keep; what their own template says is another thing.
    let less = Provider { id: id.0, ..ours(token(SECRET)) };
    let less = Provider { values: less.values.into_iter().take(1).collect(), ..less };
    world.engine.update_provider(&less).await.unwrap();
    let mut last = spec(&world.engine, id, "").await;
    assert_eq!(last.hosts[0].provision.get("ZONE"), None);
    last.hosts[0].provision.set("ACTION_TIMEOUT", "9");
    let found = plan(&last).await;
    assert_eq!((found.bought(), found.changes.len()), (0, 1), "{found:?}");
    last.hosts[1].provision.set("ZONE", "z-3");
    last.hosts[0].provision.set("PLAN", "big");
    let found = plan(&last).await;
    assert_eq!((found.bought(), found.destroyed()), (2, 3), "{found:?}");
    world.engine.update(update(&last, true)).await.unwrap();
    assert_eq!(
        zones().await,
        ["a -", "b z-3"],
        "a machine that is new is where the provider is now"
    );
    assert!(plan(&last).await.is_empty());

    // Without the journal, too.
    world.engine.update_provider(&moved).await.unwrap();
    let journal = Arc::new(journal::MemoryJournal::new()) as Arc<dyn journal::Journal>;
    let engine = Engine { journal, ..world.engine.clone() };
    let mut other = spec(&engine, id, "").await;
    other.hosts[0].provision.set("PLAN", "big");
    other.hosts[0].provision.set("ACTION_TIMEOUT", "9");
    other.hosts[1].provision.set("ZONE", "z-3");
    if let Some(used) = &mut other.hosts[1].provider {
        used.values.retain(|key| key != "ZONE");
    }
    let found = engine.plan(Some(world.id()), &other).await.unwrap();
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_opennebula_cannot_store_as_it_is_comes_back_from_the_document() {
    let world = World::new();
    let secret = "p]]>ss-\u{1F600}";
    let id = world.engine.create_provider(&ours(token(secret))).await.unwrap();
    assert_eq!(
        world.engine.provider(id).await.unwrap().values[0],
        ("CLOUD_TOKEN".into(), token(secret))
    );
}
