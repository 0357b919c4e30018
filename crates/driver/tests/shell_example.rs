//! The example driver in shell through its whole life, and `docs/DRIVER_PROTOCOL.md`: what it shows is
//! what is read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use driver::poll::parse_list;
use driver::{
    Call, DeploymentFile, Driver, ExecutableDriver, ExecutableSettings, FailureKind, MachineState,
    PollReport, Remotes, ShutdownKind, Unwatched,
};
use model::{DeployId, HostId};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

struct Site {
    dir: tempfile::TempDir,
    driver: ExecutableDriver,
}

impl Site {
    fn new(legacy_args: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("remotes/pm")).unwrap();
        let example = workspace().join("examples/drivers/shell");
        symlink(example, dir.path().join("remotes/pm/shell")).unwrap();
        let folder = Remotes::new(dir.path().join("remotes")).find("shell").unwrap();
        let settings = ExecutableSettings {
            state_dir: Some(dir.path().to_owned()),
            legacy_args,
            ..ExecutableSettings::new(dir.path().join("calls"))
        };
        Self { driver: ExecutableDriver::new(folder, settings), dir }
    }

    /// What the provider has: every file of its folder, markers included.
    fn bill(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("shell-machines")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    async fn state(&self, call: &Call, id: &DeployId) -> Option<MachineState> {
        self.driver.poll(call, id).await.unwrap().state
    }
}

fn call(key: &str, ip: Option<&str>) -> Call {
    let mut host = DeploymentFile {
        id: Some(HostId(3)),
        name: "provision-0a1b".into(),
        pm_mad: "shell".into(),
        ..DeploymentFile::default()
    };
    let provision = host.template.vector_mut("PROVISION");
    provision.push("HOSTNAME", "shell-1");
    if let Some(ip) = ip {
        provision.push("IP", ip);
    }
    provision.push("PROVISION_ID", "11111111-2222-4333-8444-555555555555");
    let deadline = Duration::from_secs(60);
    Call { key: key.into(), host, deadline, watch: Arc::new(Unwatched) }
}

#[tokio::test]
async fn the_example_lives_through_every_action() {
    let site = Site::new(false);
    let mut ours = call("key-1", Some("192.0.2.7"));
    let id = site.driver.deploy(&ours).await.unwrap();
    assert_eq!(id.as_str(), "file-key-1");
    assert_eq!(site.driver.deploy(&ours).await.unwrap(), id);
    let other = call("key-2", Some("192.0.2.8"));
    let second = site.driver.deploy(&other).await.unwrap();
    assert_eq!(site.bill(), ["file-key-1", "file-key-2"]);

    let report = site.driver.poll(&ours, &id).await.unwrap();
    assert!(report.is_up());
    assert_eq!(report.addresses, ["192.0.2.7"]);
    for listed in [parse(&site, &ours).await, parse(&site, &other).await] {
        assert_eq!(listed, [("file-key-1", "192.0.2.7"), ("file-key-2", "192.0.2.8")].map(pair));
    }

    site.driver.shutdown(&ours, &id, ShutdownKind::Poweroff).await.unwrap();
    assert_eq!(site.state(&ours, &id).await, Some(MachineState::Gone));
    assert_eq!(site.state(&other, &second).await, Some(MachineState::Active));
    let listed = site.driver.list(&ours).await.unwrap();
    assert_eq!(listed.len(), 2, "a machine that is off is still paid for");

    ours.host.template.vector_mut("PROVISION").push("DEPLOY_ID", id.as_str());
    assert_eq!(site.driver.deploy(&ours).await.unwrap(), id);
    assert_eq!(site.state(&ours, &id).await, Some(MachineState::Active));
    assert_eq!(site.bill().len(), 2);
    site.driver.shutdown(&ours, &id, ShutdownKind::Undeploy).await.unwrap();
    site.driver.reset(&ours, &id).await.unwrap();
    assert_eq!(site.state(&ours, &id).await, Some(MachineState::Active));
    site.driver.reboot(&ours, &id).await.unwrap();

    site.driver.cancel(&ours, &id).await.unwrap();
    assert_eq!(site.bill(), ["file-key-2"]);
    assert_eq!(site.state(&ours, &id).await, Some(MachineState::Gone));
    let again = site.driver.cancel(&ours, &id).await.unwrap_err();
    assert_eq!(again.kind, FailureKind::NotFound, "{again}");
    site.driver.shutdown(&other, &second, ShutdownKind::Terminate).await.unwrap();
    assert!(site.bill().is_empty());
    let resumed = site.driver.deploy(&ours).await.unwrap_err();
    assert_eq!(resumed.kind, FailureKind::Definite, "{resumed}");
    assert!(site.bill().is_empty(), "a resume never makes a machine");
}

fn pair((id, address): (&str, &str)) -> (String, String) {
    (id.to_owned(), address.to_owned())
}

/// Ids and addresses of the list, every mark checked.
async fn parse(site: &Site, call: &Call) -> Vec<(String, String)> {
    let machines = site.driver.list(call).await.unwrap();
    let read = machines.iter().map(|machine| {
        let text = |key| machine.attributes.text(key).unwrap();
        assert_eq!(text("NAME"), "provision-0a1b");
        assert_eq!(text("PROVISION_ID"), "11111111-2222-4333-8444-555555555555");
        assert_eq!(format!("file-{}", text("KEY")), machine.id.as_str());
        assert!(text("CREATED").parse::<u64>().is_ok());
        (machine.id.to_string(), text("GUEST_IP_ADDRESSES").to_owned())
    });
    read.collect()
}

#[tokio::test]
async fn the_example_makes_nothing_when_it_fails() {
    let site = Site::new(false);
    for ip in ["$(reboot)", "a\"b", "a b"] {
        let error = site.driver.deploy(&call("key-1", Some(ip))).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::Definite);
        assert_eq!(error.message, "parameter 'ip' is no address");
        assert_eq!(error.deploy_id, None);
    }
    let call = call("key-1", Some("192.0.2.7"));
    for bad in ["../calls", ".new-1", "x.off", "nothing"] {
        let id = DeployId::new(bad).unwrap();
        let error = site.driver.cancel(&call, &id).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::NotFound, "{bad}");
    }
    assert!(site.bill().is_empty());
    assert!(site.driver.list(&call).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_example_is_found_again_by_its_mark() {
    let site = Site::new(false);
    let call = call("key-1", Some("192.0.2.7"));
    let id = site.driver.deploy(&call).await.unwrap();
    let machines = site.driver.list(&call).await.unwrap();
    assert_eq!(driver::api::find_marked(machines, &call).unwrap(), Some(id));
}

#[tokio::test]
async fn the_example_takes_the_old_tools_arguments() {
    let site = Site::new(true);
    let call = call("key-1", Some("192.0.2.7"));
    let id = site.driver.deploy(&call).await.unwrap();
    let listed = site.driver.list(&call).await.unwrap();
    assert_eq!(listed[0].attributes.text("NAME"), Some("TODO"));
    site.driver.cancel(&call, &id).await.unwrap();
    assert!(site.bill().is_empty());
}

fn page() -> String {
    fs::read_to_string(workspace().join("docs/DRIVER_PROTOCOL.md")).unwrap()
}

/// The blocks of the page that are marked with that word.
fn blocks<'a>(page: &'a str, word: &str) -> Vec<&'a str> {
    let fence = format!("```{word}\n");
    page.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn what_the_page_shows_is_read_as_it_says() {
    let page = page();
    let [file] = blocks(&page, "xml deployment")[..] else { panic!("one deployment file") };
    let host = DeploymentFile::parse(file.as_bytes()).unwrap();
    assert_eq!(host.id, Some(HostId(17)));
    assert_eq!(host.parameter("plan"), Some("c3.small"));
    assert_eq!(host.to_xml().unwrap().trim_end(), file.trim_end(), "it is as we write it");

    let [polls] = blocks(&page, "text poll")[..] else { panic!("one block of polls") };
    let reports: Vec<_> = polls.lines().map(PollReport::parse).collect();
    let seen: Vec<_> = reports.iter().map(|report| (report.state, report.is_up())).collect();
    assert_eq!(
        seen,
        [
            (Some(MachineState::Active), true),
            (Some(MachineState::Paused), false),
            (Some(MachineState::Gone), false),
        ]
    );
    assert_eq!(reports[0].addresses, ["192.0.2.7", "10.0.0.7"]);

    let [list] = blocks(&page, "text list")[..] else { panic!("one list") };
    let machines = parse_list(list).unwrap();
    assert_eq!(machines.len(), 2);
    for (machine, key) in machines.iter().zip(["-0-1", "-1-1"]) {
        let text = |key| machine.attributes.text(key).unwrap();
        assert!(text("KEY").ends_with(key) && text("KEY").starts_with(text("PROVISION_ID")));
        assert!(text("NAME").starts_with("provision-"));
        assert!(text("CREATED").parse::<u64>().is_ok());
    }
}
