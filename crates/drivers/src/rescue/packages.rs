//! Packages of Debian and Ubuntu: which ones, downloading, unpacking.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::{RescueError, at};

/// How long a program may take; a download may be slow.
const PATIENCE: Duration = Duration::from_secs(600);
/// Kernels for virtual machines: Debian's, Ubuntu's. They lead to the one of the current version.
const KERNELS: [&str; 2] = ["linux-image-cloud-amd64", "linux-image-virtual"];
/// Most of a program's own words that are kept, in bytes.
const WORDS: usize = 2000;

/// Names of the packages that the image is made of.
pub(super) async fn names() -> Result<Vec<String>, RescueError> {
    let mut names = Vec::new();
    let mut no_kernel = RescueError::NoPackage { wanted: "kernel for virtual machines" };
    for kernel in KERNELS {
        match closure(kernel, &|name| {
            name.starts_with("linux-image-") || name.starts_with("linux-modules-")
        })
        .await
        {
            // The first is the one that has nothing in it but the dependency.
            Ok(found) if found.len() > 1 => {
                names.extend(found.into_iter().skip(1));
                break;
            }
            Ok(_) => {}
            Err(error @ RescueError::NoProgram { .. }) => return Err(error),
            Err(error) => no_kernel = error,
        }
    }
    if names.is_empty() {
        return Err(no_kernel);
    }
    names.push("busybox-static".to_owned());
    names.extend(closure("dropbear-bin", &|_| true).await?);
    Ok(names)
}

/// A package and all that it depends on, so far as `wanted` goes.
async fn closure(
    package: &str,
    wanted: &(dyn Fn(&str) -> bool + Sync),
) -> Result<Vec<String>, RescueError> {
    let mut found = vec![package.to_owned()];
    let mut next = 0;
    while let Some(name) = found.get(next).cloned() {
        next += 1;
        let text =
            run("apt-cache", &["depends", "--important", &name].map(OsStr::new), None).await?;
        for line in String::from_utf8_lossy(&text).lines() {
            let Some((kind, name)) = line.trim().split_once(": ") else { continue };
            // `|Depends` is the first of several that would do; `<…>` is no package of its own.
            let kind = kind.trim_start_matches('|');
            let name = name.trim();
            let is_new = !found.iter().any(|other| other == name);
            let is_own = !name.starts_with('<') && !name.contains(':');
            if matches!(kind, "Depends" | "PreDepends") && is_own && is_new && wanted(name) {
                found.push(name.to_owned());
            }
        }
    }
    Ok(found)
}

/// Downloads packages into a folder. No root is needed, and nothing is installed.
pub(super) async fn download(names: &[String], folder: &Path) -> Result<(), RescueError> {
    let mut arguments: Vec<&OsStr> = ["-q", "download"].map(OsStr::new).to_vec();
    arguments.extend(names.iter().map(OsStr::new));
    run("apt-get", &arguments, Some(folder)).await.map(drop)
}

/// Unpacks all packages of a folder; returns their files' names.
pub(super) async fn unpack(folder: &Path, root: &Path) -> Result<Vec<String>, RescueError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let arguments = [OsStr::new("-x"), path.as_os_str(), root.as_os_str()];
            run("dpkg-deb", &arguments, None).await?;
            names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Runs a program and returns what it wrote to standard output.
pub(super) async fn run(
    program: &str,
    arguments: &[&OsStr],
    folder: Option<&Path>,
) -> Result<Vec<u8>, RescueError> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C").kill_on_drop(true);
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let failed = |words: String| RescueError::Program { program: program.to_owned(), words };
    let output = match timeout(PATIENCE, command.output()).await {
        Err(_) => return Err(failed(format!("it did not end within {PATIENCE:?}"))),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            let advice = match program {
                "xz" => "the package xz-utils has it",
                "zstd" | "gzip" => "the package of that name has it",
                _ => {
                    "the image is made of Debian's or Ubuntu's packages, with the tools of either; an image that \
                     was built elsewhere can be copied here"
                }
            };
            return Err(RescueError::NoProgram { program: program.to_owned(), advice });
        }
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Ok(Ok(output)) => output,
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    // The reason is at the end; what comes before is warnings.
    let words = words.trim();
    let from = words.len().saturating_sub(WORDS);
    let from = (from..words.len()).find(|at| words.is_char_boundary(*at)).unwrap_or(0);
    match words.get(from..).unwrap_or_default() {
        "" => Err(failed(output.status.to_string())),
        words => Err(failed(words.to_owned())),
    }
}
