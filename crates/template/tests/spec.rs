//! What a right template means.

mod common;

use common::{SMALL, findings, load_text, rendered, spec};
use model::Value;
use template::{EvaluateError, Lookup, ObjectKind, Spec, evaluate, evaluate_yaml};

#[test]
fn own_values_win_over_defaults_and_each_host_has_its_own_connection() {
    let spec = spec(SMALL);
    let [one, two] = spec.hosts.as_slice() else { panic!("{:?}", spec.hosts) };
    assert_eq!((spec.name.as_str(), spec.cluster.name.as_str()), ("edge", "edge"));
    assert_eq!(
        (one.driver.as_str(), one.im_mad.as_str(), one.vm_mad.as_str()),
        ("packet", "kvm", "kvm")
    );
    assert_eq!((one.hostname.as_str(), two.hostname.as_str()), ("h1", "h2"));
    assert_eq!(
        (one.provision.text("PLAN"), two.provision.text("PLAN")),
        (Some("small"), Some("large"))
    );
    assert_eq!(one.provision.get("DRIVER"), None);
    assert_eq!(one.provision.text("HOSTNAME"), Some("h1"));
    assert!(
        matches!(one.provision.get("PACKET_TOKEN"), Some(Value::Secret(s)) if s.expose() == "tok-123")
    );
    assert_eq!(one.attributes.text("RESERVED_CPU"), Some("100"));
    assert!(two.attributes.is_empty());

    assert_eq!(one.connection.given.get("REMOTE_PORT"), None);
    let (first, second) = (one.connection.resolved(), two.connection.resolved());
    assert_eq!((first.text("REMOTE_USER"), first.text("REMOTE_PORT")), (Some("admin"), Some("22")));
    assert_eq!(second.text("REMOTE_PORT"), Some("2222"));
    assert_eq!(second.text("PRIVATE_KEY"), Some("/var/lib/one/.ssh/ddc/id_rsa"));
    assert_eq!((one.origin.to_string(), two.origin.line), ("t.yaml:10:5".to_owned(), 15));
    assert_eq!(spec.playbooks, ["default"]);
}

#[test]
fn objects_carry_the_drivers_mark_but_not_the_secrets_of_defaults() {
    let spec = spec(&format!(
        "{SMALL}datastores:\n  - name: \"<%= @name %>-img\"\n    ds_mad: fs\n    tm_mad: ssh\n    \
         safe_dirs: [/a, /b]\n    provision: {{driver: ec2, zone: z, own_token: t}}\n\
         networks:\n  - Name: n\n    vn_mad: dummy\n    ar:\n      - {{ip: 10.0.0.1, size: 5}}\n      \
         - {{ip: 10.0.1.1, size: 6, packet_token: p}}\n"
    ));
    let store = &spec.datastores[0];
    assert_eq!((store.name.as_str(), store.driver.as_deref()), ("edge-img", Some("ec2")));
    assert_eq!(store.attributes.text("SAFE_DIRS"), Some("/a,/b"));
    assert_eq!(store.attributes.get("NAME"), None);
    let keys: Vec<_> = store.provision.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["PLAN", "ZONE", "OWN_TOKEN"]);
    let net = &spec.networks[0];
    assert_eq!((net.name.as_str(), net.driver.as_deref()), ("n", Some("packet")));
    assert_eq!(net.attributes.all("AR").count(), 2);
    assert_eq!(net.attributes.text("AR/IP"), Some("10.0.0.1"));
    let Some(Value::Vector(ar)) = net.attributes.all("AR").nth(1) else { panic!() };
    assert!(matches!(ar.get("PACKET_TOKEN"), Some(Value::Secret(_))));
    assert_eq!(spec.cluster.provision.text("PLAN"), Some("small"));
}

#[test]
fn configuration_is_yaml_that_keeps_types_and_styles() {
    let spec = spec(
        "name: c\nname2: x\ndefaults:\n  provision: {driver: d}\n  configuration:\n    \
         version: '5.10'\n    flag: yes\n    octal: 0644\n    nested: {a: [1, 'two']}\n    \
         vault: !vault |\n      $ANSIBLE\n      62\n\
         hosts:\n  - im_mad: kvm\n    vm_mad: kvm\n    provision: {hostname: a}\n    \
         configuration:\n      flag: no\n      note: \"<%= @name %>: <%= @clusters[0][\\\"ID\\\"] %>\"\n  \
         - im_mad: kvm\n    vm_mad: kvm\n    provision: {hostname: b}\n    \
         configuration: {repo_password: pw}\n",
    );
    assert_eq!(
        spec.hosts[0].configuration,
        Value::Text(
            "version: \"5.10\"\nflag: no\noctal: 0644\nnested:\n  a:\n    - 1\n    - \"two\"\n\
             vault: !vault |\n  $ANSIBLE\n  62\nnote: \"c: <%= @clusters[0]['ID'] %>\"\n"
                .into()
        )
    );
    // A secret in it makes the whole text one.
    assert!(matches!(&spec.hosts[1].configuration, Value::Secret(s) if s.expose().contains("pw")));
    let none = common::spec(SMALL);
    assert_eq!(none.hosts[0].configuration, Value::Text("{}\n".into()));

    struct Quoted;
    impl Lookup for Quoted {
        fn name(&self) -> &str {
            "c"
        }
        fn id(&self) -> &str {
            "i"
        }
        fn attribute(&self, _: ObjectKind, _: usize, _: &str) -> Option<String> {
            Some("1\"\nx: y".into())
        }
    }
    let text = spec.hosts[0].configuration.expose().unwrap();
    assert!(evaluate_yaml(text, &Quoted).unwrap().ends_with("note: \"c: 1\\\"\\nx: y\"\n"));
}

#[test]
fn references_are_checked_at_load_and_resolved_at_creation() {
    struct Empty;
    impl Lookup for Empty {
        fn name(&self) -> &str {
            "edge"
        }
        fn id(&self) -> &str {
            "id-1"
        }
        fn attribute(&self, _: ObjectKind, _: usize, _: &str) -> Option<String> {
            None
        }
    }
    let spec =
        spec(&SMALL.replace("reserved_cpu: 100", "note: <%= @id %>-<%= @clusters[0]['ID'] %>"));
    let note = spec.hosts[0].attributes.text("NOTE").unwrap();
    assert_eq!(note, "<%= @id %>-<%= @clusters[0]['ID'] %>");
    assert_eq!(evaluate("<%= @id %>", &Empty).as_deref(), Ok("id-1"));
    assert!(matches!(evaluate(note, &Empty), Err(EvaluateError::NotFound { .. })));
}

#[test]
fn the_journal_gets_everything_but_secrets() {
    let before = spec(SMALL);
    let json = serde_json::to_string(&before).unwrap();
    assert!(!json.contains("tok-123"), "{json}");
    let after: Spec = serde_json::from_str(&json).unwrap();
    assert!(after.hosts[0].provision.has_withheld());
    // What has no secret comes back as it was.
    let text = SMALL.replace("    packet_token: tok-123\n", "");
    let before = spec(&text);
    let json = serde_json::to_string(&before).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), before);
}

#[test]
fn nothing_of_a_secret_is_shown() {
    let loaded = load_text(
        "name: x\nx: &x s3cret-0\ny: &y |\n  s3cret-a <%= b\n  s3cret-b\nz: &z\n  ? token\n  \
         : s3cret-c\n  ? q r\n  : *y\ncluster: *z\n\
         defaults:\n  provision:\n    driver: d\n    x_token: *x\n    y_token: *y\n    a_token: s3cret-1\n    \
         b_password: {x: s3cret-2}\n    c_secret: \"<%= s3cret-3 %>\"\n    d_token: |\n      \
         s3cret-4 <%= bad %>\n    e_access: [s3cret-5, s3cret-6]\n    f_token: \"a\\x01s3cret-7\"\n  \
         configuration: {my_secret: s3cret-8}\n\
         hosts:\n  - {im_mad: kvm, vm_mad: kvm, provision: {hostname: h, token: s3cret-9 , ip: {}}}\n",
    );
    assert!(loaded.has_errors());
    let dump = loaded.dump().unwrap();
    let text =
        format!("{}\n{dump}\n{:?}\n{:?}", rendered(&loaded), loaded.diagnostics, loaded.spec);
    assert!(!text.contains("s3cret"), "{text}");
    assert!(dump.contains("a_token: \"*****\""), "{dump}");
}

#[test]
fn dump_is_the_merged_template_and_loads_again() {
    let loaded = load_text(SMALL);
    let dump = loaded.dump().unwrap();
    assert!(dump.starts_with("---\nname: edge\n"), "{dump}");
    let again = load_text(&dump);
    assert!(!again.has_errors(), "{}", rendered(&again));
    assert_eq!(again.dump().unwrap(), dump);
    assert_eq!(findings(&again), ["w placeholder 6:19"]);
}

#[test]
fn an_empty_list_of_playbooks_means_none() {
    for (line, playbooks) in [
        ("", &["default"][..]),
        ("playbook:\n", &["default"]),
        ("playbook: []\n", &[]),
        ("playbook: mine\n", &["mine"]),
        ("playbook: [a, b]\n", &["a", "b"]),
    ] {
        assert_eq!(spec(&format!("{line}{SMALL}")).playbooks, playbooks, "{line}");
    }
}

#[test]
fn meta_is_typed() {
    let spec = spec(&format!(
        "{SMALL}datastores:\n  - name: d\n    tm_mad: ssh\n    ds_mad: fs\n    \
         meta: {{uid: 1, gname: users, mode: 0640}}\n"
    ));
    let meta = spec.datastores[0].meta.clone().unwrap();
    assert_eq!((meta.uid, meta.gname.as_deref(), meta.mode), (Some(1), Some("users"), Some(0o640)));
    assert_eq!(spec.datastores[0].attributes.get("META"), None);
}
