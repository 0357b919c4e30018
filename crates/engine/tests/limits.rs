//! How many driver calls are in flight at once, in virtual time.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use driver::api::{Call, Description, Driver, DriverError, ShutdownKind};
use driver::poll::{MachineState, PollReport};
use engine::{CreateRequest, DriverSource, Engine, ResumeRequest, Stop};
use journal::{Entry, Event, Journal as _, Step};
use model::{DeployId, Parameter, ProvisionState};
use testkit::world::World;
use tokio::time::{Instant, sleep};

/// How long a deploy takes.
const DEPLOY: Duration = Duration::from_secs(10);

/// A driver whose accounts are regions, and that counts the deploys that run.
#[derive(Default)]
struct Counting {
    /// Whether it says which parameter names the account.
    accounts: bool,
    running: Mutex<BTreeMap<String, usize>>,
    most: Mutex<BTreeMap<String, usize>>,
    /// The most of all regions together.
    most_at_all: Mutex<usize>,
}

impl Counting {
    fn with_accounts() -> Arc<Self> {
        Arc::new(Self { accounts: true, ..Self::default() })
    }

    fn begin(&self, region: &str) {
        let mut running = self.running.lock().unwrap();
        *running.entry(region.to_owned()).or_default() += 1;
        let all: usize = running.values().sum();
        let mut most = self.most.lock().unwrap();
        let most = most.entry(region.to_owned()).or_default();
        *most = running[region].max(*most);
        let mut at_all = self.most_at_all.lock().unwrap();
        *at_all = all.max(*at_all);
    }

    fn end(&self, region: &str) {
        *self.running.lock().unwrap().get_mut(region).unwrap() -= 1;
    }

    fn most(&self) -> Vec<(String, usize)> {
        self.most.lock().unwrap().clone().into_iter().collect()
    }
}

struct Source(Arc<Counting>);

impl DriverSource for Source {
    fn find(&self, _: &str) -> Result<Arc<dyn Driver>, String> {
        Ok(Arc::clone(&self.0) as _)
    }
}

#[async_trait]
impl Driver for Counting {
    fn describe(&self) -> Description {
        let region = Parameter::new("REGION", "Where").aliases(["ZONE"]).account();
        Description {
            parameters: self.accounts.then(|| vec![region]),
            ..Description::new("counting", "counts")
        }
    }

    async fn deploy(&self, call: &Call) -> Result<DeployId, DriverError> {
        let region = ["REGION", "ZONE"].into_iter().find_map(|name| call.host.parameter(name));
        let region = region.unwrap_or_default().to_owned();
        self.begin(&region);
        sleep(DEPLOY).await;
        self.end(&region);
        let name = call.host.parameter("HOSTNAME").unwrap();
        Ok(DeployId::new(name).unwrap())
    }

    async fn cancel(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn poll(&self, _: &Call, id: &DeployId) -> Result<PollReport, DriverError> {
        Ok(PollReport::new(MachineState::Active, vec![format!("{id}.example.org")]))
    }

    async fn reboot(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn reset(&self, _: &Call, _: &DeployId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn shutdown(&self, _: &Call, _: &DeployId, _: ShutdownKind) -> Result<(), DriverError> {
        Ok(())
    }
}

/// A template with so many hosts in each region; regions in upper case are given by the parameter's
/// other name.
fn template(name: &str, hosts: &[(&str, usize)]) -> String {
    let mut text = format!("name: {name}\nplaybook: []\ncluster: {{name: {name}}}\nhosts:\n");
    for (region, count) in hosts {
        let key = if *region == region.to_ascii_uppercase() { "zone" } else { "region" };
        let value = region.to_ascii_lowercase();
        for n in 0..*count {
            let hostname = format!("{name}-{key}-{value}-{n}");
            writeln!(
                text,
                "- {{im_mad: kvm, vm_mad: kvm, provision: {{driver: counting, hostname: {hostname}, {key}: {value}}}}}"
            )
            .unwrap();
        }
    }
    text
}

fn engine(world: &World, driver: &Arc<Counting>, threads: usize, account: usize) -> Engine {
    let mut engine = world.engine.clone();
    engine.drivers = Arc::new(Source(Arc::clone(driver)));
    engine.settings.threads = threads;
    engine.settings.account_threads = account;
    engine
}

/// Creates it, and says how long that took.
async fn create(engine: &Engine, request: CreateRequest) -> Duration {
    let begun = Instant::now();
    let report = engine.create(request).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    begun.elapsed()
}

fn counts<const N: usize>(wanted: [(&str, usize); N]) -> Vec<(String, usize)> {
    wanted.into_iter().map(|(region, most)| (region.to_owned(), most)).collect()
}

#[tokio::test(start_paused = true)]
async fn hosts_of_one_account_share_a_limit_and_the_others_do_not_wait_for_it() {
    let (world, driver) = (World::new(), Counting::with_accounts());
    let engine = engine(&world, &driver, 16, 3);
    // `EAST` is the same account, under the parameter's other name.
    let text = template("web", &[("east", 4), ("EAST", 2), ("west", 2)]);
    let took = create(&engine, world.request(&text)).await;
    assert_eq!(driver.most(), counts([("east", 3), ("west", 2)]));
    assert_eq!(*driver.most_at_all.lock().unwrap(), 5);
    // Six hosts in two waves of three: nobody waited for the other account.
    assert!(took >= 2 * DEPLOY && took < 3 * DEPLOY, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_commands_own_limit_caps_all_accounts_and_who_waits_holds_no_place() {
    let (world, driver) = (World::new(), Counting::with_accounts());
    let engine = engine(&world, &driver, 2, 1);
    let text = template("web", &[("east", 3), ("west", 3)]);
    let took = create(&engine, world.request(&text)).await;
    assert_eq!(driver.most(), counts([("east", 1), ("west", 1)]));
    // Did the hosts of a busy account hold the command's places, the other one would stand still.
    assert!(took >= 3 * DEPLOY && took < 4 * DEPLOY, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_says_nothing_of_accounts_has_one_for_all_its_hosts() {
    let (world, driver) = (World::new(), Arc::new(Counting::default()));
    let engine = engine(&world, &driver, 16, 2);
    let text = template("web", &[("east", 2), ("west", 2)]);
    create(&engine, world.request(&text)).await;
    assert_eq!(*driver.most_at_all.lock().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn operations_on_one_account_share_its_limit() {
    let (world, driver) = (World::new(), Counting::with_accounts());
    let engine = engine(&world, &driver, 16, 2);
    let first = world.request(&template("one", &[("east", 3)]));
    let other = "d2719f2f-6a0c-4c0f-8f7e-0b7a4c6b1c11".parse().unwrap();
    let second = CreateRequest { id: other, ..world.request(&template("two", &[("east", 3)])) };
    tokio::join!(create(&engine, first), create(&engine, second));
    assert_eq!(driver.most(), counts([("east", 2)]));
}

#[tokio::test(start_paused = true)]
async fn a_deploy_that_was_only_written_down_is_not_asked_for_after_a_stop() {
    let (world, driver) = (World::new(), Counting::with_accounts());
    let engine = engine(&world, &driver, 16, 4);
    let request = world.request(&template("web", &[("east", 8)]));
    let spec = Some(request.spec.clone());
    let create = tokio::spawn({
        let engine = engine.clone();
        async move { engine.create(request).await.unwrap() }
    });
    // Late enough for the grace that deploys have after a stop.
    sleep(DEPLOY - Duration::from_secs(1)).await;
    let entries = world.journal.entries(world.id()).await.unwrap();
    let begun = |entry: &&Entry| matches!(entry.event, Event::Intent { step: Step::Deploy, .. });
    assert_eq!(entries.iter().filter(begun).count(), 5, "four in flight, and one ahead");
    engine.stop.request();
    let report = create.await.unwrap();
    assert!(report.interrupted);
    let hosts = report.record.hosts.values();
    let machines = hosts.clone().filter(|host| host.machine.id().is_some()).count();
    assert_eq!(machines, 4, "what was asked for has come to its end");
    assert!(hosts.clone().all(|host| host.failure.is_none()), "nothing has failed");
    let deploys = hosts.filter_map(|host| host.open.as_ref());
    assert!(deploys.clone().all(|open| open.step != Step::Deploy), "nothing has to be looked for");

    let again = Engine { stop: Stop::new(), ..engine };
    let resume = ResumeRequest { spec, ..world.resume_request() };
    let report = again.resume(resume).await.unwrap();
    assert_eq!(report.record.state, ProvisionState::Ready);
    assert_eq!(driver.most(), counts([("east", 4)]));
}
