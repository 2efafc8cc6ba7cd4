//! Kernel interfaces that no crate offers as safe functions: device mapper, loop devices, partitions of a block device,
//! watchdogs, compressed modules, uevents, audit rules. This is the only crate of the workspace with `unsafe` code
//! (`tests/lint/structure.toml`).
//!
//! Each module is a thin wrapper: it knows the format of a call and of its answer, and makes no decisions. Structures
//! are assembled byte by byte at the offsets of the kernel's headers, so that `unsafe` is needed in one place only,
//! [`ioctl`].

#![expect(
    unsafe_code,
    reason = "this crate exists to hold it; every block says why its call meets the preconditions"
)]

pub mod audit;
pub mod block;
pub mod dm;
mod ioctl;
pub mod loopdev;
pub mod module;
pub mod uevent;
pub mod watchdog;
