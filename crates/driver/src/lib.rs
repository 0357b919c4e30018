//! The provision driver protocol, both sides of it.
pub mod api;
pub mod deployment;
pub mod error_block;
pub mod poll;
