//! `man`: the manual's pages, from the definitions of the command line.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::print;
use crate::args::Cli;
use crate::context::absolute;
use crate::error::CliError;
use crate::exit::Exit;

/// What no definition of an option has: sections and their paragraphs, each with a term.
const SECTIONS: [(&str, &[(&str, &str)]); 3] = [
    (
        "EXIT STATUS",
        &[
            ("0", "Done."),
            ("2", "plan found something to do."),
            ("3", "Done, but something is parked or unknown."),
            ("130", "Interrupted; resume goes on."),
            (
                "255",
                "Failed, usage errors included. The error names its code; explain CODE has more.",
            ),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("ONE_XMLRPC", "Endpoint of the front-end."),
            ("ONE_AUTH", "File with USER:PASSWORD for the front-end."),
            (
                "ONE_CERT_DIR",
                "Folder with certificates in PEM form that are trusted beside those of the system.",
            ),
            (
                "ONE_DISABLE_SSL_VERIFY",
                "If it is set, the front-end's certificate is not checked, with a warning each time.",
            ),
            ("ONE_XMLRPC_TIMEOUT", "Longest time for a call to the front-end, in seconds; 60."),
            ("ONE_LOCATION", "OpenNebula's folder, if it is not installed in the system's."),
            ("SSL_CERT_FILE, SSL_CERT_DIR", "Certificates in place of those of the system."),
            ("XDG_STATE_HOME", "Holds the state folder; ~/.local/state without it."),
            ("NO_COLOR", "If it is set, nothing is coloured."),
        ],
    ),
    (
        "FILES",
        &[
            ("~/.one/one_auth", "USER:PASSWORD for the front-end."),
            ("~/.one/one_endpoint", "Endpoint of the front-end."),
            ("/var/lib/one/remotes/pm/DRIVER/ACTION", "Provision drivers."),
            ("/etc/one/cli/oneprovision.yaml", "Columns of lists."),
            (
                "~/.local/state/oneprovision/journal.db",
                "Every step that was taken, and what came of it.",
            ),
        ],
    ),
];

/// Writes all pages into a folder, or the first one to standard output.
pub fn run(dir: Option<&Path>) -> Result<Exit, CliError> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = dir else { return print(&page(&command)?) };
    let dir = absolute(dir)?;
    let failed =
        |e: std::io::Error| CliError::caused(format!("{} cannot be written", dir.display()), e);
    std::fs::create_dir_all(&dir).map_err(failed)?;
    let mut waiting = vec![&command];
    while let Some(command) = waiting.pop() {
        let path = dir.join(format!("{}.1", name(command)));
        std::fs::write(&path, page(command)?).map_err(failed)?;
        print(&format!("{}\n", path.display()))?;
        waiting.extend(command.get_subcommands());
    }
    Ok(Exit::Done)
}

fn name(command: &Command) -> &str {
    command.get_display_name().unwrap_or(command.get_name())
}

fn page(command: &Command) -> Result<String, CliError> {
    let failed = |e: std::io::Error| CliError::caused("the page cannot be made", e);
    let mut page = Vec::new();
    let title = name(command).to_owned();
    Man::new(command.clone()).title(title).render(&mut page).map_err(failed)?;
    let mut page = String::from_utf8_lossy(&page).into_owned();
    for (title, terms) in SECTIONS {
        page += &format!(".SH \"{title}\"\n");
        for (term, text) in terms {
            page += &format!(".TP\n{}\n{}\n", escape(term), escape(text));
        }
    }
    if name(command) != "oneprovision" {
        page += ".SH \"SEE ALSO\"\n\\fBoneprovision\\fR(1)\n";
    }
    Ok(page)
}

/// Text for roff: no line of it may begin with what roff takes for a request.
fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('~', "\\(ti")
}
