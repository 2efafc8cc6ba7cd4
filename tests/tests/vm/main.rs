//! Tests of the product in virtual machines. Every test boots the output of `make image`, unchanged or tampered with, and has the name of
//! the property or the attack that it tests. `docs/testing.md` describes how to run and filter the tests.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic; the lint exempts test functions, not their helpers"
)]

mod addons;
mod addresses;
mod adopted;
mod asked;
mod boots;
mod clock;
mod cmdline;
mod configuration;
mod devices;
mod disks;
mod faults;
mod foreign;
mod lab;
mod losses;
mod matrix;
mod nodes;
mod path_mtu;
mod planes;
mod planted;
mod power;
mod previous;
mod readers;
mod secure_boot;
mod seeds;
mod tamper;
mod underlay;
mod variables;
