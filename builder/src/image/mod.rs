//! The image build: the pipeline that builds one image from one spec, and the modules that only the pipeline uses.

pub mod boot_partition;
pub mod build;
pub mod configuration;
pub mod disk;
pub mod explain;
pub mod manifest;
pub mod phase;
pub mod roster;
pub mod run_record;
pub mod uki;
pub mod volume;
