//! Kernel and modules out of an unpacked package.

use std::fs;
use std::path::{Path, PathBuf};

use super::{RescueError, at, packages};

/// The modules of the machine's devices. What they need comes with them; what the kernel has built in is
/// passed over.
const WANTED: [&str; 8] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "button",
    "evdev",
    "isofs",
    "nls_utf8",
];

/// The kernel's file.
pub(super) fn find(root: &Path) -> Result<PathBuf, RescueError> {
    let boot = root.join("boot");
    let entries = fs::read_dir(&boot).map_err(at(&boot))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("vmlinuz-") && path.is_file()
        })
        .ok_or_else(|| RescueError::NoFile { wanted: "boot/vmlinuz-*".to_owned() })
}

/// The modules in the order in which they can be loaded: name and content, unpacked.
pub(super) async fn modules(root: &Path) -> Result<Vec<(String, Vec<u8>)>, RescueError> {
    let mut files = Vec::new();
    let mut built_in = String::new();
    for folder in ["lib/modules", "usr/lib/modules"] {
        collect(&root.join(folder), &mut files, &mut built_in)?;
    }
    let mut loaded: Vec<(String, Vec<u8>)> = Vec::new();
    // A module's needs are put before it: the stack holds what is not loaded yet, the next one last.
    let mut stack: Vec<(String, Option<Vec<u8>>)> =
        WANTED.iter().rev().map(|name| ((*name).to_owned(), None)).collect();
    while let Some((name, content)) = stack.pop() {
        if loaded.iter().any(|(other, _)| *other == name) {
            continue;
        }
        if let Some(content) = content {
            loaded.push((name, content));
            continue;
        }
        let Some(path) = files.iter().find(|path| module_name(path).as_deref() == Some(&name))
        else {
            if built_in.lines().any(|line| module_name(Path::new(line)).as_deref() == Some(&name)) {
                continue;
            }
            return Err(RescueError::NoFile { wanted: format!("kernel module {name}") });
        };
        let content = unpacked(path).await?;
        let needs = needs_of(&content);
        stack.push((name, Some(content)));
        stack.extend(needs.into_iter().map(|need| (need, None)));
    }
    Ok(loaded)
}

fn collect(
    folder: &Path,
    files: &mut Vec<PathBuf>,
    built_in: &mut String,
) -> Result<(), RescueError> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(at(folder))?;
        let path = entry.path();
        // A link may lead out of the tree, to the headers of a running kernel for example.
        let kind = entry.file_type().map_err(at(&path))?;
        if kind.is_dir() {
            collect(&path, files, built_in)?;
        } else if entry.file_name() == "modules.builtin" {
            built_in.push_str(&fs::read_to_string(&path).map_err(at(&path))?);
        } else if kind.is_file() && module_name(&path).is_some() {
            files.push(path);
        }
    }
    Ok(())
}

/// `virtio_rng` of `…/virtio-rng.ko.xz`: the kernel does not tell `-` from `_`.
fn module_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let (stem, packed) = name.split_once(".ko")?;
    matches!(packed, "" | ".xz" | ".zst" | ".gz").then(|| stem.replace('-', "_"))
}

async fn unpacked(path: &Path) -> Result<Vec<u8>, RescueError> {
    let program = match path.extension().and_then(|e| e.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        Some("gz") => "gzip",
        _ => return fs::read(path).map_err(at(path)),
    };
    packages::run(program, &["-dc".as_ref(), path.as_os_str()], None).await
}

/// What a module says of its needs: `depends=a,b` among the texts of its section `.modinfo`, which end
/// with zeros.
fn needs_of(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let rest = module.get(at + KEY.len()..).unwrap_or_default();
    let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_says_what_it_needs() {
        assert_eq!(needs_of(b"x\0depends=virtio,virtio-ring\0name=y\0"), ["virtio", "virtio_ring"]);
        assert_eq!(needs_of(b"x\0depends=\0name=y\0"), [""; 0]);
        assert_eq!(needs_of(b""), [""; 0]);
        assert_eq!(module_name(Path::new("a/virtio-rng.ko.xz")).as_deref(), Some("virtio_rng"));
        assert_eq!(module_name(Path::new("a/virtio-rng.c")), None);
    }
}
