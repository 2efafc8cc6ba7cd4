//! Kernel interfaces that no crate offers as safe functions: device mapper, loop devices, partitions of a block device,
//! watchdogs, compressed modules, uevents, audit rules, the rate of the clock, netlink, raw sockets. This is the only crate of the workspace with `unsafe` code
//! (`tests/lint/structure.toml`).
//!
//! Each module is a thin wrapper: it encodes a call and decodes the answer, and makes no decisions. Structures are
//! assembled byte by byte at the offsets of the kernel's headers, so that most `unsafe` code is in [`ioctl`].

#![expect(
    unsafe_code,
    reason = "this crate is the place for unsafe code; every block states why its call meets the preconditions"
)]

pub mod audit;
pub mod block;
pub mod clock;
pub mod dm;
pub mod frames;
pub mod icmp;
mod ioctl;
pub mod loopdev;
pub mod module;
pub mod netlink;
pub mod uevent;
pub mod watchdog;
