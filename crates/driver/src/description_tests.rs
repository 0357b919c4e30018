use std::os::unix::fs::PermissionsExt as _;

use model::ParameterType;

use super::*;

const WHOLE: &str = "\
protocol: 1
name: lab
description: Machines of our lab
configurable: false
parameters:
  - {name: lab_token, required: true, account: true}
  - {name: size, type: integer, default: 4, allowed: [4, 8], aliases: [cores], description: How many}
  - {name: access_mode, secret: false}
  - {name: pin, secret: true}
";

fn parsed(text: &str) -> Result<Description, String> {
    parse("lab", Path::new("lab/driver.yaml"), text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn everything_is_read() {
    let lab = parsed(WHOLE).unwrap();
    assert_eq!((lab.name.as_str(), lab.summary.as_str()), ("lab", "Machines of our lab"));
    assert!(!lab.configurable);
    let parameters = lab.parameters.clone().unwrap();
    let [token, size, mode, pin] = parameters.as_slice() else { unreachable!("{parameters:?}") };
    assert_eq!(token.name, "LAB_TOKEN");
    assert!(token.required && token.account);
    assert!(token.secret, "by its name");
    assert_eq!((size.kind, size.default.as_deref()), (ParameterType::Integer, Some("4")));
    assert_eq!(
        (size.allowed.as_slice(), size.aliases.as_slice()),
        (&["4".to_owned(), "8".to_owned()][..], &["CORES".to_owned()][..])
    );
    assert!(!mode.secret, "it says so");
    assert!(pin.secret, "it says so");
    // What we print is what we read.
    let again = parsed(&to_yaml(&lab)).unwrap();
    assert_eq!(again.parameters, lab.parameters);
    assert_eq!((again.summary, again.configurable), (lab.summary, lab.configurable));
    // JSON is YAML.
    let json = r#"{"description": "x", "parameters": [{"name": "A", "type": "boolean"}]}"#;
    assert_eq!(parsed(json).unwrap().parameters.unwrap().len(), 1);
    assert_eq!(parsed("parameters: []").unwrap().parameters, Some(Vec::new()));
    for text in ["", "description: x"] {
        assert_eq!(parsed(text).unwrap().parameters, None, "it does not say");
    }
}

#[test]
fn what_cannot_be_used_is_told_with_its_place() {
    for (text, told) in [
        ("- a", "lab/driver.yaml:1:1: "),
        ("description: [a", "lab/driver.yaml:1:"),
        ("description: a\nparamters: []", "lab/driver.yaml:2:1: unknown field"),
        ("parameters:\n  - {name: a, type: size}", "lab/driver.yaml:2:"),
        ("parameters:\n  - {type: text}", "lab/driver.yaml:2:"),
        ("parameters:\n  - {name: 'a b'}", "lab/driver.yaml:2:"),
        ("parameters:\n  - {name: a, secrt: true}", "lab/driver.yaml:2:"),
        ("protocol: 2", "lab/driver.yaml: it is of protocol 2, and this tool speaks 1"),
        (
            "parameters: [{name: a}, {name: b, aliases: [A]}]",
            "lab/driver.yaml: two parameters go by the name A",
        ),
        (&"x".repeat(LIMIT + 1), "lab/driver.yaml: it is longer than 1024 KiB"),
    ] {
        let error = parsed(text).unwrap_err();
        assert!(error.starts_with(told), "{error}\nfor {text:.40}");
    }
    assert!(parse("lab", Path::new("x"), b"\xff").is_err());
}

fn executable(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_folder_says_something_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let read =
        || super::read("lab", dir.path(), Duration::from_secs(60)).map_err(|e| e.to_string());
    assert!(read().unwrap().is_none());
    let program = dir.path().join(EXECUTABLE);
    executable(&program, "echo 'description: printed'; echo noise >&2");
    assert_eq!(read().unwrap().unwrap().summary, "printed");
    executable(&program, "echo 'description: printed'; exit 3");
    assert!(read().unwrap_err().ends_with("describe failed: exit status: 3"));
    executable(&program, "yes");
    assert!(read().unwrap_err().contains("longer than"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(read().unwrap_err().contains("cannot be read"));
    // The file is asked first: nothing is run.
    fs::write(dir.path().join(FILE), "description: written").unwrap();
    assert_eq!(read().unwrap().unwrap().summary, "written");
    fs::write(dir.path().join(FILE), "descr: written").unwrap();
    assert!(read().is_err());
}

#[test]
fn what_does_not_end_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join(EXECUTABLE);
    for script in ["exec sleep 600", "sleep 600 & exit 0"] {
        executable(&program, script);
        let error = super::read("lab", dir.path(), Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, DescriptionError::Late { .. }), "{script}: {error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_description_leaves_running_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let left = dir.path().join("left");
    let script =
        "sleep 600 >/dev/null & echo $! >\"$(dirname \"$0\")/left\"; echo 'description: x'";
    executable(&dir.path().join(EXECUTABLE), script);
    assert!(super::read("lab", dir.path(), Duration::from_secs(60)).unwrap().is_some());
    let pid = fs::read_to_string(left).unwrap();
    let runs = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim().starts_with('Z'))
    };
    let begun = Instant::now();
    while runs() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(PACE);
    }
    assert!(!runs());
}
