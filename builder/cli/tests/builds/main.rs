//! A2, A4, A5, A8, D2: the real program builds the default example once. The tests inspect, damage and compare the outputs, and run builds
//! that are interrupted, have a full disk or wrong inputs, or have no home folder or terminal.
//!
//! Packages come from the user's cache, or from a mirror if they are missing there. All other files are below `target/`.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test fail by panicking")]

mod codes;
mod full;
mod interrupted;
mod looking;
mod media;
#[path = "../support/own.rs"]
mod own;
#[path = "../support/ran.rs"]
mod ran;
mod surroundings;
mod tampering;
mod workshop;
