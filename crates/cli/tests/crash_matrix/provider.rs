//! The provider behind the executable driver: a folder with a folder for every machine.
//!
//! The driver is six scripts without the optional `list`, as a site would write them: nothing is
//! found again by asking them. It passes points of its own: before its effect, after it, and after
//! its last line of output. At the one that `MATRIX_KILL` names it kills the tool that called it, and
//! goes on; with `MATRIX_POWER_CUT` it dies too.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SCRIPT: &str = r#"#!/bin/sh
set -u
cloud=$MATRIX_CLOUD
# Nothing is looked for in a world that is gone.
alive() { [ -d "$cloud" ] || exit 1; }
action=${0##*/}
echo $$ >> "$cloud/processes"

# A machine is named after the last digits of the host that it is for.
case $action in
deploy) key=${2#"${2%????}"} ;;
*) key=${1#m-}; key=${key%-*} ;;
esac

point() {
    count=1
    while ! mkdir "$cloud/passed/$action $key $1 #$count" 2>/dev/null; do
        alive
        count=$((count + 1))
    done
    name="$action $key $1 #$count"
    echo "$name" >> "$cloud/points"
    if [ "$name" = "${MATRIX_KILL-}" ]; then
        kill -9 $PPID
        [ -z "${MATRIX_POWER_CUT-}" ] || kill -9 $$
        sleep 0.3
    fi
}

point begun
case $action in
deploy)
    host=$(cat "$1")
    case $host in *host-that-is-refused*)
        # As a block: whoever reads it knows that the driver came to its end and made nothing,
        # also if nobody saw the exit status.
        echo 'ERROR MESSAGE --8<------' >&2
        echo 'no such plan' >&2
        echo 'ERROR MESSAGE ------>8--' >&2
        exit 1 ;;
    esac
    n=1
    while ! mkdir "$cloud/ever/m-$key-$n" 2>/dev/null; do
        alive
        n=$((n + 1))
    done
    mkdir "$cloud/machines/m-$key-$n"
    point made
    echo "m-$key-$n"
    point told
    case $host in *host-that-is-half-made*)
        echo 'it did not boot' >&2
        exit 1 ;;
    esac
    ;;
poll)
    if [ ! -d "$cloud/machines/$1" ]; then
        echo "no such machine: $1" >&2
        exit 1
    fi
    point made
    echo "STATE=a ROOT_PASSWORD=@TOKEN@ GUEST_IP_ADDRESSES=\"192.0.2.$((1$key - 9999))\""
    point told
    ;;
cancel)
    if ! rmdir "$cloud/machines/$1" 2>/dev/null; then
        echo "no such machine: $1" >&2
        exit 1
    fi
    point made
    ;;
esac
"#;

/// The six actions of the original protocol.
const ACTIONS: [&str; 6] = ["cancel", "deploy", "poll", "reboot", "reset", "shutdown"];

/// Installs the driver `shell` below a folder for `--remotes`.
pub fn install(remotes: &Path) {
    let folder = remotes.join("pm/shell");
    std::fs::create_dir_all(&folder).unwrap();
    // A copy that only `cp` ever had open for writing: a thread of ours that forks in the wrong
    // moment would hold the file open, and then it could not be run.
    let draft = folder.join("draft");
    let script = SCRIPT.replace("@TOKEN@", crate::world::TOKEN);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o755).open(&draft).unwrap();
    std::io::Write::write_all(&mut file, script.as_bytes()).unwrap();
    drop(file);
    for action in ACTIONS {
        let copied = Command::new("cp").arg("-p").arg(&draft).arg(folder.join(action)).status();
        assert!(copied.unwrap().success());
    }
    std::fs::remove_file(&draft).unwrap();
}

/// What the driver's scripts see and do.
pub struct Cloud(PathBuf);

impl Cloud {
    pub fn new(folder: PathBuf) -> Self {
        for name in ["machines", "ever", "passed"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        Self(folder)
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The machines that are paid for.
    pub fn bill(&self) -> Vec<String> {
        names(&self.0.join("machines"))
    }

    /// All machines that ever were.
    pub fn ever(&self) -> Vec<String> {
        names(&self.0.join("ever"))
    }

    /// The points passed so far.
    pub fn points(&self) -> Vec<String> {
        lines(&self.0.join("points"))
    }

    /// Waits until no process of the driver runs.
    pub fn wait_for_drivers(&self) {
        let begun = Instant::now();
        while !self.running().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(60), "drivers that do not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn running(&self) -> Vec<String> {
        let of_driver = |pid: &String| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains("/pm/shell/")
        };
        lines(&self.0.join("processes")).into_iter().filter(of_driver).collect()
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The lines of a file; none if it is not there.
pub fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
