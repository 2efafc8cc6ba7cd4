//! Debian packages as data: the lock, package indices and archives, mirrors, downloads, and the content-addressed cache.
//!
//! This crate does not unpack packages onto the host, run maintainer scripts or trust mirrors. It accepts content by the digest that
//! the lock pins, and a lock by the chain of digests from the archive's signed `Release` file. [`failure`] contains the exit classes
//! of a command.

#![forbid(unsafe_code)]

pub mod cache;
pub mod control;
pub mod deb;
pub mod decompress;
pub mod digest;
mod exit;
pub mod failure;
pub mod fetch;
pub mod index;
pub mod lock;
pub mod mirror;
pub mod release;
pub mod resolve;
pub mod stamp;
