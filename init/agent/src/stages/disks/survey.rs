//! The facts about disks that every decision uses: sizes, names, the kernel's partitions, open containers, mounts.

use std::collections::{BTreeMap, BTreeSet};

use kubedos_image::layout::Role;
use kubedos_survey::controllers::Controller;
use kubedos_survey::judge::{self, Permission};
use kubedos_wire::node::DiskIdentity;

pub use kubedos_survey::{ByteRange, Disk, GIB, size};

/// One of the two encrypted file systems that the agent creates. A subset of [`Role`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    /// The node's own data: record and keys.
    State,
    /// Workload data.
    Data,
}

impl Store {
    /// Both stores, in the order in which they are created and mounted.
    pub const ALL: [Self; 2] = [Self::State, Self::Data];

    /// The name of the partition. Container, mapping and file system have this name with the prefix `kubedos-`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Data => "data",
        }
    }

    /// The role of its partition in the layout.
    pub const fn role(self) -> Role {
        match self {
            Self::State => Role::State,
            Self::Data => Role::Data,
        }
    }

    /// Label of the container and the file system, and name of the mapping.
    pub fn label(self) -> String {
        format!("kubedos-{}", self.name())
    }

    /// The mount point.
    pub const fn mount_point(self) -> &'static str {
        match self {
            Self::State => "/var/lib/kubedos/state",
            Self::Data => "/var/lib/kubedos/data",
        }
    }
}

/// All facts for the plans, except the content of the disks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Whole disks, by name; no optical drives, no mapped or loop devices.
    pub disks: Vec<Disk>,
    /// Open containers, with the size of their mapping in bytes.
    pub open: BTreeMap<Store, u64>,
    /// The stores that are mounted.
    pub mounted: BTreeSet<Store>,
    /// Controllers without a driver: the kernel does not find their disks.
    pub undriven: Vec<Controller>,
}

impl Survey {
    /// The disk with this kernel name.
    pub fn disk(&self, name: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.name == name)
    }

    /// Whether the content of a disk may be destroyed: an entry of `allowDestroy` names this disk and no other attached
    /// disk.
    pub fn may_destroy(&self, disk: &Disk, allow_destroy: &[DiskIdentity]) -> bool {
        judge::permission(disk, &self.disks, allow_destroy) == Permission::Granted
    }
}
