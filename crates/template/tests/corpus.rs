//! Every template of OpenNebula's own manuals and packages: it loads, or it gets a message that a
//! person agrees with. The outcome of each is kept in a snapshot: file name, and our own first
//! error.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use template::{FileReader, Options, load};

#[allow(clippy::unwrap_used, reason = "a part of the test below")]
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            found.push(path);
        }
    }
}

#[test]
fn every_template_loads_or_is_refused_for_a_good_reason() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !corpus.is_dir() {
        println!("skipped: no ../shared/corpus beside the workspace");
        return;
    }
    let corpus = corpus.canonicalize().unwrap();
    let mut paths = Vec::new();
    files(&corpus, &mut paths);
    paths.sort();
    let mut table = String::new();
    for path in paths {
        let loaded = load(&path, &FileReader, &Options::default());
        let errors: Vec<_> = loaded.diagnostics.iter().filter(|d| d.is_error()).collect();
        let short =
            |path: &Path| path.strip_prefix(&corpus).unwrap_or(path).to_string_lossy().into_owned();
        let outcome = match errors.first() {
            Some(first) => {
                let place = match first.span.line {
                    0 => String::new(),
                    line => format!("{line}:{}: ", first.span.column),
                };
                let file = loaded.sources.path(first.span.file);
                let file = if file == path { String::new() } else { format!("{}:", short(file)) };
                let folder = format!("{}/", corpus.display());
                let message = first.message.replace(&folder, "");
                let more = match errors.len() {
                    1 => String::new(),
                    count => format!(" (and {} more)", count - 1),
                };
                format!("refused: {file}{place}{message}{more}")
            }
            None => {
                let spec = loaded.spec.unwrap();
                format!(
                    "loads: {} hosts, {} datastores, {} networks, {} warnings",
                    spec.hosts.len(),
                    spec.datastores.len(),
                    spec.networks.len(),
                    loaded.diagnostics.len()
                )
            }
        };
        writeln!(table, "{}\n    {outcome}", short(&path)).unwrap();
    }
    insta::assert_snapshot!(table);
}
