//! Files and commands on machines, with real sshd.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use configure::steps::{self, Steps};
use configure::{Configure as _, Done, Machine, Plan, TaskResult};

mod lab;
use lab::{Ear, Lab, file, line, until, words, write_program};

/// A folder that must be quoted.
const FOLDER: &str = "with 'quotes' & \"more\" $HOME";

/// Machines with the same three files, each in a folder of its own.
fn with_files(lab: &Lab, source: &Path) -> Vec<Machine> {
    let give = |n: usize| {
        let at = |name: &str| lab.dir.path().join(format!("out/{n}/{FOLDER}/{name}"));
        let mut machine = lab.machine(n);
        machine.steps.files = vec![
            file(&at("plain"), "hello\n\n$HOME `x`"),
            steps::File {
                content: None,
                source: Some(source.to_owned()),
                mode: Some("0750".to_owned()),
                owner: Some(lab.user.clone()),
                ..file(&at("binary"), "")
            },
            steps::File { mode: Some("600".to_owned()), ..file(&at("empty"), "") },
        ];
        machine
    };
    (0..lab.hosts.len()).map(give).collect()
}

#[tokio::test]
async fn files_come_whole_and_what_is_right_is_left_alone() {
    let Some(lab) = Lab::running(3) else { return };
    let source = lab.dir.path().join("source");
    // Larger than any pipe, and with every byte in it.
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| n.wrapping_mul(7).to_le_bytes()[1]).collect();
    fs::write(&source, &bytes).unwrap();
    let machines = with_files(&lab, &source);
    let plan = Plan { steps: vec![("x".to_owned(), machines[0].steps.clone())], ..Plan::default() };
    assert_eq!(lab.system.check(&plan).await, Ok(vec![]));
    let ear = Ear::default();
    let results = lab.steps(&machines, &ear).await;
    assert_eq!(results, vec![Ok(Done { changed: 3 }); 3], "{:?}", ear.ends());
    let folder = |n: usize| lab.dir.path().join(format!("out/{n}/{FOLDER}"));
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    for n in 0..3 {
        let at = |name: &str| folder(n).join(name);
        assert_eq!(fs::read_to_string(at("plain")).unwrap(), "hello\n\n$HOME `x`");
        assert!(fs::read(at("binary")).unwrap() == bytes);
        let modes = ["plain", "binary", "empty"].map(|name| mode(&at(name)));
        assert_eq!((modes, mode(&folder(n))), ([0o644, 0o750, 0o600], 0o755));
        assert_eq!(fs::read_dir(folder(n)).unwrap().count(), 3, "nothing else is left there");
    }

    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    let (plain, binary) = (folder(0).join("plain"), folder(1).join("binary"));
    let empty = folder(2).join("empty");
    let before = inode(&plain);
    let ear = Ear::default();
    assert_eq!(lab.steps(&machines, &ear).await, vec![Ok(Done { changed: 0 }); 3]);
    assert_eq!(ear.begins().len(), 9);
    assert!(ear.ends().iter().all(|(_, result)| *result == TaskResult::Ok), "{:?}", ear.ends());
    assert_eq!(inode(&plain), before);

    fs::set_permissions(&plain, fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(&binary, "less").unwrap();
    fs::remove_file(&empty).unwrap();
    symlink("/dev/null", &empty).unwrap();
    assert_eq!(lab.steps(&machines, &Ear::default()).await, vec![Ok(Done { changed: 1 }); 3]);
    assert_eq!(mode(&plain), 0o644);
    assert!(fs::read(&binary).unwrap() == bytes);
    assert!(fs::symlink_metadata(&empty).unwrap().is_file());
    let log = lab.log(&machines[0]);
    assert!(log.contains("== file /") && !log.contains("hello"), "{log}");
}

#[tokio::test]
async fn commands_arrive_as_they_are() {
    let Some(lab) = Lab::running(1) else { return };
    let mut machine = lab.machine(0);
    let count = lab.dir.path().join("it's the count");
    let path = count.display().to_string();
    let quoted = path.replace('\'', r"'\''");
    let print = "printf '%s|' \"$@\" >>\"$0\"";
    machine.steps.commands = vec![
        words(&["sh", "-c", print, &path, "a b", "", "'\"$HOME\\", "!\n~*", "ü"]),
        line(&format!("cd /; echo \"$(pwd)\" 'it''s' \\\n  more >>'{quoted}'")),
        line("cat; echo nothing to read; printf 'no end'"),
        // Of the shell's own there is none of that name.
        words(&["pwd"]),
        // As long as a machine takes it.
        line(&format!(": {}", "x".repeat(100_000))),
    ];
    let ear = Ear::default();
    let results = lab.steps(std::slice::from_ref(&machine), &ear).await;
    assert_eq!(results, [Ok(Done { changed: 5 })], "{:?}", ear.ends());
    assert_eq!(fs::read_to_string(&count).unwrap(), "a b||'\"$HOME\\|!\n~*|ü|/ its more\n");
    assert!(ear.begins().iter().all(|name| name.chars().count() <= 68), "{:?}", ear.begins());
    let log = lab.log(&machine);
    assert!(log.contains("nothing to read\nno end\n== done"), "{log}");
    assert!(!log.contains("oneprovision:") && !log.contains("Welcome"), "{log}");
    assert_eq!(fs::metadata(lab.log_file(&machine)).unwrap().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_fails_ends_it_and_is_told() {
    let Some(lab) = Lab::running(2) else { return };
    let mark = lab.dir.path().join("mark");
    let many = "echo out-1; i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo err-$i >&2; done";
    let mut machine = lab.machine(0);
    // ssh itself ends with that status, too.
    machine.steps.commands =
        vec![line(&format!("{many}; exit 255")), words(&["touch", &mark.display().to_string()])];
    let mut other = lab.machine(1);
    other.steps.files = vec![file(Path::new("/dev/null/x"), "sesame")];
    let ear = Ear::default();
    let results = lab.steps(&[machine.clone(), other], &ear).await;
    let error = &results[0].as_ref().unwrap_err().0;
    let log = lab.log_file(&machine).display().to_string();
    for part in ["127.0.8.1: command echo out-1", "status 255", "err-23", "err-30", "out-1", &log] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("err-22"), "the last lines only: {error}");
    assert!(!mark.exists());
    assert!(lab.log(&machine).contains("err-1\n"));
    let error = &results[1].as_ref().unwrap_err().0;
    assert!(error.contains("file /dev/null/x: it cannot be written"), "{error}");
    assert!(!error.contains("sesame"), "{error}");
    let ends = ear.ends();
    assert_eq!(ends.len(), 2, "{ends:?}");
    assert!(ends.iter().all(|(_, result)| matches!(result, TaskResult::Failed(_))), "{ends:?}");
}

#[tokio::test]
async fn a_connection_that_is_lost_in_the_middle() {
    let Some(lab) = Lab::running(1) else { return };
    let mark = lab.dir.path().join("mark");
    let mut machine = lab.machine(0);
    machine.steps.commands =
        vec![line("kill -9 $SSHD; sleep 1"), words(&["touch", &mark.display().to_string()])];
    let ear = Ear::default();
    let results = lab.steps(&[machine], &ear).await;
    let error = &results[0].as_ref().unwrap_err().0;
    assert!(error.contains("the connection was lost in the middle"), "{error}");
    assert!(matches!(&ear.ends()[..], [(_, TaskResult::Unreachable(_))]), "{:?}", ear.ends());
    assert!(!mark.exists());
}

#[tokio::test]
async fn half_a_file_is_no_file() {
    let Some(lab) = Lab::running(1) else { return };
    let home = &lab.hosts[0].home;
    let mut machine = lab.machine(0);
    let path = lab.dir.path().join("out/file");
    machine.steps.files = vec![file(&path, &"x".repeat(1_000_000))];
    // A machine that takes half of it, and one that is cut off meanwhile.
    for cat in ["dd bs=1000 count=500 2>/dev/null", "dd bs=1000 count=500; kill -9 $SSHD; exec cat"]
    {
        write_program(&home.join("bin/cat"), &format!("#!/bin/sh\n{cat}\n"));
        write_program(&home.join("bin/sudo"), "#!/bin/sh\nshift\nexec \"$@\"\n");
        let results = lab.steps(std::slice::from_ref(&machine), &Ear::default()).await;
        let error = &results[0].as_ref().unwrap_err().0;
        assert!(error.contains("it did not arrive") || error.contains("was lost"), "{error}");
        until(|| fs::read_dir(path.parent().unwrap()).unwrap().count() == 0).await;
    }
}

#[tokio::test]
async fn a_login_that_is_cut_before_anything_began_is_tried_again() {
    let Some(mut lab) = Lab::new(1) else { return };
    lab.start(0, "mkdir $HOME/first 2>/dev/null && kill -9 $PPID && sleep 1");
    let mut machine = lab.machine(0);
    machine.steps.commands = vec![line("echo x >>$HOME/count")];
    let results = lab.steps(&[machine], &Ear::default()).await;
    assert_eq!(results, [Ok(Done { changed: 1 })]);
    assert_eq!(fs::read_to_string(lab.hosts[0].home.join("count")).unwrap(), "x\n");
}

#[tokio::test]
async fn what_may_have_begun_is_never_begun_again() {
    let Some(mut lab) = Lab::new(1) else { return };
    // All is done that is asked for, and nothing of it is heard before the connection is cut.
    let deaf =
        "sh -c \"$SSH_ORIGINAL_COMMAND\" | grep --line-buffered ready; kill -9 $PPID; sleep 1";
    lab.start(0, deaf);
    let mut machine = lab.machine(0);
    machine.steps.commands = vec![line("echo x >>$HOME/count")];
    let results = lab.steps(&[machine], &Ear::default()).await;
    let error = &results[0].as_ref().unwrap_err().0;
    assert!(error.contains("the connection was lost in the middle"), "{error}");
    assert_eq!(fs::read_to_string(lab.hosts[0].home.join("count")).unwrap(), "x\n");
}

#[tokio::test]
async fn what_is_left_in_the_background_keeps_nobody_and_a_deadline_ends_it() {
    let Some(lab) = Lab::running(1) else { return };
    let home = &lab.hosts[0].home;
    let end = |name: &str| {
        let pid = fs::read_to_string(home.join(name)).unwrap_or_default();
        !pid.is_empty() && Command::new("kill").arg(pid.trim()).status().unwrap().success()
    };
    let mut machine = lab.machine(0);
    machine.steps.commands = vec![line("sleep 600 & echo $! >$HOME/pid; echo done")];
    let results = lab.steps(std::slice::from_ref(&machine), &Ear::default()).await;
    assert_eq!(results, [Ok(Done { changed: 1 })]);
    assert!(end("pid"), "it still runs");
    machine.steps.commands = vec![line("echo $$ >$HOME/pid2; exec sleep 600")];
    let two = Duration::from_secs(2);
    let results = lab.steps_within(&[machine], &Ear::default(), two).await;
    let error = &results[0].as_ref().unwrap_err().0;
    assert!(error.contains("the 2 s for the machine were over"), "{error}");
    until(|| lab.programs() == 0).await;
    end("pid2");
}

#[tokio::test]
async fn who_waits_in_a_long_command_keeps_nobody_from_logging_in() {
    let Some(lab) = Lab::running(5) else { return };
    // Three may log in at the same time. All five have to be in to end.
    let folder = lab.dir.path().join("in");
    fs::create_dir(&folder).unwrap();
    let each = |n: usize| {
        let mut machine = lab.machine(n);
        machine.steps = Steps {
            files: Vec::new(),
            commands: vec![line(&format!(
                "cd {}; touch {n}; until [ $(ls | wc -l) = 5 ]; do sleep 0.1; done",
                folder.display()
            ))],
        };
        machine
    };
    let machines: Vec<Machine> = (0..5).map(each).collect();
    let results = lab.steps(&machines, &Ear::default()).await;
    assert_eq!(results, vec![Ok(Done { changed: 1 }); 5]);
}

#[tokio::test]
async fn another_user_becomes_root_by_sudo() {
    let Some(lab) = Lab::running(1) else { return };
    let home = &lab.hosts[0].home;
    write_program(&home.join("bin/id"), "#!/bin/sh\necho 1000\n");
    let mut machine = lab.machine(0);
    machine.steps.files = vec![file(&home.join("x"), "x")];
    machine.steps.commands = vec![line("test \"$SUDO\" = yes")];
    for changed in [2, 1] {
        let results = lab.steps(std::slice::from_ref(&machine), &Ear::default()).await;
        assert_eq!(results, [Ok(Done { changed })]);
    }
    let asks = "#!/bin/sh\necho sudo: a password is required >&2\nexit 1\n";
    write_program(&home.join("bin/sudo"), asks);
    let results = lab.steps(&[machine], &Ear::default()).await;
    let error = &results[0].as_ref().unwrap_err().0;
    assert!(error.contains("cannot become root (sudo: a password is required)"), "{error}");
}

#[tokio::test]
async fn what_is_in_secret_files_is_not_told() {
    let Some(lab) = Lab::running(2) else { return };
    let secret = lab.dir.path().join("secret");
    let path = secret.display();
    let content = "[db]\n  password = \"sesame-1\"\ntoken=Grüße-22\n";
    let give = |n: usize| {
        let mut machine = lab.machine(n);
        machine.steps.files = vec![file(&secret.with_file_name(format!("secret{n}")), content)];
        // However it is written: half a line at a time, after more than is kept, on either output.
        machine.steps.commands = vec![
            line(&format!("echo token=Grüße-22; cat {path}{n}")),
            line(&format!(
                "head -c 20 {path}{n}; sleep 0.2; tail -c +21 {path}{n}; cat {path}{n} >&2"
            )),
            line("head -c 65540 /dev/zero | tr '\\0' x; printf 'token=Grüße-22%065520d' 0"),
            line(&format!("echo harmless; cat {path}{n}; cat {path}{n} >&2; exit 1")),
        ];
        machine
    };
    let (hidden, open) = (Machine { secret_steps: true, ..give(0) }, give(1));
    let ear = Ear::default();
    let results = lab.steps(std::slice::from_ref(&hidden), &ear).await;
    let error = results[0].as_ref().unwrap_err().0.clone();
    for part in ["status 1: ", "*****", "harmless"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let log = lab.log(&hidden);
    assert!(log.contains("harmless\n") && log.contains("== command echo *****; cat /"), "{log}");
    // A checksum tells a short secret to whoever tries all of them.
    let is_sum = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    assert!(!log.split_whitespace().any(is_sum), "{log}");
    let heard = format!("{error}{log}{:?}{:?}", ear.begins(), ear.ends());
    for part in ["sesame", "üße", "token="] {
        assert!(!heard.contains(part), "{part}: {}", heard.replace("xxxx", ""));
    }
    let results = lab.steps(std::slice::from_ref(&open), &ear).await;
    assert!(results[0].as_ref().unwrap_err().0.contains("sesame-1"), "{results:?}");
    assert!(lab.log(&open).contains("sesame-1"));
}

#[tokio::test]
async fn what_was_said_before_a_deadline_is_in_the_log() {
    let Some(lab) = Lab::running(1) else { return };
    let mut machine = Machine { secret_steps: true, ..lab.machine(0) };
    machine.steps.files = vec![file(&lab.dir.path().join("secret"), &"sesame\n".repeat(100))];
    machine.steps.commands = vec![line("echo one; echo two sesame; exec sleep 60")];
    // Long enough for the file and the words, however busy this computer is.
    let while_it_sleeps = Duration::from_secs(10);
    let results =
        lab.steps_within(std::slice::from_ref(&machine), &Ear::default(), while_it_sleeps).await;
    assert!(results[0].as_ref().unwrap_err().0.contains("were over"), "{results:?}");
    let log = lab.log(&machine);
    assert!(log.contains("one\ntwo *****\n== it was not done"), "{log}");
}

#[tokio::test]
async fn a_login_that_never_gets_to_a_shell_ends() {
    let Some(mut lab) = Lab::new(1) else { return };
    lab.start(0, "touch $HOME/in; exec sleep 60");
    let mut machine = lab.machine(0);
    machine.steps.commands = vec![line("true")];
    let ear = Ear::default();
    let machines = [machine];
    let (results, ()) = tokio::join!(lab.steps(&machines, &ear), async {
        until(|| lab.hosts[0].home.join("in").exists()).await;
        // From here on only time goes by.
        tokio::time::pause();
    });
    let error = &results[0].as_ref().unwrap_err().0;
    assert!(error.contains("the login does not end"), "{error}");
    until(|| lab.programs() == 0).await;
}
