//! What a machine must have beyond what its firmware has already shown by starting this program: memory. Checked before anything large is
//! loaded, so that a machine that is too small says so instead of running out of memory somewhere.
//!
//! The kernel checks the processor itself (x86-64 with SSE2, `verify_cpu`); every program here is built for that level. Firmware is
//! checked by [`super::firmware`], devices are by [`super::find_volumes`]. See `docs/limits.md`.

use std::fs;
use std::io;

const MEMINFO: &str = "/proc/meminfo";

/// The memory that a machine must be given, in MiB: the smallest with which boots were seen to end well (`too_little_memory` in the VM
/// tests), with some to spare.
pub const MEMORY_MIB: u64 = 512;

/// What of [`MEMORY_MIB`] is left in `MemTotal`, after firmware, kernel and initrd: a machine with a whole module of memory has more.
const TOTAL_MIB: u64 = 400;

/// What the machine lacks.
#[derive(Debug, thiserror::Error)]
pub enum RequirementError {
    /// The amount cannot be read.
    #[error("failed to read the amount of memory from {MEMINFO}")]
    Read(#[source] io::Error),
    /// The kernel does not say how much there is.
    #[error("{MEMINFO} has no MemTotal")]
    Unknown,
    /// Too little.
    #[error(
        "this machine has {0} MiB of usable memory, and kubedOS needs a machine with at least {MEMORY_MIB} MiB: give it more"
    )]
    Memory(u64),
}

/// Checks it.
pub fn check() -> Result<(), RequirementError> {
    judge(&fs::read_to_string(MEMINFO).map_err(RequirementError::Read)?)
}

fn judge(meminfo: &str) -> Result<(), RequirementError> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    match kib.ok_or(RequirementError::Unknown)? / 1024 {
        mib if mib < TOTAL_MIB => Err(RequirementError::Memory(mib)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_too_little_memory_is_named_with_what_it_needs() {
        let meminfo = |mib: u64| format!("MemTotal:       {} kB\nMemFree:        9 kB\n", mib * 1024);
        assert!(judge(&meminfo(TOTAL_MIB)).is_ok());
        let error = judge(&meminfo(TOTAL_MIB - 1)).unwrap_err().to_string();
        assert!(
            error.starts_with("this machine has 399 MiB") && error.contains("at least 512 MiB"),
            "{error}"
        );
        for bad in ["", "MemFree: 9 kB", "MemTotal: many kB", "MemTotal: 9 MB"] {
            assert!(matches!(judge(bad), Err(RequirementError::Unknown)), "{bad}");
        }
    }
}
