//! The pure half of kubedOS: the ClusterSpec and its rules, the ClusterPlan, shards, the stage graph and the console record.
//!
//! Nothing here does IO, reads a clock or runs asynchronously: everything is a function from values to values.
//! Trust levels are types: `check::Raw` bytes become `check::Validated`, and only that becomes a `plan::ClusterPlan`.
//!
//! A node reads what was planned for it and plans nothing: the feature `cluster` is what only the builder needs.
#![forbid(unsafe_code)]

#[cfg(feature = "cluster")]
pub mod allocation;
#[cfg(feature = "cluster")]
pub mod check;
pub mod disk_names;
#[cfg(feature = "cluster")]
pub mod model;
pub mod modules;
pub mod node;
#[cfg(feature = "cluster")]
pub mod plan;
pub mod printable;
pub mod record;
#[cfg(feature = "cluster")]
pub mod reference;
pub mod stage;
pub mod value;
#[cfg(feature = "cluster")]
pub mod yaml;
