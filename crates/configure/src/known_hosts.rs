//! The host keys of a provision: a file in ssh's own format, `ssh` adds to it.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
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

/// Makes comments of an alias's keys.
///
/// They are written over where they stand: `ssh` adds to the end meanwhile, and other tasks forget other
/// keys. A new file in place of this one would be without what came after it was read.
pub(crate) fn forget(file: &Path, alias: &str) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut text = Vec::new();
    (&file).read_to_end(&mut text)?;
    for (place, new) in changes(&text, alias) {
        file.write_all_at(&new, place)?;
    }
    file.sync_data()
}

/// What is to be written where, so that no line is an alias's. Lines are `NAME[,NAME…] TYPE KEY`, and
/// ssh writes names in lower case.
fn changes(text: &[u8], alias: &str) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut place = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
        let is_it = |name: &&[u8]| name.eq_ignore_ascii_case(alias.as_bytes());
        let names: Vec<&[u8]> = line[..end].split(|byte| *byte == b',').collect();
        let is_others = !names.iter().all(is_it);
        if names.iter().any(is_it) {
            // Beside others it becomes a name that nobody has.
            let with = |name: &&[u8]| match is_it(name) {
                true => vec![if is_others { b'-' } else { b'#' }; name.len()],
                false => name.to_vec(),
            };
            let new: Vec<Vec<u8>> = names.iter().map(with).collect();
            let between = if is_others { b"," } else { b"#" };
            all.push((place, new.join(&between[..])));
        }
        place += line.len() as u64;
    }
    all
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

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
        assert_eq!(
            text,
            "# a\n###### ssh-ed25519 AA\nhost-10 ssh-rsa BB\n\nx,------,y ssh-rsa CC\n###### ssh-rsa DD"
        );
        assert_eq!(mode(&file), 0o600);
        assert_eq!(fs::read_dir(folder.path().join("p")).unwrap().count(), 1);
    }

    #[test]
    fn what_others_add_and_forget_meanwhile_stays_so() {
        const ROUNDS: usize = 100;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        make(&file).unwrap();
        let add = |line: String| {
            let mut file = OpenOptions::new().append(true).open(&file).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        };
        let add = &add;
        std::thread::scope(|scope| {
            for n in 0..4 {
                let file = &file;
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        add(format!("m-{n} ssh-ed25519 {round}.\n"));
                        forget(file, &format!("m-{n}")).unwrap();
                    }
                    add(format!("m-{n} ssh-ed25519 last\n"));
                });
            }
            scope.spawn(|| (0..ROUNDS).for_each(|n| add(format!("other-{n} ssh-ed25519 A\n"))));
        });
        let text = fs::read_to_string(&file).unwrap();
        let mut left: Vec<_> = text.lines().filter(|line| line.starts_with("m-")).collect();
        left.sort_unstable();
        let last: Vec<_> = (0..4).map(|n| format!("m-{n} ssh-ed25519 last")).collect();
        assert_eq!(left, last);
        assert_eq!(text.matches("other-").count(), ROUNDS);
    }
}
