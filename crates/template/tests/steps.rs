//! Files and commands of hosts: `configure`.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Files, SMALL, findings, load_inputs, load_text, rendered, spec};
use model::{Secret, Value};
use serde_json::{Value as Json, json};
use template::{
    EvaluateError, Lookup, ObjectKind, Options, SecretError, SecretReference, SecretSource, Spec,
    evaluate_json_texts, load,
};

/// `SMALL` with these lines at the top, and these in its second host.
fn with(top: &str, host: &str) -> String {
    format!("{top}{SMALL}{host}")
}

#[allow(clippy::unwrap_used, reason = "a part of the tests below")]
fn json(steps: Option<&Value>) -> Json {
    serde_json::from_str(steps.unwrap().expose().unwrap()).unwrap()
}

/// The steps of every host; nothing where there are none.
fn steps(spec: &Spec) -> Vec<Json> {
    spec.hosts
        .iter()
        .map(|host| match &host.steps {
            None => Json::Null,
            steps => json(steps.as_ref()),
        })
        .collect()
}

const TOP: &str = "\
configure:
  files:
    - path: /etc/motd
      content: |
        Welcome to <%= @name %>
      mode: 0644
    - {path: /etc/app.conf, source: files/app.conf, owner: 'root:adm', mode: \"4755\"}
  commands:
    - systemctl restart app || echo ${HOME} 'no'
    - [sleep, 5, '', \"<%= @clusters[0]['ID'] %>\"]
";

const HOST: &str = "    configure:
      files:
        - {path: /etc/id, content: \"<%= @clusters[0]['ID'] %>\"}
        - {path: /etc/empty, content: ''}
      commands: ['true']
";

#[test]
fn the_form_is_the_one_that_the_hosts_get() {
    let spec = spec(&with(TOP, HOST));
    let common = [
        json!({"path": "/etc/motd", "content": "Welcome to edge\n", "mode": "0644"}),
        json!({"path": "/etc/app.conf", "source": "/here/files/app.conf", "owner": "root:adm",
               "mode": "4755"}),
    ];
    let id = "<%= @clusters[0]['ID'] %>";
    let commands =
        [json!("systemctl restart app || echo ${HOME} 'no'"), json!(["sleep", "5", "", id])];
    assert_eq!(
        steps(&spec),
        [
            json!({"files": common, "commands": commands}),
            json!({
                "files": [common[0], common[1], {"path": "/etc/id", "content": id},
                          {"path": "/etc/empty", "content": ""}],
                "commands": [commands[0], commands[1], "true"],
            }),
        ]
    );
    assert!(matches!(&spec.hosts[0].steps, Some(Value::Text(_))));
    for host in &spec.hosts {
        assert_eq!(host.attributes.get("CONFIGURE"), None);
    }
    // As the journal has it.
    let text = serde_json::to_string(&spec).unwrap();
    assert_eq!(steps(&serde_json::from_str(&text).unwrap()), steps(&spec));

    struct Ids;
    impl Lookup for Ids {
        fn name(&self) -> &str {
            "edge"
        }
        fn id(&self) -> &str {
            "i"
        }
        fn attribute(&self, _: ObjectKind, _: usize, _: &str) -> Option<String> {
            Some("100".into())
        }
    }
    let text = spec.hosts[1].steps.as_ref().and_then(Value::expose).unwrap();
    let resolved: Json = serde_json::from_str(&evaluate_json_texts(text, &Ids).unwrap()).unwrap();
    assert_eq!(resolved["files"][2], json!({"path": "/etc/id", "content": "100"}));
    assert_eq!(resolved["commands"][1], json!(["sleep", "5", "", "100"]));
}

#[test]
fn a_host_without_any_has_none() {
    for top in ["", "configure:\n", "configure: {}\n", "configure: {files: [], commands: ~}\n"] {
        assert_eq!(steps(&spec(&with(top, ""))), [Json::Null, Json::Null], "{top}");
    }
    let text = serde_json::to_string(&spec(SMALL)).unwrap();
    assert!(!text.contains("steps") && !text.contains("ansible_versions"), "{text}");
}

#[test]
fn playbooks_are_meant_only_where_nothing_else_is_said() {
    for (top, host, playbooks) in [
        ("", "", &["default"][..]),
        ("configure: ~\n", "", &["default"]),
        (TOP, "", &[]),
        ("files: []\n", "", &[]),
        ("playbook: ~\nfiles: []\n", "", &[]),
        ("", HOST, &[]),
        ("playbook: default\n", HOST, &["default"]),
        ("playbook: a\nfiles: []\n", "", &["a"]),
        ("ansible: {playbook: [a, b]}\nfiles: []\n", "", &["a", "b"]),
        ("ansible: {ver_min: 2.8}\nfiles: []\n", "", &[]),
        ("ansible: {ver_min: 2.8}\n", "", &["default"]),
    ] {
        assert_eq!(spec(&with(top, host)).playbooks, playbooks, "{top}{host}");
    }
}

#[test]
fn the_short_form_comes_first_and_bases_before_what_extends_them() {
    let loaded = load_text(&with(
        "files: [{path: /a, content: a}]\nconfigure:\n  files: [{path: /b, content: b}]\n",
        "",
    ));
    assert_eq!(findings(&loaded), ["w duplicate-key 1:1"], "{}", rendered(&loaded));
    assert!(rendered(&loaded).contains("t.yaml:3:3: note: it is given here"));
    let paths = |spec: &Spec| -> Vec<String> {
        let files = steps(spec)[0]["files"].as_array().cloned().unwrap_or_default();
        files.iter().map(|file| file["path"].as_str().unwrap_or("?").to_owned()).collect()
    };
    assert_eq!(paths(&loaded.spec.unwrap()), ["/a", "/b"]);

    for (base, child) in [
        ("files: [{path: /1, source: s}]\n", "files: [{path: /2, source: s}]\n"),
        ("configure: {files: [{path: /1, source: s}]}\n", "files: [{path: /2, source: s}]\n"),
        ("files: [{path: /1, source: s}]\n", "configure: {files: [{path: /2, source: s}]}\n"),
    ] {
        let files = Files::default()
            .with("a/b/base.yaml", format!("{base}playbook: ./p.yml\n"))
            .with("a/t.yaml", with(&format!("extends: b/base.yaml\nplaybook: q\n{child}"), ""));
        let loaded = files.load("a/t.yaml");
        assert_eq!(findings(&loaded), [""; 0], "{}", rendered(&loaded));
        let spec = loaded.spec.unwrap();
        assert_eq!(paths(&spec), ["/1", "/2"]);
        // Each counts from the file in which it stands.
        let sources: Vec<Json> = steps(&spec)[0]["files"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| file["source"].clone())
            .collect();
        assert_eq!(sources, ["/here/a/b/s", "/here/a/s"]);
        assert_eq!(spec.playbooks, ["/here/a/b/./p.yml", "q"]);
    }

    let files = Files::default()
        .with("base.yaml", "configure: {commands: [one], files: [{path: /a, source: ~/s}]}\n")
        .with("t.yaml", with("extends: base.yaml\nconfigure: {commands: [two]}\n", HOST));
    let spec = files.load("t.yaml").spec.unwrap();
    assert_eq!(steps(&spec)[0]["commands"], json!(["one", "two"]));
    assert_eq!(steps(&spec)[1]["commands"], json!(["one", "two", "true"]));
    assert_eq!(steps(&spec)[0]["files"], json!([{"path": "/a", "source": "~/s"}]));
}

#[test]
fn what_is_wrong_is_found_at_its_place() {
    for (top, finding, help) in [
        ("files: [{content: a}]", "e missing-key 1:9", "where it is put"),
        ("files: [{path: ~, content: a}]", "e missing-key 1:9", "where it is put"),
        ("files: [{path: etc/a, content: a}]", "e bad-value 1:16", "from '/' on"),
        ("files: [{path: '', content: a}]", "e bad-value 1:16", "'path' is empty"),
        ("files: [{path: /etc/, content: a}]", "e bad-value 1:16", "names a folder"),
        ("files: [{path: \"/a\\nb\", content: a}]", "e bad-value 1:16", "more than one line"),
        ("files: [{path: [/a], content: a}]", "e wrong-shape 1:16", "a single value"),
        ("files: [{path: /a}]", "e missing-key 1:9", "neither content nor source"),
        ("files: [{path: /a, content: }]", "e missing-key 1:9", "neither content nor source"),
        ("files: [{path: /a, content: a, source: b}]", "e bad-value 1:32", "leave out one"),
        ("files: [{path: /a, content: [a]}]", "e wrong-shape 1:29", "{env: NAME}"),
        ("files: [{path: /a, content: {vault: a}}]", "e wrong-shape 1:29", "{env: NAME}"),
        ("files: [{path: /a, content: {env: [a]}}]", "e wrong-shape 1:35", "takes a name"),
        ("files: [{path: /a, source: ''}]", "e bad-value 1:28", "'source' is empty"),
        ("files: [{path: /a, source: b/}]", "e bad-value 1:28", "names a folder"),
        ("files: [{path: /a, source: {file: b}}]", "e wrong-shape 1:28", "a single value"),
        ("files: [{path: /a, source: b, mode: 888}]", "e bad-value 1:37", "octal digits"),
        ("files: [{path: /a, source: b, mode: rwx}]", "e bad-value 1:37", "octal digits"),
        ("files: [{path: /a, source: b, mode: 64}]", "e bad-value 1:37", "octal digits"),
        ("files: [{path: /a, source: b, mode: 17777}]", "e bad-value 1:37", "octal digits"),
        ("files: [{path: /a, source: b, mode: +644}]", "e bad-value 1:37", "octal digits"),
        ("files: [{path: /a, source: b, owner: 'a b'}]", "e bad-value 1:38", "USER:GROUP"),
        ("files: [{path: /a, source: b, owner: 'a:b:c'}]", "e bad-value 1:38", "USER:GROUP"),
        ("files: [{path: /a, source: b, owner: '-x'}]", "e bad-value 1:38", "USER:GROUP"),
        ("files: [{path: /a, source: b, owner: 'a:'}]", "e bad-value 1:38", "USER:GROUP"),
        ("files: [{path: /a, sorce: b, source: c}]", "w unknown-key 1:20", "mean 'source'?"),
        ("files: [{path: /a, content: '<%= @nme %>'}]", "e bad-reference 1:30", "is not known"),
        ("files: [/a]", "e wrong-shape 1:9", "- {path: /etc/motd"),
        ("files: {path: /a, content: b}", "e wrong-shape 1:8", "- path: /…"),
        ("configure: [a]", "e wrong-shape 1:12", "takes a group of keys"),
        ("files: 3\nconfigure: {files: []}", "e wrong-shape 1:8", "takes a list"),
        ("files: []\nconfigure: {files: 3}", "e wrong-shape 2:20", "takes a list"),
        ("files: []\nconfigure: {files: }", "", ""),
        ("files: []\nconfigure:", "", ""),
        ("files: []\nconfigure: [a]", "e wrong-shape 2:12", "takes a group of keys"),
        ("configure: {command: [a]}", "w unknown-key 1:13", "did you mean 'commands'?"),
        ("configure: {commands: a}", "e wrong-shape 1:23", "begin each command"),
        ("configure: {commands: ['']}", "e bad-value 1:24", "a command is empty"),
        ("configure: {commands: [' ']}", "e bad-value 1:24", "a command is empty"),
        ("configure:\n  commands:\n    -\n", "e bad-value 3:6", "a command is empty"),
        ("configure: {commands: [[]]}", "e bad-value 1:24", "a command is empty"),
        ("configure: {commands: [['', a]]}", "e bad-value 1:24", "program of a command is empty"),
        ("configure: {commands: [[ls, ~]]}", "e bad-value 1:29", "put it in quotes"),
        ("configure: {commands: [[ls, [a]]]}", "e wrong-shape 1:29", "is a text"),
        ("configure: {commands: [{echo: a}]}", "e wrong-shape 1:24", "must be in quotes"),
        ("commands: [a]", "w unknown-key 1:1", "'commands' within 'configure'"),
        ("confgure: {}", "w unknown-key 1:1", "did you mean 'configure'?"),
    ] {
        let loaded = load_text(&with(&format!("{top}\n"), ""));
        assert_eq!(findings(&loaded).join(" "), finding, "{top}\n{}", rendered(&loaded));
        assert!(rendered(&loaded).contains(help), "{}", rendered(&loaded));
    }
    // Also where there is no host, as in a base.
    let loaded = load_text("name: x\nfiles: [{path: a, source: b}]\n");
    assert_eq!(findings(&loaded), ["e bad-value 2:16"]);
}

#[test]
fn what_is_wrong_in_hosts_and_defaults_is_found() {
    for (line, finding, help) in [
        ("files: []", "w unknown-key 23:5", "did you mean 'files' within 'configure'?"),
        ("confgure: {}", "w unknown-key 23:5", "did you mean 'configure'?"),
        ("configure: 3", "e wrong-shape 23:16", "takes a group of keys"),
        ("configure: {files: [{path: a, source: b}]}", "e bad-value 23:32", "from '/' on"),
        ("provision_steps_base64: x", "w ignored-key 23:5", "written by the tool"),
    ] {
        let loaded = load_text(&with("", &format!("    {line}\n")).replacen(
            "name: edge\n",
            "name: edge\nversion: 1\n",
            1,
        ));
        assert_eq!(findings(&loaded), [finding], "{line}\n{}", rendered(&loaded));
        assert!(rendered(&loaded).contains(help), "{}", rendered(&loaded));
    }
    for key in ["configure", "files", "commands"] {
        let text = SMALL.replacen("defaults:\n", &format!("defaults:\n  {key}: []\n"), 1);
        let loaded = load_text(&text);
        assert_eq!(findings(&loaded), ["w unknown-key 3:3"]);
        assert!(rendered(&loaded).contains("help: 'configure' stands at the top level"));
    }
}

/// Knows every secret.
struct Vault;

impl SecretSource for Vault {
    fn secret(&self, reference: &SecretReference) -> Result<Secret, SecretError> {
        match reference {
            SecretReference::Env(name) if name == "NONE" => Err(SecretError("is not set".into())),
            SecretReference::Env(_) => Ok(Secret::new("s3cret <%= erb <% %>")),
            other => Ok(Secret::new(format!("s3cret of {other}"))),
        }
    }
}

#[test]
fn a_secret_makes_the_whole_a_secret() {
    let top = "files: [{path: /a, content: {env: A}}, {path: /b, content: {file: k/b}}]\n";
    let files = Files::default().with("d/t.yaml", with(top, ""));
    let options = Options { secrets: Some(Arc::new(Vault)), ..Options::default() };
    let loaded = load(Path::new("d/t.yaml"), &files, &options);
    assert_eq!(findings(&loaded), [""; 0], "{}", rendered(&loaded));
    let dump = loaded.dump().unwrap();
    assert!(dump.contains("configure:\n  files:\n    - path: /a\n"), "{dump}");
    let spec = loaded.spec.unwrap();
    let Some(Value::Secret(secret)) = &spec.hosts[0].steps else { panic!() };
    assert!(!format!("{spec:?}{}", serde_json::to_string(&spec).unwrap()).contains("s3cret"));
    let back: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(back.hosts[0].steps, Some(Value::Withheld));

    // What stands in a secret is no reference, whatever it looks like.
    struct Nothing;
    impl Lookup for Nothing {
        fn name(&self) -> &str {
            ""
        }
        fn id(&self) -> &str {
            ""
        }
        fn attribute(&self, _: ObjectKind, _: usize, _: &str) -> Option<String> {
            None
        }
    }
    let resolved: Result<String, EvaluateError> = evaluate_json_texts(secret.expose(), &Nothing);
    let resolved: Json = serde_json::from_str(&resolved.unwrap()).unwrap();
    assert_eq!(resolved["files"][0]["content"], "s3cret <%= erb <% %>");
    assert_eq!(resolved["files"][1]["content"], "s3cret of the file d/k/b");

    // Nobody is there to get it.
    assert_eq!(files.load("d/t.yaml").spec.unwrap().hosts[0].steps, Some(Value::Withheld));
    let none = Files::default().with("d/t.yaml", with(&top.replace("env: A", "env: NONE"), ""));
    assert_eq!(findings(&load(Path::new("d/t.yaml"), &none, &options)), ["e no-secret 1:35"]);
}

#[test]
fn passwords_and_keys_are_hidden_and_kept_out_of_commands() {
    let inputs = "inputs: [{name: p, type: password}]\n";
    let top = format!("{inputs}files: [{{path: /a, content: 'pass ${{input.p}}'}}]\n");
    let loaded = load_inputs(&with(&top, ""), &[("p", "s3cret")]);
    assert!(!loaded.has_errors(), "{}", rendered(&loaded));
    assert!(matches!(&loaded.spec.unwrap().hosts[0].steps, Some(Value::Secret(_))));

    for part in [
        "commands: ['login ${input.p}']",
        "commands: [[login, '${input.p}']]",
        "files: [{path: '/${input.p}', source: a}]",
        "files: [{path: /a, source: '${input.p}'}]",
        "files: [{path: /a, source: b, mode: '${input.p}'}]",
        "files: [{path: /a, source: b, owner: '${input.p}'}]",
    ] {
        let loaded =
            load_inputs(&with(&format!("{inputs}configure: {{{part}}}\n"), ""), &[("p", "s3cret")]);
        assert_eq!(loaded.diagnostics[0].code, "bad-value", "{part}");
        assert!(!rendered(&loaded).contains("s3cret"), "{}", rendered(&loaded));
    }

    let loaded = load_text(&with(
        "files:\n  - path: /root/.ssh/id\n    content: |\n      -----BEGIN OPENSSH PRIVATE KEY-----\n      \
         s3cret<%= x %>\n",
        "",
    ));
    let shown = format!("{}{}", rendered(&loaded), loaded.dump().unwrap());
    assert!(shown.contains("bad-reference") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn inputs_and_copies_are_filled_in() {
    let text = with(
        "inputs: [{name: l, type: array}, {name: d, type: text}]\n\
         configure: {commands: ['${input.l}', [echo, '${input.l}']], files: [{path: '/${input.d}', source: '${input.d}/f'}]}\n",
        "    configure: {commands: ['hostname h${index}']}\n",
    );
    let loaded = load_inputs(&text, &[("l", "a;b"), ("d", "x")]);
    assert!(!loaded.has_errors(), "{}", rendered(&loaded));
    assert_eq!(
        steps(&loaded.spec.unwrap())[1],
        json!({
            "files": [{"path": "/x", "source": "/here/x/f"}],
            "commands": ["a", "b", ["echo", "a", "b"], "hostname h1"],
        })
    );
}
