//! The files that a driver reads and writes, on the disk or of memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Room that is reserved for standard output, so that a disk that fills up cannot swallow the id of
/// a machine that was just paid for.
pub(super) const RESERVED: u64 = 4096;

/// The files that a driver is started with.
pub(super) struct Streams {
    /// The deployment file's text, if it is to be standard input.
    pub stdin: Option<File>,
    pub stdout: File,
    /// May be read too.
    pub stderr: File,
    /// Standard output for us, opened apart if it has the lock, which is the driver's alone.
    pub out_reader: File,
}

/// A new file that only its owner may read and write.
pub(super) fn private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// A file with that text, from its beginning on: of memory, or else at that path.
pub(super) fn standard_input(xml: &str, path: &Path) -> io::Result<File> {
    if let Some(file) = memory("deployment").and_then(|file| sealed(file, xml).ok()) {
        return Ok(file);
    }
    private(path)?.write_all(xml.as_bytes())?;
    File::open(path)
}

/// A file of memory, if the system has such.
#[cfg(target_os = "linux")]
pub(super) fn memory(name: &str) -> Option<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).ok().map(File::from)
}

/// The file with that text, which nobody can change.
#[cfg(target_os = "linux")]
fn sealed(mut file: File, text: &str) -> io::Result<File> {
    use rustix::fs::{SealFlags, fcntl_add_seals};
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn memory(_: &str) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
fn sealed(file: File, _: &str) -> io::Result<File> {
    Ok(file)
}

/// Keeps room on the disk for what a driver is going to write.
#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, RESERVED) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT)) => Err(error.into()),
        // Not every file system can.
        _ => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reserve(_: &File) -> io::Result<()> {
    Ok(())
}
