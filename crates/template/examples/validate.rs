//! Prints the findings about a template and, with `--dump`, the merged template.
//!
//! `cargo run -p oneprovision-template --example validate -- [--dump] FILE…`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;
use std::process::ExitCode;

use template::{FileReader, Options, load, render};

fn main() -> ExitCode {
    let mut dump = false;
    let mut failed = false;
    for argument in std::env::args().skip(1) {
        if argument == "--dump" {
            dump = true;
            continue;
        }
        let loaded = load(Path::new(&argument), &FileReader, &Options::default());
        for diagnostic in &loaded.diagnostics {
            eprint!("{}", render(diagnostic, &loaded.sources));
        }
        if dump && let Some(text) = loaded.dump() {
            print!("{text}");
        }
        failed |= loaded.has_errors();
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
