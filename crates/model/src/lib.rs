//! The words that every room of oneprovision shares: typed ids, states, attribute trees, secrets.
//!
//! Nothing here performs I/O, reads a clock or knows another room.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`ids`] | one type per kind of identifier, so that a host id cannot be passed for a cluster id |
//! | [`state`] | the life of a host and of a provision |
//! | [`attributes`] | the tree of an OpenNebula template, and its XML form |
//! | [`parameter`] | what a driver says of one of its parameters |
//! | [`playbook`] | playbooks of OpenNebula that are none here |
//! | [`secret`] | a string that masks itself wherever it is printed |

pub mod attributes;
pub mod ids;
pub mod parameter;
pub mod playbook;
pub mod secret;
pub mod state;

pub use attributes::{Attributes, Unstorable, Value, XmlError, unstorable};
pub use ids::{
    ClusterId, DatastoreId, DeployId, DocumentId, HostId, HostKey, ImageId, ProvisionId,
    TemplateId, VnetId, VntemplateId,
};
pub use parameter::{Parameter, ParameterType};
pub use playbook::gone_playbook;
pub use secret::{Secret, is_path, is_secret, is_secret_name};
pub use state::{HostState, ProvisionState};
