//! `extends`: what is read, in which order, and what wins.

mod common;

use common::{Files, SMALL, findings, rendered};
use template::Spec;

#[allow(clippy::unwrap_used, reason = "a part of the tests below")]
fn spec(files: &Files, path: &str) -> Spec {
    let loaded = files.load(path);
    assert!(!loaded.has_errors(), "{}", rendered(&loaded));
    loaded.spec.unwrap()
}

#[test]
fn child_wins_lists_are_joined_and_defaults_merged() {
    let files = Files::default()
        .with(
            "a/top.yaml",
            format!("extends: [bases/one.yaml, bases/two.yaml]\nplaybook: top\n{SMALL}"),
        )
        .with(
            "a/bases/one.yaml",
            "playbook: p1\nname: base\ndescription: first\ncluster: {name: c1, a: 1}\n\
             networks:\n  - {name: n1, vn_mad: dummy}\n\
             defaults:\n  provision: {driver: ec2, region: r1, zone: z1}\n",
        )
        .with(
            "a/bases/two.yaml",
            "extends: ../deep.yaml\nplaybook: [p2, p3]\ndescription: second\ncluster: {name: c2}\n\
             networks:\n  - {name: n2, vn_mad: dummy}\n\
             defaults:\n  provision: {REGION: r2}\n  connection: {remote_user: x, remote_port: 23}\n",
        )
        .with("a/deep.yaml", "networks:\n  - {name: n0, vn_mad: dummy}\ncluster:\nplaybook: p0\n");
    let spec = spec(&files, "a/top.yaml");
    assert_eq!(spec.name, "edge");
    assert_eq!(spec.description.as_deref(), Some("second"));
    assert_eq!(spec.playbooks, ["p1", "p0", "p2", "p3", "top"]);
    assert_eq!(spec.cluster.name, "c2");
    assert_eq!(spec.cluster.attributes.get("A"), None);
    let names: Vec<_> = spec.networks.iter().map(|net| net.name.as_str()).collect();
    assert_eq!(names, ["n1", "n0", "n2"]);
    assert_eq!(spec.networks[1].origin.to_string(), "a/bases/../deep.yaml:2:5");
    let host = &spec.hosts[0];
    assert_eq!(host.driver, "packet");
    assert_eq!(host.provision.text("REGION"), Some("r2"));
    assert_eq!(host.provision.text("ZONE"), Some("z1"));
    assert_eq!(host.connection.given.text("REMOTE_USER"), Some("admin"));
    assert_eq!(host.connection.given.text("REMOTE_PORT"), Some("23"));
}

#[test]
fn a_base_may_be_empty_and_may_come_twice() {
    let files = Files::default()
        .with("top.yaml", format!("extends:\n  - l.yaml\n  - r.yaml\n  - empty.yaml\n{SMALL}"))
        .with("l.yaml", "extends: common.yaml\n")
        .with("r.yaml", "extends: common.yaml\n")
        .with("common.yaml", "playbook: p\n")
        .with("empty.yaml", "---\n# nothing\n");
    assert_eq!(spec(&files, "top.yaml").playbooks, ["p", "p"]);
}

#[test]
fn nothing_takes_away_what_a_base_or_defaults_have() {
    let files = Files::default()
        .with(
            "base.yaml",
            "playbook: p\ncluster: {name: c, reserved_cpu: 5}\nconfigure: {commands: [one]}\n\
             networks:\n  - {name: n, vn_mad: dummy}\n\
             defaults:\n  provision: {driver: dummy, facility: ams1, plan: small}\n  \
               connection: {remote_user: x}\nhosts:\n  \
               - {im_mad: kvm, vm_mad: kvm, provision: {hostname: bought}}\n",
        )
        .with(
            "none.yaml",
            "name: e\nextends: base.yaml\nplaybook:\ncluster:\nconfigure:\nnetworks:\nhosts: ~\n",
        )
        .with(
            "some.yaml",
            "name: e\nextends: base.yaml\nhosts:\n  - {im_mad: kvm, vm_mad: kvm, provision: \
             {hostname: h2, plan: ~}, connection: , configuration: {keep: ~}}\n\
             defaults: {provision: {facility: }, connection: , configuration: {keep: 5}}\n",
        )
        .with(
            "case.yaml",
            "name: e\nextends: [base.yaml, case-base.yaml]\ndefaults: {configuration: {a: 2}}\n\
             hosts: [{im_mad: kvm, vm_mad: kvm, provision: {hostname: h2}, configuration: {a: 3, b: 4}}]\n",
        )
        .with("case-base.yaml", "defaults: {configuration: {A: 1}}\n")
        .with("defaults.yaml", "name: e\nextends: base.yaml\ndefaults: ~\n");
    let none = spec(&files, "none.yaml");
    assert_eq!((none.hosts.len(), none.networks.len()), (0, 0));
    assert_eq!(
        (none.cluster.name.as_str(), none.cluster.attributes.get("RESERVED_CPU")),
        ("e", None)
    );
    // Playbooks and the groups of `defaults` are put together, and nothing adds nothing.
    assert_eq!(none.playbooks, ["p"]);
    assert_eq!(none.cluster.provision.text("FACILITY"), Some("ams1"));
    let some = spec(&files, "some.yaml");
    let [kept, changed] = some.hosts.as_slice() else { panic!("{:?}", some.hosts) };
    assert_eq!(kept.provision.get("FACILITY"), None);
    assert_eq!(kept.provision.text("PLAN"), Some("small"));
    assert_eq!(changed.provision.get("PLAN"), None);
    assert_eq!(changed.connection.given.text("REMOTE_USER"), Some("x"));
    let variables = |host: &template::spec::HostSpec| match &host.configuration {
        model::Value::Text(yaml) => yaml.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(variables(kept), "keep: 5\n");
    assert_eq!(variables(changed), "keep: ~\n");
    assert_eq!(
        spec(&files, "case.yaml").hosts[1].configuration.expose(),
        Some("A: 1\na: 3\nb: 4\n")
    );
    assert_eq!(spec(&files, "defaults.yaml").hosts[0].provision.text("FACILITY"), Some("ams1"));
}

#[test]
fn findings_of_a_base_are_told_in_its_file_and_once() {
    let files = Files::default()
        .with("top.yaml", format!("extends: [base.yaml, base.yaml]\n{SMALL}"))
        .with("base.yaml", "nam: x\ndefaults:\n  conection: {}\n");
    let loaded = files.load("top.yaml");
    assert_eq!(findings(&loaded), ["w unknown-key 1:1", "w unknown-key 3:3"]);
    let text = rendered(&loaded);
    assert!(text.starts_with("base.yaml:1:1: warning[unknown-key]: unknown key 'nam'"), "{text}");
    assert!(text.contains("help: did you mean 'connection'?"), "{text}");
}

#[test]
fn cycles_are_reported_with_their_chain() {
    let files = Files::default()
        .with("a.yaml", "extends: sub/b.yaml\nname: x\n")
        .with("sub/b.yaml", "extends: ./../a.yaml\n")
        .with("self.yaml", "name: x\nextends: [self.yaml]\n");
    let text = rendered(&files.load("a.yaml"));
    assert!(
        text.starts_with("sub/b.yaml:1:10: error[extends-cycle]: a template cannot extend itself"),
        "{text}"
    );
    assert!(text.contains("the chain is a.yaml -> sub/b.yaml -> sub/./../a.yaml"), "{text}");
    assert_eq!(findings(&files.load("self.yaml")), ["e extends-cycle 2:11"]);
}

#[test]
fn a_base_that_cannot_be_read_is_reported_where_it_is_named() {
    let files = Files::default()
        .with("top.yaml", "extends:\n  - missing.yaml\n  - bad.yaml\n  - list.yaml\n  - {a: b}\n")
        .with("bad.yaml", "a: b: c\n")
        .with("list.yaml", "- a\n");
    let loaded = files.load("top.yaml");
    assert_eq!(
        findings(&loaded),
        ["e unreadable 2:5", "e wrong-shape 5:5", "e yaml-syntax 1:5", "e wrong-shape 1:1"]
    );
    // That the template has no name may be the missing base's matter, and is not said.
    assert!(loaded.spec.is_none());
}

#[test]
fn endless_and_explosive_chains_end() {
    let mut files = Files::default();
    for i in 0..60 {
        let next = i + 1;
        files = files.with(&format!("chain{i}.yaml"), format!("extends: chain{next}.yaml\n")).with(
            &format!("wide{i}.yaml"),
            format!("extends: [{}]\n", vec![format!("wide{next}.yaml"); 10].join(", ")),
        );
    }
    for start in ["chain0.yaml", "wide0.yaml"] {
        let loaded = files.load(start);
        assert!(loaded.diagnostics.iter().any(|d| d.code == "extends-limit"), "{start}");
    }
}
