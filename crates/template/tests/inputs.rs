//! User inputs of 6.x: where their values come from, what is checked, and that passwords stay
//! secrets.

mod common;

use std::path::Path;

use common::{Files, findings, load_inputs, load_text, rendered};
use model::Value;
use template::{InputType, Loaded, Options, Spec, render};

/// A template with one input, used as an attribute of a host.
fn with(input: &str) -> String {
    format!(
        "name: x\ninputs:\n  - {input}\nhosts:\n  - im_mad: kvm\n    vm_mad: kvm\n    \
         note: ${{input.a}}\n    provision: {{driver: d, hostname: h}}\n"
    )
}

#[allow(clippy::unwrap_used, reason = "a part of the tests below")]
fn good(loaded: Loaded) -> Spec {
    assert!(!loaded.has_errors(), "{}", rendered(&loaded));
    loaded.spec.unwrap()
}

fn note(loaded: Loaded) -> Option<String> {
    good(loaded).hosts[0].attributes.text("NOTE").map(str::to_owned)
}

#[test]
fn a_given_value_wins_over_value_and_that_over_default() {
    let both = with("{name: a, type: text, value: v, default: d}");
    assert_eq!(note(load_inputs(&both, &[("a", "g")])).as_deref(), Some("g"));
    assert_eq!(note(load_text(&both)).as_deref(), Some("v"));
    let default = with("{name: a, type: text, default: d}");
    assert_eq!(note(load_text(&default)).as_deref(), Some("d"));
    let optional = with("{name: a, type: text, mandatory: false}");
    assert_eq!(note(load_text(&optional)).as_deref(), Some(""));
    // Whatever a value is, it is no YAML and no reference.
    for value in ["~", "a: b # c", "012", "${provision}", "${index}", "x\ny", "'\"\\"] {
        assert_eq!(note(load_inputs(&default, &[("a", value)])).as_deref(), Some(value));
    }
}

#[test]
fn what_has_no_value_is_missing_if_it_is_used() {
    let text = with("{name: a, type: range, min_value: 1, max_value: 9, description: How many}");
    let loaded = load_text(&text);
    assert_eq!(findings(&loaded), ["e missing-input 3:5"]);
    assert!(loaded.spec.is_none());
    let [missing] = loaded.missing_inputs.as_slice() else { panic!("{:?}", loaded.missing_inputs) };
    assert_eq!((missing.name.as_str(), missing.kind), ("a", InputType::Range));
    assert_eq!(missing.description.as_deref(), Some("How many"));
    assert_eq!(missing.origin.to_string(), "t.yaml:3:5");
    assert!(missing.check("9").is_ok() && missing.check("10").is_err());
    assert_eq!(note(load_inputs(&text, &[("a", "9")])).as_deref(), Some("9"));
    // All other mistakes are found, and none that comes only from the value that is not there.
    let wrong =
        text.replace("hostname: h", "hostname: '${input.a}', ip: [[1]]").replace("kvm", "''");
    assert_eq!(
        findings(&load_text(&wrong)),
        ["e missing-input 3:5", "e missing-key 5:13", "e missing-key 6:13", "e too-deep 8:56"]
    );
    let unused = text.replace("${input.a}", "n");
    assert!(load_text(&unused).missing_inputs.is_empty());
    assert_eq!(load_text(&unused).inputs.len(), 1);
    good(load_text(&unused));
}

#[test]
fn values_are_checked_wherever_they_come_from() {
    for (input, given, finding) in [
        ("{name: a, type: number}", Some("x"), "e bad-input 3:5"),
        ("{name: a, type: number, default: x}", None, "e bad-input 3:38"),
        ("{name: a, type: number, default: x}", Some("1"), "e bad-input 3:38"),
        ("{name: a, type: boolean, value: maybe}", None, "e bad-input 3:37"),
        ("{name: a, type: list, options: [p, q], default: r}", None, "e bad-input 3:53"),
        ("{name: a, type: list}", Some("r"), "e missing-key 3:5"),
        ("{name: a, type: range, min_value: 1}", Some("1"), "e missing-key 3:5"),
        ("{name: a, type: range, min_value: 1.5, max_value: 3}", Some("2"), "e bad-value 3:39"),
        (
            "{name: a, type: range-float, min_value: 1.5, max_value: 3}",
            Some("1"),
            "e bad-input 3:5",
        ),
        ("{name: a, type: fixed, default: f}", Some("g"), "e bad-input 3:5"),
        ("{name: a, type: fixed}", Some("g"), "e missing-key 3:5"),
        ("{name: a, type: txt}", Some("g"), "e bad-value 3:21"),
        ("{name: a, type: colour}", Some("g"), "w bad-value 3:21"),
        ("{name: a, type: float}", Some("g"), "e bad-input 3:5"),
        ("{name: a, type: text, mandatory: often}", Some("g"), "e bad-value 3:38"),
        ("{name: a, type: text}", Some("<%= @id %>"), "e bad-input 3:5"),
        ("{name: a b}", Some("g"), "e bad-name 3:12"),
        ("{type: text}", None, "e missing-key 3:5"),
        ("[a]", None, "e wrong-shape 3:5"),
        ("{name: a, defualt: x}", Some("g"), "w unknown-key 3:15"),
    ] {
        let inputs: Vec<_> = given.into_iter().map(|value| ("a", value)).collect();
        let loaded = load_inputs(&with(input), &inputs);
        let found = findings(&loaded);
        assert!(found.iter().any(|found| found == finding), "{input}: {found:?}");
        assert_eq!(loaded.spec.is_none(), loaded.has_errors());
    }
    let loaded = load_text(&with("{name: a, type: float, default: '1.5'}"));
    assert_eq!(findings(&loaded), [""; 0]);
    assert_eq!(note(loaded).as_deref(), Some("1.5"));
    let loaded = load_text(&with("{name: a, default: 1}\n  - {name: a, default: 2}"));
    assert_eq!(findings(&loaded), ["w duplicate 4:5"]);
    assert_eq!(note(loaded).as_deref(), Some("1"));
}

#[test]
fn values_for_what_is_not_there_are_refused() {
    let loaded = load_inputs(&with("{name: a, default: 1}"), &[("b", "2"), ("aa", "3")]);
    assert_eq!(findings(&loaded), ["e bad-input 2:1", "e bad-input 2:1"]);
    assert!(rendered(&loaded).contains("did you mean 'a'?"), "{}", rendered(&loaded));
    let loaded = load_inputs("name: x\n", &[("b", "2")]);
    assert_eq!(findings(&loaded), ["e bad-input 0:0"]);
    let loaded = load_text(&with("{name: b, default: 1}"));
    assert_eq!(findings(&loaded), ["e bad-reference 7:11"]);
    let loaded = load_text("name: x\ninputs: 3\n");
    assert_eq!(findings(&loaded), ["e wrong-shape 2:9"]);
}

#[test]
fn a_list_is_a_list_where_it_is_the_whole_value() {
    let spec = good(load_text(&with("{name: a, type: array, default: 'p; q'}")));
    assert_eq!(spec.hosts[0].attributes.text("NOTE"), Some("p,q"));
    let text = with("{name: a, type: array, default: 'p;q'}");
    let within = text.replace("note: ${input.a}", "note: 'x ${input.a}'");
    assert_eq!(findings(&load_text(&within)), ["e bad-reference 7:14"]);
    let inside = format!("{text}playbook: [first, '${{input.a}}', last]\n");
    assert_eq!(good(load_text(&inside)).playbooks, ["first", "p", "q", "last"]);
    let none = with("{name: a, type: array, mandatory: false}");
    assert_eq!(good(load_text(&none)).hosts[0].attributes.get("NOTE"), None);
}

#[test]
fn inputs_of_bases_are_joined_and_the_first_of_a_name_counts() {
    let files = Files::default()
        .with("base.yaml", "inputs:\n  - {name: a, default: base}\n")
        .with("t.yaml", format!("extends: base.yaml\n{}", with("{name: b, default: own}")));
    assert_eq!(note(files.load("t.yaml")).as_deref(), Some("base"));
    assert_eq!(note(files.load_with("t.yaml", &[("a", "g"), ("b", "h")])).as_deref(), Some("g"));
}

#[test]
fn a_password_is_a_secret_wherever_it_is_used() {
    let text = "name: x\ninputs:\n  - name: pw\n    type: password\n    default: s3cret-0\n\
                defaults:\n  provision: {driver: d, plan: 'a-${input.pw}'}\n  \
                configuration: {repo: '${input.pw}'}\nhosts:\n  - im_mad: kvm\n    vm_mad: kvm\n    \
                note: '${input.pw}'\n    list: [1, '${input.pw}']\n    \
                provision: {hostname: h}\n    connection: {private_key: '/x/${input.pw}'}\n\
                images:\n  - name: i\n    ds_id: 1\n    path: '${input.pw}'\n";
    for given in [&[][..], &[("pw", "s3cret-1")]] {
        let loaded = load_inputs(text, given);
        let shown = format!(
            "{}{:?}{:?}{:?}{}",
            rendered(&loaded),
            loaded.diagnostics,
            loaded.spec,
            loaded.inputs,
            loaded.dump().unwrap()
        );
        assert!(!shown.contains("s3cret"), "{shown}");
        let spec = good(loaded);
        let host = &spec.hosts[0];
        let value = given.first().map_or("s3cret-0", |(_, value)| *value);
        for (found, expected) in [
            (host.provision.get("PLAN"), format!("a-{value}")),
            (host.attributes.get("NOTE"), value.to_owned()),
            (host.attributes.get("LIST"), format!("1,{value}")),
            (spec.virtual_objects[0].attributes.get("PATH"), value.to_owned()),
            (host.connection.given.get("PRIVATE_KEY"), format!("/x/{value}")),
            (Some(&host.configuration), format!("repo: \"{value}\"\n")),
        ] {
            assert!(
                matches!(found, Some(Value::Secret(secret)) if secret.expose() == expected),
                "{expected}"
            );
        }
        assert!(!serde_json::to_string(&spec).unwrap().contains("s3cret"));
    }
    // Where a value is shown and stored in clear, it cannot stand, and no message shows it.
    for (from, to) in [
        ("hostname: h", "hostname: '${input.pw}'"),
        ("driver: d", "driver: '${input.pw}'"),
        ("name: x", "name: '${input.pw}'"),
        ("im_mad: kvm", "im_mad: '${input.pw}'"),
        ("private_key: '/x/", "remote_port: '/x/"),
        ("name: x", "name: x\nplaybook: '${input.pw}'"),
        ("name: x", "name: x\ncluster: {name: '${input.pw}'}"),
        ("hostname: h", "hostname: h, count: '${input.pw}'"),
    ] {
        let loaded = load_text(&text.replacen(from, to, 1));
        assert!(loaded.has_errors(), "{to}");
        let shown = format!("{}{:?}", rendered(&loaded), loaded.diagnostics);
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let wrong =
        text.replace("type: password", "type: password\n    options: {}\n    min_value: []");
    assert!(!rendered(&load_text(&wrong)).contains("s3cret"));
    let options =
        Options { inputs: [("pw".to_owned(), "s3cret-1".to_owned())].into(), ..Options::default() };
    assert!(!format!("{options:?}").contains("s3cret"));
}

#[test]
fn values_are_read_from_a_file() {
    let read = |text: &str| {
        let files = Files::default().with("i.yaml", text);
        let read = template::load_inputs(Path::new("i.yaml"), &files, &Options::default());
        let told: String = read.diagnostics.iter().map(|d| render(d, &read.sources)).collect();
        (read.values, told)
    };
    let (values, told) = read("a: 012\nb: 'x, y=z'\nc: [h1, h2]\nd:\ne: ''\n");
    let expected = [("a", "012"), ("b", "x, y=z"), ("c", "h1;h2"), ("e", "")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!((values, told.as_str()), (expected.into(), ""));
    assert_eq!(read("{\"a\": \"b\"}").0.get("a").map(String::as_str), Some("b"));
    for wrong in ["- s3cret\n", "pw: {x: s3cret}\n", "pw: 's3cret\n", "pw: s3cret\npw: s3cret\n"] {
        let (values, told) = read(wrong);
        assert!(
            values.is_empty() && told.contains("i.yaml:") && !told.contains("s3cret"),
            "{told}"
        );
    }
    assert_eq!(read("# nothing\n"), Default::default());
    let none = template::load_inputs(Path::new("no"), &Files::default(), &Options::default());
    assert_eq!(none.diagnostics[0].code, "unreadable");
}

#[test]
fn values_are_bounded() {
    let big = "x".repeat(1 << 20);
    let uses: String = (0..100).map(|i| format!("    k{i}: ${{input.a}}\n")).collect();
    let text = format!("{}{uses}", with("{name: a, type: text}"));
    let loaded = load_inputs(&text, &[("a", &big)]);
    assert_eq!(findings(&loaded), ["e too-large 72:10"]);
    let loaded = load_inputs(&text, &[("a", &format!("{big}x"))]);
    assert_eq!(findings(&loaded), ["e bad-input 3:5"]);
}
