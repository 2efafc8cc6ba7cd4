//! One image on two disks: firmware names the partition that it booted from by its UUID, and until one of them is adopted both disks
//! have it. Which of them is booted next is the firmware's choice, so STATE must not be made on either (ADR 0060).

use kubedos_image::gpt::{self, SectorSize};
use kubedos_image::guid::Guid;

use super::ops::DiskOps;
use super::survey::{Disk, Survey};

/// Several disks have the partition that firmware booted from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{count} disks hold the partition that firmware booted from ({disks}), so either may be booted next time; nothing was made on them: detach all but one, or name the disk in `match`"
)]
pub struct Twins {
    /// How many.
    pub count: usize,
    /// Which.
    pub disks: String,
}

/// Refuses when more than one disk has the partition `booted`. A disk that cannot be read does not hold a table that could be used.
pub fn check(ops: &mut dyn DiskOps, survey: &Survey, booted: Guid) -> Result<(), Twins> {
    let twins: Vec<String> =
        survey.disks.iter().filter(|disk| has(ops, disk, booted)).map(ToString::to_string).collect();
    if twins.len() < 2 { Ok(()) } else { Err(Twins { count: twins.len(), disks: twins.join(" and ") }) }
}

fn has(ops: &mut dyn DiskOps, disk: &Disk, booted: Guid) -> bool {
    let edge = usize::try_from(disk.bytes).map_or(gpt::EDGE_BYTES, |bytes| bytes.min(gpt::EDGE_BYTES));
    let tail_at = disk.bytes.saturating_sub(edge as u64);
    let (Ok(head), Ok(tail)) = (ops.read(&disk.name, 0, edge), ops.read(&disk.name, tail_at, edge)) else {
        return false;
    };
    let sectors = disk.sector_size().unwrap_or(SectorSize::B512);
    gpt::read(&head, &tail, disk.bytes, sectors)
        .is_ok_and(|found| found.table.with_uuid(booted).next().is_some())
}
