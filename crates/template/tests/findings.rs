//! What is found in wrong templates, and how it is shown.

mod common;

use std::path::Path;

use common::{Files, SMALL, findings, load_text, rendered};
use template::{FileReader, Options, load};

/// A template of one host with these further lines at the top.
fn with(lines: &str) -> String {
    format!("{lines}{SMALL}")
}

#[test]
fn all_mistakes_of_a_file_are_found_in_one_run() {
    let loaded = load_text(
        "nmae: x
version: 2
playbooks: p
defaults:
  provision:
    driver: ../evil
  conection: {}
cluster:
  name: a/b
hosts:
  - im_mad: kvm
    vm_mda: kvm
    provision:
      hostname: h
    connection:
      remote_port: 70000
      user: root
  - im_mad: kvm
    vm_mad: kvm
    provision:
      hostname: H
      nested: {a: 1}
datastores:
  - name: d
    \"bad key\": 1
  - name: d
    tm_mad: ssh
    ds_mad: fs
networks: {}
",
    );
    assert_eq!(
        findings(&loaded),
        [
            "e no-name 1:1",
            "w unknown-key 1:1",
            "e bad-version 2:10",
            "w unknown-key 3:1",
            "e bad-driver 6:13",
            "w unknown-key 7:3",
            "e bad-name 9:9",
            "e missing-key 11:5",
            "w unknown-key 12:5",
            "e bad-value 16:20",
            "w unknown-key 17:7",
            "e duplicate 21:17",
            "e too-deep 22:15",
            "e missing-key 24:5",
            "w missing-key 24:5",
            "e bad-attribute-name 25:5",
            "e duplicate 26:11",
            "e wrong-shape 29:11",
        ],
        "{}",
        rendered(&loaded)
    );
    let text = rendered(&loaded);
    for help in [
        "did you mean 'name'?",
        "did you mean 'playbook'?",
        "did you mean 'connection'?",
        "line 12 has 'vm_mda'; did you mean 'vm_mad'?",
        "there is no tm_mad in datastore 1",
    ] {
        assert!(text.contains(help), "{help} in {text}");
    }
}

#[test]
fn a_finding_shows_file_place_line_and_mark() {
    let loaded = load_text(&with("é: [1, \"<%= @nme %>\"]\n"));
    assert_eq!(
        rendered(&loaded),
        "t.yaml:1:1: warning[unknown-key]: unknown key 'é'; it is ignored\n   1 | é: [1, \"<%= @nme %>\"]\n     | ^\n"
    );
    let loaded = load_text(&SMALL.replace("reserved_cpu: 100", "a: 'x <%= @nme %>'"));
    assert_eq!(
        rendered(&loaded),
        "t.yaml:12:11: error[bad-reference]: @nme is not known; there are @name, @id, @clusters, @datastores, \
         @networks, @hosts, @images, @templates, @vntemplates, @flowtemplates\n  \
         12 |     a: 'x <%= @nme %>'\n     |           ^^^^^^^^^^^\n"
    );
}

#[test]
fn shown_lines_do_no_harm() {
    let long = format!("name: x\n{}: 1\u{1b}[31m\n", "k".repeat(5000));
    let text = rendered(&load_text(&long));
    assert!(
        !text.contains('\u{1b}') && text.lines().all(|line| line.chars().count() < 200),
        "{text}"
    );
    let text = rendered(&load_text("name: \"a\\u0007\\e\"\n\"\\e[2J\": 1\nhosts: \u{202e}[\n"));
    assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text}");
}

#[test]
fn references_to_what_is_not_there_are_found() {
    let host =
        |value: &str| load_text(&SMALL.replace("reserved_cpu: 100", &format!("a: \"{value}\"")));
    for (value, text) in [
        ("<%= @clusters[1]['ID'] %>", "there is only @clusters[0]"),
        ("<%= @datastores[0]['ID'] %>", "the template has no datastores"),
        ("<%= @hosts[1]['ID'] %>", "a host cannot refer to a host"),
        ("<%= @hosts[2]['ID'] %>", "there are @hosts[0] to @hosts[1]"),
        ("<%= @images[0]['ID'] %>", "the template has no images"),
        ("<%= `id` + '@x' %>", "no code is run"),
        ("<%= @name", "without its '%>'"),
    ] {
        let loaded = host(value);
        assert_eq!(findings(&loaded), ["e bad-reference 12:9"], "{value}");
        assert!(rendered(&loaded).contains(text), "{}", rendered(&loaded));
    }
    // Not even to one before it: all are registered before the first one is known.
    let text = SMALL.replace("plan: large", "plan: <%= @hosts[0]['ID'] %>");
    assert_eq!(findings(&load_text(&text)), ["e bad-reference 19:13"]);
    let text = format!(
        "{SMALL}datastores: [{{name: d, tm_mad: s, ds_mad: f, a: \"<%= @networks[0]['ID'] %>\"}}]\n\
         networks: [{{name: n, vn_mad: d}}]\n"
    );
    assert!(rendered(&load_text(&text)).contains("does not exist yet"));
    assert_eq!(findings(&load_text("name: <%= @name %>\n")), ["e bad-name 1:7"]);
    assert_eq!(findings(&load_text(&with("x-a: '<% b %>'\n"))), [""; 0]);
    assert_eq!(
        findings(&load_text(&SMALL.replace("reserved_cpu: 100", "a: '<% b %>'"))),
        ["w not-a-reference 12:8"]
    );
}

#[test]
fn what_6x_added_is_refused_where_it_matters() {
    let loaded = load_text(
        "name: x\ninputs: [{name: a}]\nprovider: aws\nimage: I\nansible: {playbook: [a]}\n\
         cluster: {name: '${provision}', datastores: [{name: a}]}\n\
         hosts:\n  - {im_mad: '${input.h}', vm_mad: kvm, count: 2, note: '${HOME} ${a.b}'}\n",
    );
    assert_eq!(
        findings(&loaded),
        [
            "e unknown-provider 3:11",
            "w ignored-key 4:1",
            "e bad-value 6:46",
            "e missing-key 8:5",
            "e missing-key 8:5",
            "e bad-reference 8:15",
            "w not-a-reference 8:66",
        ]
    );
    let loaded = load_text(&SMALL.replace("plan: small", "provider_name: aws"));
    assert_eq!(findings(&loaded), ["e unknown-provider 6:20"]);
    let provider =
        load_text("name: p\nprovider: aws\nplain: {}\nconnection: {token: x}\ninputs: []\n");
    assert_eq!(findings(&provider), ["e not-a-template 2:1"]);
}

#[test]
fn datastores_of_others_are_given_by_their_ids() {
    for (given, finding, text) in [
        ("[-1]", "e bad-value 2:24", "takes ids of datastores that are there, not '-1'"),
        ("[99999999999]", "e bad-value 2:24", "takes ids"),
        ("[0, default]", "e bad-value 2:27", "not 'default'"),
        ("[\"<%= @datastores[0]['ID'] %>\"]", "e bad-reference 2:25", "no datastores"),
        ("['<%= @id %>']", "e bad-value 2:24", "takes ids"),
        (
            "['${updates.first_host}']",
            "e bad-reference 2:24",
            "known only when the hosts are there",
        ),
        ("{a: 1}", "e bad-value 2:23", "takes ids"),
        ("[1, {name: a}]", "e bad-value 2:27", "are in the cluster anyway"),
    ] {
        let loaded = load_text(&format!("name: x\ncluster: {{datastores: {given}}}\n"));
        assert_eq!(findings(&loaded), [finding], "{given}");
        assert!(rendered(&loaded).contains(text), "{}", rendered(&loaded));
    }
}

#[test]
fn shapes_names_and_values_are_checked() {
    for (lines, finding) in [
        ("hosts: kvm\nname: x\n", "e wrong-shape 1:8"),
        ("hosts: [kvm]\nname: x\n", "e wrong-shape 1:9"),
        ("name: [x]\n", "e wrong-shape 1:7"),
        ("name: x\ncluster: y\n", "e wrong-shape 2:10"),
        ("name: x\ndefaults: [a]\n", "e wrong-shape 2:11"),
        ("name: x\nplaybook: {a: b}\n", "e wrong-shape 2:11"),
        ("name: x\nplaybook: ''\n", "e bad-playbook 2:11"),
        ("name: x\nplaybook: [default, aws]\n", "w bad-playbook 2:21"),
        ("name: x\nansible: {playbook: ceph_hci/site}\n", "w bad-playbook 2:21"),
        ("name: ''\n", "e bad-name 1:7"),
        ("name: a$b\n", "e bad-name 1:7"),
        ("name: \"edge \u{1F680}\"\n", "e unstorable 1:7"),
        ("name: x\nnetworks:\n  - {name: n, vn_mad: d, ar: 3}\n", "e wrong-shape 3:30"),
        ("name: x\nnetworks:\n  - {name: n, vn_mad: d, ar: [3, {ip: 1}]}\n", "e wrong-shape 3:31"),
        ("name: x\nnetworks:\n  - {name: n, vn_mad: d, a: {b: {c: d}}}\n", "e too-deep 3:33"),
        ("name: x\nnetworks:\n  - {name: n, vn_mad: d, a: 1, A: 2}\n", "e duplicate-key 3:32"),
        ("name: x\nnetworks:\n  - {vn_mad: d}\n", "e missing-key 3:5"),
        ("name: x\nnetworks:\n  - {name: n, vn_mad: d, a: 012}\n", "w changed-value 3:29"),
        ("name: x\nnetworks:\n  - {name: n, vn_mad: d, a: \"\\x01\"}\n", "e unstorable 3:29"),
        ("name: x\nnetworks:\n  - {name: n, vn_mad: d, a: \"\u{1F600}\"}\n", "e unstorable 3:29"),
        ("name: x\ncluster: {description: 'a ]]> b'}\n", "e unstorable 2:24"),
        ("name: x\nflowtemplates:\n  - {name: f, roles: [{name: ']]>'}]}\n", "e unstorable 3:30"),
        ("name: x\nnetworks:\n  - {name: n, vn_mad: d, a: !b c}\n", "w tag 3:29"),
        ("name: x\ncluster: {meta: {}, pm_mad: p}\n", "w ignored-key 2:11"),
    ] {
        let loaded = load_text(lines);
        assert_eq!(findings(&loaded).first().map(String::as_str), Some(finding), "{lines}");
    }
    let long = load_text(&format!("name: {}\n", "é".repeat(65)));
    assert!(rendered(&long).contains("at most 128 bytes"), "{}", rendered(&long));
}

#[test]
fn hosts_are_checked() {
    for (from, to, finding) in [
        ("hostname: h2", "hostname: h1", "e duplicate 18:17"),
        ("hostname: h2", "hostname: 'a b'", "e bad-value 18:17"),
        ("hostname: h2", "hostnam: h2", "e missing-key 15:5"),
        ("hostname: h2", "hostname: h2\n      deploy_id: 7", "w ignored-key 19:7"),
        ("hostname: h2", "hostname: h2\n      host_key: A", "w ignored-key 19:7"),
        ("driver: packet", "plan2: x", "e missing-key 10:5"),
        ("plan: small", "ip: 10.0.0.1", "e duplicate 6:9"),
        ("remote_port: 2222", "remote_port: 0", "e bad-value 21:20"),
        (
            "remote_port: 2222",
            "private_key: |\n        two lines\n        and no key",
            "e bad-value 22:9",
        ),
        ("reserved_cpu: 100", "name: x", "w ignored-key 12:5"),
        ("reserved_cpu: 100", "conection: {a: b}", "w unknown-key 12:5"),
        ("reserved_cpu: 100", "ansible_playbook: p", "w ignored-key 12:5"),
    ] {
        assert!(SMALL.contains(from));
        let loaded = load_text(&SMALL.replacen(from, to, 1));
        assert_eq!(findings(&loaded).first().map(String::as_str), Some(finding), "{to}");
    }
}

#[test]
fn files_that_are_no_templates_are_refused() {
    for (content, finding) in [
        (&b""[..], "e empty 1:1"),
        (b"# only a comment\n", "e empty 1:1"),
        (b"---\n...\n", "e empty 1:1"),
        (b"just words\n", "e wrong-shape 1:1"),
        (b"- a\n", "e wrong-shape 1:1"),
        (b"name: x\n\x00", "e not-text 2:1"),
        (b"name: \xFF", "e not-text 1:7"),
        (b"\xFF\xFEn\0", "e not-text 0:0"),
    ] {
        let loaded = Files::default().with("t.yaml", content).load("t.yaml");
        assert_eq!(findings(&loaded), [finding], "{content:?}");
        assert!(loaded.spec.is_none());
    }
    let loaded = Files::default().load("none.yaml");
    assert_eq!(
        rendered(&loaded),
        "none.yaml: error[unreadable]: cannot read the template: there is no such file\n"
    );
}

#[test]
fn a_file_that_is_too_large_is_not_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("big.yaml");
    // Sparse: it has this size without taking room.
    std::fs::File::create(&path).unwrap().set_len(200 << 20).unwrap();
    let loaded = load(&path, &FileReader, &Options::default());
    assert_eq!(findings(&loaded), ["e too-large 0:0"]);
    let loaded = load(folder.path(), &FileReader, &Options::default());
    assert!(rendered(&loaded).contains("it is a folder"), "{}", rendered(&loaded));
    let loaded = load(Path::new("/nonexistent/x"), &FileReader, &Options::default());
    assert_eq!(findings(&loaded), ["e unreadable 0:0"]);
}

#[test]
fn many_hosts_and_large_defaults_do_not_multiply_without_end() {
    let hosts = "- {im_mad: kvm, vm_mad: kvm, provision: {hostname: h}}\n".repeat(5000);
    let userdata = "x".repeat(1 << 20);
    let text =
        format!("name: x\ndefaults: {{provision: {{driver: d, u: {userdata}}}}}\nhosts:\n{hosts}");
    assert_eq!(findings(&load_text(&text)), ["e too-large 4:3"]);
}

#[test]
fn the_number_of_findings_is_bounded_and_errors_come_first() {
    let warnings: String = (0..2000).map(|i| format!("k{i}: 1\n")).collect();
    let loaded = load_text(&format!("{warnings}name: a/b\n"));
    assert_eq!(loaded.diagnostics.len(), 1000);
    assert!(loaded.has_errors());
    assert!(
        rendered(&loaded)
            .ends_with("t.yaml: warning[too-many]: 1002 further findings are not listed\n")
    );
}

#[test]
fn references_to_what_only_opennebula_knows_are_told() {
    let objects = "networks:\n  - {name: n, vn_mad: bridge, dns: 8.8.8.8, empty: '', ar: [{ip: 10.0.0.1}]}\n\
                   images:\n  - {name: i, ds_id: 1, path: /i}\n\
                   marketplaceapps:\n  - {name: a, appid: 1, dsid: 1}\n";
    for path in [
        "hosts[0]['ID']",
        "hosts[1]['NAME']",
        "hosts[0]['RESERVED_CPU']",
        "hosts[0]['TEMPLATE/PROVISION/PLAN']",
        "hosts[0]['PLAN']",
        "hosts[0]['PACKET_TOKEN']",
        "hosts[0]['TEMPLATE/PM_MAD']",
        "hosts[0]['TEMPLATE/PROVISION_CONNECTION/REMOTE_USER']",
        "networks[0]['DNS']",
        "networks[0]['TEMPLATE/AR/IP']",
        "networks[0]['PROVISION_ID']",
        "clusters[0]['TEMPLATE/PROVISION/NAME']",
        "images[0]['TEMPLATE/PATH']",
        "images[1]['TEMPLATE/FROM_APP']",
        "templates[0]['MEMORY']",
    ] {
        let text = format!("{SMALL}{objects}templates: [{{name: t, note: \"<%= @{path} %>\"}}]\n");
        assert_eq!(findings(&load_text(&text)), [""; 0], "{path}");
    }
    for path in [
        "hosts[0]['TEMPLATE/PROVISION/DEPLOY_ID']",
        "hosts[0]['IM_MAD']",
        "hosts[0]['TEMPLATE/ID']",
        "hosts[1]['RESERVED_CPU']",
        "networks[0]['BRIDGE']",
        "networks[0]['EMPTY']",
        "networks[0]['AR']",
        "networks[0]['PROVISION/NAME']",
        "networks[0]['CLUSTERS/ID']",
        "images[0]['SIZE']",
    ] {
        let text = format!("{SMALL}{objects}templates: [{{name: t, note: \"<%= @{path} %>\"}}]\n");
        let loaded = load_text(&text);
        assert_eq!(findings(&loaded), ["w bad-reference 28:30"], "{path}");
        assert!(rendered(&loaded).contains("is not in the template"), "{}", rendered(&loaded));
    }
}
