//! `orphans`, through the binary: what is ours is destroyed, what may be another's has to be named.

use crate::support::cloud::Cloud;
use crate::support::{Home, Output, executable, template};

const LIST: &str = r#"#!/bin/sh
for machine in '@CLOUD@'/machines/*; do
    [ -d "$machine" ] && echo "DEPLOY_ID=${machine##*/} NAME=$(cat "$machine/name")"
done
exit 0
"#;

fn run(home: &Home, arguments: &[&str]) -> Output {
    home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]).args(arguments).run()
}

fn stray(cloud: &Cloud, id: &str, provision: &str) {
    let folder = cloud.dir().join("machines").join(id);
    std::fs::create_dir_all(&folder).unwrap();
    let name = format!("provision-{}{:016x}", provision.replace('-', ""), 9);
    std::fs::write(folder.join("name"), name).unwrap();
}

#[test]
fn what_may_be_another_coordinators_has_to_be_named() {
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "shell");
    let list = LIST.replace("@CLOUD@", cloud.dir().to_str().unwrap());
    executable(&home.remotes().join("pm/shell/list"), &list);
    let path = home.write("template.yaml", template("shell", 1, &[]));
    let id = run(&home, &["create", path.to_str().unwrap()]).exits(0).id();
    let none = run(&home, &["orphans"]).exits(0);
    assert!(none.stderr.contains("1 listed by the providers, 0 that nobody"), "{}", none.stderr);

    stray(&cloud, "m-ours", &id);
    stray(&cloud, "m-theirs", "deadbeef-0000-4000-8000-000000000001");
    let found = run(&home, &["orphans", "--csv", "--no-header"]).exits(0);
    let rows: Vec<Vec<&str>> = found.stdout.lines().map(|row| row.split(',').collect()).collect();
    assert_eq!((rows[0][1], rows[0][2], rows[0][5]), ("m-ours", id.as_str(), "orphan"));
    assert_eq!((rows[1][1], rows[1][5]), ("m-theirs", "foreign"));
    assert!(found.stderr.contains("may be another coordinator's"), "{}", found.stderr);

    // Nobody is there to be asked.
    let refused = run(&home, &["orphans", "--delete"]).exits(255).stderr;
    assert!(refused.contains("--yes"), "{refused}");
    run(&home, &["--yes", "orphans", "--delete"])
        .exits(0)
        .says("machine m-ours of driver shell: gone");
    assert_eq!(cloud.machines(), ["m-1", "m-theirs"]);
    // One that a host has is never destroyed here.
    let refused = run(&home, &["--yes", "orphans", "--delete", "m-1"]).exits(255).stderr;
    assert!(refused.contains("machine m-1 is not destroyed"), "{refused}");
    run(&home, &["--yes", "orphans", "--delete", "m-theirs"]).exits(0);
    assert_eq!(cloud.machines(), ["m-1"]);

    let journal = run(&home, &["journal", "show", "orphans"]).exits(0).stdout;
    for words in [
        format!("machine m-ours of driver shell, marked with {id}: cancel begins"),
        "machine m-ours of driver shell: cancel done".to_owned(),
        "machine m-theirs of driver shell: cancel done".to_owned(),
    ] {
        assert!(journal.contains(&words), "{journal}");
    }
    assert_eq!(
        run(&home, &["journal", "export"]).exits(0).stdout.matches("orphan_doomed").count(),
        2
    );
    run(&home, &["journal", "verify"]).exits(0);
    let listed = run(&home, &["list", "--csv", "--no-header"]).exits(0).stdout;
    assert_eq!(listed.lines().count(), 1, "{listed}");
}
