//! Our playbooks, roles and the plugin, from inside the program.

use std::fs;
use std::io;
use std::path::Path;

/// Files of `ansible/`: path there, and content.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// Names of our playbooks, without their ending.
pub(super) fn playbooks() -> impl Iterator<Item = &'static str> {
    FILES.iter().filter_map(|(path, _)| path.strip_suffix(".yml").filter(|n| !n.contains('/')))
}

/// Writes all files into a folder.
pub(super) fn extract(folder: &Path) -> io::Result<()> {
    for (path, content) in FILES {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_is_inside() {
        let folder = tempfile::tempdir().unwrap();
        extract(folder.path()).unwrap();
        let plugin = folder.path().join("callback_plugins/oneprovision.py");
        assert!(fs::read_to_string(plugin).unwrap().contains("CALLBACK_NAME = \"oneprovision\""));
        assert!(FILES.iter().all(|(path, _)| !path.contains("__pycache__")));
    }
}
