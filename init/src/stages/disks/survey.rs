//! What is known of disks before anything is decided: sizes, names, the kernel's partitions, open containers, mounts.

use std::collections::{BTreeMap, BTreeSet};

use kubedos_image::layout::Role;
use kubedos_spec::node::DiskIdentity;
use kubedos_survey::controllers::Controller;
use kubedos_survey::judge::{self, Permission};

pub use kubedos_survey::{Disk, GIB, Stretch, size};

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

/// Everything that the plans look at, beside what is read from the disks themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Whole disks, by name; no optical drives, no mapped or loop devices.
    pub disks: Vec<Disk>,
    /// Open containers, with the size of what is inside.
    pub open: BTreeMap<Store, u64>,
    /// What is mounted at its place.
    pub mounted: BTreeSet<Store>,
    /// Controllers without a driver: disks behind them are not seen.
    pub undriven: Vec<Controller>,
}

impl Survey {
    /// A disk by the kernel's name.
    pub fn disk(&self, name: &str) -> Option<&Disk> {
        self.disks.iter().find(|disk| disk.name == name)
    }

    /// Whether a disk may lose what is on it: an entry of `allowDestroy` names it and no other attached disk.
    pub fn may_destroy(&self, disk: &Disk, allow_destroy: &[DiskIdentity]) -> bool {
        judge::permission(disk, &self.disks, allow_destroy) == Permission::Granted
    }
}
