//! What is made from the definitions of the command line: completions, and pages of the manual.

use crate::support::front_end::server;
use crate::support::{Home, template};

/// What bash offers for the last of these words.
fn offered(home: &Home, words: &[&str]) -> Vec<String> {
    let script = "source /dev/stdin <<< \"$(\"$1\" completions bash)\"\nshift\n\
         COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMP_TYPE=9\n\
         _clap_complete_oneprovision oneprovision \"${!#}\" \"\"\n\
         printf '%s\\n' \"${COMPREPLY[@]}\"\n";
    let arguments = ["-c", script, "bash", crate::support::TOOL, "oneprovision"];
    let output = home.program("bash").args(&arguments).args(words).run().exits(0);
    // "nospace" cannot be set outside of a real completion; nothing of ours is said.
    assert!(!output.stderr.contains("ERROR"), "{}", output.stderr);
    output.stdout.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn shells_complete_what_there_is() {
    let home = Home::new();
    assert_eq!(offered(&home, &["--sandbox", "show", "0"]), [""; 0]);
    assert!(!home.state().exists(), "to complete a word makes no folders");
    let path = home.write("t.yaml", template("dummy", 3, &[]));
    let id = home.tool(&["--sandbox", "create"]).args(&[path]).run().exits(0).id();
    let begin = &id[..3];
    assert_eq!(offered(&home, &["--sandbox", "show", begin]), [id.as_str()]);
    assert_eq!(offered(&home, &["resume", "--sandbox", begin]), [id.as_str()]);
    let hosts = offered(&home, &["--sandbox", "host", "delete", ""]);
    assert_eq!(hosts.get(..3), Some(["0", "1", "2"].map(str::to_owned).as_slice()));
    assert_eq!(offered(&home, &["driver", "show", "dum"]), ["dummy"]);
    assert_eq!(offered(&home, &["explain", "OP-B"]), ["OP-BUSY"]);
    assert_eq!(offered(&home, &["valid"]), ["validate"]);
    let modes = offered(&home, &["create", "--fail-s"]);
    assert_eq!(modes, ["--fail-skip", "--fail-sleep"]);
}

#[test]
fn a_front_end_that_is_away_is_not_waited_for() {
    let home = Home::new();
    // The state folder exists, so that the front-end is asked.
    home.sandbox(&["list"]).exits(0);
    for endpoint in [server(None), crate::support::front_end::nobody()] {
        let words = ["--endpoint", &endpoint, "--user", "a", "--password", "b", "show", "0"];
        assert_eq!(offered(&home, &words), [""; 0]);
    }
}

#[test]
fn every_shell_has_a_script() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.tool(&["completions", shell]).run().exits(0).stdout;
        assert!(script.contains("ONEPROVISION_COMPLETE"), "{shell}: {script}");
    }
    let error = home.tool(&["completions", "tcsh"]).run().one_error();
    assert!(error.contains("bash, elvish, fish, powershell, zsh"), "{error}");
}

#[test]
fn every_command_has_a_page() {
    let home = Home::new();
    let written = home.tool(&["man", "man1"]).run().exits(0).stdout;
    let mut commands = vec![Vec::<String>::new()];
    let mut pages = 0;
    while let Some(command) = commands.pop() {
        let help = home.tool(&command).args(&["--help"]).run().exits(0).stdout;
        let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in lines.take_while(|line| line.starts_with("  ")) {
            let name = line.trim_start_matches("  ").split(' ').next().unwrap_or_default();
            if !name.is_empty() && name != "help" {
                commands.push([command.clone(), vec![name.to_owned()]].concat());
            }
        }
        let name = [vec!["oneprovision".to_owned()], command].concat().join("-");
        let path = home.work().join(format!("man1/{name}.1"));
        let page = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{name}: {e}"));
        for section in ["NAME", "SYNOPSIS", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES"] {
            let heading = format!(".SH {section}");
            let quoted = format!(".SH \"{section}\"");
            assert!(page.contains(&heading) || page.contains(&quoted), "{name}: {section}\n{page}");
        }
        pages += 1;
    }
    assert_eq!(written.lines().count(), pages, "{written}");
    let first = home.tool(&["man"]).run().exits(0).stdout;
    assert_eq!(first, std::fs::read_to_string(home.work().join("man1/oneprovision.1")).unwrap());
}
