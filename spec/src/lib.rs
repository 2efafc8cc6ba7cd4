//! The pure half of kubedOS: the ClusterSpec and its rules, the ClusterPlan, shards, the stage graph and the console record.
//!
//! Nothing here does IO, reads a clock or runs asynchronously: everything is a function from values to values.
#![forbid(unsafe_code)]

pub mod modules;
pub mod node;
pub mod record;
pub mod stage;
pub mod value;
