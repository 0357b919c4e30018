//! The rescue image: a small Linux with SSH, made of the distribution's packages.
//!
//! A kernel, and an initial RAM disk with busybox, dropbear and the modules of QEMU's devices; it runs in
//! memory. It takes its name and SSH keys from a seed of cloud-init's kind (NoCloud), so nothing of whoever builds
//! it is in it. No root is needed: packages are downloaded and unpacked, not installed, and the archive is written
//! here.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `archive` | the format of initial RAM disks |
//! | `kernel` | kernel and modules out of an unpacked package |
//! | `packages` | downloading and unpacking |

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

mod archive;
mod kernel;
mod packages;

use archive::Archive;

pub use crate::qemu::{RESCUE_INITRD as INITRD, RESCUE_KERNEL as KERNEL};

/// What the image was made of, beside it: one package file's name a line.
pub const PACKAGES: &str = "packages.txt";

/// Why the image could not be made.
#[derive(Debug, Error)]
pub enum RescueError {
    /// A program that is needed is not there.
    #[error("the program {program} is missing: {advice}")]
    NoProgram {
        /// Its name.
        program: String,
        /// What to do.
        advice: &'static str,
    },
    /// A program failed.
    #[error("{program} failed: {words}")]
    Program {
        /// Its name and first argument.
        program: String,
        /// What it said, or how it ended.
        words: String,
    },
    /// The distribution has no package for it.
    #[error(
        "the distribution's package lists have no {wanted}; is it amd64, and did `apt-get update` run?"
    )]
    NoPackage {
        /// What was looked for.
        wanted: &'static str,
    },
    /// A package has not in it what it should.
    #[error("the packages have no {wanted} in them")]
    NoFile {
        /// What was looked for.
        wanted: String,
    },
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> RescueError {
    let path = path.to_owned();
    move |source| RescueError::Io { path, source }
}

/// A folder that is removed when the work is done, or given up.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is no more than a nuisance if it stays.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Makes the image in `output`: [`KERNEL`], [`INITRD`], [`PACKAGES`]; an older one is replaced. `say` hears what is
/// being done. Needs the network, or apt's cache.
///
/// # Errors
/// No Debian or Ubuntu; a package cannot be had or is not what it should be; the file system refuses.
pub async fn build(output: &Path, say: &(dyn Fn(&str) + Sync)) -> Result<(), RescueError> {
    fs::create_dir_all(output).map_err(at(output))?;
    let scratch = Scratch(output.join(format!(".build-{}", std::process::id())));
    let (debs, root) = (scratch.0.join("debs"), scratch.0.join("root"));
    for folder in [&scratch.0, &debs, &root] {
        fs::DirBuilder::new().mode(0o755).create(folder).map_err(at(folder))?;
    }
    let names = packages::names().await?;
    say(&format!("Downloading {}", names.join(", ")));
    packages::download(&names, &debs).await?;
    say("Unpacking");
    let files = packages::unpack(&debs, &root).await?;
    say("Writing kernel and initial RAM disk");
    let kernel = kernel::find(&root)?;
    let mut archive = Archive::new();
    add_system(&mut archive, &root)?;
    let mut order = String::new();
    for (name, bytes) in kernel::modules(&root).await? {
        archive.file(&format!("lib/modules/{name}.ko"), 0o644, &bytes);
        order.push_str(&format!("{name}\n"));
    }
    archive.file("lib/modules/order", 0o644, order.as_bytes());
    let list = files.join("\n") + "\n";
    let kernel = fs::read(&kernel).map_err(at(&kernel))?;
    for (name, content) in
        [(KERNEL, kernel), (INITRD, archive.finish()), (PACKAGES, list.into_bytes())]
    {
        // Made beside and moved there: a machine may be starting from the old one.
        let new = scratch.0.join(name);
        fs::write(&new, content).map_err(at(&new))?;
        let path = output.join(name);
        fs::rename(&new, &path).map_err(at(&path))?;
    }
    Ok(())
}

/// Everything but the modules.
fn add_system(archive: &mut Archive, root: &Path) -> Result<(), RescueError> {
    for folder in [
        "bin",
        "dev",
        "etc",
        "etc/acpi",
        "etc/acpi/PWRF",
        "etc/dropbear",
        "lib",
        "lib/modules",
        "lib64",
        "mnt",
        "proc",
        "run",
        "sys",
        "tmp",
        "usr",
        "usr/sbin",
        "var",
        "var/log",
    ] {
        archive.folder(folder, 0o755);
    }
    archive.folder("root", 0o700);
    archive.device("dev/console", 0o600, (5, 1));
    for (from, to) in [
        (&["bin/busybox", "usr/bin/busybox"][..], "bin/busybox"),
        (&["usr/sbin/dropbear"], "usr/sbin/dropbear"),
        (&["usr/bin/dropbearkey"], "bin/dropbearkey"),
    ] {
        let path = from.iter().map(|path| root.join(path)).find(|path| path.is_file());
        let path = path.ok_or_else(|| RescueError::NoFile { wanted: to.to_owned() })?;
        archive.file(to, 0o755, &fs::read(&path).map_err(at(&path))?);
    }
    for (name, bytes) in libraries(root)? {
        let folder = if name.starts_with("ld-linux") { "lib64" } else { "lib" };
        archive.file(&format!("{folder}/{name}"), 0o755, &bytes);
    }
    for (path, mode, text) in [
        ("init", 0o755, include_str!("rescue/init")),
        ("etc/rc", 0o755, include_str!("rescue/rc")),
        ("etc/inittab", 0o644, include_str!("rescue/inittab")),
        ("etc/udhcpc", 0o755, include_str!("rescue/udhcpc")),
        ("etc/acpi/PWRF/00000080", 0o755, "#!/bin/sh\nexec poweroff\n"),
        ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", 0o644, "root:x:0:\n"),
        ("etc/shadow", 0o600, "root:*:19000:0:99999:7:::\n"),
        ("etc/shells", 0o644, "/bin/sh\n"),
    ] {
        archive.file(path, mode, text.as_bytes());
    }
    Ok(())
}

/// The shared libraries that dropbear needs, by name.
///
/// One is needed if its name, ended by zeros, is in what needs it: there the names of a program's
/// libraries stand (ELF, `.dynstr` and `.interp`).
fn libraries(root: &Path) -> Result<Vec<(String, Vec<u8>)>, RescueError> {
    let mut there = Vec::new();
    for folder in ["lib", "usr/lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"] {
        let folder = root.join(folder);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.map_err(at(&folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.contains(".so") && path.is_file() {
                there.push((name.to_owned(), path));
            }
        }
    }
    let mut needed: Vec<(String, Vec<u8>)> = Vec::new();
    let mut to_look_at: Vec<Vec<u8>> = Vec::new();
    for program in ["usr/sbin/dropbear", "usr/bin/dropbearkey"] {
        let path = root.join(program);
        to_look_at.push(fs::read(&path).map_err(at(&path))?);
    }
    while let Some(bytes) = to_look_at.pop() {
        for (name, path) in &there {
            if needed.iter().any(|(other, _)| other == name) || !names_library(&bytes, name) {
                continue;
            }
            let library = fs::read(path).map_err(at(path))?;
            needed.push((name.clone(), library.clone()));
            to_look_at.push(library);
        }
    }
    for wanted in ["libc.so", "ld-linux"] {
        if !needed.iter().any(|(name, _)| name.starts_with(wanted)) {
            return Err(RescueError::NoFile { wanted: wanted.to_owned() });
        }
    }
    needed.sort();
    Ok(needed)
}

fn names_library(program: &[u8], name: &str) -> bool {
    let ended = [name.as_bytes(), b"\0"].concat();
    program
        .windows(ended.len() + 1)
        .any(|window| matches!(window.first(), Some(0 | b'/')) && window.ends_with(&ended))
}
