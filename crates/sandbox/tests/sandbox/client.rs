//! Our own client against the sandbox, without a socket and over HTTP.

use std::sync::Arc;
use std::time::Duration;

use model::{Attributes, ClusterId, DatastoreId};
use opennebula::objects::{HostState, HostStatus, Update, VnetState};
use opennebula::{
    Client, ClientSettings, Credentials, Endpoint, HttpSettings, HttpTransport, Transport,
};
use sandbox::{Sandbox, SandboxSettings, SandboxTransport, ServeSettings, Version, serve};

use crate::support::settings;

fn open(version: Version) -> Sandbox {
    // The client waits by the system's clock, so the sandbox has to go by it.
    let system = SandboxSettings::default().clock;
    let async_delay = Duration::from_millis(200);
    let settings = SandboxSettings { clock: system, async_delay, ..settings(version).0 };
    Sandbox::in_memory(settings).unwrap()
}

fn client(sandbox: &Sandbox, transport: Arc<dyn Transport>) -> Client {
    let credentials = Credentials::parse(&sandbox.session()).unwrap();
    Client::new(transport, credentials, ClientSettings::default())
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect()
}

/// What a provision does, from beginning to end.
async fn life(client: &Client, version: Version) {
    assert_eq!(client.system().version().await.unwrap(), version.as_str());
    let cluster = client.clusters().allocate("edge").await.unwrap();
    assert!(client.clusters().allocate("edge").await.unwrap_err().name_taken());

    let hosts = client.hosts();
    let host = hosts.allocate("one-h1", "kvm", "kvm", cluster).await.unwrap();
    hosts.status(host, HostStatus::Offline).await.unwrap();
    let mut template = attributes(&[("NOTE", "tail\\ ]] > \"q\"\nline 2")]);
    template.vector_mut("PROVISION").push("PLAN", "a, b]");
    hosts.update(host, &template, Update::Append).await.unwrap();
    hosts.rename(host, "10.0.0.1").await.unwrap();
    let read = hosts.info(host).await.unwrap();
    assert_eq!((read.name.as_str(), read.state), ("10.0.0.1", HostState::Offline));
    assert_eq!((read.cluster_id, read.cluster_name.as_str()), (cluster, "edge"));
    assert_eq!(read.template.get("NOTE"), template.get("NOTE"));
    assert_eq!(read.template.text("PROVISION/PLAN"), Some("a, b]"));
    let taken = hosts.allocate("10.0.0.1", "kvm", "kvm", cluster).await.unwrap_err();
    assert!(taken.name_taken(), "{taken}");
    let other = hosts.allocate("10.0.0.2", "kvm", "kvm", ClusterId(-1)).await.unwrap();
    let taken = hosts.rename(other, "10.0.0.1").await.unwrap_err();
    assert!(taken.name_taken(), "{taken}");
    hosts.status(host, HostStatus::Enable).await.unwrap();
    assert_eq!(hosts.pool().await.unwrap().len(), 2);

    let store = attributes(&[("NAME", "ds"), ("DS_MAD", "fs"), ("TM_MAD", "ssh")]);
    let store = client.datastores().allocate(&store, cluster).await.unwrap();
    let image = attributes(&[("NAME", "i"), ("SIZE", "1"), ("TYPE", "DATABLOCK")]);
    let early = client.images().allocate(&image, store).await;
    assert!(early.is_err_and(|error| error.lacks_space()), "it was not measured yet");
    let image = client.images().allocate(&image, DatastoreId(1)).await.unwrap();
    let mut net = attributes(&[("NAME", "net"), ("VN_MAD", "bridge")]);
    net.push("AR", attributes(&[("TYPE", "IP4"), ("IP", "10.1.0.1"), ("SIZE", "9")]));
    let net = client.vnets().allocate(&net, cluster).await.unwrap();
    // Which of the two depends on how fast this test is.
    let state = client.vnets().info(net).await.unwrap().state;
    assert!(matches!(state, VnetState::LockCreate | VnetState::Ready), "{state}");
    let body = attributes(&[("NAME", "d"), ("PROVISION_BODY", "{\"a\":\"b\"}")]);
    let document = client.documents().allocate(&body, 4242).await.unwrap();
    let hidden = client.documents().pool(4242).await.unwrap().remove(0);
    assert_ne!(hidden.template.get("PROVISION_BODY"), body.get("PROVISION_BODY"));
    let clear = client.documents().info_decrypted(document).await.unwrap();
    assert_eq!(clear.template.get("PROVISION_BODY"), body.get("PROVISION_BODY"));

    // Everything is deleted in the first attempt, whatever state it is in.
    let patience = Duration::from_secs(60);
    let full = client.clusters().delete(cluster).await.unwrap_err();
    assert!(!full.is_gone() && !full.is_transient(), "{full}");
    client.vnets().delete_and_wait(net, patience).await.unwrap();
    assert!(client.vnets().info(net).await.unwrap_err().is_gone());
    client.images().delete_and_wait(image, patience).await.unwrap();
    client.datastores().delete(store).await.unwrap();
    client.documents().delete(document).await.unwrap();
    hosts.delete(host).await.unwrap();
    assert!(hosts.delete(host).await.unwrap_err().is_gone());
    client.clusters().delete(cluster).await.unwrap();
    assert!(!client.clusters().exists(cluster).await.unwrap());
}

#[tokio::test]
async fn a_provision_lives_and_ends_without_a_socket() {
    for version in [Version::V6_10, Version::V7_4] {
        let sandbox = open(version);
        let transport = Arc::new(SandboxTransport::new(sandbox.clone()));
        life(&client(&sandbox, transport), version).await;
    }
}

#[tokio::test]
async fn a_provision_lives_and_ends_over_http() {
    for version in [Version::V6_10, Version::V7_4] {
        let sandbox = open(version);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/RPC2", listener.local_addr().unwrap());
        let never = std::future::pending();
        let server =
            tokio::spawn(serve(listener, sandbox.clone(), ServeSettings::default(), never));
        let endpoint = Endpoint::parse(&endpoint).unwrap();
        let transport = HttpTransport::new(endpoint, HttpSettings::default()).unwrap();
        life(&client(&sandbox, Arc::new(transport)), version).await;
        server.abort();
    }
}

#[tokio::test]
async fn many_writers_at_once_get_what_they_asked_for() {
    let sandbox = open(Version::V7_4);
    let client = client(&sandbox, Arc::new(SandboxTransport::new(sandbox.clone())));
    let cluster = client.clusters().allocate("c").await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let client = client.clone();
        tasks.spawn(async move {
            let name = format!("h{number}-x");
            let hosts = client.hosts();
            let id = hosts.allocate(&name, "kvm", "kvm", cluster).await.unwrap();
            hosts.status(id, HostStatus::Offline).await.unwrap();
            let update = attributes(&[("NOTE", &name)]);
            hosts.update(id, &update, Update::Append).await.unwrap();
            (id, name)
        });
    }
    while let Some(made) = tasks.join_next().await {
        let (id, name) = made.unwrap();
        let host = client.hosts().info(id).await.unwrap();
        assert_eq!((host.name.as_str(), host.template.text("NOTE")), (&*name, Some(&*name)));
    }
    assert_eq!(client.clusters().info(cluster).await.unwrap().hosts.len(), 200);
}

/// Tests that stop tokio's clock must not see their deadlines pass while SQLite is at work.
#[tokio::test(start_paused = true)]
async fn a_clock_that_stands_still_does_not_run_ahead_of_a_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.db");
    let sandbox = Sandbox::open(&path, SandboxSettings::default()).unwrap();
    let client = client(&sandbox, Arc::new(SandboxTransport::new(sandbox.clone())));
    for number in 0..50 {
        client.clusters().allocate(&format!("c{number}")).await.unwrap();
    }
}
