//! What happens when a host fails, under each decision.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use engine::{Decision, Engine, Failover, Failure};
use journal::Subject;
use model::{HostKey, HostState, ProvisionState};
use testkit::cloud::{Cloud, Deploy};
use testkit::world::{World, template};

/// Decides from a list, then leaves; keeps what it was asked. `mend` is what the operator does in
/// the provider's console before a retry.
struct Script {
    decisions: Mutex<VecDeque<Decision>>,
    asked: Mutex<Vec<(Subject, String, u32)>>,
    mend: Arc<Cloud>,
}

#[async_trait]
impl Failover for Script {
    async fn decide(&self, failure: &Failure<'_>) -> Decision {
        let Failure { subject, message: failure, attempt, .. } = *failure;
        self.asked.lock().unwrap().push((subject, failure.to_owned(), attempt));
        let decision = self.decisions.lock().unwrap().pop_front().unwrap_or(Decision::Leave);
        if decision == Decision::Retry && attempt == 2 {
            self.mend.deploys.lock().unwrap().clear();
        }
        decision
    }
}

async fn create(
    world: &World,
    hosts: &[&str],
    decisions: &[Decision],
) -> (engine::Report, Arc<Script>) {
    let script = Arc::new(Script {
        decisions: Mutex::new(decisions.iter().copied().collect()),
        asked: Mutex::default(),
        mend: Arc::clone(&world.cloud),
    });
    let engine = Engine { failover: Arc::clone(&script) as _, ..world.engine.clone() };
    let report = engine.create(world.request(&template(hosts))).await.unwrap();
    world.check(&report.record).await;
    (report, script)
}

#[tokio::test(start_paused = true)]
async fn retry_asks_again_until_it_works() {
    let world = World::new();
    world.deploys("b", Deploy::Refuse);
    let (report, script) = create(&world, &["a", "b"], &[Decision::Retry, Decision::Retry]).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill(), ["m-a", "m-b"]);
    let attempts: Vec<u32> = script.asked.lock().unwrap().iter().map(|asked| asked.2).collect();
    assert_eq!(attempts, [1, 2]);
    assert_eq!(report.record.hosts[&HostKey(1)].attempts, 3);
}

#[tokio::test(start_paused = true)]
async fn retry_of_a_lost_answer_finds_the_machine_and_buys_no_other() {
    let world = World::new();
    world.deploys("a", Deploy::LoseAnswer);
    let (report, _) = create(&world, &["a"], &[Decision::Retry]).await;
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(*world.cloud.asked.lock().unwrap(), 1);
    assert_eq!(world.cloud.bill(), ["m-a"]);
}

#[tokio::test(start_paused = true)]
async fn retry_without_a_list_never_buys_blindly() {
    let world = World::with(Cloud::default());
    world.deploys("a", Deploy::LoseAnswer);
    let (report, _) = create(&world, &["a"], &[Decision::Retry; 5]).await;
    assert_eq!(report.record.hosts[&HostKey(0)].state(), HostState::Unknown);
    assert_eq!(*world.cloud.asked.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn skip_leaves_a_consistent_provision_and_says_how_many() {
    let world = World::new();
    world.deploys("b", Deploy::NameThenFail);
    let (report, _) = create(&world, &["a", "b", "c"], &[Decision::Skip]).await;
    assert_eq!((report.record.state, report.skipped), (ProvisionState::Ready, 1));
    assert_eq!(report.record.hosts[&HostKey(1)].state(), HostState::Removed);
    assert_eq!(world.cloud.bill(), ["m-a", "m-c"]);
    let hosts = world.client.hosts().pool().await.unwrap();
    assert_eq!(hosts.len(), 2);
    for host in hosts {
        // The old tool shifted the ids of those that came after.
        let hostname = host.template.text("PROVISION/HOSTNAME").unwrap();
        let expected = format!("m-{hostname}");
        assert_eq!(host.template.text("PROVISION/DEPLOY_ID"), Some(expected.as_str()));
    }
}

#[tokio::test(start_paused = true)]
async fn cleanup_cancels_every_machine_that_may_exist() {
    let world = World::new();
    world.deploys("b", Deploy::LoseAnswer);
    let (report, _) = create(&world, &["a", "b", "c"], &[Decision::Cleanup]).await;
    assert_eq!(report.record.state, ProvisionState::Deleted);
    assert!(world.cloud.bill().is_empty());
    assert!(world.client.hosts().pool().await.unwrap().is_empty());
    assert_eq!(world.client.clusters().pool().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn quit_begins_nothing_new_and_keeps_what_is_there() {
    let world = World::new();
    world.deploys("a", Deploy::Refuse);
    let mut engine = world.engine.clone();
    engine.settings.threads = 1;
    let script = Arc::new(Script {
        decisions: Mutex::new([Decision::Quit].into()),
        asked: Mutex::default(),
        mend: Arc::clone(&world.cloud),
    });
    engine.failover = script;
    let hosts: Vec<String> = (0..20).map(|n| format!("h{n}")).collect();
    let mut names: Vec<&str> = vec!["a"];
    names.extend(hosts.iter().map(String::as_str));
    let report = engine.create(world.request(&template(&names))).await.unwrap();
    world.check(&report.record).await;
    assert_eq!((report.record.state, report.interrupted), (ProvisionState::Failed, false));
    assert!(world.cloud.bill().len() < 20, "{:?}", world.cloud.bill());
    // And it is taken up again from there.
    world.cloud.deploys.lock().unwrap().clear();
    let request = engine::ResumeRequest { spec: None, ..world.resume_request() };
    let report = world.engine.resume(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(world.cloud.bill().len(), 21);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_where_the_clusters_name_is_taken() {
    let world = World::new();
    let other = world.client.clusters().allocate("web").await.unwrap();
    let refused = world.engine.create(world.request(&template(&["a"]))).await.unwrap_err();
    let expected =
        format!("OpenNebula has a cluster named \"web\" already, cluster {other}; nothing");
    assert!(refused.to_string().contains(&expected), "{refused}");
    assert!(world.engine.records().await.unwrap().is_empty());
    assert!(world.client.hosts().pool().await.unwrap().is_empty());
    world.client.clusters().delete(other).await.unwrap();
    let report = world.engine.create(world.request(&template(&["a"]))).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_taken_cluster_name_can_be_retried_once_it_is_free() {
    let world = World::new();
    // Somebody takes the name when the provision is begun already.
    let stopped = Engine { stop: engine::Stop::new(), ..world.engine.clone() };
    stopped.stop.request();
    let report = stopped.create(world.request(&template(&["a"]))).await.unwrap();
    assert!(report.interrupted);
    let other = world.client.clusters().allocate("web").await.unwrap();
    struct Free(opennebula::Client, model::ClusterId);
    #[async_trait]
    impl Failover for Free {
        async fn decide(&self, _: &Failure<'_>) -> Decision {
            self.0.clusters().delete(self.1).await.unwrap();
            Decision::Retry
        }
    }
    let failover = Arc::new(Free(world.client.clone(), other));
    let engine = Engine { failover, ..world.engine.clone() };
    let report = engine.resume(world.resume_request()).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_host_object_that_cannot_be_made_can_be_skipped_or_retried() {
    for decision in [Decision::Skip, Decision::Retry] {
        let world = World::new();
        let name = engine::names::host_name(world.id(), HostKey(0));
        let cluster = world.client.clusters().allocate("others").await.unwrap();
        let host = world.client.hosts().allocate(&name, "kvm", "kvm", cluster).await.unwrap();
        struct Decide(opennebula::Client, model::HostId, Decision);
        #[async_trait]
        impl Failover for Decide {
            async fn decide(&self, _: &Failure<'_>) -> Decision {
                self.0.hosts().delete(self.1).await.unwrap();
                self.2
            }
        }
        let failover = Arc::new(Decide(world.client.clone(), host, decision));
        let engine = Engine { failover, ..world.engine.clone() };
        let report = engine.create(world.request(&template(&["a", "b"]))).await.unwrap();
        assert_eq!(report.record.state, ProvisionState::Ready, "{decision:?}");
        let expected = if decision == Decision::Skip { 1 } else { 2 };
        assert_eq!(world.cloud.bill().len(), expected, "{decision:?}");
    }
}
