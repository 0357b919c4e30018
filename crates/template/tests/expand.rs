//! What else 6.x added: `${…}` and `count`.

mod common;

use common::{SMALL, findings, load_inputs, load_text, rendered, spec};
use model::Attributes;
use template::{EvaluateError, Late, Lookup, ObjectKind, evaluate};

const OBJECTS: &str = "\
name: edge
defaults: {provision: {driver: d}}
cluster: {name: '${provision}-c'}
datastores:
  - {name: '${provision}-images', ds_mad: fs, tm_mad: ssh}
  - {name: '<%= @name %>-system', ds_mad: fs, tm_mad: ssh, base_path: /d}
networks:
  - {name: private, vn_mad: bridge}
hosts:
  - im_mad: kvm
    vm_mad: kvm
    note: '@'
    provision: {hostname: h1}
";

fn note(value: &str) -> template::Loaded {
    load_text(&OBJECTS.replace("'@'", &format!("'{value}'")))
}

#[test]
fn references_of_6x_become_those_of_5x() {
    for (value, expected) in [
        ("${provision}", "edge"),
        ("${provision_id}", "<%= @id %>"),
        ("${index}", "0"),
        ("${cluster.0.id}", "<%= @clusters[0]['ID'] %>"),
        ("${cluster.edge-c.id}", "<%= @clusters[0]['ID'] %>"),
        ("${datastore.edge-images.id}", "<%= @datastores[0]['ID'] %>"),
        ("${datastore.edge-system.base_path}", "<%= @datastores[1]['BASE_PATH'] %>"),
        (
            "a ${network.private.id}, ${datastore.1.name}",
            "a <%= @networks[0]['ID'] %>, <%= @datastores[1]['NAME'] %>",
        ),
        ("${HOME} $index ${", "${HOME} $index ${"),
        ("<%= ''$'' %>{host.name}", "${host.name}"),
    ] {
        let loaded = note(value);
        assert_eq!(findings(&loaded), [""; 0], "{value}");
        assert_eq!(loaded.spec.unwrap().hosts[0].attributes.text("NOTE"), Some(expected));
    }
    assert_eq!(spec(OBJECTS).cluster.name, "edge-c");
    assert_eq!(spec(OBJECTS).datastores[0].name, "edge-images");
}

#[test]
fn wrong_references_are_found_at_their_place() {
    for (value, finding, text) in [
        ("x ${datastore.edge-image.id}", "e bad-reference 12:14", "did you mean 'edge-images'?"),
        (
            "${datastore.nothing-like-it.id}",
            "e bad-reference 12:12",
            "are edge-images, edge-system",
        ),
        ("${datastore.2.id}", "e bad-reference 12:12", "the last one is 1"),
        ("${image.x.id}", "e bad-reference 12:12", "the template has no images"),
        ("${cluster.0}", "e bad-reference 12:12", "has three parts"),
        ("${cluster.0.id.x}", "e bad-reference 12:12", "has three parts"),
        ("${cluster.a b.id}", "e bad-reference 12:12", "' ' cannot stand"),
        ("${clusters.0.id}", "e bad-reference 12:12", "did you mean 'cluster'?"),
        ("${marketplaceapp.a.id}", "e bad-reference 12:12", "${image.a.id}"),
        ("${updates.ceph_secret}", "e not-supported-yet 12:12", "not supported by this version"),
        ("${updates.first_host}", "e bad-reference 12:11", "known only when the hosts are there"),
        ("${input.x}", "e bad-reference 12:12", "there is no input 'x'"),
        ("${host.0.id}", "e bad-reference 12:11", "a host cannot refer to a host"),
        ("${provison}", "w not-a-reference 12:12", "did you mean '${provision}'?"),
        ("${a.b}", "w not-a-reference 12:12", "kept as it is"),
    ] {
        let loaded = note(value);
        assert_eq!(findings(&loaded), [finding], "{value}");
        assert!(rendered(&loaded).contains(text), "{}", rendered(&loaded));
    }
    let late =
        OBJECTS.replace("tm_mad: ssh}\n  -", "tm_mad: ssh, a: '${network.private.id}'}\n  -");
    assert!(rendered(&load_text(&late)).contains("does not exist yet"));
    for name in ["${provision}", "${provision_id}", "${index}", "${cluster.0.id}"] {
        let text = OBJECTS.replace("name: edge", &format!("name: {name}"));
        assert_eq!(findings(&load_text(&text)), ["e bad-name 1:7"], "{name}");
    }
    let index = OBJECTS.replace("name: private", "name: 'p${index}'");
    assert_eq!(findings(&load_text(&index)), ["e bad-reference 8:14"]);
    // A host that comes later can be named, by number and by host name.
    let later =
        format!("{OBJECTS}templates:\n  - {{name: t, a: '${{host.h1.id}} ${{host.0.id}}'}}\n");
    assert_eq!(findings(&load_text(&later)), [""; 0]);
    let none = later.replace("host.h1.id", "host.h2.id").replace("host.0.id", "host.1.id");
    assert_eq!(findings(&load_text(&none)), ["e bad-reference 15:19", "e bad-reference 15:33"]);
}

#[test]
fn what_is_known_only_after_the_deployment_stands_where_it_can_be_waited_for() {
    let after = |text: &str, more: &str| OBJECTS.replace(text, &format!("{text}{more}"));
    let store = after("images', ds_mad: fs", ", replica_host: 'h ${updates.first_host}'");
    let loaded = load_text(&store);
    assert_eq!(findings(&loaded), [""; 0], "{}", rendered(&loaded));
    let value = loaded.spec.unwrap().datastores[0].attributes.clone();
    let text = value.text("REPLICA_HOST").unwrap();
    assert_eq!(text, "h <%= @updates['first_host'] %>");
    assert_eq!(template::late_in(text), [Late::FirstHost]);
    // As an exported template has it.
    let exported = store.replace("${updates.first_host}", "<%= @updates[\"first_host\"] %>");
    assert_eq!(load_text(&exported).spec.unwrap().datastores[0].attributes, value);

    let nic = "'${updates.default_ipv4_nic}'";
    let templates = format!("{OBJECTS}vntemplates: [{{name: v, vn_mad: vxlan, phydev: {nic}}}]\n");
    let spec = spec(&templates);
    let phydev = spec.virtual_objects[0].attributes.text("PHYDEV").unwrap();
    assert_eq!(template::late_in(phydev), [Late::DefaultIpv4Nic]);
    struct Later;
    impl Lookup for Later {
        fn name(&self) -> &str {
            "n"
        }
        fn id(&self) -> &str {
            "i"
        }
        fn attribute(&self, _: ObjectKind, _: usize, _: &str) -> Option<String> {
            None
        }
        fn late(&self, late: Late) -> Option<String> {
            (late == Late::FirstHost).then(|| "10.0.0.1".to_owned())
        }
    }
    assert_eq!(evaluate(text, &Later).as_deref(), Ok("h 10.0.0.1"));
    assert!(matches!(evaluate(phydev, &Later), Err(EvaluateError::NotFound { .. })));

    let wrong = |text: String, says: &str| {
        let loaded = load_text(&text);
        assert_eq!(findings(&loaded).len(), 1, "{}", rendered(&loaded));
        assert!(findings(&loaded)[0].starts_with("e bad-reference"), "{}", rendered(&loaded));
        assert!(rendered(&loaded).contains(says), "{}", rendered(&loaded));
    };
    let place = "known only when the hosts are there";
    wrong(OBJECTS.replace("name: private", "name: '${updates.first_host}'"), place);
    wrong(after("vn_mad: bridge", &format!(", vector: {{phydev: {nic}}}")), place);
    wrong(OBJECTS.replace("vn_mad: bridge", &format!("vn_mad: {nic}")), place);
    wrong(
        OBJECTS.replace("vn_mad: bridge", &format!("vn_mad: vxlan, phydev: {nic}")),
        "no network of driver vxlan without a phydev",
    );
    wrong(
        after("vn_mad: bridge", ", bridge: 'br-${updates.default_ipv4_nic}'"),
        "gives a network without a bridge one of its own",
    );
    wrong(format!("{OBJECTS}images: [{{name: i, ds_id: {nic}, size: 1}}]\n"), place);
    wrong(format!("{OBJECTS}flowtemplates: [{{name: f, roles: [], a: {nic}}}]\n"), place);
    wrong(after("note: ", "x\n    configuration: {a: '${updates.first_host}'}\n    b: "), place);
    let hostless = after("vn_mad: bridge", &format!(", phydev: {nic}"));
    let hostless = hostless.split("hosts:").next().unwrap().to_owned();
    wrong(hostless, "the template has no hosts");
    let unknown = store.replace("'h ${updates.first_host}'", "\"<%= @updates['next'] %>\"");
    wrong(unknown, "one of its names");
}

#[test]
fn an_attribute_is_found_wherever_it_is_in_the_object() {
    struct One(Attributes);
    impl Lookup for One {
        fn name(&self) -> &str {
            "n"
        }
        fn id(&self) -> &str {
            "i"
        }
        fn attribute(&self, _: ObjectKind, _: usize, path: &str) -> Option<String> {
            self.0.text(path).map(str::to_owned)
        }
    }
    let mut object = Attributes::new();
    object.push("ID", "7");
    object.vector_mut("TEMPLATE").push("BRIDGE", "br0");
    object.vector_mut("TEMPLATE").vector_mut("PROVISION").push("ZONE", "z");
    let one = One(object);
    for (path, value) in [("ID", "7"), ("BRIDGE", "br0"), ("ZONE", "z")] {
        assert_eq!(evaluate(&format!("<%= @networks[0]['{path}'] %>"), &one).as_deref(), Ok(value));
    }
    let none = evaluate("<%= @networks[0]['NO'] %>", &one);
    assert!(matches!(none, Err(EvaluateError::NotFound { .. })));
    assert!(evaluate("<%= @networks[0]['PROVISION/ZONE'] %>", &one).is_err());
}

/// Host names of a template whose first host has this in its `provision` and this beside it.
fn hosts(provision: &str, beside: &str) -> Vec<String> {
    let text = SMALL.replace("hostname: h1", provision).replace("reserved_cpu: 100", beside);
    spec(&text).hosts.into_iter().map(|host| host.hostname).collect()
}

#[test]
fn count_repeats_a_host() {
    let none = "reserved_cpu: 100";
    assert_eq!(hosts("hostname: 'e${index}'\n      count: 3", none), ["e0", "e1", "e2", "h2"]);
    assert_eq!(hosts("hostname: 'e${index}'", "count: 2"), ["e0", "e1", "h2"]);
    // As the manual of 6.8 names them.
    assert_eq!(hosts("hostname: myhost1", "count: 2"), ["myhost1_0", "myhost1_1", "h2"]);
    assert_eq!(hosts("hostname: h1\n      count: 1", none), ["h1", "h2"]);
    assert_eq!(hosts("hostname: h1\n      count: 0", none), ["h2"]);
    assert_eq!(hosts("hostname: [a, b]\n      count: 5", none), ["a", "b", "h2"]);
    assert_eq!(hosts("hostname: []", none), ["h2"]);
    let loaded = load_text(&SMALL.replace("hostname: h1", "hostname: [a, b]\n      count: 5"));
    assert_eq!(findings(&loaded), ["w ignored-key 15:7"], "{}", rendered(&loaded));
    // Nothing takes away what is given for all.
    let all = SMALL.replace("plan: small", "plan: small\n    count: 3");
    assert_eq!(spec(&all).hosts.len(), 6);
    assert_eq!(spec(&all.replace("hostname: h1", "hostname: h1\n      count: ~")).hosts.len(), 4);
    let text = SMALL.replace("plan: small", "plan: small\n    rack: 'r${index}'").replace(
        "hostname: h1",
        "hostname: 'e${index}'\n      count: 2\n      ip: 10.0.0.${index}",
    );
    let spec = spec(&text);
    let values = |key: &str| {
        let values = spec.hosts.iter().map(|host| host.provision.text(key));
        values.map(|value| value.map(str::to_owned)).collect::<Vec<_>>()
    };
    let texts = |texts: [&str; 3]| texts.map(|t| Some(t.to_owned()).filter(|t| !t.is_empty()));
    assert_eq!(values("RACK"), texts(["r0", "r1", "r2"]));
    assert_eq!(values("IP"), texts(["10.0.0.0", "10.0.0.1", ""]));
    assert_eq!(values("COUNT"), [const { None }; 3]);
    assert_eq!(spec.cluster.provision.get("RACK"), None);
    assert_eq!(spec.hosts[0].attributes, spec.hosts[1].attributes);
}

#[test]
fn a_wrong_count_is_refused() {
    for (count, finding) in [
        ("-1", "e bad-value 15:14"),
        ("1.5", "e bad-value 15:14"),
        ("many", "e bad-value 15:14"),
        ("10001", "e bad-value 15:14"),
        ("[1]", "e bad-value 15:14"),
        ("10000", "e too-large 16:5"),
        ("'${input.n}'", "e bad-reference 15:15"),
    ] {
        let provision = format!("hostname: 'e${{index}}'\n      count: {count}");
        let text = SMALL.replace("hostname: h1", &provision).replace("h2", "h2\n      count: 2");
        let found = findings(&load_text(&text));
        assert_eq!(found.first().map(String::as_str), Some(finding), "{count} {found:?}");
    }
    let twice = SMALL
        .replace("hostname: h1", "hostname: h1\n      count: 1")
        .replace("reserved_cpu: 100", "count: 2");
    assert_eq!(findings(&load_text(&twice)), ["w ignored-key 12:5"]);
    let same = SMALL.replace("hostname: h1", "hostname: h1\n      count: 2\n      ip: 10.0.0.1");
    assert_eq!(findings(&load_text(&same)), ["e duplicate 16:11"]);
    let ceph = SMALL.replace("plan: large", "ceph_full_count: 3");
    assert_eq!(findings(&load_text(&ceph)), ["e not-supported-yet 19:7"]);
}

#[test]
fn copies_do_not_multiply_without_end() {
    let userdata = format!("{}${{index}}", "x".repeat(1 << 20));
    let text = SMALL
        .replace("plan: small", &format!("plan: small\n    userdata: {userdata}"))
        .replace("hostname: h1", "hostname: h1\n      count: 1000");
    assert!(findings(&load_text(&text)).contains(&"e too-large 11:5".to_owned()));
    let many = SMALL.replace("hostname: h1", "hostname: 'e ${index}'\n      count: 1000");
    let loaded = load_text(&many);
    assert_eq!(findings(&loaded), ["e bad-value 14:17"]);
}

#[test]
fn count_repeats_the_first_address_range_of_a_network() {
    let network = |lines: &str| {
        let text = OBJECTS.replace("networks:\n  - {name: private, vn_mad: bridge}\n", "");
        load_text(&format!("{text}networks:\n  - name: n\n    vn_mad: b\n{lines}"))
    };
    let ranges = |lines: &str| {
        let loaded = network(lines);
        assert!(!loaded.has_errors(), "{}", rendered(&loaded));
        let spec = loaded.spec.unwrap();
        let ranges = spec.networks[0].attributes.all("AR");
        let ips = ranges.filter_map(|ar| match ar {
            model::Value::Vector(ar) => ar.text("IP").map(str::to_owned),
            _ => None,
        });
        ips.collect::<Vec<_>>()
    };
    let two = "    ar: [{ip: '10.${index}.0.1', size: 1}, {ip: '10.${index}.9.1', size: 2}]\n";
    assert_eq!(
        ranges(&format!("    provision: {{count: 2}}\n{two}")),
        ["10.0.0.1", "10.1.0.1", "10.2.9.1"]
    );
    assert_eq!(ranges(&format!("    count: 1\n{two}")), ["10.0.0.1", "10.1.9.1"]);
    assert_eq!(ranges(&format!("    count: 0\n{two}")), ["10.0.9.1"]);
    assert_eq!(ranges("    count: 0\n    ar: [{ip: 10.0.0.1}]\n"), [""; 0]);
    assert_eq!(ranges(two), ["10.0.0.1", "10.1.9.1"]);
    assert_eq!(findings(&network("    count: 3\n")), ["w ignored-key 15:5"]);
    let id = network("    ar: [{provision_id: '${provision_id}'}]\n").spec.unwrap();
    assert_eq!(id.networks[0].attributes.text("AR/PROVISION_ID"), Some("<%= @id %>"));
}

#[test]
fn the_template_of_the_manual_works() {
    let text = "name: x\ninputs:\n  - {name: array_i, type: array, default: 'h1;h2;h3'}\n  \
                - {name: count_i, type: range, min_value: 1, max_value: 100, default: 2}\n\
                defaults: {provision: {driver: d}}\nhosts:\n  - im_mad: kvm\n    vm_mad: kvm\n    \
                provision:\n      hostname: ${input.array_i}\n    count: ${input.count_i}\n";
    let names = |inputs: &[(&str, &str)]| {
        let loaded = load_inputs(text, inputs);
        let hosts = loaded.spec.unwrap().hosts;
        hosts.into_iter().map(|host| host.hostname).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["h1", "h2", "h3"]);
    assert_eq!(names(&[("array_i", "a")]), ["a"]);
}

#[test]
fn the_playbooks_of_the_section_ansible_count() {
    for (lines, playbooks, finding) in [
        ("ansible: {playbook: [a, b], ver_min: 2.8, ver_max: 2.17}\n", &["a", "b"][..], None),
        ("ansible: {ver_min: 2.8}\nplaybook: p\n", &["p"], None),
        ("ansible: {ver_min: 2.8}\n", &["default"], None),
        ("ansible: {playbook: a}\nplaybook: p\n", &["a"], Some("w ignored-key 2:1")),
        ("ansible: {playbok: a}\n", &["default"], Some("w unknown-key 1:11")),
    ] {
        let loaded = load_text(&format!("{lines}{SMALL}"));
        assert_eq!(findings(&loaded).first().map(String::as_str), finding, "{lines}");
        assert_eq!(loaded.spec.unwrap().playbooks, playbooks);
    }
    assert_eq!(findings(&load_text(&format!("ansible: a\n{SMALL}"))), ["e wrong-shape 1:10"]);
}
