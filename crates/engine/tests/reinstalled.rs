//! A front-end that was installed anew has the ids of the provision's objects for those of others.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use engine::update::UpdateRequest;
use engine::{DeleteRequest, EngineError};
use journal::Journal;
use model::{Attributes, ClusterId, ProvisionState};
use opennebula::Client;
use opennebula::objects::Update;
use testkit::world::{World, template};

const VIRTUALS: &str = r#"
images:
- {name: img, ds_id: 1, size: 8, type: DATABLOCK}
templates:
- {name: vm, cpu: 1, memory: 64}
vntemplates:
- {name: vn, vn_mad: bridge}
flowtemplates:
- {name: service, deployment: straight, roles: []}
"#;

/// A provision that has one object of each kind.
async fn made() -> World {
    let world = World::new();
    let request = world.request(&format!("{}{VIRTUALS}", template(&["a"])));
    let report = world.engine.create(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready, "{:?}", report.record);
    world
}

/// All objects, as somebody else's of whom the tool knows nothing.
async fn give_away(one: &Client) {
    let bare = |template: &Attributes| {
        let mut bare = template.clone();
        bare.remove("PROVISION");
        bare
    };
    macro_rules! give {
        ($($kind:ident)*) => { $(
            for object in one.$kind().pool().await.unwrap() {
                let template = bare(&object.template);
                one.$kind().update(object.id, &template, Update::Replace).await.unwrap();
            }
        )* };
    }
    give!(clusters hosts datastores vnets images templates vntemplates);
    for host in one.hosts().pool().await.unwrap() {
        one.hosts().rename(host.id, &format!("theirs-{}", host.id)).await.unwrap();
    }
    let theirs: Attributes = [("BODY".to_owned(), "{}".into())].into_iter().collect();
    // But for the credentials, without which no machine could be destroyed.
    for document in one.documents().pool(101).await.unwrap() {
        one.documents().update(document.id, &theirs, Update::Replace).await.unwrap();
    }
}

/// Name and template of every object.
async fn everything(one: &Client) -> Vec<String> {
    let mut all = Vec::new();
    macro_rules! all {
        ($($kind:ident)*) => { $(
            for object in one.$kind().pool().await.unwrap() {
                all.push(format!("{} {} {:?}", stringify!($kind), object.name, object.template));
            }
        )* };
    }
    all!(clusters hosts datastores vnets images templates vntemplates);
    for document in one.documents().pool(101).await.unwrap() {
        all.push(format!("document {} {:?}", document.name, document.template));
    }
    all
}

fn changed(world: &World) -> UpdateRequest {
    let text = format!("{}{VIRTUALS}", template(&["a"]));
    world.update_request(&text.replace("ds_mad: fs", "ds_mad: fs, note: n"))
}

#[tokio::test(start_paused = true)]
async fn a_delete_destroys_the_machines_and_nothing_of_others() {
    for cleanup in [None, Some(1)] {
        let mut world = made().await;
        let heard = world.hear_warnings();
        give_away(&world.client).await;
        let before = everything(&world.client).await;
        let request = DeleteRequest { id: world.id(), hosts: None, cleanup };
        let report = world.engine.delete(request).await.unwrap();
        assert_eq!(report.record.state, ProvisionState::Deleted, "{:?}", report.record);
        assert!(world.cloud.bill().is_empty());
        assert_eq!(everything(&world.client).await, before);
        let told = heard.heard();
        for what in [
            "cluster 100 (web)",
            "host 0 (theirs-0)",
            "datastore 100 (web-images)",
            "network 0 (web-net)",
            "image 0 (img)",
            "template 0 (vm)",
            "network template 0 (vn)",
            "service template 1 (service)",
        ] {
            let line =
                format!("{what} does not carry the mark of this provision: it is left alone");
            assert!(told.contains(&line), "{line}: {told:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_changes_nothing_of_others() {
    let world = made().await;
    let mark = world.client.clusters().info(ClusterId(100)).await.unwrap().template;
    give_away(&world.client).await;
    let before = everything(&world.client).await;
    let Err(EngineError::Refused(why)) = world.engine.update(changed(&world)).await else {
        panic!("it was not refused");
    };
    let said = "cluster 100 (web) of sandbox does not carry the mark of provision";
    assert!(why.starts_with(said), "{why}");
    assert_eq!(everything(&world.client).await, before);

    // Only the datastore is somebody else's.
    let clusters = world.client.clusters();
    clusters.update(ClusterId(100), &mark, Update::Replace).await.unwrap();
    let before = everything(&world.client).await;
    let report = world.engine.update(changed(&world)).await.unwrap();
    assert_eq!(
        report.record.state,
        ProvisionState::Failed,
        "{:?}",
        everything(&world.client).await
    );
    assert_eq!(everything(&world.client).await, before);
    let record = world.journal.record(world.id()).await.unwrap().unwrap();
    let failure = record.datastores[&0].failure.clone().unwrap();
    assert!(failure.contains("does not carry the mark of this provision"), "{failure}");
}
