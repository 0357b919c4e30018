//! The provision driver protocol, both sides of it.
pub mod api;
pub mod deployment;
pub mod poll;
