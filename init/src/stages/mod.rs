//! The stages that the agent runs, a folder each; their order and needs are `kubedos_spec::stage`.
//!
//! Each is observe, plan, apply: facts are read, a pure function decides, a dumb walk acts. A second plan after apply is empty.

pub mod baseline;
pub mod disks;
pub mod validate_shard;
