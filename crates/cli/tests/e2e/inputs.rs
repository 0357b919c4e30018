//! What a template leaves open: user inputs, and secrets that it names instead of holding them.

use crate::support::cloud::Cloud;
use crate::support::{Home, template};

const TEMPLATE: &str = "\
name: asked
inputs:
  - {name: n, type: range, min_value: 0, max_value: 5}
  - {name: dns, type: text, default: 1.1.1.1}
  - {name: pw, type: password}
defaults: {provision: {driver: dummy, dns: '${input.dns}', pw: '${input.pw}'}}
hosts:
  - {im_mad: kvm, vm_mad: kvm, provision: {hostname: 'h${index}', count: '${input.n}'}}
";

#[test]
fn inputs_are_given_by_option_and_by_file() {
    let home = Home::new();
    let path = home.write("t.yaml", TEMPLATE);
    home.write("i.yaml", "n: 4\npw: s3cret-in-a-file\n");
    let options = ["--inputs-file", "i.yaml", "--user-inputs", "dns=8.8.8.8,9.9.9.9,n=2"];
    home.tool(&["validate"]).args(&[&path]).args(&options).run().exits(0);
    let created = home.tool(&["--sandbox", "create"]).args(&[&path]).args(&options).run().exits(0);
    assert_eq!(home.bill().len(), 2);
    // The same again is the same template; with other values it is another one.
    let again = ["--sandbox", "create", "--resume"];
    let same = home.tool(&again).args(&[&path]).args(&options).run().exits(0);
    assert_eq!(same.id(), created.id());
    let more = ["--inputs-file", "i.yaml", "--user-inputs", "n=3"];
    home.tool(&again).args(&[&path]).args(&more).run().exits(255).says("has changed");
    home.sandbox(&["delete", &created.id()]).exits(0);
}

#[test]
fn what_is_not_given_is_named_and_nothing_is_made() {
    let home = Home::new();
    let path = home.write("t.yaml", TEMPLATE);
    let create = |options: &[&str]| {
        home.tool(&["--sandbox", "create"]).args(&[&path]).args(options).run().exits(255)
    };
    create(&[])
        .says("t.yaml:3:5: error[missing-input]: there is no value for the input 'n'")
        .says("t.yaml:5:5: error[missing-input]: there is no value for the input 'pw'")
        .says("--user-inputs n=…,pw=…");
    let check = |text: &str| {
        let path = home.write("check.yaml", text);
        home.tool(&["validate", "--dump"]).args(&[&path]).run()
    };
    // What they will be is no matter of the template.
    check(TEMPLATE)
        .exits(0)
        .says("check.yaml:3:5: warning[missing-input]: there is no value for the input 'n'")
        .says("--user-inputs n=…,pw=…");
    check(&format!("{TEMPLATE}nothing: ${{input.x}}\nversion: 3\n")).exits(255);
    create(&["--user-inputs", "n=9,pw=x"]).says("'9' is not a whole number from 0 to 5");
    create(&["--user-inputs", "n=1,pw=x,m=2"]).says("there is no input 'm'");
    create(&["--user-inputs", "s3cret"]).says("takes NAME=VALUE");
    create(&["--inputs-file", "none.yaml"]).says("none.yaml gives no values of inputs");
    assert!(home.bill().is_empty());
}

#[test]
fn secrets_are_got_from_where_the_template_says() {
    const SECRET: &str = "tok-named-and-not-held";
    let home = Home::new();
    let cloud = Cloud::in_shell(&home, "kept");
    home.write("token", format!("{SECRET}\n"));
    let parameters = [
        ("a_token", "{env: A_TOKEN}"),
        ("b_token", "{file: token}"),
        ("c_token", "{command: [cat, token]}"),
    ];
    let path = home.write("t.yaml", template("kept", 1, &parameters));
    let tool = |arguments: &[&str]| {
        home.tool(&["--remotes"]).args(&[home.remotes()]).args(arguments).args(&[&path])
    };
    // To check a template, none is needed.
    tool(&["validate"]).run().exits(0);
    tool(&["--sandbox", "create"])
        .run()
        .exits(255)
        .says("the environment variable A_TOKEN is not set");
    let created = tool(&["--sandbox", "create", "-D"]).env("A_TOKEN", SECRET).run().exits(0);
    assert!(!created.stdout.contains(SECRET) && !created.stderr.contains(SECRET));
    let file = cloud.file("m-1", "stdin");
    assert_eq!(file.matches(SECRET).count(), 3, "{file}");
}

#[test]
fn the_schema_is_json() {
    let schema = Home::new().tool(&["schema"]).run().exits(0).json();
    assert_eq!(schema["properties"]["hosts"]["type"][0], "array");
}
