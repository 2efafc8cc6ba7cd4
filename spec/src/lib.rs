//! The pure half of kubedOS: the ClusterSpec and its rules, the ClusterPlan, shards, the stage graph and the console record.
//!
//! Nothing here does IO, reads a clock or runs asynchronously: everything is a function from values to values.
//! Trust levels are types: [`check::Raw`] bytes become [`check::Validated`], and only that becomes a [`plan::ClusterPlan`].
#![forbid(unsafe_code)]

pub mod allocation;
pub mod check;
pub mod model;
pub mod modules;
pub mod node;
pub mod plan;
pub mod record;
pub mod stage;
pub mod value;
pub mod yaml;
