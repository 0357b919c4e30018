//! The sandbox through its public face.

mod file;
mod http;
mod objects;
mod people;
mod recordings;
mod support;
mod templates;
