//! Named providers: made, shown, used, changed, deleted.

use std::path::Path;

use crate::support::cloud::Cloud;
use crate::support::{Home, Invocation, template};
use crate::views::told;

const TOKEN: &str = "tok-41c7-never-to-be-seen";

const LAB: &str = "\
description: Machines of our lab
configurable: false
parameters:
  - {name: lab_token, required: true, account: true, aliases: [token]}
  - {name: zone, required: true, account: true, allowed: [north, south]}
  - {name: disks, type: integer}
";

fn tool(home: &Home, arguments: &[&str]) -> Invocation {
    home.tool(&["--sandbox", "--remotes"]).args(&[home.remotes()]).args(arguments)
}

/// A driver `lab` that takes nothing but our token.
fn lab(home: &Home) -> Cloud {
    let check = "grep -q \"<LAB_TOKEN>$(cat \"$cloud/token\")<\" \"$1\" || { \
                 echo 'wrong token' >&2; exit 255; }";
    let cloud = Cloud::with_steps(home, "lab", check, "");
    std::fs::write(home.remotes().join("pm/lab/driver.yaml"), LAB).unwrap();
    std::fs::write(cloud.dir().join("token"), TOKEN).unwrap();
    cloud
}

/// A template without driver and credentials.
fn hosts(top: &str) -> String {
    let text = template("lab", 2, &[]).replace("      driver: lab\n", "");
    text.replace("---\n", &format!("---\n{top}\n"))
}

/// Whether a file below a folder holds a text.
fn holds(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn what_people_see_of_providers() {
    let home = Home::new();
    lab(&home);
    home.write("token", TOKEN);
    let file = "name: filed\ndriver: lab\ndescription: From a file\nparameters:\n  \
                lab_token: {file: token}\n  zone: south\n";
    home.write("filed.yaml", file);
    home.write("broken.yaml", file.replace("south", "sout").replace("driver: lab", "driver: la"));
    let mut all = String::new();
    for command in [
        &["create", "north"][..],
        &["create", "north", "--driver", "lba"],
        &["create", "north", "--driver", "lab", "zone=nort"],
        &[
            "create",
            "north",
            "--driver",
            "lab",
            "--description",
            "Ours",
            "zone=north",
            "dsks=2",
            "token={env: LAB}",
        ],
        &["create", "north", "--driver", "lab"],
        &["create", "broken.yaml"],
        &["create", "filed.yaml"],
        &["list"],
        &["list", "--csv"],
        &["show", "north"],
        &["show", "filed", "-x"],
        &["update", "north", "--unset", "dsks", "lab_token=visible-1"],
        &["update", "north", "--unset", "dsks"],
        &["show", "north", "-y"],
        &["delete", "filed", "north"],
        &["show", "north"],
        &["list", "--no-header"],
    ] {
        let output = tool(&home, &["provider"]).args(command).run();
        all += &told(&home, &format!("provider {}", command.join(" ")), &output);
    }
    let all: Vec<&str> =
        all.lines().map(|line| line.split("; built in: ").next().unwrap_or(line)).collect();
    insta::assert_snapshot!("providers", all.join("\n"));
}

#[test]
fn a_provider_is_used_and_its_new_token_reaches_its_provisions() {
    let home = Home::new();
    let cloud = lab(&home);
    home.write("token", TOKEN);
    let create = ["provider", "create", "ours", "--driver", "lab", "zone=north"];
    tool(&home, &create).args(&["lab_token"]).stdin(TOKEN).run().exits(0);
    let path = home.write("t.yaml", hosts("provider: ours"));
    let validated = tool(&home, &["validate"]).args(&[&path]).run().exits(0);
    assert_eq!(validated.stderr, "");
    let created = tool(&home, &["create", "-D"]).args(&[&path]).run().exits(0);
    let id = created.id();
    assert!(!created.stderr.contains(TOKEN));
    assert!(cloud.file("m-1", "stdin").contains(TOKEN));
    assert!(!holds(&home.state(), TOKEN), "no secret rests in clear");

    let refused = tool(&home, &["provider", "delete", "ours"]).run().exits(255);
    assert!(refused.stderr.contains(&id), "{}", refused.stderr);
    let shown = tool(&home, &["provider", "show", "ours"]).run().exits(0);
    assert!(shown.stdout.contains(&id) && !shown.stdout.contains(TOKEN), "{}", shown.stdout);

    // With a new token, and chosen apart from the template.
    std::fs::write(cloud.dir().join("token"), "tok-new-1").unwrap();
    tool(&home, &["provider", "update", "ours", "lab_token"]).stdin("tok-new-1\n").run().exits(0);
    let other = home.write("u.yaml", hosts("").replace("name: test", "name: other"));
    let create = ["create", "--provider", "ours", "--resume"];
    let second = tool(&home, &create).args(&[&other]).run().exits(0).id();
    assert_eq!(tool(&home, &create).args(&[&other]).run().exits(0).id(), second);
    tool(&home, &["resume", &second]).run().exits(0);
    assert_eq!(cloud.machines().len(), 4);
    for id in [&id, &second] {
        tool(&home, &["delete", id]).run().exits(0);
    }
    assert!(cloud.machines().is_empty());
    tool(&home, &["provider", "delete", "ours"]).run().exits(0);
}

#[test]
fn mistakes_about_providers_are_found_before_anything_is_bought() {
    let home = Home::new();
    let cloud = lab(&home);
    tool(&home, &["provider", "create", "poor", "--driver", "lab", "zone=north"]).run().exits(0);
    tool(&home, &["provider", "create", "other", "--driver", "dummy"]).run().exits(0);
    let mut all = String::new();
    for top in ["provider: por", "provider: poor", "provider: aws", "provider: google"] {
        let path = home.write("t.yaml", hosts(top));
        let output = tool(&home, &["create"]).args(&[&path]).run().exits(255);
        all += &told(&home, "create t.yaml", &output);
    }
    let path = home.write("t.yaml", template("lab", 1, &[("lab_token", "t"), ("zone", "north")]));
    let output = tool(&home, &["create", "--provider", "other"]).args(&[&path]).run().exits(255);
    all += &told(&home, "create t.yaml --provider other", &output);
    let output = tool(&home, &["create", "--provider", "none"]).args(&[&path]).run().exits(255);
    all += &told(&home, "create t.yaml --provider none", &output);
    insta::assert_snapshot!("provider_mistakes", all);
    assert!(cloud.calls().is_empty());
    // Without a front-end it is said why nothing can be said.
    let path = home.write("t.yaml", hosts("provider: poor"));
    let alone = home.tool(&["validate"]).args(&[&path]).run().exits(255);
    assert!(alone.stderr.contains("provider 'poor' cannot be looked for: "), "{}", alone.stderr);
}

#[test]
fn a_changed_value_of_a_provider_destroys_no_machine() {
    let home = Home::new();
    home.sandbox(&["provider", "create", "pp", "--driver", "dummy", "dummy_seed=1"]).exits(0);
    let of = |hosts: u32| {
        format!(
            "name: moved\nplaybook: []\nprovider: pp\nhosts:\n  - im_mad: kvm\n    vm_mad: kvm\n    \
             provision: {{hostname: \"node-${{index}}\", count: {hosts}}}\n"
        )
    };
    home.write("two.yaml", of(2));
    home.write("three.yaml", of(3));
    let id = home.sandbox(&["create", "two.yaml"]).exits(0).id();
    home.sandbox(&["provider", "update", "pp", "dummy_seed=2"]).exits(0);
    home.sandbox(&["plan", "two.yaml", &id]).exits(0);
    home.sandbox(&["update", &id, "three.yaml"]).exits(0);
    assert_eq!((home.bill().len(), home.machines_ever().len()), (3, 3));
    home.sandbox(&["plan", "three.yaml", &id]).exits(0);
    let exported = home.sandbox(&["export", &id]).exits(0).stdout;
    let seeds = exported.lines().filter_map(|line| line.trim().strip_prefix("dummy_seed: "));
    let seeds: Vec<&str> = seeds.map(|seed| seed.trim_matches(['\'', '"'])).collect();
    assert_eq!(seeds, ["1", "1", "2"], "{exported}");
}
