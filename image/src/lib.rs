//! The on-disk formats of kubedOS, as bytes in and bytes out: no file is opened, no clock read, no randomness drawn here.
//!
//! A format is a folder of three files: `format` (little-endian structures and constants, each citing its source),
//! `writer` and `reader`. Readers are given untrusted bytes: they return errors, never panic, and never allocate
//! more than the input justifies.

#![forbid(unsafe_code)]

pub mod boot;
pub mod cpio;
mod document;
pub mod gpt;
pub mod guid;
pub mod hex32;
pub mod iso;
pub mod layout;
pub mod pe;
pub mod source;
pub mod sparse;
pub mod statement;
pub mod verity;

pub use document::DocumentError;
