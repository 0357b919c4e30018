//! How a run ends for each host: done, failed, and why.

use std::fs;

use configure::{Done, Heard, Key, TaskResult};
use model::Secret;

use crate::lab::*;

#[tokio::test]
async fn ten_machines_each_with_its_own_fate() {
    let addresses: Vec<_> = (1..=9).map(|n| format!("127.0.9.{n}")).chain(["::1".into()]).collect();
    let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
    let Some(mut lab) = Lab::new(&addresses) else { return };
    lab.stop(3);
    let troubles =
        ["fails", "no-python", "drops", "gone", "ignores", "loops", "hides", "rescued", "", ""];
    let machine = |n: usize, trouble: &str| {
        let python = match trouble {
            "no-python" => "ansible_python_interpreter: /no/python\n",
            _ => PYTHON,
        };
        let mut machine = lab.machine(
            n,
            &format!("trouble: '{trouble}'\ndrop: \"{DROP}\"\ndb_password: unutterable\n{python}"),
        );
        if n == 9 {
            let content = fs::read_to_string(lab.dir.path().join("key")).unwrap();
            machine.connection.key = Key::Content(Secret::new(content));
        }
        machine
    };
    let run = lab.run((0..10).map(|n| machine(n, troubles[n])).collect());
    let playbook = lab.playbook("site.yml", SITE);
    let (results, ears) = lab.play(&run, &playbook).await;

    let logged = format!("{}/logs/site.1.log)", lab.provision);
    for (n, parts) in [
        (
            0,
            [
                "task \"fails\": non-zero return code\nexit status 3\nstderr: to-err *****\n",
                "stdout: to-out\nat ",
                "/site.yml:7 (all of it: ",
            ],
        ),
        (1, ["task \"a folder\": ", "/no/python", "site.yml:5"]),
        (2, ["task \"drops\": ", "", "site.yml:18"]),
        // Ansible has several words for it, as ssh's end comes before or after what it is to send.
        (3, ["task \"a folder\": ", "127.0.9.4", "site.yml:5"]),
        (5, ["task \"loops\": ", "item 4: non-zero return code", "word4"]),
        (6, ["task \"hides\": what it says is hidden", "(no_log) at", "site.yml:21"]),
    ] {
        let error = error(&results[n]);
        assert!(error.starts_with(&format!("playbook {playbook}: task")), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{n}: {error}");
        assert!(error.ends_with(&logged), "{n}: {error}");
    }
    for (n, changed) in [(4, 3), (7, 2), (8, 2), (9, 2)] {
        assert_eq!(results[n], Ok(Done { changed }), "{n}");
        assert!(lab.home(n).join("kvm").is_dir(), "{n}");
    }
    assert_eq!(ears.ended(8, "a folder"), Some(TaskResult::Changed));
    assert_eq!(ears.ended(8, "fails"), Some(TaskResult::Skipped));
    let Some(TaskResult::Ignored(_)) = ears.ended(4, "is ignored") else {
        panic!("{ears:?}", ears = ears.0)
    };
    let Some(TaskResult::Unreachable(_)) = ears.ended(2, "drops") else { panic!("{:?}", ears.0) };
    let Some(TaskResult::Unreachable(_)) = ears.ended(3, "a folder") else {
        panic!("{:?}", ears.0)
    };
    let Some(TaskResult::Failed(_)) = ears.ended(0, "fails") else { panic!("{:?}", ears.0) };
    let drops = ears
        .0
        .lock()
        .unwrap()
        .iter()
        .filter(|(n, heard)| *n == 2 && *heard == Heard::Begun("drops".into()))
        .count();
    assert_eq!(drops, 1, "a lost connection repeats nothing");
    let log = lab.log("site.1.log");
    assert!(log.contains("to-err *****") && log.contains("TASK [last]"), "{log}");
    assert!(log.contains("of node7 47 *****"), "{log}");
    let heard = format!("{:?}", ears.0);
    for secret in ["unutterable", "hidden-words"] {
        assert!(!log.contains(secret) && !heard.contains(secret), "{log}\n{heard}");
    }

    // What is as it should be is not changed again.
    let run = lab.run((7..10).map(|n| machine(n, "")).collect());
    let (results, ears) = lab.play(&run, &playbook).await;
    assert_eq!(results, vec![Ok(Done { changed: 0 }); 3]);
    assert_eq!(ears.ended(9, "last"), Some(TaskResult::Ok));
    assert!(lab.log("site.2.log").contains("::1: "));
}

/// One machine of two fails, in ways that end it for both.
#[tokio::test]
async fn what_was_ended_early_is_not_done() {
    let Some(lab) = Lab::new(&["127.0.9.21", "127.0.9.22"]) else { return };
    let fail = "gather_facts: false\n  tasks:\n  - ansible.builtin.fail: {msg: wanted}\n    \
                when: inventory_hostname == '127.0.9.21'\n";
    let fine =
        "- hosts: all\n  gather_facts: false\n  tasks:\n  - ansible.builtin.debug: {msg: x}\n";
    for (name, text) in [
        ("fatal", format!("- hosts: all\n  any_errors_fatal: true\n  {fail}")),
        ("once", format!("- hosts: all\n  {}    run_once: true\n", fail)),
        ("most", format!("- hosts: all\n  max_fail_percentage: 10\n  {fail}")),
        ("serial", format!("{fine}- hosts: all\n  serial: 1\n  {fail}")),
        ("alone", format!("{fine}- hosts: 127.0.9.21\n  {fail}{fine}")),
    ] {
        let (results, _) =
            lab.play(&lab.all(PYTHON), &lab.playbook(&format!("{name}.yml"), &text)).await;
        assert!(
            error(&results[0]).contains("task \"ansible.builtin.fail\": wanted")
                || error(&results[0]).contains("task \"fail\": wanted"),
            "{name}: {results:?}"
        );
        let error = error(&results[1]);
        assert!(error.contains("it was ended before"), "{name}: {error}");
        assert!(error.contains("because 127.0.9.21 failed: task"), "{name}: {error}");
    }
    // What is done once is done for all.
    let text = "- hosts: all\n  gather_facts: false\n  tasks:\n  - ansible.builtin.command: 'true'\n    run_once: true\n";
    let (results, _) = lab.play(&lab.all(PYTHON), &lab.playbook("single.yml", text)).await;
    assert_eq!(results, [Ok(Done { changed: 1 }), Ok(Done { changed: 0 })]);
    // Rescued on both, it has ended nothing.
    let text = "- hosts: all\n  gather_facts: false\n  any_errors_fatal: true\n  tasks:\n  - block:\n    \
                - ansible.builtin.fail: {msg: wanted}\n      when: inventory_hostname == '127.0.9.21'\n    \
                rescue:\n    - ansible.builtin.debug: {msg: x}\n";
    let (results, _) = lab.play(&lab.all(PYTHON), &lab.playbook("rescued.yml", text)).await;
    assert_eq!(results, vec![Ok(Done { changed: 0 }); 2]);
}

#[tokio::test]
async fn a_failure_of_a_host_of_the_playbook_s_own_is_everybody_s() {
    let Some(lab) = Lab::new(&["127.0.9.23", "127.0.9.24"]) else { return };
    let fine = "gather_facts: false\n  tasks:\n  - ansible.builtin.command: 'true'\n";
    let fail = "gather_facts: false\n  tasks:\n  - ansible.builtin.fail: {msg: wanted}\n";
    let add = "  - ansible.builtin.add_host: {name: added, ansible_connection: local}\n";
    for (name, text, culprit) in [
        ("local", format!("- hosts: all\n  {fine}- hosts: localhost\n  {fail}"), "localhost"),
        ("added", format!("- hosts: all\n  {fine}{add}- hosts: added\n  {fail}"), "added"),
    ] {
        let (results, _) =
            lab.play(&lab.all(PYTHON), &lab.playbook(&format!("{name}.yml"), &text)).await;
        for result in &results {
            let error = error(result);
            assert!(error.contains(&format!("because {culprit} failed: task")), "{error}");
            assert!(error.contains("wanted at "), "{error}");
        }
    }
}

#[tokio::test]
async fn plays_that_were_left_out_are_seen_and_no_others() {
    let Some(lab) = Lab::new(&["127.0.9.25", "127.0.9.26"]) else { return };
    let run = lab.all(PYTHON);
    let fine = "gather_facts: false\n  tasks:\n  - ansible.builtin.command: 'true'\n";
    let fail = "gather_facts: false\n  tasks:\n  - ansible.builtin.fail: {msg: wanted}\n    \
                when: inventory_hostname == '127.0.9.25'\n";
    // A pattern that is a template is told only when its play begins.
    let every = "hosts: \"{{ groups['nodes'] }}\"";
    for (name, text) in [
        (
            "never",
            format!("- hosts: all\n  {fine}- hosts: 127.0.9.25\n  {fail}- {every}\n  {fine}"),
        ),
        ("serial", format!("- hosts: all\n  {fine}- {every}\n  serial: 1\n  {fail}")),
    ] {
        let (results, _) = lab.play(&run, &lab.playbook(&format!("{name}.yml"), &text)).await;
        let error = error(&results[1]);
        assert!(error.contains("it was ended before the play"), "{name}: {error}");
        assert!(error.contains("because 127.0.9.25 failed: task"), "{name}: {error}");
    }
    // A group had nobody in it when its play came.
    let late = format!(
        "- hosts: made\n  {fine}- hosts: all\n  gather_facts: false\n  tasks:\n  \
                        - ansible.builtin.group_by: {{key: made}}\n- hosts: all\n  {fine}"
    );
    let (results, _) = lab.play(&run, &lab.playbook("late.yml", &late)).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let text = format!("{late}- hosts: all\n  {fail}");
    let (results, _) = lab.play(&run, &lab.playbook("later.yml", &text)).await;
    assert!(results[0].is_err() && results[1].is_ok(), "{results:?}");
}

/// Where each host goes its own way, one's failure is not all's, unless it is that of `run_once`.
#[tokio::test]
async fn a_play_in_which_each_goes_its_own_way_is_ended_by_nobody() {
    let Some(lab) = Lab::new(&["127.0.9.27", "127.0.9.28"]) else { return };
    let play = "- hosts: all\n  strategy: free\n  gather_facts: false\n  any_errors_fatal: true\n  tasks:\n  \
                - ansible.builtin.fail: {msg: wanted}\n    when: inventory_hostname == '127.0.9.27'\n";
    let last = "  - ansible.builtin.command: 'true'\n";
    let playbook = lab.playbook("free.yml", &format!("{play}{last}"));
    let (results, _) = lab.play(&lab.all(PYTHON), &playbook).await;
    assert!(results[0].is_err(), "{results:?}");
    assert_eq!(results[1], Ok(Done { changed: 1 }));
    let playbook = lab.playbook("once.yml", &format!("{play}    run_once: true\n{last}"));
    let (results, _) = lab.play(&lab.all(PYTHON), &playbook).await;
    assert!(error(&results[1]).contains("because 127.0.9.27 failed: task"), "{results:?}");
}

#[tokio::test]
async fn playbooks_that_do_nothing() {
    let Some(lab) = Lab::new(&["127.0.9.31"]) else { return };
    let run = lab.all(PYTHON);
    for (name, text, part) in [
        (
            "nobody",
            "- hosts: elsewhere\n  tasks: []\n",
            "they are for elsewhere, and this host is in",
        ),
        ("wrong", "- hosts: nodes\n  tasks:\n  - no.such.module: {}\n", "no.such.module"),
        ("syntax", "- hosts: nodes\n  tasks: [\n", "ansible-playbook ended with status 4"),
        ("role", "- hosts: nodes\n  roles: [absent]\n", "the role 'absent' was not found"),
    ] {
        let (results, _) = lab.play(&run, &lab.playbook(&format!("{name}.yml"), text)).await;
        let error = error(&results[0]);
        assert!(
            error.contains(part) && error.contains(&format!("/{name}.1.log)")),
            "{name}: {error}"
        );
    }
    let (results, _) = lab.play(&run, "/no/site.yml").await;
    assert!(error(&results[0]).contains("/no/site.yml"), "{results:?}");
    let (results, _) = lab.play(&run, "no-such").await;
    assert!(error(&results[0]).contains("there is no playbook no-such"), "{results:?}");
    assert!(lab.play(&lab.run(Vec::new()), "no-such").await.0.is_empty());
}

#[tokio::test]
async fn failures_that_are_no_utf_8_are_told() {
    let Some(lab) = Lab::new(&["127.0.9.36"]) else { return };
    for module in ["shell", "raw"] {
        let text = format!(
            "- hosts: nodes\n  gather_facts: false\n  tasks:\n  - name: speaks\n    \
             ansible.builtin.{module}: printf 'grü\\377ße' >&2; exit 3\n"
        );
        let (results, ears) =
            lab.play(&lab.all(PYTHON), &lab.playbook(&format!("{module}.yml"), &text)).await;
        let error = error(&results[0]);
        // A module's words are not even taken by Ansible itself, since 2.19.
        let said = if module == "raw" { "grü\u{fffd}ße" } else { "" };
        assert!(error.contains("task \"speaks\": ") && error.contains(said), "{error}");
        let Some(TaskResult::Failed(_)) = ears.ended(0, "speaks") else { panic!("{:?}", ears.0) };
    }
}
