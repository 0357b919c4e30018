//! What a playbook finds around it: other hosts, this computer, the caller's settings.

use std::fs;
use std::path::Path;
use std::process::Command;

use configure::{Done, Heard, Key};
use model::HostKey;

use crate::lab::*;

#[tokio::test]
async fn ssh_s_options_are_added_to_ours() {
    let Some(lab) = Lab::new(&["127.0.9.35"]) else { return };
    // One whose name has what ssh takes for something else.
    let key = lab.dir.path().join("key%h%x");
    fs::copy(lab.dir.path().join("key"), &key).unwrap();
    let playbook = lab.playbook(
        "options.yml",
        "- hosts: nodes\n  gather_facts: false\n  tasks:\n  - ansible.builtin.shell: echo \"$OF\" > {{ home }}/of\n",
    );
    let common = "ansible_ssh_common_args: -o UserKnownHostsFile=/dev/null -o HostKeyAlias=other -o \
                  SetEnv=OF=theirs\n";
    let mut machine = lab.machine(0, &format!("{PYTHON}{common}"));
    machine.connection.key = Key::File(key);
    let (results, _) = lab.play(&lab.run(vec![machine]), &playbook).await;
    assert_eq!(results, [Ok(Done { changed: 1 })]);
    let known = lab.dir.path().join("state").join(lab.provision.to_string()).join("known_hosts");
    let known = fs::read_to_string(known).unwrap();
    assert!(known.starts_with("machine-0 "), "{known}");
    assert_eq!(fs::read_to_string(lab.home(0).join("of")).unwrap(), "theirs\n");
}

/// A caller's environment: a relative file of a vault's password counts, a shell that is none does not.
#[tokio::test]
async fn a_vault_s_password_and_no_shell() {
    let Some(lab) = Lab::new(&["127.0.9.37"]) else { return };
    fs::write(lab.dir.path().join("word"), "vault-word\n").unwrap();
    fs::write(lab.dir.path().join("secret.yml"), "vaulted: opened\n").unwrap();
    let tool = ansible().unwrap().with_file_name("ansible-vault");
    let encrypted = Command::new(tool)
        .args(["encrypt", "--vault-password-file", "word", "secret.yml"])
        .current_dir(lab.dir.path())
        .output();
    assert!(encrypted.unwrap().status.success());
    let playbook = lab.playbook(
        "vault.yml",
        "- hosts: nodes\n  gather_facts: false\n  vars_files: [secret.yml]\n  tasks:\n  \
         - ansible.builtin.file: {path: '{{ home }}/{{ vaulted }}', state: directory}\n",
    );
    let child = |variable: &str, value: &str| {
        let run = lab.all(PYTHON);
        let connection = &run.machines[0].connection;
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "surroundings::caller", "--ignored"]).current_dir(lab.dir.path());
        child.env("HOLDER_STATE", lab.dir.path().join("state"));
        child.env("HOLDER_TEMPORARY", lab.temporary.path()).env("HOLDER_PLAYBOOK", &playbook);
        child.env("HOLDER_PORT", lab.port.to_string()).env("HOLDER_USER", &connection.user);
        child.env("HOLDER_KEY", lab.dir.path().join("key"));
        child.env("HOLDER_JUMP", format!("{}@127.0.9.37:{}", connection.user, lab.port));
        child.env("HOLDER_VARIABLES_0", run.machines[0].variables.expose());
        child.env("HOLDER_ADDRESS_0", "127.0.9.37").env("SHELL", "/bin/false");
        let output = child.env(variable, value).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    for (variable, value) in
        [("ANSIBLE_VAULT_PASSWORD_FILE", "word"), ("ANSIBLE_VAULT_IDENTITY_LIST", "it@word")]
    {
        let (done, said) = child(variable, value);
        assert!(done && lab.home(0).join("opened").is_dir(), "{variable}: {said}");
        fs::remove_dir(lab.home(0).join("opened")).unwrap();
    }
    lab.nothing_left();
}

/// No test, but what the test before this runs with an environment of its own.
#[tokio::test]
#[ignore = "it is started by another test"]
async fn caller() {
    let Ok(state) = std::env::var("HOLDER_STATE") else { return };
    let variable = |name: &str| std::env::var(format!("HOLDER_{name}")).unwrap();
    let run = held(&variable, 1);
    let system = system(ansible().unwrap(), state.into(), Path::new(&variable("TEMPORARY")));
    let results = system.run_playbook(&run, &variable("PLAYBOOK"), &Ears::default()).await;
    assert!(results[0].is_ok(), "{results:?}");
}

#[tokio::test]
async fn others_are_known_but_left_alone() {
    let Some(lab) = Lab::new(&["127.0.9.41", "::1"]) else { return };
    fs::create_dir(lab.dir.path().join("library")).unwrap();
    let module = "from ansible.module_utils.basic import AnsibleModule\n\
                  AnsibleModule({}).exit_json(warnings=['it is old'])\n";
    fs::write(lab.dir.path().join("library/warns.py"), module).unwrap();
    let playbook = lab.playbook(
        "others.yml",
        "- hosts: targets\n  gather_facts: false\n  tasks:\n  - name: note\n    ansible.builtin.shell: \
         echo {{ groups['nodes'] | sort | join(',') }} {{ hostvars['::1'].home }} > {{ home }}/note\n  \
         - warns:\n",
    );
    let mut run = lab.run(vec![lab.machine(0, PYTHON)]);
    run.others = vec![lab.machine(1, PYTHON)];
    let (results, ears) = lab.play(&run, &playbook).await;
    assert_eq!(results, [Ok(Done { changed: 1 })]);
    let note = fs::read_to_string(lab.home(0).join("note")).unwrap();
    assert_eq!(note, format!("127.0.9.41,::1 {}\n", lab.home(1).display()));
    assert!(!lab.home(1).join("note").exists());
    let heard = ears.0.into_inner().unwrap();
    assert!(heard.iter().all(|(n, _)| *n == 0));
    assert!(heard.contains(&(0, Heard::Warning("it is old".into()))), "{heard:?}");

    // Machines that cannot be in an inventory fail alone.
    let (mut twin, mut odd) = (lab.machine(1, PYTHON), lab.machine(1, PYTHON));
    twin.host = HostKey(7);
    odd.address = "odd host".to_owned();
    let run = lab.run(vec![lab.machine(0, PYTHON), lab.machine(1, PYTHON), twin, odd]);
    let (results, _) = lab.play(&run, &playbook.replace("others", "alone")).await;
    assert!(results.iter().all(Result::is_err));
    let playbook = lab.playbook(
        "alone.yml",
        "- hosts: all\n  gather_facts: false\n  tasks:\n  - ansible.builtin.command: 'true'\n",
    );
    let (results, _) = lab.play(&run, &playbook).await;
    assert_eq!(results[0], Ok(Done { changed: 1 }));
    for (n, part) in
        [(1, "more than one host has the address ::1"), (2, "more than one"), (3, "no address")]
    {
        assert!(error(&results[n]).contains(part), "{results:?}");
    }
}

#[tokio::test]
async fn a_play_on_this_computer_is_run_also_when_only_some_hosts_are() {
    let Some(lab) = Lab::new(&["127.0.9.43", "127.0.9.44"]) else { return };
    let playbook = lab.playbook(
        "here.yml",
        "- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n  - name: here\n    \
         ansible.builtin.copy:\n      dest: \"{{ hostvars['127.0.9.43'].home }}/here\"\n      \
         content: \"{{ hostvars['127.0.9.43'].oneprovision_opennebula_version }}\"\n- hosts: nodes\n  \
         gather_facts: false\n  tasks:\n  - ansible.builtin.raw: 'true'\n    changed_when: false\n",
    );
    let mut run = lab.run(vec![lab.machine(0, PYTHON)]);
    run.others = vec![lab.machine(1, PYTHON)];
    let (results, _) = lab.play(&run, &playbook).await;
    assert_eq!(results, [Ok(Done { changed: 0 })]);
    assert_eq!(fs::read_to_string(lab.home(0).join("here")).unwrap(), "6.10");
}

#[tokio::test]
async fn two_runs_at_once() {
    let Some(lab) = Lab::new(&["127.0.9.51", "127.0.9.52"]) else { return };
    let playbook = lab.playbook("site.yml", SITE);
    let variables = format!("trouble: ''\ndrop: x\ndb_password: unutterable\n{PYTHON}");
    let runs: Vec<_> = (0..2).map(|n| lab.run(vec![lab.machine(n, &variables)])).collect();
    let ears = Ears::default();
    // The second is in a folder whose path is too long for sockets in it.
    let long = lab.dir.path().join("l".repeat(80));
    let other = system(ansible().unwrap(), lab.dir.path().join("state"), &long);
    let (first, second) = tokio::join!(
        lab.system.run_playbook(&runs[0], &playbook, &ears),
        other.run_playbook(&runs[1], &playbook, &ears)
    );
    assert_eq!(fs::read_dir(&long).unwrap().count(), 0);
    assert_eq!((first, second), (vec![Ok(Done { changed: 2 })], vec![Ok(Done { changed: 2 })]));
    lab.nothing_left();
    assert!(lab.log("site.1.log").len().min(lab.log("site.2.log").len()) > 100);
}
