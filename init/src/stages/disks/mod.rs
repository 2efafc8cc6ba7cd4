//! Disks: the system disk is laid out, STATE and DATA exist, are sound, open and mounted.
//!
//! Three layers, each observed, planned (pure) and applied on its own, since a lower one must be real before the next can be seen:
//! the partition table ([`table`]), the LUKS2 containers ([`containers`]), the file systems ([`filesystems`]). Every step may be
//! the last before a power cut; the next boot observes and goes on. Nothing is destroyed that was not made here, unless
//! `allowDestroy` names its disk. See `docs/disks.md` and ADR 0050 to 0053.

pub mod choose;
pub mod containers;
pub mod filesystems;
pub mod identity;
pub mod luks;
pub mod memory;
pub mod ops;
pub mod real;
pub mod replica;
pub mod stage;
pub mod survey;
pub mod table;

use kubedos_image::gpt::{self, SectorSize, Step as TableStep};
use kubedos_image::guid::Guid;
use kubedos_image::layout::Role;
use kubedos_spec::node::{self, DiskIdentity};

use crate::agent::walk::{Class, Classified};
use choose::{Boot, NoTarget};
use containers::{ContainerChange, ContainerFacts, ContainerRefusal};
use filesystems::{FilesystemChange, FilesystemFacts, NoFilesystem, Superblock};
use ops::{ContainerStep, DiskKey, DiskOps, FilesystemStep, OpsError};
use survey::{Disk, Store, Survey};
use table::{FreshNames, TableChange, TableFacts, TableRefusal, TableWish};

/// What the stage is to bring about.
#[expect(missing_debug_implementations, reason = "holds the disk key")]
pub struct Wish {
    /// What was booted from.
    pub boot: Boot,
    /// The spec's word on the system disk.
    pub system: Option<node::Disk>,
    /// Disks that may lose what is on them.
    pub allow_destroy: Vec<DiskIdentity>,
    /// The key of both containers.
    pub key: DiskKey,
    /// The disk is a clone and gets new names.
    pub rename: bool,
    /// A disk that is not there may still come: wait for it rather than go on without.
    pub patient: bool,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Where STATE and DATA are.
    pub storage: Storage,
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
    /// The disk may still come.
    #[error("disk: {0}")]
    NotYet(NoTarget),
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

impl Classified for DisksError {
    fn class(&self) -> Class {
        match self {
            Self::Ops(OpsError::Io { .. } | OpsError::Program { .. }) => Class::Retry,
            Self::NoTarget(NoTarget::Ambiguous(..)) => Class::Halt,
            Self::NotYet(_)
            | Self::NoTarget(_)
            | Self::Table(TableRefusal::TooSmall { .. } | TableRefusal::ReadOnly { .. }) => Class::Degrade,
            Self::Ops(OpsError::WrongKey { .. })
            | Self::Table(
                TableRefusal::Foreign { .. } | TableRefusal::Sectors { .. } | TableRefusal::Table { .. },
            )
            | Self::Container(_)
            | Self::Filesystem(_)
            | Self::NoPlace(..) => Class::Halt,
        }
    }
}

/// Brings disks to what is wished; does nothing when they are. Without a disk STATE and DATA are mounted in memory.
pub fn settle(
    ops: &mut dyn DiskOps,
    wish: &Wish,
    random: &mut dyn FnMut() -> [u8; 16],
) -> Result<Settled, DisksError> {
    let mut done = Done::default();
    match settle_disk(ops, wish, random, &mut done) {
        Ok(storage) => Ok(done.settled(storage)),
        Err(DisksError::NoTarget(absent @ (NoTarget::NoMatch(_) | NoTarget::BootDiskGone(_))))
            if wish.patient =>
        {
            Err(DisksError::NotYet(absent))
        }
        Err(error) => match error.class() {
            Class::Degrade => {
                settle_memory(ops, &mut done)?;
                Ok(done.settled(Storage::Memory { why: error.to_string() }))
            }
            Class::Retry | Class::Halt => Err(error),
        },
    }
}

/// What was done so far.
#[derive(Default)]
struct Done {
    lasting: Vec<String>,
    passing: Vec<String>,
}

impl Done {
    fn settled(self, storage: Storage) -> Settled {
        Settled { storage, lasting: self.lasting, passing: self.passing }
    }
}

fn settle_disk(
    ops: &mut dyn DiskOps,
    wish: &Wish,
    random: &mut dyn FnMut() -> [u8; 16],
    done: &mut Done,
) -> Result<Storage, DisksError> {
    let survey = ops.survey()?;
    let disk = choose::target(&wish.boot, wish.system.as_ref(), &survey)?.clone();
    let may_destroy = wish.allow_destroy.iter().any(|identity| disk.is(identity));
    settle_table(ops, &disk, TableWish { may_destroy, rename: wish.rename }, random, done)?;
    let survey = ops.survey()?;
    let disk = survey.disk(&disk.name).cloned().ok_or(NoTarget::BootDiskGone(disk.name))?;
    settle_containers(ops, &disk, &survey, wish, may_destroy, random, done)?;
    settle_filesystems(ops, done)?;
    let stores = Store::ALL
        .map(|store| Ok::<_, DisksError>((store, partition(&disk, store)?, place(&disk, store)?.1)));
    Ok(Storage::Disk { line: choose::line(&disk), stores: stores.into_iter().collect::<Result<_, _>>()? })
}

fn settle_table(
    ops: &mut dyn DiskOps,
    disk: &Disk,
    wish: TableWish,
    random: &mut dyn FnMut() -> [u8; 16],
    done: &mut Done,
) -> Result<(), DisksError> {
    let mut name = || Guid::from_random(random());
    let fresh = FreshNames { disk: name(), esp: name(), seed: name(), state: name(), data: name() };
    let facts = observe_table(ops, disk)?;
    for change in table::plan(&facts, wish, &fresh)? {
        apply_table(ops, disk, &change)?;
        match change {
            TableChange::Wipe => done.lasting.push(format!("{} wiped", disk.name)),
            TableChange::Write { why, .. } => done.lasting.push(format!("{} {why}", disk.name)),
            TableChange::Announce { request, number, .. } => {
                done.passing.push(format!("{request:?} partition {number}"));
            }
        }
    }
    Ok(())
}

/// Reads what the table's plan needs.
pub fn observe_table<'a>(ops: &mut dyn DiskOps, disk: &'a Disk) -> Result<TableFacts<'a>, OpsError> {
    let edge = usize::try_from(disk.bytes).map_or(identity::EDGE, |bytes| bytes.min(identity::EDGE));
    let head = ops.read(&disk.name, 0, edge)?;
    let tail = ops.read(&disk.name, disk.bytes.saturating_sub(edge as u64), edge)?;
    let found = gpt::read(&head, &tail, disk.bytes, disk.sector_size().unwrap_or(SectorSize::B512));
    Ok(TableFacts { disk, found, head, tail })
}

fn apply_table(ops: &mut dyn DiskOps, disk: &Disk, change: &TableChange) -> Result<(), OpsError> {
    match change {
        TableChange::Wipe => {
            let zeroes = vec![0; identity::EDGE];
            ops.write(&disk.name, disk.bytes.saturating_sub(identity::EDGE as u64), &zeroes)?;
            ops.flush(&disk.name)?;
            ops.write(&disk.name, 0, &zeroes)?;
            ops.flush(&disk.name)
        }
        TableChange::Write { steps, .. } => steps.iter().try_for_each(|step| match step {
            TableStep::Write(extent) => ops.write(&disk.name, extent.offset, &extent.bytes),
            TableStep::Flush => ops.flush(&disk.name),
        }),
        TableChange::Announce { request, number, place } => {
            ops.announce(&disk.name, *request, *number, *place)
        }
    }
}

/// Number and size of a store's partition.
fn place(disk: &Disk, store: Store) -> Result<(u32, u64), DisksError> {
    let nowhere = || DisksError::NoPlace(disk.name.clone(), store.name());
    let layout = kubedos_image::layout::adopted(disk.bytes).map_err(|_| nowhere())?;
    let role: Role = store.role();
    let place = layout.place(role).ok_or_else(nowhere)?;
    Ok((place.number, place.len))
}

fn partition(disk: &Disk, store: Store) -> Result<String, DisksError> {
    Ok(disk.partition(place(disk, store)?.0))
}

fn settle_containers(
    ops: &mut dyn DiskOps,
    disk: &Disk,
    survey: &Survey,
    wish: &Wish,
    may_destroy: bool,
    random: &mut dyn FnMut() -> [u8; 16],
    done: &mut Done,
) -> Result<(), DisksError> {
    let mut facts = Vec::new();
    for store in Store::ALL {
        let partition = partition(disk, store)?;
        let head = ops.read(&partition, 0, identity_bytes())?;
        facts.push(ContainerFacts { store, content: containers::content(store, &head), partition });
    }
    for change in containers::plan(&facts, survey, may_destroy)? {
        let (ContainerChange::Make(store) | ContainerChange::Open(store)) = change;
        let partition = partition(disk, store)?;
        let opened = match change {
            ContainerChange::Open(_) => ops.container(store, &partition, &ContainerStep::Open, &wish.key),
            ContainerChange::Make(_) => Err(OpsError::WrongKey { partition: partition.clone() }),
        };
        match opened {
            Ok(()) => done.passing.push(format!("{} opened", store.name())),
            // Another key's container on a disk that may be destroyed is somebody else's, like any other content.
            Err(OpsError::WrongKey { .. }) if may_destroy || matches!(change, ContainerChange::Make(_)) => {
                make(ops, store, &partition, survey.open.contains_key(&store), &wish.key, random)?;
                done.lasting.push(format!("{} made on {partition}", store.name()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What is read of a partition to tell what lies in it: enough for both header copies and for every known mark.
const fn identity_bytes() -> usize {
    128 * 1024
}

fn make(
    ops: &mut dyn DiskOps,
    store: Store,
    partition: &str,
    open: bool,
    key: &DiskKey,
    random: &mut dyn FnMut() -> [u8; 16],
) -> Result<(), OpsError> {
    let mut uuid = || Guid::from_random(random());
    if open {
        ops.container(store, partition, &ContainerStep::Close, key)?;
    }
    ops.container(store, partition, &ContainerStep::Format { uuid: uuid() }, key)?;
    ops.container(store, partition, &ContainerStep::Open, key)?;
    ops.filesystem(store, &FilesystemStep::Make { uuid: uuid() })?;
    ops.container(store, partition, &ContainerStep::Finish, key)
}

fn settle_filesystems(ops: &mut dyn DiskOps, done: &mut Done) -> Result<(), DisksError> {
    let survey = ops.survey()?;
    let mut facts = Vec::new();
    for store in Store::ALL {
        let head = ops.read(&store.label(), 0, filesystems::HEAD_BYTES)?;
        facts.push(FilesystemFacts { store, superblock: Superblock::read(&head) });
    }
    for change in filesystems::plan(&facts, &survey)? {
        match change {
            FilesystemChange::Check(store) => {
                ops.filesystem(store, &FilesystemStep::Check)?;
                done.passing.push(format!("{} checked", store.name()));
            }
            FilesystemChange::Mount(store) => {
                ops.filesystem(store, &FilesystemStep::Mount)?;
                done.passing.push(format!("{} mounted", store.name()));
            }
            FilesystemChange::Grow(store) => {
                ops.filesystem(store, &FilesystemStep::Grow)?;
                done.lasting.push(format!("{} grown", store.name()));
            }
        }
    }
    Ok(())
}

fn settle_memory(ops: &mut dyn DiskOps, done: &mut Done) -> Result<(), OpsError> {
    let survey = ops.survey()?;
    for store in Store::ALL.into_iter().filter(|store| !survey.mounted.contains(store)) {
        ops.filesystem(store, &FilesystemStep::MountMemory)?;
        done.passing.push(format!("{} mounted in memory", store.name()));
    }
    Ok(())
}
