//! What Ansible prints: kept in a file, without secrets, whatever the disk says.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::mask::Masks;

/// A line that is longer than this is masked and written in parts.
const LINE: usize = 1 << 20;
/// How much of the end is kept in memory, for a failure that has no other words.
const TAIL: usize = 16 << 10;

/// The log of a run.
pub(super) struct Log {
    path: PathBuf,
    /// The file, or why there is none (any more).
    file: Result<File, io::Error>,
    masks: Masks,
    pending: Vec<u8>,
    tail: String,
}

impl Log {
    /// A new file `STEM.N.log` in a folder, which is made.
    pub fn new(folder: &Path, stem: &str, masks: Masks) -> Self {
        let (path, file) = match create(folder, stem) {
            Ok((path, file)) => (path, Ok(file)),
            Err(error) => (folder.to_owned(), Err(error)),
        };
        Self { path, file, masks, pending: Vec::new(), tail: String::new() }
    }

    /// Takes what was printed.
    pub fn take(&mut self, printed: &[u8]) {
        self.pending.extend_from_slice(printed);
        if let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') {
            let lines: Vec<u8> = self.pending.drain(..=end).collect();
            let lines = self.masks.apply(&String::from_utf8_lossy(&lines));
            self.write(&lines);
        } else if self.pending.len() > LINE {
            let masked = self.masks.apply(&String::from_utf8_lossy(&self.pending));
            // What may be the beginning of a secret waits for its end.
            let end = boundary(&masked, masked.len().saturating_sub(self.masks.longest()));
            self.pending = masked.as_bytes()[end..].to_vec();
            self.write(&masked[..end]);
        }
    }

    /// Takes the rest.
    pub fn end(&mut self) {
        let rest = std::mem::take(&mut self.pending);
        let rest = self.masks.apply(&String::from_utf8_lossy(&rest));
        self.write(&rest);
    }

    /// What was printed last.
    pub fn tail(&self) -> &str {
        &self.tail
    }

    fn write(&mut self, text: &str) {
        if let Ok(file) = &mut self.file
            && let Err(error) = file.write_all(text.as_bytes())
        {
            self.file = Err(error);
        }
        self.tail.push_str(text);
        let cut = boundary(&self.tail, self.tail.len().saturating_sub(TAIL));
        self.tail.drain(..cut);
    }

    /// A text without secrets.
    pub fn mask(&self, text: &str) -> String {
        self.masks.apply(text)
    }

    /// Why the log is not whole, if it is not.
    pub fn trouble(&self) -> Option<String> {
        let error = self.file.as_ref().err()?;
        Some(format!("the log {} cannot be written: {error}", self.path.display()))
    }

    /// Where all of it is, as the end of a sentence.
    pub fn reference(&self) -> String {
        match self.trouble() {
            None => format!("(all of it: {})", self.path.display()),
            Some(trouble) => format!("({trouble})"),
        }
    }
}

/// The nearest place at or before a byte where a text can be cut.
fn boundary(text: &str, mut byte: usize) -> usize {
    while !text.is_char_boundary(byte) {
        byte -= 1;
    }
    byte
}

/// Creates the file with the next number.
fn create(folder: &Path, stem: &str) -> io::Result<(PathBuf, File)> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut next = 1 + fs::read_dir(folder)?
        .filter_map(|entry| number(entry.ok()?.file_name().to_str()?, stem))
        .max()
        .unwrap_or(0);
    loop {
        let path = folder.join(format!("{stem}.{next}.log"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => next += 1,
            Err(error) => return Err(error),
        }
    }
}

fn number(name: &str, stem: &str) -> Option<u64> {
    name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(".log")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::mask::Found;
    use super::*;

    fn masks() -> Masks {
        let mut found = Found::default();
        found.variables("", &serde_json::json!({"password": "hidden-word"}), false);
        found.masks()
    }

    #[test]
    fn logs_are_private_and_numbered() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("p/logs");
        for n in 1..=11 {
            let mut log = Log::new(&folder, "default", masks());
            log.take(b"a hidden-");
            log.take(b"word\nb");
            log.end();
            assert_eq!(log.tail(), "a *****\nb");
            let path = folder.join(format!("default.{n}.log"));
            assert_eq!(fs::read_to_string(&path).unwrap(), "a *****\nb");
            assert_eq!(log.reference(), format!("(all of it: {})", path.display()));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_secret_across_the_parts_of_a_long_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(dir.path(), "x", masks());
        log.take(&vec![b'.'; LINE - 4]);
        log.take(b"hidden");
        log.take(b"-word");
        log.end();
        let text = fs::read_to_string(dir.path().join("x.1.log")).unwrap();
        assert!(text.ends_with("..*****") && !text.contains("hidden"), "{}", &text[LINE - 20..]);
    }

    #[test]
    fn a_full_disk_is_told() {
        let file = OpenOptions::new().write(true).open("/dev/full").map_err(io::Error::other);
        let tail = String::new();
        let mut log =
            Log { path: "/l/x.1.log".into(), file, masks: masks(), pending: Vec::new(), tail };
        log.take(b"a line\n");
        log.take(b"another\n");
        log.end();
        assert_eq!(log.tail(), "a line\nanother\n");
        assert!(log.reference().contains("the log /l/x.1.log cannot be written: No space"));
        let log = Log::new(Path::new("/dev/null/logs"), "x", masks());
        assert!(log.trouble().unwrap().contains("/dev/null/logs cannot be written"));
    }
}
