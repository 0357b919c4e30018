//! Hot paths, each by itself: `hot-paths PATH run` does its work, `hot-paths PATH idle` only what comes
//! before it, so that the difference of the two is what the path costs.
//!
//! `scripts/instructions` counts both with callgrind and compares the difference with what is kept in
//! `counts.txt`. Instructions are counted, and not seconds: they are the same on a busy computer. Work
//! that grows faster than its input, or is done twice, shows as a larger count.
//!
//! | path | what is done |
//! | --- | --- |
//! | `template` | a template of 1,000 hosts, from text to what is to be made |
//! | `poll` | 1,000 poll answers of a driver |
//! | `pool` | a pool of 1,000 hosts as a front-end answers it, from bytes to objects |
//! | `planner` | 1,000 hosts, each asked for its next step in each of its states |
//! | `fold` | the journal of a create of 1,000 hosts, from its text to the record |

// What was done is printed, so that no compiler leaves it out.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use driver::PollReport;
use engine::planner::{Goal, Next, next};
use journal::{
    CreateBegun, CreateOptions, Event, Fact, IntentId, Outcome, ProvisionRecord, Step, StoredSpec,
    Subject,
};
use model::{DeployId, HostKey, ProvisionId, Secret};
use opennebula::xmlrpc::{MethodResponse, Param, write_response};
use opennebula::{Client, ClientSettings, Credentials, Transport, TransportError};

/// Hosts of each path.
const HOSTS: u32 = 1000;

/// What a path comes to: a number that tells whether it did its work.
type Done = Result<usize, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (path, work) = match arguments.as_slice() {
        [path, "run"] => (*path, true),
        [path, "idle"] => (*path, false),
        _ => ("", false),
    };
    let done = match path {
        "template" => template(work),
        "poll" => poll(work),
        "pool" => pool(work),
        "planner" => planner(work),
        "fold" => fold(work),
        _ => Err("usage: hot-paths template|poll|pool|planner|fold run|idle".into()),
    };
    match done {
        Ok(done) => {
            println!("{path}: {done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ERROR: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Text(String);

impl template::SourceReader for Text {
    fn read(&self, _: &Path, _: u64) -> std::io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }
}

fn template(work: bool) -> Done {
    let mut text = "---\nname: edge\nplaybook: default\ncluster:\n  name: edge\ndefaults:\n  provision:\n    \
                    driver: packet\n    packet_token: secret\n    packet_project: p\n    metro: sv\n\
                    hosts:\n"
        .to_owned();
    for n in 0..HOSTS {
        write!(
            text,
            "- reserved_cpu: '{n}'\n  im_mad: kvm\n  vm_mad: kvm\n  provision:\n    hostname: node-{n}\n    \
             plan: c3.small.x86\n    os: ubuntu_22_04\n  configuration:\n    iptables_masquerade_enabled: \
             false\n"
        )?;
    }
    let text = Text(text);
    if !work {
        return Ok(black_box(&text).0.len().min(1));
    }
    let loaded = template::load(Path::new("t.yaml"), &text, &template::Options::default());
    let spec = loaded.spec.ok_or("the template has mistakes")?;
    Ok(spec.hosts.len())
}

fn poll(work: bool) -> Done {
    let answers: Vec<String> = (0..HOSTS)
        .map(|n| {
            format!(
                "STATE=a GUEST_IP_ADDRESSES=\"198.51.100.{},2604:1380::{n:x},10.80.0.1\" CPU=200 \
                 MEMORY=33554432 NETRX={n} NETTX=70 PLAN=c3.small.x86 HOSTNAME=node-{n}\n",
                n % 250
            )
        })
        .collect();
    if !work {
        return Ok(black_box(&answers).len());
    }
    let reports = answers.iter().map(|answer| PollReport::parse(answer.as_bytes()));
    Ok(reports.filter(|report| report.address().is_some()).count())
}

/// A front-end that always gives the same answer.
struct Canned(Vec<u8>);

#[async_trait]
impl Transport for Canned {
    fn endpoint(&self) -> &str {
        "canned"
    }

    async fn exchange(&self, _: &[u8], _: Duration) -> Result<Vec<u8>, TransportError> {
        Ok(self.0.clone())
    }
}

fn pool(work: bool) -> Done {
    let mut xml = "<HOST_POOL>".to_owned();
    for n in 0..HOSTS {
        write!(
            xml,
            "<HOST><ID>{n}</ID><NAME>10.0.{}.{}</NAME><STATE>2</STATE><PREV_STATE>2</PREV_STATE>\
             <IM_MAD><![CDATA[kvm]]></IM_MAD><VM_MAD><![CDATA[kvm]]></VM_MAD><CLUSTER_ID>100</CLUSTER_ID>\
             <CLUSTER>edge</CLUSTER><HOST_SHARE><MEM_USAGE>0</MEM_USAGE><CPU_USAGE>0</CPU_USAGE>\
             <TOTAL_MEM>16384</TOTAL_MEM><RUNNING_VMS>0</RUNNING_VMS><DATASTORES><DISK_USAGE>0\
             </DISK_USAGE></DATASTORES></HOST_SHARE><VMS/><TEMPLATE><PM_MAD><![CDATA[packet]]></PM_MAD>\
             <PROVISION><HOSTNAME><![CDATA[node-{n}]]></HOSTNAME><DEPLOY_ID><![CDATA[m-{n}]]></DEPLOY_ID>\
             <PROVISION_ID><![CDATA[11111111-2222-3333-4444-555555555555]]></PROVISION_ID></PROVISION>\
             <RESERVED_CPU><![CDATA[]]></RESERVED_CPU><VERSION><![CDATA[7.4.0]]></VERSION></TEMPLATE>\
             <MONITORING><TIMESTAMP>1</TIMESTAMP><CAPACITY><FREE_CPU>100</FREE_CPU></CAPACITY>\
             </MONITORING></HOST>",
            n / 250,
            n % 250
        )?;
    }
    xml.push_str("</HOST_POOL>");
    let fields = vec![Param::Bool(true), Param::Str(xml), Param::Int(0)];
    let answer = write_response(&MethodResponse::Success(Param::Array(fields)));
    let credentials = Credentials::parse(&Secret::new("oneadmin:password"))?;
    let client = Client::new(Arc::new(Canned(answer)), credentials, ClientSettings::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if !work {
        return Ok(usize::from(black_box(&client).user() == "oneadmin"));
    }
    Ok(runtime.block_on(client.hosts().pool())?.len())
}

/// The events of a create, host by host as they come, beginning with the template's.
fn events() -> Result<Vec<Event>, Box<dyn Error>> {
    let hosts: Vec<_> =
        (0..HOSTS).map(|n| serde_json::json!({"hostname": format!("node-{n}")})).collect();
    let mut events = vec![Event::CreateBegun(Box::new(CreateBegun {
        name: "edge".to_owned(),
        endpoint: "http://localhost:2633/RPC2".to_owned(),
        template: "/t.yaml".into(),
        digest: String::new(),
        options: CreateOptions::default(),
        spec: StoredSpec::of(&serde_json::json!({ "hosts": hosts }))?,
        drivers: vec!["packet".to_owned(); HOSTS as usize],
        datastores: 0,
        networks: 0,
        virtuals: std::collections::BTreeMap::new(),
    }))];
    let mut id = 0;
    for (step, n) in (0..4).flat_map(|step| (0..HOSTS).map(move |n| (step, n))) {
        let host = HostKey(n);
        let address = format!("10.0.{}.{}", n / 250, n % 250);
        let machine = DeployId::new(&format!("m-{n}")).ok_or("no deploy id")?;
        let (step, fact) = match step {
            0 => (Step::Create, Fact::Object(i32::try_from(n)?)),
            1 => (Step::Deploy, Fact::Machine(machine)),
            2 => (Step::Announce, Fact::Done),
            _ => {
                events.push(Event::Addressed { host, address: address.clone() });
                (Step::Enlist, Fact::Enlisted { name: address, enabled: true })
            }
        };
        id += 1;
        let (intent, subject) = (IntentId(id), Subject::Host(host));
        events.push(Event::Intent { id: intent, subject, step, key: None });
        events.push(Event::Outcome { id: intent, outcome: Outcome::Done(fact) });
    }
    Ok(events)
}

fn empty() -> ProvisionRecord {
    ProvisionRecord::new(ProvisionId(uuid::Uuid::from_u128(7)))
}

fn planner(work: bool) -> Done {
    // The record after each phase of the create, with every host at the same point.
    let mut record = empty();
    let mut records = Vec::new();
    for (n, event) in events()?.iter().enumerate() {
        record.apply(1, event);
        if n % HOSTS as usize == 0 {
            records.push(record.clone());
        }
    }
    if !work {
        return Ok(black_box(&records).len());
    }
    let hosts = records.iter().flat_map(|record| record.hosts.values());
    let goals = [Goal::Ready { enable: true, stages: 1 }, Goal::Registered, Goal::Absent];
    let steps = hosts.flat_map(|host| goals.map(|goal| next(host, goal)));
    Ok(steps.filter(|step| *step != Next::Nothing).count())
}

fn fold(work: bool) -> Done {
    let lines: Vec<String> =
        events()?.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    if !work {
        return Ok(black_box(&lines).len());
    }
    let mut record = empty();
    for line in &lines {
        record.apply(1, &serde_json::from_str(line)?);
    }
    Ok(record.census().values().sum())
}
