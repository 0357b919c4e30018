//! The deployment file: the host that a machine is for, as XML.
//!
//! The shape is the one of OpenNebula's own `<HOST>` (XML-RPC `one.host.info`), because the drivers of
//! OpenNebula 5.8 to 5.12 read that: `/HOST/ID`, `/HOST/NAME`, `//TEMPLATE/PROVISION/…`. A host that is
//! not in OpenNebula yet has no `ID`. Files that OpenNebula itself wrote, full of further elements
//! (`HOST_SHARE`, `VMS`, …), are read too; what is not of use to a driver is passed over.

use model::{Attributes, ClusterId, HostId, Secret, Value, XmlError};
use thiserror::Error;

/// Largest deployment file that is read, in bytes (8 MiB).
pub const MAX_BYTES: usize = 8 << 20;
/// Most XML nodes (elements and texts) of a deployment file.
pub const MAX_NODES: u32 = 400_000;
/// Deepest nesting of elements. OpenNebula nests five levels.
pub const MAX_DEPTH: u32 = 64;

/// The host that a machine is for, as a driver is told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeploymentFile {
    /// Id in OpenNebula, if it is there already.
    pub id: Option<HostId>,
    /// Name of the host.
    pub name: String,
    /// Information driver (`IM_MAD`).
    pub im_mad: String,
    /// Virtualization driver (`VM_MAD`).
    pub vm_mad: String,
    /// Provision driver (`PM_MAD`).
    pub pm_mad: String,
    /// The cluster, id and name.
    pub cluster: Option<(ClusterId, String)>,
    /// The host's template, secrets in clear.
    pub template: Attributes,
}

impl DeploymentFile {
    /// The file's content, secrets in clear: whoever writes it owes it a private place.
    ///
    /// `IM_MAD`, `VM_MAD` and `PM_MAD` stand both under `HOST` and under `TEMPLATE`, as in the files
    /// of the old tool; a value that the template has of its own is kept. As in those, an element
    /// stands on a line of its own and without CDATA: drivers in shell read it with `sed`. Names with a `:`,
    /// which OpenNebula takes and most readers of XML refuse, are left out.
    ///
    /// # Errors
    /// What [`Attributes::to_indented_xml`] refuses: a bad key, a character that XML cannot carry, a secret
    /// whose value is not here.
    pub fn to_xml(&self) -> Result<String, XmlError> {
        let mut host = Attributes::new();
        if let Some(id) = self.id {
            host.push("ID", id.to_string());
        }
        host.push("NAME", self.name.as_str());
        let drivers =
            [("IM_MAD", &self.im_mad), ("VM_MAD", &self.vm_mad), ("PM_MAD", &self.pm_mad)];
        for (key, driver) in drivers {
            host.push(key, driver.as_str());
        }
        if let Some((id, name)) = &self.cluster {
            host.push("CLUSTER_ID", id.to_string());
            host.push("CLUSTER", name.as_str());
        }
        let mut template = Attributes::new();
        for (key, driver) in drivers {
            if self.template.get(key).is_none() {
                template.push(key, driver.as_str());
            }
        }
        for (key, value) in without_prefixes(&self.template).iter() {
            template.push(key, value.clone());
        }
        host.push("TEMPLATE", template);
        host.to_indented_xml("HOST")
    }

    /// Reads a deployment file, one of ours or one that OpenNebula wrote.
    ///
    /// Elements that are absent become `None` or empty; `ID` and `CLUSTER_ID` of `-1` mean none. Values
    /// whose key says that they are credentials (see [`is_secret_key`]) become [`Value::Secret`].
    ///
    /// # Errors
    /// Too big, not UTF-8, not well-formed, a document type (so no entities of its own, no external
    /// ones), a root other than `HOST`, an id that is no number. Every error but the size has line and
    /// column, counted from 1.
    pub fn parse(bytes: &[u8]) -> Result<Self, DeploymentError> {
        if bytes.len() > MAX_BYTES {
            return Err(DeploymentError::TooBig { bytes: bytes.len() });
        }
        let text = std::str::from_utf8(bytes).map_err(|source| {
            let at = Position::of(bytes, source.valid_up_to());
            DeploymentError::NotUtf8 { at, source }
        })?;
        let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
        if text.trim().is_empty() {
            return Err(DeploymentError::Empty);
        }
        let options = roxmltree::ParsingOptions {
            allow_dtd: false,
            nodes_limit: MAX_NODES,
            ..Default::default()
        };
        let document = roxmltree::Document::parse_with_options(text, options)
            .map_err(|error| DeploymentError::of_xml(error, text))?;
        check_depth(&document)?;
        let root = document.root_element();
        let position = |node: roxmltree::Node<'_, '_>| {
            let pos = document.text_pos_at(node.range().start);
            Position { line: pos.row, column: pos.col }
        };
        if root.tag_name().name() != "HOST" {
            let found = root.tag_name().name().to_owned();
            return Err(DeploymentError::Root { at: position(root), found });
        }
        let child = |name: &str| root.children().find(|node| node.has_tag_name(name));
        let text_of = |name: &str| {
            child(name).map(|node| model::attributes::element_text(node).trim().to_owned())
        };
        let id_of = |name: &str| -> Result<Option<i32>, DeploymentError> {
            let Some(node) = child(name) else { return Ok(None) };
            let text = model::attributes::element_text(node);
            match text.trim() {
                "" => Ok(None),
                text => match text.parse::<i32>() {
                    Ok(id) => Ok((id >= 0).then_some(id)),
                    Err(source) => Err(DeploymentError::Id {
                        at: position(node),
                        element: name.to_owned(),
                        source,
                    }),
                },
            }
        };
        let mut template = child("TEMPLATE").map(Attributes::from_xml).unwrap_or_default();
        let driver = |key: &str| {
            text_of(key).unwrap_or_else(|| template.text(key).unwrap_or_default().trim().to_owned())
        };
        let (im_mad, vm_mad, pm_mad) = (driver("IM_MAD"), driver("VM_MAD"), driver("PM_MAD"));
        template = hide_secrets(template);
        Ok(Self {
            id: id_of("ID")?.map(HostId),
            name: text_of("NAME").unwrap_or_default(),
            im_mad,
            vm_mad,
            pm_mad,
            cluster: id_of("CLUSTER_ID")?
                .map(|id| (ClusterId(id), text_of("CLUSTER").unwrap_or_default())),
            template,
        })
    }

    /// A parameter of the driver: a text or secret of `TEMPLATE/PROVISION`, the key in any case.
    /// `None` if it is absent, empty or a vector.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.template
            .all("PROVISION")
            .filter_map(|value| match value {
                Value::Vector(inner) => Some(inner),
                _ => None,
            })
            .flat_map(Attributes::iter)
            .find(|(name, value)| {
                name.eq_ignore_ascii_case(key) && value.expose().is_some_and(|v| !v.is_empty())
            })
            .and_then(|(_, value)| value.expose())
    }

    /// Replaces every secret of the template in a text, such as one that a provider wrote.
    pub fn mask(&self, text: &str) -> String {
        mask(text, &self.secrets())
    }

    /// Every secret of the template in clear, longest first: what has to be masked in a text that a
    /// driver wrote.
    pub(crate) fn secrets(&self) -> Vec<&str> {
        fn collect<'a>(attributes: &'a Attributes, found: &mut Vec<&'a str>) {
            for (_, value) in attributes.iter() {
                match value {
                    Value::Secret(secret) if !secret.expose().trim().is_empty() => {
                        found.push(secret.expose());
                    }
                    Value::Vector(inner) => collect(inner, found),
                    _ => {}
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.template, &mut found);
        found.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
        found.dedup();
        found
    }
}

/// Whether an attribute is a credential by its name and value ([`model::is_secret`]), or the encoded
/// configuration or files of a host, which may hold any.
pub fn is_secret_key(key: &str, text: &str) -> bool {
    let encoded = ["PROVISION_CONFIGURATION_BASE64", "PROVISION_STEPS_BASE64"];
    model::is_secret(key, text) || encoded.iter().any(|name| key.eq_ignore_ascii_case(name))
}

/// Makes secrets of the texts that are credentials by their names.
pub fn hide_secrets(attributes: Attributes) -> Attributes {
    attributes
        .into_iter()
        .map(|(key, value)| {
            let value = match value {
                Value::Vector(inner) => Value::Vector(hide_secrets(inner)),
                Value::Text(text) if is_secret_key(&key, &text) => Value::Secret(Secret::new(text)),
                other => other,
            };
            (key, value)
        })
        .collect()
}

/// The attributes whose names have no `:`; a copy only where one has.
fn without_prefixes(attributes: &Attributes) -> Attributes {
    fn has_prefix(attributes: &Attributes) -> bool {
        attributes.iter().any(|(key, value)| {
            key.contains(':') || matches!(value, Value::Vector(inner) if has_prefix(inner))
        })
    }
    if !has_prefix(attributes) {
        return attributes.clone();
    }
    let kept = attributes.iter().filter(|(key, _)| !key.contains(':'));
    let pair = |(key, value): (&str, &Value)| match value {
        Value::Vector(inner) => (key.to_owned(), Value::Vector(without_prefixes(inner))),
        value => (key.to_owned(), value.clone()),
    };
    kept.map(pair).collect()
}

/// Replaces every secret in a text of somebody else's.
pub(crate) fn mask(text: &str, secrets: &[&str]) -> String {
    let mut masked = text.to_owned();
    for secret in secrets {
        for form in [*secret, secret.trim()] {
            if masked.contains(form) {
                masked = masked.replace(form, model::secret::MASK);
            }
        }
    }
    masked
}

/// Refuses a nesting that the recursive readers of the tree might not survive.
fn check_depth(document: &roxmltree::Document<'_>) -> Result<(), DeploymentError> {
    // Nodes come in document order: a parent's depth is known before its children's.
    let mut depths: Vec<u32> = Vec::new();
    for node in document.descendants() {
        let above = node
            .parent()
            .and_then(|parent| depths.get(parent.id().get_usize()).copied())
            .unwrap_or_default();
        if above >= MAX_DEPTH {
            let pos = document.text_pos_at(node.range().start);
            let at = Position { line: pos.row, column: pos.col };
            return Err(DeploymentError::TooDeep { at });
        }
        depths.push(above + 1);
    }
    Ok(())
}

/// A place in a deployment file, both numbers counted from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl Position {
    /// Position of a byte offset; bytes that are no UTF-8 count as one character each.
    fn of(bytes: &[u8], offset: usize) -> Self {
        let before = bytes.get(..offset).unwrap_or(bytes);
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |index| index + 1);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).saturating_add(1);
        let lines = before.iter().filter(|b| **b == b'\n').count();
        let current = before.get(line_start..).unwrap_or_default();
        Self { line: count(lines), column: count(String::from_utf8_lossy(current).chars().count()) }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Why a deployment file was refused.
#[derive(Debug, Error)]
pub enum DeploymentError {
    /// Larger than [`MAX_BYTES`].
    #[error("the deployment file has {bytes} bytes; at most {MAX_BYTES} are read")]
    TooBig {
        /// Its size.
        bytes: usize,
    },
    /// Nothing but white space.
    #[error("the deployment file is empty")]
    Empty,
    /// Not UTF-8.
    #[error("the deployment file is not UTF-8 at {at}")]
    NotUtf8 {
        /// First byte that is wrong.
        at: Position,
        /// What is wrong with it.
        #[source]
        source: std::str::Utf8Error,
    },
    /// An element is closed by another one's tag.
    #[error("deployment file, {at}: <{expected}> is closed by </{found}>")]
    MismatchedTag {
        /// Place of the closing tag.
        at: Position,
        /// Element that is open.
        expected: String,
        /// Element that is closed.
        found: String,
    },
    /// A document type declaration, and with it entities: never needed, and a way to read other
    /// files or to fill the memory.
    #[error("deployment file, {at}: a document type declaration (DTD) is not accepted")]
    Dtd {
        /// Place of the declaration.
        at: Position,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("deployment file, {at}: elements are nested deeper than {MAX_DEPTH} levels")]
    TooDeep {
        /// First node that is too deep.
        at: Position,
    },
    /// Not well-formed in any other way.
    #[error("deployment file, {at}: not well-formed XML")]
    Xml {
        /// Place of the mistake.
        at: Position,
        /// What is wrong.
        #[source]
        source: roxmltree::Error,
    },
    /// Well-formed, but not a host.
    #[error("deployment file, {at}: the root element is <{found}>, not <HOST>")]
    Root {
        /// Place of the root element.
        at: Position,
        /// Its name.
        found: String,
    },
    /// `ID` or `CLUSTER_ID` is no number.
    #[error("deployment file, {at}: {element} is not a number")]
    Id {
        /// Place of the element.
        at: Position,
        /// Its name.
        element: String,
        /// What is wrong with it.
        #[source]
        source: std::num::ParseIntError,
    },
}

impl DeploymentError {
    fn of_xml(error: roxmltree::Error, text: &str) -> Self {
        let pos = error.pos();
        let at = Position { line: pos.row, column: pos.col };
        match error {
            roxmltree::Error::UnexpectedCloseTag(expected, found, _) => {
                Self::MismatchedTag { at, expected, found }
            }
            // The library does not say where.
            roxmltree::Error::DtdDetected => {
                let offset = text.find("<!DOCTYPE").unwrap_or_default();
                Self::Dtd { at: Position::of(text.as_bytes(), offset) }
            }
            roxmltree::Error::UnclosedRootNode | roxmltree::Error::UnexpectedEndOfStream => {
                Self::Xml { at: Position::of(text.as_bytes(), text.len()), source: error }
            }
            source => Self::Xml { at, source },
        }
    }
}

#[cfg(test)]
#[path = "deployment_tests.rs"]
mod tests;
