//! The ClusterSpec: its model, the rules that check it, and the plan that is computed from it.
//!
//! All functions are pure: they do no I/O, read no clock and are not asynchronous.
//! The types express trust: `check::Raw` bytes become a `check::Validated` spec, and only a validated spec becomes a
//! `plan::ClusterPlan`.
#![forbid(unsafe_code)]

pub mod allocation;
pub mod check;
pub mod model;
pub mod plan;
pub mod reference;
pub mod yaml;
