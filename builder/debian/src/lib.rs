//! Packages as data: the lock, Debian's indices and archives, mirrors, downloads, and the cache of content.
//!
//! Nothing here unpacks a package onto the host, runs a maintainer script or trusts a mirror: content is accepted by the digest that the
//! lock pins, and a lock by the chain from the archive's signed `Release` file. [`failure`] holds the exit classes of a command.

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
