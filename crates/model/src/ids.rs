//! One type per kind of identifier.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Declares the id of an OpenNebula object: a non-negative `i4` of the XML-RPC interface.
macro_rules! object_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<i32> for $name {
            fn from(id: i32) -> Self {
                Self(id)
            }
        }

        impl From<$name> for i32 {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    )*};
}

object_ids! {
    /// Id of a cluster in OpenNebula.
    ClusterId;
    /// Id of a host in OpenNebula.
    HostId;
    /// Id of a datastore in OpenNebula.
    DatastoreId;
    /// Id of a virtual network in OpenNebula.
    VnetId;
    /// Id of an image in OpenNebula.
    ImageId;
    /// Id of a VM template in OpenNebula.
    TemplateId;
    /// Id of a virtual network template in OpenNebula.
    VntemplateId;
    /// Id of a document in OpenNebula.
    DocumentId;
}

/// Id of a provision: a UUID, stored in OpenNebula as `TEMPLATE/PROVISION/PROVISION_ID` of every
/// object that belongs to it.
///
/// The old tool made random (version 4) UUIDs too, but any UUID that stands in an object is
/// accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProvisionId(pub Uuid);

impl fmt::Display for ProvisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl ProvisionId {
    /// Name of a host object before its machine has an address: `provision-` and 48 hexadecimal digits,
    /// as in 5.12; the first 32 are the provision's id, the last 16 the host's key.
    pub fn host_name(self, key: HostKey) -> String {
        format!("provision-{}{:016x}", self.0.simple(), key.0)
    }
}

impl FromStr for ProvisionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// Number of a host within its provision, counted from 0 in the order of the template.
///
/// It exists before OpenNebula or the provider know the host, and never changes: together with the
/// provision id it is what a machine is marked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostKey(pub u32);

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The provider's identification of a machine, as the driver's `deploy` printed it.
///
/// Never empty, never with white space at either end, one line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct DeployId(String);

impl DeployId {
    /// Takes a driver's text as a deploy id; `None` if nothing but white space is in it, or if it
    /// has control characters (a line break included).
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let usable = !text.is_empty() && !text.chars().any(char::is_control);
        usable.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeployId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for DeployId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| serde::de::Error::custom("not a deploy id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deploy_id_is_one_trimmed_line() {
        assert_eq!(DeployId::new(" i-0abc\n\n").map(|id| id.to_string()), Some("i-0abc".into()));
        for bad in ["", " \n\t", "a\nb", "a\u{0}b"] {
            assert_eq!(DeployId::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_provision_id_reads_what_it_prints() {
        let id: ProvisionId = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
