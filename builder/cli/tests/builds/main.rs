//! A2, A4, A5, A8, D2: the real program builds the default example once; what it built is looked at, damaged and compared, and builds are
//! made under bad circumstances: interrupted, on a full disk, with wrong inputs, without a home or a terminal.
//!
//! Packages come from the user's cache, or from a mirror when they are not there yet. Everything else lies below `target/`.

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
