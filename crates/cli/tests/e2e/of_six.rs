//! Templates as OpenNebula 6.10 has them: datastores of others in the cluster, and values that are known
//! only when the hosts are there.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::support::{Home, Output, normalised, skip};

const EDGE: &str = "\
name: edge
inputs: [{name: names, type: array}]
cluster: {name: '${provision}', datastores: [1, 2]}
datastores:
  - {name: '${provision}-image', type: image_ds, ds_mad: fs, tm_mad: ssh}
  - {name: '${provision}-system', type: system_ds, tm_mad: ssh, replica_host: '${updates.first_host}'}
vntemplates:
  - name: '${provision}-private'
    vn_mad: vxlan
    phydev: '${updates.default_ipv4_nic}'
    automatic_vlan_id: 'yes'
    cluster_ids: '${cluster.0.id}'
hosts:
  - {im_mad: kvm, vm_mad: kvm, provision: {driver: dummy, hostname: '${input.names}'}}
";

/// Which host gets which address is not the same each time.
fn without_addresses(text: &str) -> String {
    let mut parts = text.split("198.18.0.");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, rest| {
        text + "<address>" + rest.trim_start_matches(|c: char| c.is_ascii_digit())
    })
}

#[test]
fn a_provision_of_6_10_lives_its_life() {
    let home = Home::new();
    home.write("edge.yaml", EDGE);
    home.write("less.yaml", EDGE.replace("datastores: [1, 2]", "datastores: [2]"));
    let with = |command: &[&str], names: &str| {
        home.tool(&["--sandbox"])
            .args(command)
            .args(&["--user-inputs", &format!("names={names}")])
            .run()
    };
    let created = with(&["create", "edge.yaml"], "a;b").exits(0);
    let id = created.id();
    let warning = created.stderr.lines().find(|line| line.contains("has no PHYDEV"));
    let warning = normalised(warning.unwrap_or_default(), home.root());
    let mut shown = format!("== create\n{warning}\n\n");
    let mut show = |title: &str, output: &Output| {
        let text = format!("{}{}", output.stdout, output.stderr);
        let _ = write!(shown, "== {title}\n{}\n", normalised(&text, home.root()));
    };
    show("nothing to do", &with(&["plan", "edge.yaml", &id], "a;b").exits(0));
    show("a goes, and datastore 1", &with(&["plan", "less.yaml", &id], "b").exits(2));
    with(&["update", &id, "less.yaml", "--yes"], "b").exits(0).says("Done: 1 host enabled.");
    show("afterwards", &with(&["plan", "less.yaml", &id], "b").exits(0));
    show("another first host", &with(&["plan", "less.yaml", &id], "c;b").exits(2));
    insta::assert_snapshot!(without_addresses(&shown));

    let exported = home.sandbox(&["export", &id]).exits(0).stdout;
    for text in ["  datastores:\n    - 2\n", "replica_host: \"<%= @updates['first_host'] %>\""] {
        assert!(exported.contains(text), "{text} is not in\n{exported}");
    }
    home.write("exported.yaml", &exported);
    home.sandbox(&["plan", "exported.yaml", &id]).exits(0);
    let journal = home.sandbox(&["journal", "show", &id]).exits(0).stdout;
    assert!(journal.contains("datastore 1: refresh done"), "{journal}");
    let deleted = home.sandbox(&["delete", &id, "--yes", "-D"]).exits(0);
    deleted.says("Taking datastore 2 (files) out of OpenNebula cluster 100");
    assert!(home.bill().is_empty());
}

#[test]
fn a_datastore_that_is_not_there_is_told_before_anything_is_bought() {
    let home = Home::new();
    home.write("edge.yaml", EDGE.replace("[1, 2]", "[1, 44]"));
    for command in ["plan", "create"] {
        let refused = home.sandbox(&[command, "edge.yaml", "--user-inputs", "names=a"]);
        let refused = refused.one_error();
        assert!(refused.contains("edge.yaml:3:1: there is no datastore 44"), "{refused}");
    }
    assert!(home.machines_ever().is_empty());
}

fn provisions() -> Option<PathBuf> {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = shared.join("corpus/opennebula-6.10/metal/provisions");
    folder.is_dir().then_some(folder)
}

#[test]
fn the_provisions_of_6_10_itself_are_accepted() {
    let Some(folder) = provisions() else {
        return skip("there is no corpus beside the workspace");
    };
    let home = Home::new();
    for name in ["aws", "equinix", "onprem"] {
        home.write("provider.yaml", format!("name: {name}\ndriver: dummy\n"));
        home.sandbox(&["provider", "create", "provider.yaml"]).exits(0);
    }
    let inputs = |names: &str| {
        let given = "one_hypervisor=kvm,first_public_ip=192.0.2.10,public_phydev=eth0";
        format!("hosts_names={names},{given},private_phydev=eth1")
    };
    let with = |command: &[&str], file: &str, more: &[&str]| {
        home.tool(&["--sandbox"]).args(command).args(&[folder.join(file)]).args(more).run()
    };
    with(&["validate"], "aws.yml", &[]).exits(0);
    with(&["validate"], "equinix.yml", &[]).exits(0);
    let (both, second) = (inputs("h1;h2"), inputs("h2"));
    let (both, second) = (["--user-inputs", &both], ["--user-inputs", &second]);
    with(&["validate"], "onprem.yml", &both).exits(0);
    let id = with(&["create"], "onprem.yml", &both).exits(0).says("all 2 hosts enabled").id();
    assert_eq!(home.bill().len(), 2);
    with(&["plan"], "onprem.yml", &[both.as_slice(), &[&id]].concat()).exits(0);
    let plan = with(&["plan"], "onprem.yml", &[second.as_slice(), &[&id]].concat()).exits(2);
    let shown = without_addresses(&plan.stdout);
    assert!(shown.contains("REPLICA_HOST: \"<address>\" -> \"<address>\""), "{shown}");
    with(&["update", &id], "onprem.yml", &[second.as_slice(), &["--yes"]].concat()).exits(0);
    with(&["plan"], "onprem.yml", &[second.as_slice(), &[&id]].concat()).exits(0);
    home.sandbox(&["delete", &id, "--yes"]).exits(0).says("No machine exists.");
}
