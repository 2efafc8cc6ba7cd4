//! `kubedos-build`: from one ClusterSpec to one sealed file.
//!
//! This library is the pipeline; `builder/cli` is its command line, and `builder/debian` owns packages, the lock and the network.
//! Trust levels are types: bytes that were not checked against the lock cannot be composed.

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
