//! The files of a template: how they are read, and their text for messages.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::diagnostic::{FileId, Span};
use crate::sensitive;
use crate::yaml::decode::clamp;
use crate::yaml::{Scalar, Style};

/// Where templates come from.
pub trait SourceReader {
    /// Reads a file, but no more than `limit` + 1 bytes of it, so that a file that is too large
    /// is noticed and not read whole.
    ///
    /// # Errors
    /// As the operating system reports them; `NotFound` and `IsADirectory` get messages of their
    /// own.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// A path that names the same file wherever a later command is run; the path as it is where that
    /// cannot be told.
    fn absolute(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// Reads from the file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileReader;

impl SourceReader for FileReader {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    }
}

/// Longest line in bytes that is looked into for a message; finding a column in a longer one, again
/// and again, would take too long.
pub(crate) const LONG_LINE: usize = 64 << 10;

/// One file that was read, or that could not be.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// Start of each line in `text`, in bytes.
    line_starts: Vec<usize>,
    /// Per line: from which character on it may not be shown.
    hidden_from: Vec<Option<usize>>,
}

/// All files that one load touched, in the order in which they were met; the template is the first.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

impl Sources {
    /// The name of a file as the user or `extends` gave it, joined to the folder it was looked for.
    pub fn path(&self, file: FileId) -> &Path {
        self.files.get(file.0).map_or(Path::new(""), |source| &source.path)
    }

    /// A line (from 1) without its line break; empty if there is none such. It may hold secrets.
    pub fn line(&self, file: FileId, line: u32) -> &str {
        let Some(source) = self.files.get(file.0) else { return "" };
        source.line(line as usize).unwrap_or("")
    }

    /// From which character (from 0) on a line may not be shown, because a secret stands there.
    pub(crate) fn hidden_from(&self, file: FileId, line: u32) -> Option<usize> {
        let index = (line as usize).checked_sub(1)?;
        self.files.get(file.0)?.hidden_from.get(index).copied().flatten()
    }

    /// The text of every file that was read, in order. It may hold secrets.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|source| source.text.as_str())
    }

    /// Hides a value that runs over some lines, unless more of them is hidden already.
    pub(crate) fn hide(&mut self, span: Span, lines: usize) {
        let Some(source) = self.files.get_mut(span.file.0) else { return };
        let first = (span.line as usize).saturating_sub(1);
        for (index, hidden) in source.hidden_from.iter_mut().skip(first).take(lines).enumerate() {
            let column = if index == 0 { (span.column as usize).saturating_sub(1) } else { 0 };
            *hidden = Some(hidden.map_or(column, |old| old.min(column)));
        }
    }

    pub(crate) fn add(&mut self, path: PathBuf, text: String) -> FileId {
        let mut line_starts = vec![0];
        line_starts.extend(text.match_indices('\n').map(|(index, _)| index + 1));
        let hidden_from = sensitive::hidden_columns(&text);
        self.files.push(Source { path, text, line_starts, hidden_from });
        FileId(self.files.len() - 1)
    }

    /// The place of a part of a value (in bytes), as far as the value is written as it reads.
    pub(crate) fn within(&self, scalar: &Scalar, span: Span, range: Range<usize>) -> Span {
        let line = self.line(span.file, span.line);
        if line.len() > LONG_LINE {
            return span;
        }
        let quote = usize::from(scalar.style == Style::Quoted);
        let before = scalar.text.get(..range.start).map_or(0, |text| text.chars().count());
        let part = scalar.text.get(range).unwrap_or("");
        let column = span.column as usize + quote + before;
        let there: String =
            line.chars().skip(column.saturating_sub(1)).take(part.chars().count()).collect();
        if there != part || part.is_empty() {
            return span;
        }
        Span { column: clamp(column), length: clamp(part.chars().count()), ..span }
    }

    pub(crate) fn text(&self, file: FileId) -> &str {
        self.files.get(file.0).map_or("", |source| &source.text)
    }

    pub(crate) fn find(&self, path: &Path) -> Option<FileId> {
        self.files.iter().position(|source| source.path == path).map(FileId)
    }
}

impl Source {
    fn line(&self, number: usize) -> Option<&str> {
        let start = *self.line_starts.get(number.checked_sub(1)?)?;
        let end = self.line_starts.get(number).map_or(self.text.len(), |next| next - 1);
        self.text.get(start..end)
    }
}
