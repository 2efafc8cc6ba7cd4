//! The start and the end of a medium: sector 0, both copies of the partition table, the layout, and the descriptors of a CD.
//!
//! A file that was written to a larger disk or stick, or whose table a tool has moved to the end of it, is as sound as the shipped file.
//! What a machine may start is not: code for a BIOS in sector 0, and an EFI system partition of somebody else.

use kubedos_image::gpt::{self, Copy, OtherCopy, ReadError, Table};
use kubedos_image::layout::{self, Layout, Role, State, lies_at};
use kubedos_image::source::Window;
use kubedos_wire::seal::Volume;

use super::Checks;
use crate::artifact::Disk;
use crate::image::disk::cd_extent;
use crate::size::human;
use kubedos_wire::printable::chain;

const PART: &str = "partition table";

/// What kind of medium holds the partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Medium {
    /// The shipped file, or a medium that it was written to; perhaps with further partitions behind ours.
    Shipped(Layout),
    /// A disk that a node has adopted.
    Adopted,
    /// Partitions of kubedOS are missing or lie elsewhere.
    Broken,
}

/// Is there any partition of a type that only kubedOS uses?
pub(super) fn is_ours(table: &Table) -> bool {
    let roles = [
        Role::Seed,
        Role::Volume(Volume::Configuration, layout::Area::Data, layout::Slot::A),
        Role::Volume(Volume::Payload, layout::Area::Data, layout::Slot::A),
        Role::State,
        Role::Data,
    ];
    roles.iter().any(|role| table.of_type(role.type_guid()).next().is_some())
}

/// Checks both copies, sector 0 and the layout.
pub(super) fn table(disk: &Disk, checks: &mut Checks<'_>) -> Medium {
    copies(disk, checks);
    sector_0(disk, checks);
    medium(disk, checks)
}

fn copies(disk: &Disk, checks: &mut Checks<'_>) {
    let found = disk.found();
    let (bytes, described) = (disk.source().len(), found.table.disk_bytes());
    let at_start = match &found.other {
        OtherCopy::Damaged(error) if found.copy == Copy::Backup => {
            return checks.fails(PART, format!("the copy at the start cannot be used: {}", chain(error)));
        }
        other => other,
    };
    let sector = found.table.sector_size().bytes();
    if bytes / sector == described / sector {
        return match at_start {
            OtherCopy::Same => checks.holds(PART, "both copies are the same"),
            OtherCopy::Differs(_) => checks.fails(PART, "the copy at the end has other entries"),
            OtherCopy::Damaged(error) => {
                checks.fails(PART, format!("the copy at the end cannot be used: {}", chain(error)));
            }
        };
    }
    // The medium is larger than the disk that the table describes. The second copy is where the first says.
    let second = Window::new(disk.source(), 0, described)
        .ok_or(ReadError::Truncated)
        .and_then(|window| gpt::read_from(&window, found.table.sector_size()));
    let second = second.map(|found| found.other);
    let larger = format!("the medium has {}, the table describes {}", human(bytes), human(described));
    match second {
        Ok(OtherCopy::Same) => {
            checks.holds(PART, "both copies are the same");
            checks.differs("medium", format!("{larger}: what is behind that is not looked at"));
        }
        Ok(OtherCopy::Damaged(ReadError::Absent)) => {
            checks.differs(
                PART,
                format!(
                    "the first copy is whole, the second is gone; {larger}; `sgdisk -e` writes a new one"
                ),
            );
        }
        Ok(OtherCopy::Differs(_)) => checks.fails(PART, "the second copy has other entries"),
        Ok(OtherCopy::Damaged(error)) | Err(error) => {
            checks.fails(PART, format!("the second copy cannot be used: {}", chain(&error)));
        }
    }
    if let OtherCopy::Differs(_) = at_start {
        checks.differs(
            PART,
            "an older table is left at the end of the medium; nobody reads it while the first holds",
        );
    }
}

/// The protective MBR: without it the kernel does not look for a GPT. Its numbers are changed by tools and by some firmware.
fn sector_0(disk: &Disk, checks: &mut Checks<'_>) {
    const CODE: usize = 440;
    let mut sector = [0; 512];
    if checks.need(PART, disk.source().read_exact_at(&mut sector, 0)).is_none() {
        return;
    }
    if !disk.found().protective_mbr {
        return checks.fails(PART, "there is no protective MBR");
    }
    let expected = disk.found().table.extents().find(|extent| extent.offset == 0);
    let expected = expected.as_ref().and_then(|extent| extent.bytes.get(..512)).unwrap_or_default();
    let code = sector.get(..CODE).unwrap_or_default();
    // Some tools erase the code: a BIOS starts nothing then.
    if expected.get(..CODE) != Some(code) && code.iter().any(|byte| *byte != 0) {
        return checks.fails(
            PART,
            "sector 0 holds other code for a BIOS than the builder's, which only prints a message",
        );
    }
    if expected != sector {
        checks.differs(
            PART,
            "the code or the numbers of the protective MBR were changed, as tools and firmware do",
        );
    }
}

fn medium(disk: &Disk, checks: &mut Checks<'_>) -> Medium {
    const PART: &str = "layout";
    let table = &disk.found().table;
    match disk.recognised() {
        Some(recognised) if recognised.state == State::Adopted => {
            checks.holds(PART, "that of a disk which a node has adopted");
            checks
                .differs(PART, "its second slots, STATE and DATA are the node's own, and are not looked at");
            return Medium::Adopted;
        }
        Some(recognised) => {
            checks.holds(PART, "that of a shipped image");
            return Medium::Shipped(recognised.layout.clone());
        }
        None => {}
    }
    let payload = table.get(13).map_or(0, |payload| table.len_bytes(payload));
    let Ok(expected) = layout::shipped(payload) else {
        checks.fails(PART, "the payload's partition is larger than any");
        return Medium::Broken;
    };
    let mut is_whole = true;
    for place in expected.places() {
        if !table.get(place.number).is_some_and(|partition| lies_at(table, partition, place)) {
            checks.fails(PART, format!("partition {} is not {} at its place", place.number, place.role));
            is_whole = false;
        }
    }
    for (number, partition) in
        table.partitions().filter(|(number, _)| expected.places().len() < *number as usize)
    {
        let name = &partition.name;
        if partition.type_guid == Role::Esp.type_guid() {
            checks.fails(PART, format!("partition {number} `{name}` is a second EFI system partition"));
        } else {
            checks.foreign(PART, format!("partition {number} `{name}`; no node adopts a disk that has it"));
        }
    }
    if is_whole { Medium::Shipped(expected) } else { Medium::Broken }
}

/// The descriptors that make a CD of the image, whose shipped length is `bytes`: firmware starts what they point at.
pub(super) fn cd(disk: &Disk, bytes: u64, checks: &mut Checks<'_>) {
    const PART: &str = "cd descriptors";
    let table = &disk.found().table;
    let esp = table.of_type(Role::Esp.type_guid()).next().map_or(0, |(_, esp)| table.start_bytes(esp));
    let Some(expected) = checks.need(PART, cd_extent(bytes, esp)) else { return };
    let mut found = vec![0; expected.bytes.len()];
    if checks.need(PART, disk.source().read_exact_at(&mut found, expected.offset)).is_none() {
        return;
    }
    match found.iter().zip(&expected.bytes).position(|(a, b)| a != b) {
        None => checks.holds(PART, "an empty ISO 9660 whose boot catalogue points at the ESP"),
        Some(at) => checks.fails(PART, format!("byte {} is another", expected.offset + at as u64)),
    }
}
