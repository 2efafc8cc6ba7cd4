//! The product in virtual machines: every test boots what `make image` built, unchanged or tampered with, and is named after the property
//! that it shows or the attack that it makes. `docs/testing.md` says how to run and filter them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic; the lint exempts test functions, not their helpers"
)]

mod addons;
mod adopted;
mod asked;
mod boots;
mod cmdline;
mod configuration;
mod devices;
mod disks;
mod foreign;
mod losses;
mod planted;
mod power;
mod previous;
mod secure_boot;
mod seeds;
mod tamper;
mod variables;
