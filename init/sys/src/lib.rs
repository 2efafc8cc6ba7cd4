//! Kernel interfaces that no crate offers as safe functions: device mapper, loop devices, partitions of a block device, watchdogs,
//! compressed modules, uevents, audit rules. The only crate of the workspace with `unsafe` code (architecture §4).
//!
//! Each module is a narrow wrapper: it knows the shape of a call and of its answer, and decides nothing. Structures are put
//! together byte by byte at the offsets of the kernel's headers, so that `unsafe` is left in one place, [`ioctl`].

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
