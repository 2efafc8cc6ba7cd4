//! The stages that the agent runs, each in a folder; `kubedos_wire::stage` owns their order and needs.
//!
//! Each is observe, plan, apply: read the facts, decide in a pure function, carry out the changes. A second plan after
//! apply is empty.

pub mod backplanes;
pub mod baseline;
pub mod disks;
pub mod validate_shard;
