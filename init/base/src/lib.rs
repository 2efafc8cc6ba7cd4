//! The code that stage 1 and the agent share: the console, uptime, atomic files, the hand-over file, and the results of
//! an attempt at a stage.
//!
//! This crate contains no policy and does not depend on any stage. It runs no threads and starts no programs.

#![forbid(unsafe_code)]

pub mod atomic;
pub mod console;
pub mod handover_file;
pub mod outcome;
