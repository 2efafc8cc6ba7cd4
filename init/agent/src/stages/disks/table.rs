//! The partition table of the system disk: the desired table, and the steps that write it. Pure.
//!
//! The order of writes makes a power cut harmless (ADR 0001): an intact copy is never overwritten while the other copy
//! is damaged, and of two intact copies the backup is written first. So at every moment at least one copy is intact,
//! and the next boot continues from it.

use kubedos_image::gpt::{Copy, Found, OtherCopy, Partition, ReadError, SectorSize, Step, Table, TableError};
use kubedos_image::guid::Guid;
use kubedos_image::layout::{self, MINIMUM_DISK, Role, State, TooSmall, recognise};
use kubedos_sys::block::PartitionRequest;

use super::identity;
use super::survey::{ByteRange, Disk};

/// The reason in the record when a table is written to a disk without one.
pub const PARTITIONED: &str = "partitioned";

/// New UUIDs for a disk and its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewUuids {
    /// The disk itself.
    pub disk: Guid,
    /// Its EFI system partition.
    pub esp: Guid,
    /// Its seed partition.
    pub seed: Guid,
    /// STATE.
    pub state: Guid,
    /// DATA.
    pub data: Guid,
}

/// One change to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableChange {
    /// Overwrites both edges of a disk with zeroes; its content may be destroyed.
    Wipe,
    /// Writes a table, or one copy of it, in this order.
    Write {
        /// The reason, for the record.
        why: &'static str,
        /// The writes and flushes.
        steps: Vec<Step>,
    },
    /// Announces a partition to the kernel.
    Announce {
        /// Whether the partition is new, removed or resized.
        request: PartitionRequest,
        /// Its number.
        number: u32,
        /// Its place on the disk.
        place: ByteRange,
    },
}

/// Why a disk is left unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableRefusal {
    /// The disk contains foreign data.
    #[error("{disk} contains {what}; it was not changed, because allowDestroy does not name it")]
    Foreign {
        /// The disk.
        disk: String,
        /// The content.
        what: String,
    },
    /// The disk has STATE and DATA of this node, but its table is lost.
    #[error(
        "{disk} has no partition table, but contains this node's STATE and DATA; it was not changed: restore the table from a backup (sgdisk --load-backup), name the disk in allowDestroy to partition it again, or replace the node (a seed with a new incarnation and an empty disk)"
    )]
    Lost {
        /// The disk.
        disk: String,
    },
    /// This version has no layout for the disk's sector size.
    #[error(
        "{disk} has sectors of {sector_bytes} bytes, for which this version has no layout; it was not changed"
    )]
    Sectors {
        /// The disk.
        disk: String,
        /// Its logical sector size.
        sector_bytes: u64,
    },
    /// The kernel refuses writes to it.
    #[error("{disk} is read-only")]
    ReadOnly {
        /// The disk.
        disk: String,
    },
    /// The disk is too small for STATE and DATA.
    #[error("{disk} is smaller than the {MINIMUM_DISK} bytes that STATE and DATA need")]
    TooSmall {
        /// The disk.
        disk: String,
    },
    /// The desired table breaks a rule of GPT.
    #[error("failed to partition {disk}")]
    Table {
        /// The disk.
        disk: String,
        /// The rule.
        #[source]
        source: TableError,
    },
}

/// The facts about the edges of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableFacts<'a> {
    /// The disk.
    pub disk: &'a Disk,
    /// Its table.
    pub found: Result<Found, ReadError>,
    /// Its first bytes.
    pub head: Vec<u8>,
    /// Its last bytes.
    pub tail: Vec<u8>,
}

/// Inputs of the plan in addition to the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DesiredTable {
    /// `allowDestroy` names this disk.
    pub may_destroy: bool,
    /// The disk is a clone and gets new UUIDs.
    pub renew_uuids: bool,
}

/// The changes that give a disk the layout of an adopted one. Empty if it has that layout and the kernel has its partitions.
pub fn plan(
    facts: &TableFacts<'_>,
    desired: DesiredTable,
    fresh: &NewUuids,
) -> Result<Vec<TableChange>, TableRefusal> {
    let disk = facts.disk;
    let named = disk.to_string();
    let Some(sector_size) = disk.sector_size() else {
        return Err(TableRefusal::Sectors { disk: named, sector_bytes: disk.sector_bytes });
    };
    if disk.bytes < MINIMUM_DISK {
        return Err(TableRefusal::TooSmall { disk: named });
    }
    let ours = facts.found.as_ref().ok().and_then(|found| Some((found, recognise(&found.table)?.state)));
    let (wanted, mut changes) = match ours {
        Some((found, state)) => {
            let wanted = wanted_from(found, state, disk.bytes, desired.renew_uuids, fresh)
                .map_err(|error| error.of(named))?;
            let changes = repair(found, &wanted, state);
            (wanted, changes)
        }
        None => {
            let foreign = match &facts.found {
                Ok(found) => Some(describe(&found.table)),
                Err(error) => identity::foreign(&facts.head, &facts.tail, error),
            };
            if let Some(what) = &foreign
                && !desired.may_destroy
            {
                return Err(TableRefusal::Foreign { disk: named, what: what.clone() });
            }
            let wanted = blank(disk.bytes, sector_size, fresh).map_err(|error| error.of(named))?;
            let mut changes = Vec::new();
            if foreign.is_some() {
                changes.push(TableChange::Wipe);
                // The old partitions must be removed from the kernel before it accepts new ones.
                changes.extend(disk.partitions.iter().map(|(number, place)| TableChange::Announce {
                    request: PartitionRequest::Remove,
                    number: *number,
                    place: *place,
                }));
            }
            changes.push(TableChange::Write { why: PARTITIONED, steps: wanted.steps() });
            (wanted, changes)
        }
    };
    let known_already = |number: u32| foreign_removed(&changes, number);
    let announcements = announce(disk, &wanted, known_already);
    changes.extend(announcements);
    if disk.read_only && !changes.is_empty() {
        return Err(TableRefusal::ReadOnly { disk: disk.to_string() });
    }
    Ok(changes)
}

/// Whether a change in the list removes the partition with the number `removed` from the kernel's view.
fn foreign_removed(changes: &[TableChange], removed: u32) -> bool {
    changes.iter().any(|change| {
        matches!(change, TableChange::Announce { request: PartitionRequest::Remove, number, .. } if *number == removed)
    })
}

/// Why the desired table cannot be computed.
enum NoTable {
    TooSmall(TooSmall),
    Table(TableError),
}

impl NoTable {
    fn of(self, disk: String) -> TableRefusal {
        match self {
            Self::TooSmall(TooSmall { .. }) => TableRefusal::TooSmall { disk },
            Self::Table(source) => TableRefusal::Table { disk, source },
        }
    }
}

/// The table of an adopted disk, derived from the present one. Slot A keeps its UUIDs. If the disk is already adopted,
/// all partitions keep theirs, unless `renew_uuids` is set.
fn wanted_from(
    found: &Found,
    state: State,
    bytes: u64,
    renew_uuids: bool,
    fresh: &NewUuids,
) -> Result<Table, NoTable> {
    let renewed = state == State::Shipped || renew_uuids;
    let layout = layout::adopted(bytes).map_err(NoTable::TooSmall)?;
    let kept = |role: Role| {
        let number = layout.place(role).map(|place| place.number);
        number.and_then(|number| found.table.get(number)).map_or(Guid::ZERO, |partition| partition.uuid)
    };
    let name = |role| match role {
        Role::Esp if renewed => fresh.esp,
        Role::Seed if renewed => fresh.seed,
        Role::State if renewed => fresh.state,
        Role::Data if renewed => fresh.data,
        Role::Esp | Role::Seed | Role::State | Role::Data | Role::Volume(..) => kept(role),
    };
    let disk_guid = if renewed { fresh.disk } else { found.table.disk_guid() };
    let wanted = layout.table(found.table.sector_size(), disk_guid, name).map_err(NoTable::Table)?;
    with_attributes(wanted, &found.table).map_err(NoTable::Table)
}

/// Keeps the attribute bits of the present table, which other programs set.
fn with_attributes(mut wanted: Table, from: &Table) -> Result<Table, TableError> {
    let marked: Vec<(u32, u64)> = from
        .partitions()
        .filter(|(_, partition)| partition.attributes != 0)
        .map(|(number, partition)| (number, partition.attributes))
        .collect();
    for (number, attributes) in marked {
        if let Some(partition) = wanted.get(number).cloned() {
            wanted.set(number, Partition { attributes, ..partition })?;
        }
    }
    Ok(wanted)
}

/// The table for an empty disk: both slots are free.
fn blank(bytes: u64, sector_size: SectorSize, fresh: &NewUuids) -> Result<Table, NoTable> {
    let name = |role| match role {
        Role::Esp => fresh.esp,
        Role::Seed => fresh.seed,
        Role::State => fresh.state,
        Role::Data => fresh.data,
        Role::Volume(..) => Guid::ZERO,
    };
    let layout = layout::adopted(bytes).map_err(NoTable::TooSmall)?;
    layout.table(sector_size, fresh.disk, name).map_err(NoTable::Table)
}

/// The writes after which both copies are equal to `wanted`.
fn repair(found: &Found, wanted: &Table, state: State) -> Vec<TableChange> {
    let write = |why, steps| TableChange::Write { why, steps };
    let same = found.table == *wanted;
    let why = match state {
        State::Shipped => "adopted",
        State::Adopted => "changed",
    };
    match (found.copy, same, &found.other) {
        (_, true, OtherCopy::Same) if found.protective_mbr => vec![],
        (_, true, OtherCopy::Same) => vec![write("protective MBR rewritten", primary(wanted))],
        (Copy::Primary, true, OtherCopy::Differs(_) | OtherCopy::Damaged(_)) => {
            let mut changes = vec![write("backup copy rewritten", backup(wanted))];
            if !found.protective_mbr {
                changes.push(write("protective MBR rewritten", primary(wanted)));
            }
            changes
        }
        (Copy::Backup, true, _) => vec![write("primary copy rewritten", primary(wanted))],
        (Copy::Primary, false, _) => vec![write(why, wanted.steps())],
        (Copy::Backup, false, _) => vec![
            // The backup is the only intact copy: it must not be written before the primary copy is intact again.
            write("primary copy rewritten", primary(&found.table)),
            write(why, wanted.steps()),
        ],
    }
}

/// The steps that write the backup copy: up to the first flush.
fn backup(table: &Table) -> Vec<Step> {
    let steps = table.steps();
    let end = steps.iter().position(|step| *step == Step::Flush).map_or(steps.len(), |at| at + 1);
    steps.into_iter().take(end).collect()
}

/// The steps that write the primary copy: after the first flush.
fn primary(table: &Table) -> Vec<Step> {
    let done = backup(table).len();
    table.steps().into_iter().skip(done).collect()
}

/// The announcements after which the kernel has the partitions of `wanted`. Shrinking precedes growing, which precedes
/// adding.
fn announce(disk: &Disk, wanted: &Table, removed: impl Fn(u32) -> bool) -> Vec<TableChange> {
    let mut changes = Vec::new();
    for (number, partition) in wanted.partitions() {
        let place = ByteRange { start: wanted.start_bytes(partition), len: wanted.len_bytes(partition) };
        let announcement = |request| TableChange::Announce { request, number, place };
        match disk.partitions.get(&number) {
            Some(known) if removed(number) || *known == place => {
                if removed(number) {
                    changes.push(announcement(PartitionRequest::Add));
                }
            }
            Some(known) if known.start == place.start => changes.push(announcement(PartitionRequest::Resize)),
            Some(known) => {
                let removal =
                    TableChange::Announce { request: PartitionRequest::Remove, number, place: *known };
                changes.extend([removal, announcement(PartitionRequest::Add)]);
            }
            None => changes.push(announcement(PartitionRequest::Add)),
        }
    }
    changes
}

/// Describes the content of a foreign table to an operator: the number of partitions, and the labels of the first ones.
fn describe(table: &Table) -> String {
    let count = table.partitions().count();
    let strange = table.partitions().filter(|(_, partition)| !is_ours(partition));
    let labels: Vec<String> = strange
        .take(4)
        .map(|(number, partition)| format!("{number} `{}`", partition.name.escape_debug()))
        .collect();
    if labels.is_empty() {
        format!("a partition table of {count} partitions that do not match the layout")
    } else {
        format!("a partition table of {count} partitions, including {}", labels.join(", "))
    }
}

fn is_ours(partition: &Partition) -> bool {
    layout::adopted(MINIMUM_DISK).is_ok_and(|layout| {
        layout.places().iter().any(|place| {
            place.role.type_guid() == partition.type_guid && place.role.to_string() == partition.name
        })
    })
}

/// Describes one change, for the record and for goldens.
pub fn describe_change(change: &TableChange) -> String {
    match change {
        TableChange::Wipe => "wipe the first and the last MiB".into(),
        TableChange::Write { why, steps } => {
            let writes = steps.iter().map(|step| match step {
                Step::Write(extent) => format!("{} bytes at {}", extent.bytes.len(), extent.offset),
                Step::Flush => "flush".into(),
            });
            format!("table {why}: {}", writes.collect::<Vec<_>>().join(", "))
        }
        TableChange::Announce { request, number, place } => {
            format!("kernel: {request:?} partition {number}, {} bytes at {}", place.len, place.start)
        }
    }
}

#[cfg(test)]
mod tests;
