//! `validate`: every mistake is told once, with its place; over the corpus, nothing but a verdict.

use std::path::{Path, PathBuf};

use crate::support::{Home, skip, template};

/// A line like `FILE:LINE:COLUMN: error[CODE]: …`.
fn is_placed(line: &str, file: &Path) -> bool {
    let Some(rest) = line.strip_prefix(&*file.to_string_lossy()) else { return false };
    let mut parts = rest.splitn(4, ':').skip(1);
    let mut number = || parts.next().is_some_and(|part| part.parse::<u32>().is_ok());
    number() && number()
}

#[test]
fn a_good_template_says_nothing() {
    let home = Home::new();
    let path = home.write("t.yaml", template("dummy", 3, &[]));
    let output = home.tool(&["validate"]).args(&[path]).run().exits(0);
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("", ""));
    assert!(std::fs::read_dir(home.home()).unwrap().next().is_none(), "nothing was written");
}

#[test]
fn ten_mistakes_are_told_in_one_run() {
    let home = Home::new();
    let text = "---\n\
        name: [a, list]\n\
        cluster: 7\n\
        hosts:\n\
        \x20 - im_mad: kvm\n\
        \x20   vm_mad: kvm\n\
        \x20   provision: {hostname: a}\n\
        \x20 - im_mad: kvm\n\
        \x20   vm_mad: kvm\n\
        \x20   provision: {driver: '../evil', hostname: b}\n\
        \x20 - just text\n\
        \x20 - im_mad: {a: b}\n\
        \x20   vm_mad: kvm\n\
        \x20   provision: {driver: dummy, hostname: same}\n\
        \x20 - im_mad: kvm\n\
        \x20   vm_mad: kvm\n\
        \x20   provision: {driver: dummy, hostname: same}\n\
        datastores:\n\
        \x20 - tm_mad: ssh\n\
        \x20 - name: \"<%= @nonsense %>\"\n\
        \x20   tm_mad: ssh\n\
        networks: none\n\
        playbook: {a: b}\n";
    let path = home.write("bad.yaml", text);
    let output = home.tool(&["validate"]).args(&[&path]).run().exits(255);
    assert_eq!(output.stdout, "");
    let errors: Vec<&str> =
        output.stderr.lines().filter(|line| line.contains(": error[")).collect();
    assert!(errors.len() >= 10, "{} of at least 10:\n{}", errors.len(), output.stderr);
    assert!(errors.iter().all(|line| is_placed(line, &path)), "{}", output.stderr);
    let mut different = errors.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), errors.len(), "each is told once:\n{}", output.stderr);
    // And create does nothing with it.
    let refused = home.tool(&["--sandbox", "create"]).args(&[&path]).run().exits(255);
    assert_eq!((refused.stdout.as_str(), refused.stderr), ("", output.stderr));
    assert!(std::fs::read_dir(home.home()).unwrap().next().is_none(), "nothing was written");
}

#[test]
fn every_template_of_the_corpus_gets_a_verdict() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let mut files = Vec::new();
    collect(&corpus, &mut files);
    if files.is_empty() {
        return skip("there is no corpus beside the workspace");
    }
    let home = Home::new();
    let (mut loaded, mut refused) = (0, 0);
    for file in files {
        let output = home.tool(&["validate"]).args(&[&file]).run();
        match output.status.code() {
            Some(0) => loaded += 1,
            Some(255) => {
                refused += 1;
                let place = |line: &str| line.contains(": error[") && line.starts_with('/');
                let placed = output.stderr.lines().filter(|line| place(line)).all(|line| {
                    line.split(": error[").next().is_some_and(|at| at.split(':').count() == 3)
                });
                assert!(placed, "{}:\n{}", file.display(), output.stderr);
                assert!(output.stderr.contains(": error["), "{}", file.display());
            }
            other => panic!("{}: {other:?}\n{}", file.display(), output.stderr),
        }
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    }
    println!("{loaded} load, {refused} are refused");
    assert!(loaded > 0);
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            files.push(path);
        }
    }
}
