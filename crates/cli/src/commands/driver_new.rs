//! `driver new`: the examples of docs/WRITING_A_DRIVER.md as something to begin with.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use driver::Action;
use driver::executable::check_name;

use super::{narrate, print};
use crate::args::{DriverLanguage, DriverNewArgs};
use crate::context::absolute;
use crate::error::{CliError, Code};
use crate::exit::Exit;

const SHELL: &str = include_str!("../../../../examples/drivers/shell/driver");
const PYTHON: &str = include_str!("../../../../examples/drivers/python/driver");
const RUST: &str = include_str!("../../../../examples/drivers/rust/src/main.rs");
const CARGO: &str = include_str!("../../../../examples/drivers/rust/Cargo.toml");
const DESCRIPTION: &str = include_str!("../../../../examples/drivers/shell/driver.yaml");

pub fn run(args: &DriverNewArgs) -> Result<Exit, CliError> {
    check_name(&args.name).map_err(|e| CliError::new(e.to_string()))?;
    let parent = absolute(args.dir.as_deref().unwrap_or(Path::new(".")))?;
    let folder = parent.join(&args.name);
    let mut files = vec![("driver.yaml", DESCRIPTION.to_owned(), 0o644)];
    let target = match args.lang {
        DriverLanguage::Sh => {
            files.push(("driver", SHELL.to_owned(), 0o755));
            "driver".to_owned()
        }
        DriverLanguage::Python => {
            files.push(("driver", PYTHON.to_owned(), 0o755));
            "driver".to_owned()
        }
        DriverLanguage::Rust => {
            let package = package(&args.name);
            files.push(("src/main.rs", RUST.to_owned(), 0o644));
            files.push(("Cargo.toml", manifest(&package, &source(args, &parent)?), 0o644));
            files.push((".gitignore", "target\n".to_owned(), 0o644));
            format!("target/release/{package}")
        }
    };
    write(&folder, &files, &target).map_err(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            CliError::new(format!("{} is there already", folder.display())).code(Code::Refused)
        }
        _ => CliError::caused(format!("the driver cannot be written to {}", folder.display()), e),
    })?;
    print(&format!("{}\n", folder.display()))?;
    if args.lang == DriverLanguage::Rust {
        narrate(&format!(
            "First: cargo build --release --manifest-path {}/Cargo.toml",
            folder.display()
        ));
    }
    narrate(&format!("Try it: oneprovision driver test {} --yes", folder.display()));
    Ok(Exit::Done)
}

/// Writes all of it, or nothing: a folder that is there is not touched.
fn write(folder: &Path, files: &[(&str, String, u32)], target: &str) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::create_dir(folder)?;
    let written = fill(folder, files, target);
    if written.is_err() {
        // It was made a moment ago, and by us.
        let _ = fs::remove_dir_all(folder);
    }
    written
}

fn fill(folder: &Path, files: &[(&str, String, u32)], target: &str) -> io::Result<()> {
    for (name, text, mode) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
    }
    for action in Action::REQUIRED.into_iter().chain([Action::List]) {
        symlink(target, folder.join(action.as_str()))?;
    }
    Ok(())
}

/// A name of a package of Cargo's: no `.`, and no digit at its beginning.
fn package(name: &str) -> String {
    let name = name.replace('.', "-");
    match name.starts_with(|c: char| c.is_ascii_digit()) {
        true => format!("driver-{name}"),
        false => name,
    }
}

fn manifest(package: &str, source: &Path) -> String {
    let crates = source.join("crates").display().to_string();
    let crates = crates.replace('\\', "\\\\").replace('"', "\\\"");
    CARGO
        .replace("name = \"files\"", &format!("name = \"{package}\""))
        .replace("../../../crates", &crates)
}

/// Where the sources of this program are.
fn source(args: &DriverNewArgs, parent: &Path) -> Result<PathBuf, CliError> {
    let is_source = |folder: &Path| folder.join("crates/driver/Cargo.toml").is_file();
    if let Some(source) = &args.source {
        let source = absolute(source)?;
        return match is_source(&source) {
            true => Ok(source),
            false => Err(CliError::new(format!(
                "{} does not have the sources of oneprovision: there is no crates/driver",
                source.display()
            ))),
        };
    }
    let program = std::env::current_exe().unwrap_or_default();
    let here = std::env::current_dir().unwrap_or_default();
    let mut around = [parent, &here, &program].into_iter().flat_map(Path::ancestors);
    around.find(|folder| is_source(folder)).map(Path::to_owned).ok_or_else(|| {
        CliError::new(
            "a driver in Rust is built with the sources of oneprovision, and they are not here",
        )
        .hint("--source DIR names their folder")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_the_name_and_the_paths() {
        let text = manifest(&package("3.cloud"), Path::new("/src/one"));
        assert!(text.contains("name = \"driver-3-cloud\""), "{text}");
        assert!(text.contains("path = \"/src/one/crates/driver\""), "{text}");
        assert!(!text.contains("files") && !text.contains(".."), "{text}");
    }
}
