//! Every template of OpenNebula's own manuals and packages: it loads, or it gets a message that a
//! person agrees with. The outcome of each is kept in a snapshot: file name, and our own first
//! error.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use model::DatastoreId;

use template::{
    FileReader, Loaded, Options, Provider, ProviderValue, Providers, SourceReader, load,
};

#[allow(clippy::unwrap_used, reason = "a part of the test below")]
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            found.push(path);
        }
    }
}

#[test]
fn every_template_loads_or_is_refused_for_a_good_reason() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !corpus.is_dir() {
        println!("skipped: no ../shared/corpus beside the workspace");
        return;
    }
    let corpus = corpus.canonicalize().unwrap();
    let mut paths = Vec::new();
    files(&corpus, &mut paths);
    paths.sort();
    let mut table = String::new();
    for path in paths {
        let loaded = load(&path, &FileReader, &Options::default());
        let errors: Vec<_> = loaded.diagnostics.iter().filter(|d| d.is_error()).collect();
        let short =
            |path: &Path| path.strip_prefix(&corpus).unwrap_or(path).to_string_lossy().into_owned();
        let outcome = match errors.first() {
            Some(first) => {
                let place = match first.span.line {
                    0 => String::new(),
                    line => format!("{line}:{}: ", first.span.column),
                };
                let file = loaded.sources.path(first.span.file);
                let file = if file == path { String::new() } else { format!("{}:", short(file)) };
                let folder = format!("{}/", corpus.display());
                let message = first.message.replace(&folder, "");
                let more = match errors.len() {
                    1 => String::new(),
                    count => format!(" (and {} more)", count - 1),
                };
                format!("refused: {file}{place}{message}{more}")
            }
            None => {
                let spec = loaded.spec.unwrap();
                format!(
                    "loads: {} hosts, {} datastores, {} networks, {} warnings",
                    spec.hosts.len(),
                    spec.datastores.len(),
                    spec.networks.len(),
                    loaded.diagnostics.len()
                )
            }
        };
        writeln!(table, "{}\n    {outcome}", short(&path)).unwrap();
    }
    insta::assert_snapshot!(table);
}

/// The provisions of 6.10, whose parts are in other files.
const PROVISIONS: [&str; 5] =
    ["aws.yml", "aws-hci.yml", "equinix.yml", "onprem.yml", "onprem-hci.yml"];

/// What an operator is asked for by these.
const ANSWERS: [(&str, &str); 6] = [
    ("hosts_names", "h1.example.org;h2.example.org"),
    ("ceph_full_hosts_names", "h1.example.org;h2.example.org"),
    ("one_hypervisor", "lxc"),
    ("first_public_ip", "192.0.2.10"),
    ("public_phydev", "eth0"),
    ("private_phydev", "eth1"),
];

#[allow(clippy::unwrap_used, reason = "a part of the tests below")]
fn answered(path: &Path, reader: &dyn SourceReader) -> Loaded {
    // Those that an operator made for these provisions.
    let provider = |name: &str| Provider {
        id: 7,
        name: name.to_owned(),
        driver: "dummy".to_owned(),
        description: String::new(),
        values: vec![("TOKEN".to_owned(), ProviderValue::Secret("t-1".into()))],
    };
    let providers = Providers::Known(["aws", "equinix", "onprem"].map(provider).to_vec());
    let asked = load(path, reader, &Options::default());
    let known = |name: &str| asked.inputs.iter().any(|input| input.name == name);
    let inputs = ANSWERS.iter().filter(|(name, _)| known(name));
    let inputs = inputs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(path, reader, &Options { inputs: inputs.collect(), providers, ..Options::default() })
}

/// Those of them that build Ceph clusters.
const OF_CEPH: [&str; 2] = ["aws-hci.yml", "onprem-hci.yml"];

/// Reads the files as an operator would change them for a cluster without Ceph.
struct Adapted;

impl SourceReader for Adapted {
    fn read(&self, path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
        let text = String::from_utf8_lossy(&FileReader.read(path, limit)?).into_owned();
        let mut out = String::new();
        for line in text.lines() {
            let key = line.trim_start().split(':').next().unwrap_or_default();
            match key {
                "ceph_full_count" => out.push_str("      count: '${input.number_ceph_full_hosts}'"),
                "ceph_osd_count" | "ceph_client_count" => {}
                _ if line.contains("${updates.ceph") => {}
                _ => out.push_str(line),
            }
            out.push('\n');
        }
        Ok(out.into_bytes())
    }
}

#[test]
fn what_keeps_the_provisions_of_6_10_from_loading_is_not_there_yet() {
    let provisions = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/corpus/opennebula-6.10/metal/provisions");
    if !provisions.is_dir() {
        println!("skipped: no ../shared/corpus beside the workspace");
        return;
    }
    let mut hosts = Vec::new();
    for name in PROVISIONS {
        let loaded = answered(&provisions.join(name), &FileReader);
        let errors = loaded.diagnostics.iter().filter(|d| d.is_error());
        let not_yet = |code: &str| code == "not-supported-yet" && OF_CEPH.contains(&name);
        let others: Vec<_> = errors.filter(|d| !not_yet(d.code)).collect();
        assert!(others.is_empty(), "{name}: {others:?}");

        let loaded = answered(&provisions.join(name), &Adapted);
        let told: String =
            loaded.diagnostics.iter().map(|d| template::render(d, &loaded.sources)).collect();
        assert!(!loaded.has_errors(), "{name}: {told}");
        let spec = loaded.spec.unwrap();
        assert_eq!(spec.cluster_datastores, [1, 2].map(DatastoreId), "{name}");
        hosts.extend(spec.hosts.into_iter().map(|host| (name, host.hostname, host.vm_mad)));
    }
    let hosts: Vec<_> =
        hosts.iter().map(|(file, name, mad)| format!("{file} {name} {mad}")).collect();
    assert_eq!(
        hosts,
        [
            "aws.yml edge-host0 lxc",
            "aws-hci.yml edge-host0 lxc",
            "aws-hci.yml edge-host1 lxc",
            "aws-hci.yml edge-host2 lxc",
            "equinix.yml edge-host0 lxc",
            "onprem.yml h1.example.org lxc",
            "onprem.yml h2.example.org lxc",
            "onprem-hci.yml h1.example.org lxc",
            "onprem-hci.yml h2.example.org lxc",
        ]
    );
}
