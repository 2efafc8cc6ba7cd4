//! The on-disk formats of kubedOS. The functions convert bytes to bytes: this crate opens no file, reads no clock and generates no
//! random numbers.
//!
//! A format is a folder of three files: `format` (little-endian structures and constants, each citing its source),
//! `writer` and `reader`. Readers get untrusted bytes: they return errors, never panic, and never allocate
//! more than the input justifies.

#![forbid(unsafe_code)]

pub mod authenticode;
pub mod boot;
pub mod cpio;
pub mod der;
pub mod efi_signatures;
#[cfg(feature = "erofs")]
pub mod erofs;
pub mod esp;
pub mod gpt;
pub mod guid;
pub mod iso;
pub mod layout;
pub mod ordered;
pub mod pe;
pub mod pkcs7;
#[cfg(feature = "qcow2")]
pub mod qcow2;
pub mod source;
pub mod sparse;
pub mod verity;
pub mod width;
