//! Files in memory, and short forms of what a load found.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "clippy takes only the functions marked #[test] for tests")]

use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use template::{CODES, Loaded, Options, Severity, SourceReader, Spec, load, render};

/// Files in memory.
#[derive(Default)]
pub struct Files(HashMap<PathBuf, Vec<u8>>);

impl Files {
    pub fn with(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.0.insert(path.into(), content.into());
        self
    }

    pub fn load(&self, path: &str) -> Loaded {
        self.load_with(path, &[])
    }

    /// Loads a template with values of user inputs.
    pub fn load_with(&self, path: &str, inputs: &[(&str, &str)]) -> Loaded {
        let inputs = inputs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        load(Path::new(path), self, &Options { inputs: inputs.collect(), ..Options::default() })
    }
}

impl SourceReader for Files {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let mut plain = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => assert!(plain.pop(), "{path:?}"),
                Component::CurDir => {}
                part => plain.push(part),
            }
        }
        let content = self.0.get(&plain).ok_or(io::ErrorKind::NotFound)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
        Ok(content[..content.len().min(limit)].to_vec())
    }

    /// These files are in `/here`.
    fn absolute(&self, path: &Path) -> PathBuf {
        Path::new("/here").join(path)
    }
}

/// Loads one file.
pub fn load_text(text: &str) -> Loaded {
    Files::default().with("t.yaml", text).load("t.yaml")
}

/// Loads one file with values of user inputs.
pub fn load_inputs(text: &str, inputs: &[(&str, &str)]) -> Loaded {
    Files::default().with("t.yaml", text).load_with("t.yaml", inputs)
}

/// The spec of a template without errors.
pub fn spec(text: &str) -> Spec {
    let loaded = load_text(text);
    assert!(!loaded.has_errors(), "{}", rendered(&loaded));
    loaded.spec.unwrap()
}

/// All findings as people see them.
pub fn rendered(loaded: &Loaded) -> String {
    loaded.diagnostics.iter().map(|diagnostic| render(diagnostic, &loaded.sources)).collect()
}

/// `severity code line:column` of each finding, `e` or `w`.
pub fn findings(loaded: &Loaded) -> Vec<String> {
    for diagnostic in &loaded.diagnostics {
        let code = diagnostic.code;
        assert!(CODES.iter().any(|(known, _)| *known == code), "{code} is not in CODES");
    }
    let short = |severity| if severity == Severity::Error { 'e' } else { 'w' };
    loaded
        .diagnostics
        .iter()
        .map(|d| format!("{} {} {}:{}", short(d.severity), d.code, d.span.line, d.span.column))
        .collect()
}

/// Two hosts of a driver, with everything that a template needs.
pub const SMALL: &str = "\
name: edge
defaults:
  provision:
    driver: packet
    packet_token: tok-123
    plan: small
  connection:
    remote_user: admin
hosts:
  - im_mad: kvm
    vm_mad: kvm
    reserved_cpu: 100
    provision:
      hostname: h1
  - im_mad: kvm
    vm_mad: kvm
    provision:
      hostname: h2
      plan: large
    connection:
      remote_port: 2222
";
