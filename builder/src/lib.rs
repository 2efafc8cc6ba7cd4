//! `kubedos-build`: from one ClusterSpec to one sealed file.
//!
//! The library is the pipeline, the binary (`main.rs`, `cli/`) its command line. Trust levels are types: a [`failure::Failure`]
//! says which exit code a refusal has; bytes that were not checked against the lock cannot be composed.

pub mod artifact;
pub mod cache;
pub mod compare;
pub mod compose;
pub mod control;
pub mod deb;
mod decompress;
pub mod diff;
pub mod digest;
pub mod erofs;
pub mod failure;
pub mod fetch;
pub mod image;
pub mod index;
pub mod init_build;
pub mod inspect;
pub mod interrupt;
pub mod key;
pub mod keys;
pub mod lock;
pub mod mirror;
pub mod output;
pub mod release;
pub mod resolve;
pub mod seed;
pub mod size;
pub mod sparse_digest;
pub mod sparse_file;
pub mod spec_file;
mod stamp;
pub mod store;
pub mod toolbox;
pub mod verify;
