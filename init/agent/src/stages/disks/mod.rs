//! The Disks stage: it partitions the system disk, creates or restores STATE and DATA, and opens and mounts them.
//!
//! Three layers are each observed, planned (pure) and applied separately, because a layer can be observed only after
//! the layer below it exists: the partition table ([`table`]), the LUKS2 containers ([`containers`]), the file systems
//! ([`filesystems`]). Power may fail after every step; the next boot observes again and continues.
//!
//! Invariants: the stage never destroys data that kubedOS did not create, and never creates a store a second time,
//! unless `allowDestroy` names the disk. Before the first write it reads the records of this node on all disks
//! ([`traces`]). See `docs/disks.md` and ADR 0050 and 0060.

pub mod anchor;
pub mod anchors;
pub mod attached;
pub mod choose;
pub mod containers;
pub mod duplicates;
pub mod fake_disks;
pub mod filesystems;
pub mod identity;
pub mod luks;
pub mod node_keys;
pub mod node_record;
pub mod ops;
pub mod real;
mod settle;
pub mod stage;
pub mod survey;
pub mod table;
pub mod traces;

use kubedos_image::guid::Guid;
use kubedos_wire::node::{self, DiskIdentity};
use kubedos_wire::release::Release;

use choose::{Boot, NoTarget};
use containers::ContainerRefusal;
use duplicates::DuplicateBootDisks;
use filesystems::NoFilesystem;
use kubedos_base::outcome::{Class, Classified};
use node_record::{NodeRecord, RecordError};
use ops::{DiskKey, OpsError};
pub use settle::{keep_anchors, observe_table, settle};
use survey::Store;
use table::TableRefusal;
use traces::TraceRefusal;

/// The state that the stage has to establish.
#[expect(missing_debug_implementations, reason = "contains the disk key")]
pub struct Desired {
    /// The device that the machine booted from.
    pub boot: Boot,
    /// The partition from which the firmware loaded the kernel, if the firmware reports it.
    pub booted: Option<Guid>,
    /// The record that this boot contributes.
    pub now: NodeRecord,
    /// The running release.
    pub release: Release,
    /// The system disk as the spec declares it.
    pub system: Option<node::Disk>,
    /// Disks whose content may be destroyed.
    pub allow_destroy: Vec<DiskIdentity>,
    /// The key of both containers.
    pub key: DiskKey,
    /// The disk is a clone and gets new UUIDs.
    pub renew_uuids: bool,
    /// Whether to wait for disks that may not be ready yet.
    pub patience: Patience,
}

/// How long the stage has waited for the disks. Storage that becomes ready late can be absent at first, or read as zeroes.
/// The stage therefore acts on an absent, empty or damaged disk only after a delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patience {
    /// At the start of the stage: wait if the disk is absent, empty or damaged.
    Fresh,
    /// After a short time: write a table to an empty disk, but wait if the disk is absent or damaged.
    Tried,
    /// After the time limit: also act on an absent disk (use memory) and on a damaged one (restore or refuse).
    Over,
}

/// Where STATE and DATA are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// On this disk.
    Disk {
        /// The disk, as described on the status page.
        line: String,
        /// The kernel names of the partitions, with their sizes in bytes.
        stores: Vec<(Store, String, u64)>,
    },
    /// In memory: the content is lost when the machine stops.
    Memory {
        /// The reason.
        why: String,
    },
}

/// The result of settling the disks.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// Where STATE and DATA are stored.
    pub storage: Storage,
    /// The record that was in the anchor of that disk before this boot.
    pub recorded: Option<NodeRecord>,
    /// Changes that persist beyond this boot.
    pub persistent: Vec<String>,
    /// Changes that every boot repeats: partitions announced to the kernel, containers opened, file systems mounted.
    pub transient: Vec<String>,
}

/// Why the disks could not be settled.
#[derive(Debug, thiserror::Error)]
pub enum DisksError {
    /// An operation failed.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// No disk is usable.
    #[error(transparent)]
    NoTarget(#[from] NoTarget),
    /// The disk may still appear, or become readable.
    #[error("disk: {0}")]
    NotYet(String),
    /// Another disk has this node's STATE, or a record forbids this boot.
    #[error(transparent)]
    Traces(#[from] TraceRefusal),
    /// The node's record cannot be serialized.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It is unknown which disk the firmware will boot next.
    #[error(transparent)]
    DuplicateBootDisks(#[from] DuplicateBootDisks),
    /// The disk is left unchanged.
    #[error(transparent)]
    Table(#[from] TableRefusal),
    /// A partition is left unchanged.
    #[error(transparent)]
    Container(#[from] ContainerRefusal),
    /// An open container has no file system.
    #[error(transparent)]
    Filesystem(#[from] NoFilesystem),
    /// Internal error: the layout has no such partition.
    #[error("the layout of {0} has no partition for {1}")]
    NoPlace(String, &'static str),
}

impl DisksError {
    /// No disk is usable for STATE and DATA; the node continues with both in memory.
    const fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::NoTarget(
                NoTarget::CdWithoutTarget
                    | NoTarget::NoMatch(_)
                    | NoTarget::BootDiskAbsent(_)
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
            Self::NotYet(_) => Class::Wait,
            _ if self.is_absence() => Class::Wait,
            Self::Ops(OpsError::WrongKey { .. })
            | Self::NoTarget(_)
            | Self::Table(_)
            | Self::Container(_)
            | Self::Filesystem(_)
            | Self::Traces(
                TraceRefusal::Record { .. } | TraceRefusal::Elsewhere { .. } | TraceRefusal::Older { .. },
            )
            | Self::Record(_)
            | Self::DuplicateBootDisks(_)
            | Self::NoPlace(..) => Class::Halt,
        }
    }
}
