//! Detects the same image on several disks. The firmware reports the partition that it booted from by its UUID, and
//! copies of an image that are not adopted yet have the same UUIDs. The firmware may boot any of them next time, so the
//! agent must not create STATE on any of them (ADR 0060).

use kubedos_image::gpt::{self, SectorSize};
use kubedos_image::guid::Guid;

use super::ops::DiskOps;
use super::survey::{Disk, Survey};

/// Several disks have the partition that firmware booted from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{count} disks contain the partition that firmware booted from ({disks}), so the firmware may boot any of them next time; no disk was changed: detach all but one, or name the disk in `match`"
)]
pub struct DuplicateBootDisks {
    /// The number of disks.
    pub count: usize,
    /// Their descriptions.
    pub disks: String,
}

/// Fails if more than one disk has the partition `booted`. A disk that cannot be read is not counted.
pub fn check(ops: &mut dyn DiskOps, survey: &Survey, booted: Guid) -> Result<(), DuplicateBootDisks> {
    let duplicates: Vec<String> =
        survey.disks.iter().filter(|disk| has(ops, disk, booted)).map(ToString::to_string).collect();
    if duplicates.len() < 2 {
        Ok(())
    } else {
        Err(DuplicateBootDisks { count: duplicates.len(), disks: duplicates.join(" and ") })
    }
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
