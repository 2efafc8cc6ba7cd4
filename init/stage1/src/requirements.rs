//! Checks the amount of memory before the volumes are opened, so that a machine with too little memory gets a clear
//! message.
//!
//! Other modules check the other requirements: the kernel checks the processor itself (x86-64 with SSE2, `verify_cpu`),
//! and every program in the image is built for that level.
//! [`super::firmware`] checks the firmware, [`super::find_volumes`] the devices. See `docs/limits.md`.

use std::fs;
use std::io;

const MEMINFO: &str = "/proc/meminfo";

/// The memory that a machine needs, in MiB: the smallest size with which the VM tests boot (`too_little_memory`), plus
/// a reserve.
pub const MEMORY_MIB: u64 = 512;

/// The part of [`MEMORY_MIB`] that `MemTotal` must show; firmware, kernel and initrd take the rest. Physical machines
/// have at least one whole memory module, and thus more.
const TOTAL_MIB: u64 = 400;

/// Why the machine does not have enough memory.
#[derive(Debug, thiserror::Error)]
pub enum RequirementError {
    /// The amount cannot be read.
    #[error("failed to read the amount of memory from {MEMINFO}")]
    Read(#[source] io::Error),
    /// The kernel does not report the amount.
    #[error("{MEMINFO} has no MemTotal")]
    Unknown,
    /// The machine has too little memory.
    #[error(
        "this machine has {0} MiB of usable memory, and kubedOS needs a machine with at least {MEMORY_MIB} MiB: add memory"
    )]
    Memory(u64),
}

/// Checks the amount of memory.
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
    fn too_little_memory_is_refused_with_both_amounts() {
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
