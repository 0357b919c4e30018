//! The host keys of a provision: a file in ssh's own format, `ssh` adds to it.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes a folder (0700) and those above it, if they are not there.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes the file (0600) in its folder (0700), if it is not there.
pub(crate) fn make(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        make_folder(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(file).map(drop)
}

/// Takes the keys of one alias out of the file.
pub(crate) fn forget(file: &Path, alias: &str) -> io::Result<()> {
    let text = match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let rest = without(&text, alias);
    if rest == text {
        return Ok(());
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    let permissions = Permissions::from_mode(0o600);
    let mut new = tempfile::Builder::new().permissions(permissions).tempfile_in(folder)?;
    new.write_all(&rest)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    fs::File::open(folder)?.sync_all()
}

/// The lines without an alias, which ssh writes in lower case. Lines are `NAME[,NAME…] TYPE KEY`.
fn without(text: &[u8], alias: &str) -> Vec<u8> {
    let mut rest = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let (names, after) = line.split_at(end);
        let all = names.split(|byte| *byte == b',');
        let others: Vec<&[u8]> =
            all.clone().filter(|name| !name.eq_ignore_ascii_case(alias.as_bytes())).collect();
        if others.len() == all.count() {
            rest.extend_from_slice(line);
        } else if !others.is_empty() {
            rest.extend_from_slice(&others.join(&b','));
            rest.extend_from_slice(after);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_alias_is_forgotten_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p/known_hosts");
        forget(&file, "a").unwrap();
        make(&file).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.path().join("p")), mode(&file)), (0o700, 0o600));
        let lines = "# a\nhost-1 ssh-ed25519 AA\nhost-10 ssh-rsa BB\n\nx,HOST-1,y ssh-rsa CC\nhost-1 ssh-rsa DD";
        fs::write(&file, lines).unwrap();
        make(&file).unwrap();
        forget(&file, "Host-1").unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text, "# a\nhost-10 ssh-rsa BB\n\nx,y ssh-rsa CC\n");
        assert_eq!(mode(&file), 0o600);
        assert_eq!(fs::read_dir(folder.path().join("p")).unwrap().count(), 1);
    }
}
