//! Types that several kubedOS programs read and write.
//!
//! This crate owns ids, keys, digests, names and addresses, the documents of the configuration volume, signed
//! statements and seeds, the hand-over from stage 1 to the agent, stage names, the console record, the records and decisions
//! of the membership protocol, the planes and the firewall of a node as data, its underlay as files, and the packets that it
//! composes itself. Each of them has exactly one type, which is defined here.
//!
//! All functions are pure: they do no I/O, read no clock and are not asynchronous. Every document has a version and
//! follows one rule for unknown fields (ADR 0003). The feature `schema` adds JSON Schema for the values of a
//! ClusterSpec.
#![forbid(unsafe_code)]

pub mod accept;
pub mod disk_names;
pub mod document;
pub mod firewall;
pub mod handover;
pub mod hex32;
pub mod membership;
pub mod modules;
pub mod node;
pub mod packets;
pub mod planes;
pub mod printable;
pub mod record;
pub mod release;
pub mod sample;
pub mod seal;
pub mod stage;
pub mod statement;
pub mod underlay;
pub mod value;
