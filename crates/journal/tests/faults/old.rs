//! What earlier versions wrote is read for ever: these rows are as they were released, and are
//! never changed. A new event gets a new row here.

use journal::{Journal, Machine, ProvisionRecord, SqliteJournal, Subject, VirtualKind};
use model::{HostKey, ProvisionState};

use crate::{fast_folder, id};

/// Schema 1, as first written.
const ROWS: [&str; 20] = [
    r#"{"event":"create_begun","name":"p","endpoint":"http://one:2633/RPC2","template":"/t.yaml","digest":"00","options":{"skip_config":true},"spec":{"hosts":[]},"drivers":["dummy","packet","dummy"],"datastores":1,"networks":1}"#,
    r#"{"event":"intent","id":1,"subject":"cluster","step":"create"}"#,
    r#"{"event":"outcome","id":1,"outcome":{"done":{"object":100}}}"#,
    r#"{"event":"intent","id":2,"subject":{"datastore":0},"step":"create"}"#,
    r#"{"event":"outcome","id":2,"outcome":{"failed":{"message":"no room"}}}"#,
    r#"{"event":"resumed"}"#,
    r#"{"event":"intent","id":3,"subject":{"host":0},"step":"create"}"#,
    r#"{"event":"outcome","id":3,"outcome":{"done":{"object":7}}}"#,
    r#"{"event":"intent","id":4,"subject":{"host":0},"step":"deploy","key":"k-0-1"}"#,
    r#"{"event":"process","id":4,"process":{"pid":4,"start_time":5,"folder":"/c","deadline":6}}"#,
    r#"{"event":"deploy_id_seen","id":4,"host":0,"deploy_id":"m-1"}"#,
    r#"{"event":"outcome","id":4,"outcome":{"done":{"machine":"m-1"}}}"#,
    r#"{"event":"addressed","host":0,"address":"10.0.0.1"}"#,
    r#"{"event":"intent","id":5,"subject":{"host":0},"step":"enlist"}"#,
    r#"{"event":"outcome","id":5,"outcome":{"done":{"enlisted":{"name":"10.0.0.1","enabled":true}}}}"#,
    r#"{"event":"intent","id":6,"subject":{"host":1},"step":"deploy","key":"k-1-1"}"#,
    r#"{"event":"outcome","id":6,"outcome":{"unknown":{"evidence":"no answer"}}}"#,
    r#"{"event":"host_failed","host":2,"message":"no address"}"#,
    r#"{"event":"found","subject":{"network":0},"id":3,"name":"n"}"#,
    r#"{"event":"ended","state":"failed"}"#,
];

/// What a journal with these rows says of provision 1.
async fn record_of(rows: &[&str]) -> ProvisionRecord {
    let folder = fast_folder();
    let path = folder.path().join("journal.db");
    drop(SqliteJournal::open(&path).unwrap());
    let file = rusqlite::Connection::open(&path).unwrap();
    for row in rows {
        let provision = id(1).to_string();
        let insert = "INSERT INTO event (provision, at, body) VALUES (?, 1, ?)";
        file.execute(insert, [provision.as_str(), *row]).unwrap();
    }
    let journal = SqliteJournal::open(&path).unwrap();
    journal.record(id(1)).await.unwrap().unwrap()
}

#[tokio::test]
async fn rows_of_the_first_schema_mean_what_they_meant() {
    let record = record_of(&ROWS).await;
    assert_eq!((record.name(), record.state), (Some("p"), ProvisionState::Failed));
    let create = record.create.as_ref().unwrap();
    assert!(create.options.skip_config && !create.options.legacy_args);
    assert_eq!(record.cluster.id, Some(100));
    assert_eq!(record.networks[&0].id, Some(3));
    let host = |key| &record.hosts[&HostKey(key)];
    assert_eq!(host(0).machine.id().unwrap().as_str(), "m-1");
    assert_eq!((host(0).host_id, host(0).enlisted), (Some(7), Some(true)));
    assert!(matches!(&host(1).machine, Machine::Maybe { evidence } if evidence == "no answer"));
    assert_eq!(host(2).failure.as_deref(), Some("no address"));
    assert_eq!((record.machines(), record.next_intent().0), (2, 7));
}

/// Schema 1, with virtual objects.
const VIRTUAL_ROWS: [&str; 13] = [
    r#"{"event":"create_begun","name":"p","endpoint":"http://one:2633/RPC2","template":"/t.yaml","digest":"00","options":{"cleanup":20,"wait_ready":60},"spec":{},"drivers":[],"datastores":0,"networks":0,"virtuals":{"image":2,"template":1}}"#,
    r#"{"event":"intent","id":1,"subject":{"virtual":["image",0]},"step":"create"}"#,
    r#"{"event":"outcome","id":1,"outcome":{"done":{"object":5}}}"#,
    r#"{"event":"intent","id":2,"subject":{"virtual":["image",0]},"step":"own"}"#,
    r#"{"event":"outcome","id":2,"outcome":{"done":"done"}}"#,
    r#"{"event":"intent","id":3,"subject":{"virtual":["image",0]},"step":"await_ready"}"#,
    r#"{"event":"outcome","id":3,"outcome":{"failed":{"message":"is in ERROR"}}}"#,
    r#"{"event":"intent","id":4,"subject":{"virtual":["template",0]},"step":"create"}"#,
    r#"{"event":"outcome","id":4,"outcome":{"done":"done"}}"#,
    r#"{"event":"found","subject":{"virtual":["flowtemplate",3]},"id":9,"name":"s"}"#,
    r#"{"event":"delete_begun"}"#,
    r#"{"event":"delete_begun","cleanup":30}"#,
    r#"{"event":"delete_begun"}"#,
];

#[tokio::test]
async fn rows_of_virtual_objects_mean_what_they_meant() {
    let record = record_of(&VIRTUAL_ROWS).await;
    let create = record.create.as_ref().unwrap();
    assert_eq!((create.options.cleanup, create.options.wait_ready), (Some(20), Some(60)));
    let object = |kind, n| record.object(Subject::Virtual(kind, n)).unwrap();
    let image = object(VirtualKind::Image, 0);
    assert_eq!((image.made(), image.owned, image.ready), (Some(5), true, false));
    assert_eq!(object(VirtualKind::Image, 1).made(), None);
    assert!(object(VirtualKind::Template, 0).is_needless());
    assert_eq!(object(VirtualKind::Flowtemplate, 3).id, Some(9));
    let found = record.virtual_subjects().count();
    assert_eq!((found, record.doomed, record.cleanup), (4, true, Some(30)));
}
