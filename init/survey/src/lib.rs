//! The disks in sysfs, and whether they match a rule of the spec.
//!
//! The agent and `kubedos-build inspect --disks` share this crate, so both see the same disks and give the same
//! reasons. It reads sysfs and `/dev/disk/by-path` ([`look`]), compares facts in pure functions ([`judge`]), and
//! formats them ([`show`]). It does not open or change any disk. It does not handle the agent's partitions, containers
//! and mounts.

#![forbid(unsafe_code)]

pub mod controllers;
pub mod judge;
pub mod look;
pub mod show;

use std::collections::BTreeMap;
use std::fmt;

use kubedos_image::gpt::SectorSize;
use kubedos_wire::node::{DiskIdentity, DiskRule};
use serde::Serialize;

/// One GiB.
pub const GIB: u64 = 1 << 30;

/// A range of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ByteRange {
    /// Offset from the start of the disk.
    pub start: u64,
    /// Its length.
    pub len: u64,
}

/// One whole disk. All texts are untrusted: a disk reports any text that its manufacturer, or an attacker, stored in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The kernel's name (`vda`).
    pub name: String,
    /// Its size; 0 without a medium.
    pub bytes: u64,
    /// Bytes of a logical sector.
    pub sector_bytes: u64,
    /// The kernel refuses writes.
    pub read_only: bool,
    /// The model name.
    pub model: Option<String>,
    /// Serial numbers, the usual one first. A disk with a USB bridge has one from the bridge and one from the disk.
    pub serials: Vec<String>,
    /// How many bytes of a serial number the transport can carry; a serial number of this length may be truncated.
    pub serial_limit: Option<usize>,
    /// World-wide names in the kernel's spelling, the kernel's preferred one first (`naa.…`, `eui.…`, `uuid.…`,
    /// `nvme.…`, `t10.…`).
    pub wwns: Vec<String>,
    /// Names of its port, as in `/dev/disk/by-path`.
    pub paths: Vec<String>,
    /// The partitions in the kernel's view.
    pub partitions: BTreeMap<u32, ByteRange>,
}

impl Disk {
    /// A disk with only a name and a size.
    pub fn new(name: impl Into<String>, bytes: u64) -> Self {
        Self {
            name: name.into(),
            bytes,
            sector_bytes: 512,
            read_only: false,
            model: None,
            serials: Vec::new(),
            serial_limit: None,
            wwns: Vec::new(),
            paths: Vec::new(),
            partitions: BTreeMap::new(),
        }
    }

    /// The sector size, if this version has a layout for it.
    pub fn sector_size(&self) -> Option<SectorSize> {
        SectorSize::from_bytes(self.sector_bytes).filter(|size| *size == SectorSize::B512)
    }

    /// The kernel name of a partition: if the name of the disk ends in a digit, a `p` precedes the number.
    pub fn partition(&self, number: u32) -> String {
        let joint = if self.name.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        format!("{}{joint}{number}", self.name)
    }

    /// Whether every field of the rule matches ([`judge::rule`]). A rule without fields matches no disk.
    pub fn matches(&self, rule: &DiskRule) -> bool {
        judge::rule(self, rule).is_empty()
    }

    /// Whether the identity matches this disk, compared strictly ([`judge::is`]). An identity without fields matches no
    /// disk.
    pub fn is(&self, identity: &DiskIdentity) -> bool {
        judge::is(self, identity)
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk {} ({}", self.name, size(self.bytes))?;
        if let Some(serial) = self.serials.first() {
            write!(f, ", serial {}", show::plain(serial))?;
        }
        f.write_str(")")
    }
}

/// A size as text: one decimal, in the largest unit that gives at least 1.
pub fn size(bytes: u64) -> String {
    let (unit, name) = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit)
        .unwrap_or((1 << 10, "KiB"));
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_as_the_kernel_names_them() {
        for (name, partition) in
            [("vda", "vda25"), ("sdaa", "sdaa25"), ("nvme0n1", "nvme0n1p25"), ("mmcblk0", "mmcblk0p25")]
        {
            assert_eq!(Disk::new(name, 1).partition(25), partition);
        }
    }

    #[test]
    fn sizes_have_one_decimal_in_the_largest_unit() {
        assert_eq!(size(1 << 30), "1.0 GiB");
        assert_eq!(size((3 << 30) + (1 << 29)), "3.5 GiB");
        assert_eq!(size(4096), "4.0 KiB");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
    }
}
