//! Properties of the whole: no input panics, and what is generated is understood.

mod common;

use common::{Files, load_inputs, load_text, rendered};
use proptest::prelude::*;
use template::{Spec, render};

/// Lines of templates, right and wrong, to be put together at random.
const LINES: [&str; 60] = [
    "name: x",
    "name: <%= @id %>",
    "version: 1",
    "extends: t.yaml",
    "extends: [a, {b: c}, ~]",
    "playbook: [a, b]",
    "defaults:",
    "  provision:",
    "    driver: d",
    "    packet_token: ****",
    "    token: {env: T}",
    "    hostname: <%= @name %>-<%= @hosts[0]['ID'] %>",
    "    count: 2",
    "  connection: &c",
    "    remote_port: '22'",
    "    private_key: |",
    "      -----BEGIN PRIVATE KEY-----",
    "  configuration: {a: [1, {b: !x c}], secret: s}",
    "cluster:",
    "  name: ${cluster.0.id}",
    "hosts:",
    "  - im_mad: kvm",
    "    vm_mad: 0x1F",
    "    provision: {hostname: h, ip: 1.2.3.4}",
    "    connection: *c",
    "  -",
    "  - [a]",
    "    <<: *c",
    "datastores:",
    "  - name: d",
    "    tm_mad: ssh",
    "    meta: {mode: 0999, uid: -1, wait: x}",
    "networks: [{name: n, vn_mad: v, ar: [{ip: 1}, 2]}]",
    "images: [1, {a: <%= @images[0]['ID'] %>}]",
    "---",
    "? [a]",
    ": b",
    "\tx: y",
    "\"\\e\": 'é'",
    "# comment",
    "inputs: [{name: a, type: array, default: 'p;q'}, {name: b, type: password}, [x]]",
    "inputs: [{name: b, type: range, min_value: 1}, {name: c, value: <% x}]",
    "provider: ${input.a}",
    "playbook: ['${input.a}', '${input.b}']",
    "    hostname: ${input.a}",
    "    hostname: h${index}-${provision_id}-${host.0.id}",
    "    count: ${input.c}",
    "    note: ${cluster.0.id} ${network.n.bridge} ${image.x.id} ${updates.y} ${",
    "    note: {file: ${input.a}}",
    "templates: [{name: '${provision}', a: '${host.h.id}', meta: {wait: true}}]",
    "flowtemplates: [{name: s, roles: [{vm_template: <%= @templates[0]['ID'] %>, x: 1.5}]}]",
    "configure:",
    "  files:",
    "  - {path: /a, content: {env: A}, mode: 0644}",
    "    configure: {files: [{path: b, source: c, content: }], commands: [a, [b, ~], [[]]]}",
    "  commands: ['${input.a} ${index} ${HOME}', [x, <%= @id %>]]",
    "files: [{path: '/${input.b}', source: a, owner: 'a b'}, {path: /x, content: '${input.b}'}, 1]",
    "ansible: {ver_min: 2.x, ver_max: 2, playbook: ./a}",
    "    connection: {jump_hosts: [a, 'b c'], private_key: agent}",
    "marketplaceapps: [{name: a, appid: x, dsid: '${datastore.d.id}'}]",
];

fn any_template() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(LINES.to_vec()), 0..25)
        .prop_map(|lines| lines.iter().map(|line| format!("{line}\n")).collect())
}

/// Uses an input everywhere where a text can stand.
const ASKED: &str = "\
name: x
inputs: [{name: a, type: text}, {name: n, type: range, min_value: 0, max_value: 40}]
defaults: {provision: {driver: d, p: '${input.a}'}}
files: [{path: '/x', content: '+${input.a}+'}]
hosts:
  - im_mad: kvm
    vm_mad: kvm
    note: ${input.a}
    provision: {hostname: 'h${index}', count: '${input.n}'}
    configuration: {c: '-${input.a}-'}
flowtemplates: [{name: f, roles: [], v: '${input.a}'}]
";

proptest! {
    #[test]
    fn what_is_given_is_what_is_used(
        value in "(\\$\\{index\\}|\\$\\{input\\.a\\}|[ -~é\u{2028}\n\t]|: |# |---|%>)*",
        count in 0_usize..=40,
    ) {
        prop_assume!(!value.contains("<%"));
        let loaded = load_inputs(ASKED, &[("a", &value), ("n", &count.to_string())]);
        prop_assert!(!loaded.has_errors(), "{}", rendered(&loaded));
        let Some(spec) = loaded.spec else { return Err(TestCaseError::fail("no spec")) };
        prop_assert_eq!(spec.hosts.len(), count);
        for (index, host) in spec.hosts.iter().enumerate() {
            prop_assert_eq!(&host.hostname, &format!("h{index}"));
            prop_assert_eq!(host.attributes.text("NOTE"), Some(value.as_str()));
            prop_assert_eq!(host.provision.text("P"), Some(value.as_str()));
            let yaml = host.configuration.expose().unwrap_or_default();
            let read: std::collections::BTreeMap<String, String> =
                serde_saphyr::from_str(yaml).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(read.get("c"), Some(&format!("-{value}-")));
            let steps = host.steps.as_ref().and_then(|steps| steps.expose()).unwrap_or_default();
            let steps: serde_json::Value = serde_json::from_str(steps)
                .map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&steps["files"][0]["content"], &format!("+{value}+"));
        }
        let body = spec.virtual_objects.first().and_then(|o| o.body.as_ref()?.expose());
        let body: serde_json::Value = serde_json::from_str(body.unwrap_or_default())
            .map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(body["v"].as_str(), Some(value.as_str()));
    }
}

fn check(loaded: &template::Loaded) -> Result<(), TestCaseError> {
    prop_assert_eq!(loaded.spec.is_none(), loaded.has_errors());
    for diagnostic in &loaded.diagnostics {
        let text = render(diagnostic, &loaded.sources);
        prop_assert!(text.starts_with("t.yaml"), "{}", text);
        prop_assert!(text.ends_with('\n') && !text.contains('\u{1b}'), "{}", text);
        let lines = loaded.sources.line(diagnostic.span.file, diagnostic.span.line);
        prop_assert!(diagnostic.span.column as usize <= lines.chars().count() + 1, "{}", text);
    }
    if let Some(spec) = &loaded.spec {
        let json = serde_json::to_string(spec).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let back: Spec =
            serde_json::from_str(&json).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(back.hosts.len(), spec.hosts.len());
    }
    if let Some(dump) = loaded.dump() {
        let again = load_text(&dump);
        let syntax = again.diagnostics.iter().any(|d| d.code == "yaml-syntax");
        prop_assert!(!syntax, "{}\n{}", dump, rendered(&again));
    }
    Ok(())
}

/// Texts that hold no reference: no '<' and no '$'.
const PLAIN: &str = "[ -#%-;=-~é\\n]{0,20}";

/// Lists of files and commands as they must come out: contents and modes, lines and words.
type AnySteps = (Vec<(String, Option<u16>)>, Vec<Result<String, Vec<String>>>);

fn any_steps() -> impl Strategy<Value = AnySteps> {
    let files = prop::collection::vec((PLAIN, prop::option::of(0u16..0o10000)), 0..4);
    let line = PLAIN.prop_map(|line| Ok(format!("x{line}")));
    let words = prop::collection::vec(PLAIN, 0..4).prop_map(|mut words| {
        words.insert(0, "x".to_owned());
        Err(words)
    });
    (files, prop::collection::vec(prop_oneof![line, words], 0..4))
}

/// A JSON text is YAML.
fn written(steps: &AnySteps) -> serde_json::Value {
    let (files, commands) = steps;
    let files: Vec<_> = files
        .iter()
        .map(|(content, mode)| match mode {
            Some(mode) => serde_json::json!({
                "path": "/x", "content": content, "mode": format!("{mode:04o}"),
            }),
            None => serde_json::json!({"path": "/x", "content": content}),
        })
        .collect();
    let commands: Vec<serde_json::Value> = commands
        .iter()
        .map(|command| match command {
            Ok(line) => line.as_str().into(),
            Err(words) => words.as_slice().into(),
        })
        .collect();
    serde_json::json!({"files": files, "commands": commands})
}

/// A host as it is generated, and as it must come out.
#[derive(Clone, Debug)]
struct Host {
    hypervisor: String,
    parameters: Vec<(String, String)>,
    attributes: Vec<(String, String)>,
}

fn any_host() -> impl Strategy<Value = Host> {
    // Keys that are not ours; no '<' and no '$', which begin references.
    let pairs = || prop::collection::btree_map("q[a-z0-9_]{0,8}", "[ -#%-;=-~é]{1,20}", 0..6);
    ("kvm|lxc|vcenter", pairs(), pairs()).prop_map(|(hypervisor, parameters, attributes)| Host {
        hypervisor,
        parameters: parameters.into_iter().collect(),
        attributes: attributes.into_iter().collect(),
    })
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn yaml(hosts: &[Host]) -> String {
    let mut text = "name: generated\ndefaults: {provision: {driver: d}}\nhosts:\n".to_owned();
    for (index, host) in hosts.iter().enumerate() {
        text.push_str(&format!("  - im_mad: {0}\n    vm_mad: {0}\n", host.hypervisor));
        for (key, value) in &host.attributes {
            text.push_str(&format!("    {key}: {}\n", quoted(value)));
        }
        text.push_str(&format!("    provision:\n      hostname: host{index}\n"));
        for (key, value) in &host.parameters {
            text.push_str(&format!("      {key}: {}\n", quoted(value)));
        }
    }
    text
}

proptest! {
    #[test]
    fn any_bytes_load_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&Files::default().with("t.yaml", bytes).load("t.yaml"))?;
    }

    #[test]
    fn any_lines_load_without_panic(text in any_template()) {
        check(&load_text(&text))?;
    }

    #[test]
    fn files_and_commands_come_out_as_they_are_written(
        common in any_steps(),
        own in any_steps(),
        short in any::<bool>(),
    ) {
        let (mut expected, own) = (written(&common), written(&own));
        let mut top = expected.clone();
        let files = if short {
            let files = top["files"].take();
            format!("files: {files}\n")
        } else {
            String::new()
        };
        let text = format!(
            "name: s\nconfigure: {top}\n{files}hosts:\n  - im_mad: kvm\n    vm_mad: kvm\n    \
             provision: {{driver: d, hostname: h}}\n    configure: {own}\n"
        );
        let loaded = load_text(&text);
        prop_assert!(!loaded.has_errors(), "{}{}", text, rendered(&loaded));
        for key in ["files", "commands"] {
            let more = own[key].as_array().cloned().unwrap_or_default();
            if let Some(items) = expected[key].as_array_mut() {
                items.extend(more);
            }
        }
        let spec = loaded.spec.ok_or_else(|| TestCaseError::fail("no spec"))?;
        let nothing = expected == serde_json::json!({"files": [], "commands": []});
        match &spec.hosts[0].steps {
            None => prop_assert!(nothing),
            Some(steps) => {
                let read: serde_json::Value =
                    serde_json::from_str(steps.expose().unwrap_or_default())
                        .map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(&read, &expected);
            }
        }
        // And out of the template that is made of it.
        let again = load_text(&template::export(&spec).yaml);
        prop_assert!(!again.has_errors(), "{}", rendered(&again));
        prop_assert_eq!(again.spec.map(|again| again.hosts[0].steps.clone()), Some(spec.hosts[0].steps.clone()));
    }

    #[test]
    fn what_is_written_is_what_is_read(hosts in prop::collection::vec(any_host(), 0..5)) {
        let loaded = load_text(&yaml(&hosts));
        prop_assert!(!loaded.has_errors(), "{}", rendered(&loaded));
        let Some(spec) = loaded.spec else { return Err(TestCaseError::fail("no spec")) };
        prop_assert_eq!(spec.hosts.len(), hosts.len());
        for (read, written) in spec.hosts.iter().zip(&hosts) {
            prop_assert_eq!(&read.im_mad, &written.hypervisor);
            let pairs = |all: &model::Attributes, skip: &str| -> Vec<(String, String)> {
                all.iter()
                    .filter(|(key, _)| *key != skip)
                    .filter_map(|(key, value)| Some((key.to_lowercase(), value.expose()?.to_owned())))
                    .collect()
            };
            prop_assert_eq!(&pairs(&read.provision, "HOSTNAME"), &written.parameters);
            prop_assert_eq!(&pairs(&read.attributes, ""), &written.attributes);
        }
    }
}
