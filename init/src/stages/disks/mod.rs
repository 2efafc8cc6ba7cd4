//! Disks: the system disk is laid out, STATE and DATA exist, are sound, open and mounted.
//!
//! Three layers, each observed, planned (pure) and applied on its own, since a lower one must be real before the next can be seen:
//! the partition table ([`table`]), the LUKS2 containers ([`containers`]), the file systems ([`filesystems`]). Every step may be
//! the last before a power cut; the next boot observes and goes on. Nothing is destroyed that was not made here, and nothing that was
//! made here is made again, unless `allowDestroy` names its disk. What all disks remember of this node ([`traces`]) is judged before
//! anything is written. See `docs/disks.md` and ADR 0050 to 0053 and 0060.

pub mod anchor;
pub mod anchors;
pub mod attached;
pub mod choose;
pub mod containers;
pub mod filesystems;
pub mod identity;
pub mod luks;
pub mod node_keys;
pub mod node_record;
pub mod ops;
pub mod real;
pub mod replica;
mod settle;
pub mod stage;
pub mod survey;
pub mod table;
pub mod traces;
pub mod twins;

use kubedos_image::guid::Guid;
use kubedos_image::release::Release;
use kubedos_spec::node::{self, DiskIdentity};

use crate::agent::walk::{Class, Classified};
use choose::{Boot, NoTarget};
use containers::ContainerRefusal;
use filesystems::NoFilesystem;
use node_record::{NodeRecord, RecordError};
use ops::{DiskKey, OpsError};
pub use settle::{keep_anchors, observe_table, settle};
use survey::Store;
use table::TableRefusal;
use traces::TraceRefusal;
use twins::Twins;

/// What the stage is to bring about.
#[expect(missing_debug_implementations, reason = "holds the disk key")]
pub struct Wish {
    /// What was booted from.
    pub boot: Boot,
    /// The partition that firmware loaded the kernel from, where it named one.
    pub booted: Option<Guid>,
    /// What this boot would have the node remember.
    pub now: NodeRecord,
    /// The release that runs.
    pub release: Release,
    /// The spec's word on the system disk.
    pub system: Option<node::Disk>,
    /// Disks that may lose what is on them.
    pub allow_destroy: Vec<DiskIdentity>,
    /// The key of both containers.
    pub key: DiskKey,
    /// The disk is a clone and gets new names.
    pub rename: bool,
    /// How long the stage has looked at the disks already.
    pub patience: Patience,
}

/// Storage that appears late may be absent at first, or read as zeroes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patience {
    /// Nothing is believed to be absent, empty or damaged yet.
    Fresh,
    /// An empty disk is empty; a disk that is absent or damaged may still come.
    Tried,
    /// What was found is so.
    Over,
}

/// Where STATE and DATA are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// On this disk.
    Disk {
        /// The disk, as the status page shows it.
        line: String,
        /// The kernel's names of the partitions, with their sizes.
        stores: Vec<(Store, String, u64)>,
    },
    /// In memory: it ends with the machine.
    Memory {
        /// Why.
        why: String,
    },
}

/// What was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// Where STATE and DATA are.
    pub storage: Storage,
    /// What the anchor of that disk remembered before.
    pub remembered: Option<NodeRecord>,
    /// Changes that last beyond this boot.
    pub lasting: Vec<String>,
    /// Changes that each boot needs: the kernel told, containers opened, file systems mounted.
    pub passing: Vec<String>,
}

/// Why disks are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum DisksError {
    /// An operation failed.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// No disk can be had.
    #[error(transparent)]
    NoTarget(#[from] NoTarget),
    /// The disk may still come, or become readable.
    #[error("disk: {0}")]
    NotYet(String),
    /// Another disk has this node's STATE, or remembers that this boot must not be.
    #[error(transparent)]
    Traces(#[from] TraceRefusal),
    /// What the disk remembers cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It is not known which disk will be booted next.
    #[error(transparent)]
    Twins(#[from] Twins),
    /// The disk is left as it is.
    #[error(transparent)]
    Table(#[from] TableRefusal),
    /// A partition is left as it is.
    #[error(transparent)]
    Container(#[from] ContainerRefusal),
    /// A container without a file system.
    #[error(transparent)]
    Filesystem(#[from] NoFilesystem),
    /// The layout knows no such partition: a contradiction in the program.
    #[error("the layout of {0} has no partition for {1}")]
    NoPlace(String, &'static str),
}

impl DisksError {
    /// The node has no disk for STATE and DATA, and goes on with both in memory.
    const fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NoTarget(
                NoTarget::CdWithoutTarget
                    | NoTarget::NoMatch(_)
                    | NoTarget::BootDiskGone(_)
                    | NoTarget::SmallerThanDeclared { .. }
            ) | Self::Table(TableRefusal::TooSmall { .. } | TableRefusal::ReadOnly { .. })
        )
    }
}

impl Classified for DisksError {
    fn class(&self) -> Class {
        match self {
            Self::Ops(OpsError::Io { .. } | OpsError::Program { .. })
            | Self::Traces(TraceRefusal::Unreadable { .. }) => Class::Retry,
            Self::NotYet(_) => Class::Degrade,
            _ if self.is_absence() => Class::Degrade,
            Self::Ops(OpsError::WrongKey { .. })
            | Self::NoTarget(_)
            | Self::Table(_)
            | Self::Container(_)
            | Self::Filesystem(_)
            | Self::Traces(
                TraceRefusal::Record { .. } | TraceRefusal::Elsewhere { .. } | TraceRefusal::Older { .. },
            )
            | Self::Record(_)
            | Self::Twins(_)
            | Self::NoPlace(..) => Class::Halt,
        }
    }
}
