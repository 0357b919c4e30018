//! Runs that are ended before their time leave nothing that goes on.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lab::*;

#[tokio::test]
async fn a_deadline_ends_everything() {
    let Some(lab) = Lab::new(&["127.0.9.61", "127.0.9.62"]) else { return };
    let (endless, mut run) = (lab.endless(), lab.all(PYTHON));
    run.deadline = Duration::from_secs(12);
    let (results, _) = lab.play(&run, &endless).await;
    for result in &results {
        let error = error(result);
        assert!(error.contains("it was ended after 12 s"), "{error}");
    }
    (0..2).for_each(|n| lab.end_sleep(n));
}

#[tokio::test]
async fn a_dropped_run_ends_everything() {
    let Some(lab) = Lab::new(&["127.0.9.71", "127.0.9.72"]) else { return };
    let (endless, run, ears) = (lab.endless(), lab.all(PYTHON), Ears::default());
    tokio::select! {
        results = lab.system.run_playbook(&run, &endless, &ears) => panic!("{results:?}"),
        () = asleep(&lab) => {}
    }
    lab.nothing_left();
    (0..2).for_each(|n| lab.end_sleep(n));
}

#[tokio::test]
async fn a_killed_ansible_is_told() {
    let Some(lab) = Lab::new(&["127.0.9.76"]) else { return };
    let (endless, run, ears) = (lab.endless(), lab.all(PYTHON), Ears::default());
    let kill = async {
        asleep(&lab).await;
        let leads = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.split(' ').nth(4) == Some(&pid.to_string()) && stat.contains("ansible")
        };
        let all = lab.processes();
        // The first of the leaders is the one that started the others.
        let main = all.iter().filter(|pid| leads(pid)).min().unwrap();
        Command::new("kill").args(["-9", &main.to_string()]).status().unwrap();
        std::future::pending::<()>().await;
    };
    let results = tokio::select! {
        results = lab.system.run_playbook(&run, &endless, &ears) => results,
        () = kill => unreachable!(),
    };
    assert!(
        error(&results[0]).contains("killed by signal 9, during task \"sleep\""),
        "{results:?}"
    );
    lab.nothing_left();
    lab.end_sleep(0);
}

/// Waits until all machines are at the endless task.
async fn asleep(lab: &Lab) {
    let is_there = |n| lab.home(n).join("pid").metadata().is_ok_and(|file| file.len() > 0);
    while !(0..lab.addresses.len()).all(is_there) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn nothing_goes_on_when_its_holder_is_killed() {
    let Some(lab) = Lab::new(&["127.0.9.81", "127.0.9.82"]) else { return };
    let (endless, run) = (lab.endless(), lab.all(PYTHON));
    let state = lab.dir.path().join("state");
    let mut holder = Command::new(std::env::current_exe().unwrap());
    holder.args(["--exact", "endings::holder", "--ignored"]).stdout(Stdio::null());
    holder.env("HOLDER_STATE", &state).env("HOLDER_TEMPORARY", lab.temporary.path());
    holder.env("HOLDER_PLAYBOOK", endless).env("HOLDER_PORT", lab.port.to_string());
    holder.env("HOLDER_KEY", lab.dir.path().join("key"));
    holder.env("HOLDER_USER", &run.machines[0].connection.user);
    for (n, machine) in run.machines.iter().enumerate() {
        holder.env(format!("HOLDER_VARIABLES_{n}"), machine.variables.expose());
        holder.env(format!("HOLDER_ADDRESS_{n}"), &machine.address);
    }
    let mut holder = holder.spawn().unwrap();
    tokio::time::timeout(Duration::from_secs(60), asleep(&lab)).await.unwrap();
    assert!(lab.processes().len() > 3);
    holder.kill().unwrap();
    holder.wait().unwrap();
    lab.nothing_left();
    (0..2).for_each(|n| lab.end_sleep(n));
}

/// No test, but the process that the test before this kills.
#[tokio::test]
#[ignore = "it is started by another test"]
async fn holder() {
    let Ok(state) = std::env::var("HOLDER_STATE") else { return };
    let variable = |name: &str| std::env::var(format!("HOLDER_{name}")).unwrap();
    let run = held(&variable, 2);
    let system = system(ansible().unwrap(), state.into(), Path::new(&variable("TEMPORARY")));
    system.run_playbook(&run, &variable("PLAYBOOK"), &Ears::default()).await;
}
