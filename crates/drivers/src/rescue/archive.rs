//! Initial RAM disks: cpio in the format "newc" (Linux, `Documentation/driver-api/early-userspace/
//! buffer-format.rst`), not packed. Every kernel reads that, and devices need no root to be written.

/// An archive that is being written.
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), entries: 0 }
    }

    pub(super) fn folder(&mut self, path: &str, mode: u32) {
        self.entry(path, 0o040_000 | mode, (0, 0), &[]);
    }

    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, 0o100_000 | mode, (0, 0), content);
    }

    /// A character device.
    pub(super) fn device(&mut self, path: &str, mode: u32, number: (u32, u32)) {
        self.entry(path, 0o020_000 | mode, number, &[]);
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let fields = [
            self.entries, // inode
            mode,
            0, // owner
            0, // group
            1, // links
            0, // time
            length(content.len()),
            0, // device of the file system
            0,
            device.0,
            device.1,
            length(path.len() + 1),
            0, // checksum, of another format
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
