//! The provision template: YAML -> findings and a resolved, typed [`Spec`].
//!
//! Pure but for the [`SourceReader`] that is handed in: no network, no clock, no environment. All
//! mistakes of a template are found in one run, each with its file, line and column.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`spec`] | what a template means: the input of the engine |
//! | [`mod@reference`] | `<%= @clusters[0]['ID'] %>`, evaluated without running code |
//! | [`diagnostic`] | findings and their places |
//! | [`source`] | the files, how they are read |
//! | `yaml` | YAML as a tree in which every node knows its place |
//! | `loader` | reads a file with everything that it `extends` |
//! | `short` | the short form of `configure.files` becomes the long one |
//! | `quotes` | `\"`, which the text form of OpenNebula needed |
//! | `merge` | a base and what overrides it become one tree |
//! | [`inputs`] | what a template asks for, and what is an answer (6.0 and later) |
//! | `expand` | inputs, counts and `${…}` of 6.x are turned into what 5.x has |
//! | `keys` | the keys that mean something, from which checks and schema are made |
//! | `schema` | the JSON Schema of a template |
//! | [`catalog`] | what is known of drivers |
//! | [`providers`] | named providers, in templates and in files |
//! | `check` | from the merged tree to the [`Spec`], and everything that is wrong on the way |
//! | [`secrets`] | secrets by reference: in the environment, in a file, from a command |
//! | `sensitive` | which values are secrets |
//! | `export` | a template from what it means |
//! | `render` | findings as people read them |
//!
//! ```
//! use std::io;
//! use std::path::Path;
//!
//! use template::{Options, SourceReader, load, render};
//!
//! struct OneFile(&'static str);
//!
//! impl SourceReader for OneFile {
//!     fn read(&self, _: &Path, _: u64) -> io::Result<Vec<u8>> {
//!         Ok(self.0.into())
//!     }
//! }
//!
//! let file = OneFile("name: edge\nclustr: {}\n");
//! let loaded = load(Path::new("edge.yaml"), &file, &Options::default());
//! assert_eq!(
//!     render(&loaded.diagnostics[0], &loaded.sources),
//!     "edge.yaml:2:1: warning[unknown-key]: unknown key 'clustr'; it is ignored\n   \
//!      2 | clustr: {}\n     | ^^^^^^\nhelp: did you mean 'cluster'?\n"
//! );
//! assert_eq!(loaded.spec.map(|spec| spec.cluster.name).as_deref(), Some("edge"));
//! ```

pub mod catalog;
mod check;
pub mod diagnostic;
mod expand;
mod export;
pub mod inputs;
mod keys;
mod loader;
mod merge;
pub mod providers;
mod quotes;
pub mod reference;
mod render;
mod schema;
pub mod secrets;
mod sensitive;
mod short;
pub mod source;
pub mod spec;
mod yaml;

pub use catalog::DriverCatalog;
pub use check::is_parameter;
pub use diagnostic::{CODES, Diagnostic, FileId, Related, Severity, Span};
pub use export::{Exported, export};
pub use inputs::{InputError, InputSpec, InputType};
pub use loader::{InputValues, Loaded, Options, load, load_inputs};
pub use providers::{Provider, ProviderUse, ProviderValue, Providers, load_provider};
pub use reference::{
    EvaluateError, Late, Lookup, ObjectKind, evaluate, evaluate_attributes, evaluate_json,
    evaluate_json_texts, evaluate_yaml, late_in,
};
pub use render::render;
pub use schema::{schema, schema_with};
pub use secrets::{SecretError, SecretReference, SecretSource};
pub use source::{FileReader, SourceReader, Sources};
pub use spec::{
    AnsibleVersions, Connection, HostSpec, Meta, ObjectSpec, Origin, Spec, VirtualKind, VirtualSpec,
};
