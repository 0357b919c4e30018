//! What earlier versions wrote is read for ever: these rows are as they were released, and are
//! never changed. A new event gets a new row here.

use journal::{Journal, Machine, SqliteJournal};
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

#[tokio::test]
async fn rows_of_the_first_schema_mean_what_they_meant() {
    let folder = fast_folder();
    let path = folder.path().join("journal.db");
    drop(SqliteJournal::open(&path).unwrap());
    let file = rusqlite::Connection::open(&path).unwrap();
    for row in ROWS {
        let provision = id(1).to_string();
        let insert = "INSERT INTO event (provision, at, body) VALUES (?, 1, ?)";
        file.execute(insert, [provision.as_str(), row]).unwrap();
    }
    let journal = SqliteJournal::open(&path).unwrap();
    let record = journal.record(id(1)).await.unwrap().unwrap();
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
