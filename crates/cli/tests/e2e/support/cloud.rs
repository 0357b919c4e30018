//! Drivers for tests: executables in POSIX shell or Python, and the small cloud behind them, which
//! is a folder with a file for every machine and a line for every call.

use std::path::{Path, PathBuf};

use super::{Home, executable, wait_until};

/// The six actions that every driver has.
pub const ACTIONS: [&str; 6] = ["cancel", "deploy", "poll", "reboot", "reset", "shutdown"];

/// Reads the deployment file from the path in its first argument, as 5.12's drivers did.
const SHELL: &str = r#"#!/bin/sh
# A driver in POSIX shell.
set -eu
cloud='@CLOUD@'
action=${0##*/}
line=$action
for argument in "$@"; do line="$line	$argument"; done
printf '%s\n' "$line" >> "$cloud/calls"
printf '%s\n' "${ONE_XMLRPC-unset} ${ONE_AUTH-unset}" >> "$cloud/environment"

case $action in
deploy)
    # The host's name is the first one; its cluster and others may have names too.
    name=$(tr '\n' ' ' < "$1" | sed 's:</NAME>.*::; s:.*<NAME>::')
    # A machine that the file names is to be powered on.
    id=$(tr '\n' ' ' < "$1" | sed -n 's:.*<DEPLOY_ID>\([^<]*\)</DEPLOY_ID>.*:\1:p')
    if [ -n "$id" ]; then
        rm -f "$cloud/machines/$id/off"
        exit 0
    fi
    # Taking a number is one step of the file system: two deploys never get the same.
    n=1
    while ! mkdir "$cloud/machines/m-$n" 2>/dev/null; do n=$((n + 1)); done
    echo "$name" > "$cloud/machines/m-$n/name"
    cat > "$cloud/machines/m-$n/stdin"
    @DEPLOY@
    echo "m-$n"
    @AFTER@
    ;;
poll)
    if [ ! -d "$cloud/machines/$1" ]; then
        echo "no such machine: $1" >&2
        exit 1
    fi
    echo "STATE=a GUEST_IP_ADDRESSES=\"192.0.2.${1#m-}\""
    ;;
cancel)
    if [ ! -d "$cloud/machines/$1" ]; then
        echo "no such machine: $1" >&2
        exit 1
    fi
    rm -r "$cloud/machines/$1"
    ;;
shutdown)
    if [ -e "$cloud/refuse" ]; then echo "the machine is busy" >&2; exit 1; fi
    touch "$cloud/machines/$1/off"
    ;;
esac
"#;

/// Reads the deployment file from standard input, and asks the front-end for the host.
const PYTHON: &str = r#"#!@PYTHON@
"""A driver in Python."""
import os, sys, shutil, xmlrpc.client
import xml.etree.ElementTree as tree

cloud = "@CLOUD@"
action = os.path.basename(sys.argv[0])
with open(os.path.join(cloud, "calls"), "a") as calls:
    calls.write("\t".join([action] + sys.argv[1:]) + "\n")

if action == "deploy":
    host = tree.fromstring(sys.stdin.buffer.read())
    name = host.findtext("NAME")
    with open(os.environ["ONE_AUTH"]) as file:
        session = file.read().strip()
    front_end = xmlrpc.client.ServerProxy(os.environ["ONE_XMLRPC"])
    answer = front_end.one.host.info(session, int(host.findtext("ID")), False)
    assert answer[0], answer
    assert tree.fromstring(answer[1]).findtext("NAME") == name, answer
    n = 1
    while True:
        try:
            os.mkdir(f"{cloud}/machines/m-{n}")
            break
        except FileExistsError:
            n += 1
    with open(f"{cloud}/machines/m-{n}/name", "w") as file:
        file.write(name)
    print(f"m-{n}")
elif action == "poll":
    if not os.path.isdir(f"{cloud}/machines/{sys.argv[1]}"):
        sys.exit(f"no such machine: {sys.argv[1]}")
    print(f'STATE=a GUEST_IP_ADDRESSES="192.0.2.{sys.argv[1][2:]}"')
elif action == "cancel":
    shutil.rmtree(f"{cloud}/machines/{sys.argv[1]}")
"#;

/// Steps of a deploy that waits for a file `go` in its cloud, or for the end of the test.
pub const WAITS: &str =
    "while [ ! -e \"$cloud/go\" ] && [ -d \"$cloud/machines\" ]; do sleep 0.02; done";

/// The cloud behind a driver of a test.
pub struct Cloud {
    dir: PathBuf,
}

impl Cloud {
    /// Installs six executables in shell as driver `name`.
    pub fn in_shell(home: &Home, name: &str) -> Self {
        Self::with_steps(home, name, "", "")
    }

    /// The same, with steps before and after deploy tells the id of the machine that it made.
    pub fn with_steps(home: &Home, name: &str, before: &str, after: &str) -> Self {
        let script = SHELL.replace("@DEPLOY@", before).replace("@AFTER@", after);
        Self::install(home, name, &script)
    }

    /// Installs six executables in Python as driver `name`.
    pub fn in_python(home: &Home, name: &str, python: &str) -> Self {
        Self::install(home, name, &PYTHON.replace("@PYTHON@", python))
    }

    fn install(home: &Home, name: &str, script: &str) -> Self {
        let dir = home.root().join(format!("cloud-{name}"));
        std::fs::create_dir_all(dir.join("machines")).unwrap();
        let script = script.replace("@CLOUD@", dir.to_str().unwrap());
        for action in ACTIONS {
            executable(&home.remotes().join("pm").join(name).join(action), &script);
        }
        Self { dir }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The machines that exist.
    pub fn machines(&self) -> Vec<String> {
        let found = std::fs::read_dir(self.dir.join("machines")).unwrap();
        let mut names: Vec<String> =
            found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Waits until so many machines exist.
    pub fn wait_for(&self, machines: usize) {
        wait_until("the machines", || self.machines().len() == machines);
    }

    /// What a machine's folder holds under that name.
    pub fn file(&self, machine: &str, name: &str) -> String {
        std::fs::read_to_string(self.dir.join("machines").join(machine).join(name)).unwrap()
    }

    /// The calls so far: action and arguments.
    pub fn calls(&self) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(self.dir.join("calls")).unwrap_or_default();
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    /// The arguments of all calls of an action.
    pub fn calls_of(&self, action: &str) -> Vec<Vec<String>> {
        let of = |call: Vec<String>| call.split_first().map(|(a, rest)| (a.clone(), rest.to_vec()));
        let calls = self.calls().into_iter().filter_map(of);
        calls.filter(|(name, _)| name == action).map(|(_, arguments)| arguments).collect()
    }
}
