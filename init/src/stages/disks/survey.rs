//! What is known of disks before anything is decided: sizes, names, the kernel's partitions, open containers, mounts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kubedos_image::gpt::SectorSize;
use kubedos_image::layout::Role;
use kubedos_spec::node::{DiskIdentity, DiskRule};

/// One GiB.
pub const GIB: u64 = 1 << 30;

/// What a place on a disk is mounted and encrypted for. A subset of [`Role`]: the two that the agent fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    /// The agent's own memory of this node.
    State,
    /// Workload data.
    Data,
}

impl Store {
    /// Both, in the order in which they are made and mounted.
    pub const ALL: [Self; 2] = [Self::State, Self::Data];

    /// Its name: of the partition, and after `kubedos-` of the container, its mapping and its file system.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Data => "data",
        }
    }

    /// Its partition in the layout.
    pub const fn role(self) -> Role {
        match self {
            Self::State => Role::State,
            Self::Data => Role::Data,
        }
    }

    /// Label of container and file system, and name of the mapping.
    pub fn label(self) -> String {
        format!("kubedos-{}", self.name())
    }

    /// Where it is mounted.
    pub const fn mount_point(self) -> &'static str {
        match self {
            Self::State => "/var/lib/kubedos/state",
            Self::Data => "/var/lib/kubedos/data",
        }
    }
}

/// A stretch of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// From the start of the disk.
    pub start: u64,
    /// Its length.
    pub len: u64,
}

/// One whole disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The kernel's name (`vda`).
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Bytes of a logical sector.
    pub sector_bytes: u64,
    /// The kernel refuses writes.
    pub read_only: bool,
    /// Serial number.
    pub serial: Option<String>,
    /// World-wide name.
    pub wwn: Option<String>,
    /// Names of its port, as in `/dev/disk/by-path`.
    pub paths: Vec<String>,
    /// The partitions that the kernel knows.
    pub partitions: BTreeMap<u32, Stretch>,
}

impl Disk {
    /// The sector size, where this version can lay out a table for it.
    pub fn sector_size(&self) -> Option<SectorSize> {
        SectorSize::from_bytes(self.sector_bytes).filter(|size| *size == SectorSize::B512)
    }

    /// The kernel's name of one of its partitions: a `p` stands between a name that ends in a digit and the number.
    pub fn partition(&self, number: u32) -> String {
        let joint = if self.name.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        format!("{}{joint}{number}", self.name)
    }

    /// Everything that the rule gives holds. A rule that gives nothing matches nothing.
    pub fn matches(&self, rule: &DiskRule) -> bool {
        let gib = |count: u32| u64::from(count) * GIB;
        let gives = [
            rule.serial.is_some(),
            rule.wwn.is_some(),
            rule.path.is_some(),
            rule.min_size_gib.is_some(),
            rule.max_size_gib.is_some(),
        ];
        gives.contains(&true)
            && rule.serial.as_ref().is_none_or(|serial| self.serial.as_ref() == Some(serial))
            && rule.wwn.as_ref().is_none_or(|wwn| self.wwn.as_ref() == Some(wwn))
            && rule.path.as_ref().is_none_or(|path| self.paths.contains(path))
            && rule.min_size_gib.is_none_or(|least| self.bytes >= gib(least))
            && rule.max_size_gib.is_none_or(|most| self.bytes <= gib(most))
    }

    /// It is the disk that an `allowDestroy` entry names. An entry that names nothing names no disk.
    pub fn is(&self, identity: &DiskIdentity) -> bool {
        let gives = [identity.serial.is_some(), identity.wwn.is_some(), identity.path.is_some()];
        gives.contains(&true)
            && identity.serial.as_ref().is_none_or(|serial| self.serial.as_ref() == Some(serial))
            && identity.wwn.as_ref().is_none_or(|wwn| self.wwn.as_ref() == Some(wwn))
            && identity.path.as_ref().is_none_or(|path| self.paths.contains(path))
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk {} ({}", self.name, size(self.bytes))?;
        if let Some(serial) = &self.serial {
            write!(f, ", serial {serial}")?;
        }
        f.write_str(")")
    }
}

/// A size as people read it: with one decimal, in the largest unit that gives at least 1.
pub fn size(bytes: u64) -> String {
    let (unit, name) = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit)
        .unwrap_or((1 << 10, "KiB"));
    let tenths = u128::from(bytes) * 10 / u128::from(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// Everything that the plans look at, beside what is read from the disks themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Whole disks, by name; no optical drives, no mapped or loop devices.
    pub disks: Vec<Disk>,
    /// Open containers, with the size of what is inside.
    pub open: BTreeMap<Store, u64>,
    /// What is mounted at its place.
    pub mounted: BTreeSet<Store>,
}

impl Survey {
    /// A disk by the kernel's name.
    pub fn disk(&self, name: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str) -> Disk {
        Disk {
            name: name.into(),
            bytes: 20 * GIB,
            sector_bytes: 512,
            read_only: false,
            serial: Some("A1".into()),
            wwn: None,
            paths: vec!["pci-0000:00:04.0".into()],
            partitions: BTreeMap::new(),
        }
    }

    #[test]
    fn partitions_are_named_as_the_kernel_names_them() {
        for (name, partition) in
            [("vda", "vda25"), ("sdaa", "sdaa25"), ("nvme0n1", "nvme0n1p25"), ("mmcblk0", "mmcblk0p25")]
        {
            assert_eq!(disk(name).partition(25), partition);
        }
    }

    #[test]
    fn a_rule_holds_as_a_whole_and_an_empty_one_matches_nothing() {
        let rule = |serial: &str, least| DiskRule {
            serial: Some(serial.into()),
            min_size_gib: Some(least),
            ..DiskRule::default()
        };
        assert!(disk("vda").matches(&rule("A1", 20)));
        assert!(!disk("vda").matches(&rule("A1", 21)));
        assert!(!disk("vda").matches(&rule("A", 20)));
        assert!(!disk("vda").matches(&DiskRule::default()));
    }

    /// S3: an entry of `allowDestroy` frees the one disk that it names.
    #[test]
    fn allow_destroy_names_one_disk_and_an_empty_entry_names_none() {
        let serial = |text: &str| DiskIdentity { serial: Some(text.into()), ..DiskIdentity::default() };
        assert!(disk("vda").is(&serial("A1")));
        assert!(!disk("vda").is(&serial("a1")));
        assert!(!disk("vda").is(&DiskIdentity::default()));
        let path = DiskIdentity { path: Some("pci-0000:00:04.0".into()), ..DiskIdentity::default() };
        assert!(disk("vda").is(&path));
        let nobody = Disk { serial: None, paths: vec![], ..disk("vda") };
        assert!(!nobody.is(&serial("A1")) && !nobody.is(&path));
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(1 << 30), "1.0 GiB");
        assert_eq!(size((3 << 30) + (1 << 29)), "3.5 GiB");
        assert_eq!(size(4096), "4.0 KiB");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
    }
}
