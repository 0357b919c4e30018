//! The benchmarks run, and say everything that they are to say. What they measure is nobody's business
//! here: no test may depend on how fast a computer is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_bench");

/// Runs some benchmarks and returns their figures.
fn quick(names: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("figures.json");
    let output = Command::new(BENCH)
        .args(names)
        .args(["--quick", "--json"])
        .arg(&json)
        .arg("--folder")
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let table = String::from_utf8(output.stdout).unwrap();
    let all: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    let rows = all["figures"].as_array().unwrap().len();
    assert_eq!(table.lines().count(), rows + 1, "a line for each figure, and a head:\n{table}");
    for key in ["cpu", "cores", "memory", "kernel", "file_system", "rustc", "date", "front_end"] {
        assert!(all["machine"].get(key).is_some(), "{key} of the machine");
    }
    assert!(all["machine"]["fsyncs_per_second"].as_f64().unwrap() > 0.0);
    all
}

/// Each figure is a number, and each goal has a verdict; what figures there are, as `benchmark: figure`.
fn figures(all: &Value) -> BTreeSet<String> {
    let of = |figure: &Value| {
        assert!(figure["value"].as_f64().is_some_and(f64::is_finite), "{figure}");
        assert_eq!(figure["goal"].is_null(), figure["met"].is_null(), "{figure}");
        format!("{}: {}", figure["benchmark"].as_str().unwrap(), figure["figure"].as_str().unwrap())
    };
    all["figures"].as_array().unwrap().iter().map(of).collect()
}

fn check(all: &Value, expected: &[&str]) {
    let found = figures(all);
    for figure in expected {
        assert!(found.contains(*figure), "no {figure:?} in {found:#?}");
    }
}

#[test]
fn what_needs_no_binary_has_all_its_figures() {
    let all = quick(&["journal", "growth"]);
    check(
        &all,
        &[
            "journal: events per second",
            "journal: SQLite's own speed over ours",
            "growth: CPU per host",
            "growth: CPU per host, over that at 1000",
            "growth: memory per host",
            "growth: memory per host, over that at 1000",
        ],
    );
    let writers = |n: &str| {
        let cases = all["figures"].as_array().unwrap().iter();
        cases.filter(|figure| figure["case"].as_str().unwrap().starts_with(n)).count()
    };
    assert_eq!((writers("1 "), writers("16 "), writers("256 ")), (2, 2, 2));
}

#[test]
fn what_needs_the_binary_has_all_its_figures() {
    if !Path::new(BENCH).with_file_name("oneprovision").is_file() {
        println!("skipped: the binary of the tool was not built");
        return;
    }
    let all = quick(&["floor", "calls", "executables", "startup"]);
    check(
        &all,
        &[
            "floor: over the floor",
            "floor: writes per host",
            "floor: tool, per host",
            "floor: floor, per host",
            "calls: writes beyond 6 per host",
            "calls: more reads",
            "calls: more pool calls than with 1",
            "executables: /bin/true's speed over it",
            "executables: actions per second",
            "executables: wall time",
            "executables: peak memory",
            "startup: user CPU",
            "startup: peak memory",
        ],
    );
}

#[test]
fn a_benchmark_that_cannot_be_run_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(BENCH)
        .args(["calls", "--quick", "--program", "/nowhere/oneprovision", "--folder"])
        .arg(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ERROR: calls: /nowhere/oneprovision is not there"), "{said}");
}
