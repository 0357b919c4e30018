//! Disk images: what one is, and the overlay that a machine writes to.
//!
//! The format is the one of QEMU's `docs/interop/qcow2.rst`, version 3. Written here, an overlay needs
//! no `qemu-img`, which some distributions keep in a package that conflicts with QEMU's.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 4] = b"QFI\xfb";
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Bytes of the header of version 3.
const HEADER: u32 = 104;
/// Header extension: name of the backing file's format.
const BACKING_FORMAT: u32 = 0xE279_2ACA;
/// Longest name of a backing file that the format allows.
const LONGEST_NAME: usize = 1023;

/// Format of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    Qcow2,
    Raw,
}

impl Format {
    fn as_str(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// What an image file is: its format and the size of the disk in it, in bytes.
///
/// `bootable` asks of a raw one that it has a partition table or a boot sector.
///
/// # Errors
/// What is wrong with it, for people, without its path.
pub(super) fn inspect(path: &Path, bootable: bool) -> Result<(Format, u64), String> {
    let metadata = std::fs::metadata(path).map_err(|error| reason(&error))?;
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(1024).read_to_end(&mut head))
        .map_err(|error| reason(&error))?;
    if head.starts_with(MAGIC) {
        let version = number(&head, 4).ok_or("is cut off")?;
        let size = number(&head, 24).zip(number(&head, 28)).ok_or("is cut off")?;
        let size = u64::from(size.0) << 32 | u64::from(size.1);
        if !(2..=3).contains(&version) {
            return Err(format!("is qcow2 of version {version}; 2 and 3 are known"));
        }
        if number(&head, 32) != Some(0) {
            return Err("is encrypted".to_owned());
        }
        if size == 0 {
            return Err("is a disk of size 0".to_owned());
        }
        return Ok((Format::Qcow2, size));
    }
    let other: [(&[u8], &str); 7] = [
        (b"\x1f\x8b", "is packed with gzip: unpack it first"),
        (b"\xfd7zXZ", "is packed with xz: unpack it first"),
        (b"\x28\xb5\x2f\xfd", "is packed with zstd: unpack it first"),
        (b"BZh", "is packed with bzip2: unpack it first"),
        (b"KDMV", "is a VMDK: `qemu-img convert -O qcow2` makes a qcow2 of it"),
        (b"conectix", "is a VHD: `qemu-img convert -O qcow2` makes a qcow2 of it"),
        (b"vhdxfile", "is a VHDX: `qemu-img convert -O qcow2` makes a qcow2 of it"),
    ];
    if let Some((_, text)) = other.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err((*text).to_owned());
    }
    let has_table = head.get(510..512) == Some(&[0x55, 0xaa]);
    if head.len() < 512 || (bootable && !has_table) {
        let start: String = String::from_utf8_lossy(&head).chars().take(16).collect();
        return Err(format!(
            "is neither a qcow2 image nor a raw disk with a partition table; it starts with {start:?}"
        ));
    }
    Ok((Format::Raw, metadata.len()))
}

/// An I/O error without "(os error 2)".
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "may not be read".to_owned(),
        _ => format!("cannot be used: {error}"),
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Writes an empty qcow2 disk of `size` bytes at `path`, over a backing image or over nothing.
///
/// # Errors
/// The file system refuses; the backing file's name is too long.
pub(super) fn create(path: &Path, size: u64, backing: Option<(&Path, Format)>) -> io::Result<()> {
    let size = size.next_multiple_of(512);
    // One entry of the first table leads to a cluster of 8-byte entries for a cluster each.
    let l1_entries = size.div_ceil(CLUSTER * (CLUSTER / 8)).max(1);
    let l1_clusters = (l1_entries * 8).div_ceil(CLUSTER);
    let clusters = 3 + l1_clusters;
    let name = backing.map(|(path, _)| path.as_os_str().as_bytes()).unwrap_or_default();
    if name.len() > LONGEST_NAME {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the image's path is too long"));
    }
    let mut extensions = Vec::new();
    if let Some((_, format)) = backing {
        let text = format.as_str().as_bytes();
        extensions.extend(BACKING_FORMAT.to_be_bytes());
        extensions.extend(u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
        extensions.extend(text);
        extensions.resize(extensions.len().next_multiple_of(8), 0);
    }
    extensions.extend([0; 8]);
    let name_at = match name.len() {
        0 => 0,
        _ => u64::from(HEADER) + extensions.len() as u64,
    };
    let too_big = |_| io::Error::new(io::ErrorKind::InvalidInput, "the disk is too big");
    let mut head = Vec::with_capacity(512);
    head.extend(MAGIC);
    head.extend(3_u32.to_be_bytes());
    head.extend(name_at.to_be_bytes());
    head.extend(u32::try_from(name.len()).map_err(too_big)?.to_be_bytes());
    head.extend(CLUSTER_BITS.to_be_bytes());
    head.extend(size.to_be_bytes());
    head.extend(0_u32.to_be_bytes()); // not encrypted
    head.extend(u32::try_from(l1_entries).map_err(too_big)?.to_be_bytes());
    head.extend((3 * CLUSTER).to_be_bytes()); // the first table
    head.extend(CLUSTER.to_be_bytes()); // the table of reference counts
    head.extend(1_u32.to_be_bytes()); // its clusters
    head.extend([0; 12]); // no snapshots
    head.extend([0; 24]); // no features
    head.extend(4_u32.to_be_bytes()); // reference counts of 2^4 bits
    head.extend(HEADER.to_be_bytes());
    head.extend(extensions);
    head.extend(name);
    let mut file = File::create_new(path)?;
    file.write_all(&head)?;
    file.seek(SeekFrom::Start(CLUSTER))?;
    file.write_all(&(2 * CLUSTER).to_be_bytes())?;
    file.seek(SeekFrom::Start(2 * CLUSTER))?;
    for _ in 0..clusters {
        file.write_all(&1_u16.to_be_bytes())?;
    }
    file.set_len(clusters * CLUSTER)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_is_read_back_with_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("base");
        let over = dir.path().join("over");
        create(&base, 10 << 20, None).unwrap();
        create(&over, 5_000_000_001, Some((&base, Format::Qcow2))).unwrap();
        assert_eq!(inspect(&base, true), Ok((Format::Qcow2, 10 << 20)));
        assert_eq!(inspect(&over, true), Ok((Format::Qcow2, 5_000_000_512)));
        assert!(create(&over, 1, None).is_err(), "an existing file is not replaced");
    }

    #[test]
    fn what_is_no_image_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let of = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            inspect(&path, true).unwrap_err()
        };
        assert!(of(b"<!DOCTYPE html>").contains("starts with \"<!DOCTYPE html>\""));
        assert!(of(&[0; 4096]).contains("neither"));
        assert!(of(b"").contains("neither"));
        assert!(of(b"\x1f\x8b\x08").contains("gzip"));
        assert_eq!(of(b"QFI\xfb\0\0\0\x03"), "is cut off");
        assert_eq!(inspect(dir.path(), true).unwrap_err(), "is not a file");
        assert_eq!(inspect(&dir.path().join("no"), true).unwrap_err(), "does not exist");
        std::fs::write(&path, [0; 4096]).unwrap();
        assert_eq!(inspect(&path, false), Ok((Format::Raw, 4096)), "a file system for a kernel");
        let mut disk = vec![0; 4096];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        std::fs::write(&path, disk).unwrap();
        assert_eq!(inspect(&path, true), Ok((Format::Raw, 4096)));
    }
}
