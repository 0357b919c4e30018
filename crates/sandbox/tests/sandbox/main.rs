//! The sandbox through its public face.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

mod client;
mod file;
mod http;
mod images;
mod objects;
mod people;
mod recordings;
mod support;
mod templates;
