//! The library of `kubedos-build`: builds one sealed disk image from one ClusterSpec.
//!
//! This library is the pipeline. `builder/cli` is its command line, and `builder/debian` handles packages, the lock and the network.
//! Trust levels are types: only bytes that were checked against the lock can be composed.

#![forbid(unsafe_code)]

pub mod artifact;
pub mod cache_key;
pub mod compare;
pub mod compose;
pub mod diff;
pub mod erofs;
mod exit;
pub mod image;
pub mod init_build;
pub mod inspect;
pub mod interrupt;
pub mod keys;
pub mod output;
pub mod seed;
pub mod size;
pub mod sparse_digest;
pub mod sparse_file;
pub mod spec_file;
pub mod store;
pub mod toolbox;
pub mod verify;
