//! The ClusterSpec: its model, its rules, and the plan that follows from it.
//!
//! Nothing here does IO, reads a clock or runs asynchronously: everything is a function from values to values.
//! Trust levels are types: `check::Raw` bytes become `check::Validated`, and only that becomes a `plan::ClusterPlan`.
#![forbid(unsafe_code)]

pub mod allocation;
pub mod check;
pub mod model;
pub mod plan;
pub mod reference;
pub mod yaml;
