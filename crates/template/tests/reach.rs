//! What is said about Ansible, about connections, and about a vCenter.

mod common;

use common::{SMALL, findings, load_text, rendered, spec};
use model::Value;
use template::{AnsibleVersions, FileReader, Options, SourceReader, Spec, load};

#[test]
fn playbooks_are_names_or_paths() {
    for (entry, playbook) in [
        ("default", "default"),
        ("static_vxlan", "static_vxlan"),
        ("site.yml", "/here/site.yml"),
        ("site.yaml", "/here/site.yaml"),
        ("plays/site", "/here/plays/site"),
        ("../site", "/here/../site"),
        ("/etc/site", "/etc/site"),
        ("~/site.yml", "~/site.yml"),
        ("'<%= @name %>.yml'", "/here/edge.yml"),
    ] {
        for line in [format!("playbook: {entry}"), format!("ansible: {{playbook: [{entry}]}}")] {
            assert_eq!(spec(&format!("{line}\n{SMALL}")).playbooks, [playbook], "{line}");
        }
    }
}

#[test]
fn a_path_is_absolute_wherever_it_is_read() {
    assert!(FileReader.absolute("x/./y".as_ref()).ends_with("x/y"));
    assert!(FileReader.absolute("x".as_ref()).is_absolute());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.yaml");
    std::fs::write(&path, format!("playbook: p.yml\n{SMALL}")).unwrap();
    let spec = load(&path, &FileReader, &Options::default()).spec.unwrap();
    assert_eq!(spec.playbooks, [folder.path().join("p.yml").to_string_lossy()]);
}

#[test]
fn versions_of_ansible_are_kept() {
    let versions = |min: Option<&str>, max: Option<&str>| AnsibleVersions {
        ver_min: min.map(str::to_owned),
        ver_max: max.map(str::to_owned),
    };
    for (group, expected) in [
        ("{ver_min: 2.10, ver_max: '2.17.0'}", versions(Some("2.10"), Some("2.17.0"))),
        ("{ver_min: 9}", versions(Some("9"), None)),
        ("{ver_max: ~}", versions(None, None)),
        ("{}", versions(None, None)),
    ] {
        let spec = spec(&format!("ansible: {group}\n{SMALL}"));
        assert_eq!(spec.ansible_versions, expected, "{group}");
        assert_eq!(spec.ansible_versions.is_empty(), expected == AnsibleVersions::default());
        let json = serde_json::to_string(&spec.ansible_versions).unwrap();
        assert_eq!(serde_json::from_str::<AnsibleVersions>(&json).unwrap(), expected);
    }
    for version in ["x", "''", "2.", ".8", "2..8", "2.8a", "'>=2.8'", "-1", "'2.8 2.9'"] {
        let loaded = load_text(&format!("ansible: {{ver_min: {version}}}\n{SMALL}"));
        assert_eq!(findings(&loaded), ["e bad-value 1:20"], "{version}");
    }
    let loaded = load_text(&format!("ansible: {{ver_max: [2]}}\n{SMALL}"));
    assert_eq!(findings(&loaded), ["e wrong-shape 1:20"]);
    // A record of before has none.
    let before = serde_json::to_string(&spec(SMALL)).unwrap();
    assert!(serde_json::from_str::<Spec>(&before).unwrap().ansible_versions.is_empty());
}

#[test]
fn jump_hosts_are_checked() {
    let at = |value: &str| SMALL.replace("remote_port: 2222", &format!("jump_hosts: {value}"));
    for (value, kept) in [
        ("gate", "gate"),
        ("'op@gate:2222, [fd00::1]:22'", "op@gate:2222, [fd00::1]:22"),
        ("[a, b]", "a,b"),
        ("\"<%= @clusters[0]['GATE'] %>\"", "<%= @clusters[0]['GATE'] %>"),
    ] {
        let spec = spec(&at(value));
        assert_eq!(spec.hosts[1].connection.given.text("JUMP_HOSTS"), Some(kept), "{value}");
    }
    for value in ["-oProxyCommand=x", "a b", "'a,,b'", "'gate:70000'", "ssh://gate"] {
        let loaded = load_text(&at(value));
        assert_eq!(findings(&loaded), ["e bad-value 21:19"], "{value}");
        assert!(rendered(&loaded).contains("takes [USER@]HOST[:PORT]"), "{}", rendered(&loaded));
    }
    assert_eq!(findings(&load_text(&at("''"))), ["e bad-value 21:19"]);
    assert_eq!(findings(&load_text(&at("[a, 'b;c']"))), ["e bad-value 21:23"]);
    let loaded = load_text(&SMALL.replace("remote_port: 2222", "jump_host: gate"));
    assert!(rendered(&loaded).contains("did you mean 'jump_hosts'?"), "{}", rendered(&loaded));
}

#[test]
fn the_word_agent_is_no_secret_and_a_key_is_one() {
    let at = |value: &str| SMALL.replace("remote_port: 2222", &format!("private_key: {value}"));
    let loaded = load_text(&at("agent"));
    assert_eq!(findings(&loaded), [""; 0]);
    assert!(loaded.dump().unwrap().contains("private_key: agent\n"));
    let spec = loaded.spec.unwrap();
    let given = &spec.hosts[1].connection.given;
    assert_eq!(given.get("PRIVATE_KEY"), Some(&Value::Text("agent".into())));
    assert!(!serde_json::to_string(given).unwrap().contains("*****"));
    let wrong = rendered(&load_text(&at("agent\n      remote_prt: 1").replace("remote_user", "x")));
    assert!(wrong.contains("unknown-key"), "{wrong}");

    let key = "|\n        -----BEGIN OPENSSH PRIVATE KEY-----\n        s3cret";
    let loaded = load_text(&at(key));
    let shown = format!("{}{}", rendered(&loaded), loaded.dump().unwrap());
    assert!(!loaded.has_errors() && !shown.contains("s3cret"), "{shown}");
    let spec = loaded.spec.unwrap();
    let given = &spec.hosts[1].connection.given;
    assert!(
        matches!(given.get("PRIVATE_KEY"), Some(Value::Secret(key)) if key.expose().contains("s3cret"))
    );
    assert!(!serde_json::to_string(given).unwrap().contains("s3cret"));
}

#[test]
fn paths_of_keys_count_from_the_template() {
    for (value, path) in [
        ("./keys/id", "/here/./keys/id"),
        ("../id", "/here/../id"),
        ("~/id", "~/id"),
        ("/id", "/id"),
        ("ssh-ed25519 AAAA a@b", "ssh-ed25519 AAAA a@b"),
    ] {
        let text = SMALL.replace("remote_port: 2222", &format!("public_key: {value}"));
        let given = &spec(&text).hosts[1].connection.given;
        assert_eq!(given.text("PUBLIC_KEY"), Some(path));
        if !value.starts_with("ssh") {
            let text = SMALL.replace("remote_user: admin", &format!("private_key: {value}"));
            assert_eq!(spec(&text).hosts[0].connection.given.text("PRIVATE_KEY"), Some(path));
        }
    }
}

#[test]
fn a_vcenter_needs_its_attributes() {
    let host = |attributes: &str| {
        format!(
            "name: v\nhosts:\n  - im_mad: vcenter\n    vm_mad: vcenter\n{attributes}    \
             provision: {{hostname: h, driver: dummy}}\n"
        )
    };
    let loaded =
        load_text(&host("    vcenter_host: v\n    VCENTER_USER: u\n    vcenter_ccr_ref:\n"));
    assert_eq!(findings(&loaded), ["w missing-key 3:5"]);
    assert!(
        rendered(&loaded).contains(
            "there is no vcenter_password, vcenter_ccr_ref, vcenter_instance_id in host 1"
        ),
        "{}",
        rendered(&loaded)
    );
    let all = "    vcenter_host: v\n    vcenter_user: u\n    vcenter_password: p\n    \
               vcenter_ccr_ref: c\n    vcenter_instance_id: i\n";
    assert_eq!(findings(&load_text(&host(all))), [""; 0]);
    assert_eq!(findings(&load_text(&host("").replace("vm_mad: vcenter", "vm_mad: kvm"))), [""; 0]);
}
