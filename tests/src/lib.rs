//! Shared code of the system tests: the product that `make image` builds, a rig that boots it, and functions that tamper with copies.
//!
//! Everything here panics with a message if it cannot do its work, because a test that cannot run has failed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test support: a failure here is a failed test, with a message"
)]
#![forbid(unsafe_code)]

mod assembled;
pub mod capture;
mod clusters;
pub mod conflicting_host;
pub mod dhcp;
pub mod frames;
mod node;
mod outside;
pub mod packets;
mod pins;
mod probe;
mod product;
pub mod reader;
mod rig;
mod tamper;
mod trees;
pub mod underlay_frames;
mod variant;

pub use assembled::{assemble, programs};
pub use clusters::{plan_of, test_cluster};
pub use node::{
    Expect, baseline, halts, halts_at, healthy_console, healthy_lines, last, no_failed_unit, powers_off,
    status_page,
};
pub use outside::outside;
pub use pins::{Pins, kubedos_build, oracles, project, scratch, succeeds, tools};
pub use probe::{
    MODULE_SIGNER, NOISE, answers, answers_disk, initrd_file, noise, probe_image, probe_image_of,
    static_program,
};
pub use product::Product;
pub use rig::{DISK, Rig};
pub use tamper::{Slice, flip, plant, read_esp, transplant, uki_name};
pub use trees::{Listing, generated, listing_of, many};
pub use variant::{Variant, edited, key_directory, own_example, rotated_keys};
