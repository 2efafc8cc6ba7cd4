//! From one spec to one image: the pipeline, and the parts that only it needs.

pub mod boot_partition;
pub mod build;
pub mod configuration;
pub mod disk;
pub mod explain;
pub mod manifest;
pub mod phase;
pub mod run_record;
pub mod uki;
pub mod volume;
