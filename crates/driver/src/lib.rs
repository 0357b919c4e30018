//! The provision driver protocol, both sides of it.
//!
//! A provision driver makes machines and destroys them. It is either Rust code behind the trait
//! [`Driver`], or a folder of executables, one for each action, that any language can write; the
//! protocol of the latter is OpenNebula's (*Provision Driver*, 5.8 to 5.12), kept as it is and made
//! precise. This room knows both, and no cloud.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`api`] | the trait, the actions, and what is known after a failure |
//! | [`description`] | what a driver says of itself, in a file or by an executable |
//! | [`conformance`] | what the protocol promises, tried on a driver
//! | [`deployment`] | the deployment file: the host as XML, written and read |
//! | [`poll`] | what `poll` and `list` print, in all the shapes that drivers print it |
//! | [`error_block`] | what a driver says when it fails, made into one useful message |
//! | [`executable`] | running a folder of executables; finding again what a killed tool started |
//! | [`harness`] | the other side: a driver written in Rust as a set of executables |

pub mod api;
pub mod conformance;
pub mod deployment;
pub mod description;
pub mod error_block;
pub mod executable;
pub mod harness;
pub mod poll;

pub use api::{
    Action, Call, Description, Driver, DriverError, FailureKind, ListedMachine, ProcessRecord,
    ShutdownKind, Unwatched, Watch,
};
pub use deployment::{DeploymentError, DeploymentFile};
pub use description::DescriptionError;
pub use executable::{ExecutableDriver, ExecutableSettings, FindError, Remotes};
pub use poll::{MachineState, PollReport};
