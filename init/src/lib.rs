//! `kubedos-init`: stage 1 and the agent, one static binary (ADR 0040).
//!
//! The library holds everything; the binary looks at the name it was started by and calls one of the two.

#![forbid(unsafe_code)]

pub mod agent;
pub mod console;
mod durable;
pub mod handover;
pub mod seed;
pub mod stage1;
pub mod stages;
pub mod status_page;
