//! Virtual machines and their consoles: what the tests, `kubedos-build lab` and `kubedos-build drill` boot nodes with.
//!
//! A test has a [`Bench`]: a folder for its disks and logs. [`Hardware`] says what a machine is made of, as data; [`Machine`] is one that
//! runs. Waiting is on what the node says on its console, never on time: [`Machine::wait_for`] ends at once when the kernel oopses, the
//! node halts or the emulator ends. The emulator is Debian's QEMU out of a folder of unpacked packages ([`Tools`]), run through its own
//! loader, so that the host needs none.
//!
//! Nothing here needs root or KVM. A machine is killed when its [`Machine`] is dropped, and also when this process dies first.
//! Networks are not here yet.
#![forbid(unsafe_code)]

mod acceleration;
mod bench;
mod console;
mod disk;
mod hardware;
mod machine;
mod machine_error;
mod patience;
mod places;
mod qmp;
mod tools;
pub mod write_log;

pub use acceleration::Acceleration;
pub use bench::Bench;
pub use console::{Console, Line};
pub use disk::{Attachment, Disk, Fault, Format};
pub use hardware::{Firmware, Hardware};
pub use machine::Machine;
pub use machine_error::{Because, GaveUp, MachineError};
pub use patience::Patience;
pub use places::{Place, Places};
pub use qmp::{Qmp, QmpError};
pub use tools::{Tools, ToolsError};
