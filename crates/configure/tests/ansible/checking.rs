//! What is found before anything is bought.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use configure::{Done, Plan};

use crate::lab::*;

#[tokio::test]
async fn a_plan_is_checked() {
    let Some(lab) = Lab::new(&[]) else { return };
    let good = lab.playbook("good.yml", "- hosts: nodes\n  tasks:\n  - ansible.builtin.debug:\n");
    let plan = |playbooks: &[&str]| Plan {
        playbooks: playbooks.iter().map(|p| (*p).to_owned()).collect(),
        ..Plan::default()
    };
    assert_eq!(lab.system.check_playbooks(&plan(&[])).await, Ok(vec![]));
    assert_eq!(lab.system.check_playbooks(&plan(&[&good])).await, Ok(vec![]));
    // It asks for a host, though there is none yet.
    let first = "- hosts: \"{{ groups['nodes'][0] }}\"\n  tasks:\n  - ansible.builtin.debug:\n\
                 - hosts: \"{{ groups['targets'] | first }}\"\n";
    let first = lab.playbook("first.yml", first);
    assert_eq!(lab.system.check_playbooks(&plan(&[&first])).await, Ok(vec![]));
    let bad = lab.playbook("bad.yml", "- hosts: nodes\n  roles: [absent]\n");
    let missing = lab.dir.path().join("missing.yml").display().to_string();
    let all = plan(&[&good, &bad, &missing, "default_firecracker"]);
    let troubles = lab.system.check_playbooks(&all).await.unwrap_err();
    for (trouble, part) in troubles.iter().zip([
        "missing.yml: it cannot be read: No such file",
        "playbook default_firecracker is not there",
        "bad.yml: Ansible does not take it: ",
    ]) {
        assert!(trouble.0.contains(part) && !trouble.0.contains('\u{1b}'), "{trouble}");
    }
    assert!(troubles[2].0.contains("the role 'absent' was not found"), "{troubles:?}");
    let mut old = plan(&[&good]);
    old.versions.1 = Some("2.10".into());
    let troubles = lab.system.check_playbooks(&old).await.unwrap_err();
    assert!(troubles[0].0.contains("the template asks for one before 2.10"), "{troubles:?}");

    let none = system("/no/ansible-playbook".into(), lab.dir.path().into(), lab.temporary.path());
    let troubles = none.check_playbooks(&plan(&[&good])).await.unwrap_err();
    assert!(troubles[0].0.contains("/no/ansible-playbook is not there: install"), "{troubles:?}");
    let (old, log) = (lab.dir.path().join("ansible-playbook"), lab.all(""));
    fs::write(&old, "#!/bin/sh\necho ansible-playbook 2.9.6\n").unwrap();
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    let old = system(old, lab.dir.path().into(), lab.temporary.path());
    let troubles = old.check_playbooks(&plan(&[&good])).await.unwrap_err();
    assert!(troubles[0].0.contains("version 2.9.6, but 2.12 or later"), "{troubles:?}");
    assert!(none.run_playbook(&log, &good, &Ears::default()).await.is_empty());
    lab.nothing_left();
}

#[tokio::test]
async fn requirements_are_installed_once() {
    let Ok(home) = std::env::var("HOLDER_HOME") else {
        // Once more, with a home of its own.
        let home = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "checking::requirements_are_installed_once", "--nocapture"]);
        let status = child.env("HOME", home.path()).env("HOLDER_HOME", home.path()).status();
        assert!(status.unwrap().success());
        return;
    };
    let Some(lab) = Lab::new(&["127.0.9.91"]) else { return };
    let source = lab.dir.path().join("source");
    for (path, text) in [
        (
            "given/tasks/main.yml",
            "- ansible.builtin.file: {path: '{{ home }}/by-role', state: directory}\n",
        ),
        (
            "given/meta/main.yml",
            "galaxy_info: {author: x, description: x, license: x, min_ansible_version: '2.12'}\n",
        ),
        (
            "galaxy.yml",
            "namespace: some\nname: thing\nversion: 1.0.0\nreadme: README.md\nauthors: [x]\n",
        ),
        ("README.md", "x\n"),
        (
            "roles/inner/tasks/main.yml",
            "- ansible.builtin.file: {path: '{{ home }}/by-collection', state: directory}\n",
        ),
    ] {
        let path = source.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let packed =
        Command::new("tar").args(["-czf", "given.tar.gz", "given"]).current_dir(&source).status();
    assert!(packed.unwrap().success());
    let shown = source.display();
    let requirements = lab.playbook(
        "requirements.yml",
        &format!("roles:\n- {{name: given, src: 'file://{shown}/given.tar.gz'}}\ncollections:\n- {{name: '{shown}', type: dir}}\n"),
    );
    let playbook = lab.playbook(
        "site.yml",
        "- hosts: nodes\n  gather_facts: false\n  roles: [given, some.thing.inner]\n",
    );
    let plan = Plan { playbooks: vec![playbook.clone()], ..Plan::default() };
    // What the caller has for himself is not enough: he may remove it.
    for kind in ["role", "collection"] {
        let tool = ansible().unwrap().with_file_name("ansible-galaxy");
        let installed = Command::new(tool).args([kind, "install", "-r", &requirements]).output();
        assert!(installed.unwrap().status.success());
    }
    let own = Path::new(&home).join(".ansible");
    assert!(own.join("roles/given").is_dir());
    assert!(own.join("collections/ansible_collections/some/thing").is_dir());
    assert_eq!(lab.system.check_playbooks(&plan).await, Ok(vec![]));
    fs::remove_dir_all(own).unwrap();
    // It is not looked for again.
    fs::remove_dir_all(&source).unwrap();
    assert_eq!(lab.system.check_playbooks(&plan).await, Ok(vec![]));
    let (results, _) = lab.play(&lab.all(PYTHON), &playbook).await;
    assert_eq!(results, [Ok(Done { changed: 2 })]);
    assert!(lab.home(0).join("by-role").is_dir() && lab.home(0).join("by-collection").is_dir());

    lab.playbook(
        "requirements.yml",
        &format!("roles:\n- {{name: given, src: 'file://{shown}/gone.tar.gz'}}\n"),
    );
    let troubles = lab.system.check_playbooks(&plan).await.unwrap_err();
    let trouble = &troubles[0].0;
    for part in [
        "the roles of ",
        "requirements.yml cannot be installed: ansible-galaxy ended with",
        "gone.tar.gz",
        "roles/ beside the playbook",
    ] {
        assert!(trouble.contains(part), "{trouble}");
    }
    assert_eq!(fs::read_dir(lab.dir.path().join("state/galaxy")).unwrap().count(), 1);
}
