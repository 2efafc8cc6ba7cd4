//! Virtual machines, their consoles and their networks. The tests, the benchmarks, `make drill` and
//! `kubedos-build lab` boot nodes with them.
//!
//! A test has a [`Bench`]: a folder for its disks and logs. [`Hardware`] describes a machine as data; [`Machine`] is a
//! running one. Tests wait for output on the node's console, never for a fixed time: [`Machine::wait_for`] fails at
//! once when the kernel oopses, the node halts or the emulator ends. The emulator is Debian's QEMU from a folder of
//! unpacked packages ([`Tools`]), run with its own loader, so that nothing must be installed on the host.
//!
//! Machines are connected by a [`switch::Switch`] in this process: a [`Nic`] contains the socket of one of its ports.
//!
//! The lab does not need root or KVM. A machine is killed when its [`Machine`] is dropped, and also when this process
//! ends first.
#![forbid(unsafe_code)]

mod acceleration;
mod bench;
mod boot_progress;
mod console;
mod disk;
mod hardware;
mod identity;
mod machine;
mod machine_error;
mod nic;
mod patience;
mod places;
mod qmp;
pub mod switch;
mod tools;
pub mod write_log;

pub use acceleration::Acceleration;
pub use bench::Bench;
pub use boot_progress::{BootFailure, BootProgress, MAX_TEXT};
pub use console::{Console, Line};
pub use disk::{Attachment, Disk, Fault, Format};
pub use hardware::{Firmware, Hardware};
pub use identity::{mac_addresses, machine_uuid};
pub use machine::Machine;
pub use machine_error::{MachineError, WaitError, WaitFailure};
pub use nic::Nic;
pub use patience::Patience;
pub use places::{Place, Places};
pub use qmp::{Qmp, QmpError};
pub use tools::{Tools, ToolsError};
