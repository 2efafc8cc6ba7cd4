//! Verifies the start and the end of a medium: sector 0, both copies of the partition table, the layout, and the CD descriptors.
//!
//! A file that was written to a larger disk or stick, or whose second table was moved to the end of the medium by a tool, is as valid as
//! the shipped file. Things that a machine could start are not accepted: foreign BIOS code in sector 0, and a second EFI system partition.

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

/// The kind of the medium.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Medium {
    /// The shipped file, or a medium that it was written to, possibly with further partitions after those of kubedOS.
    Shipped(Layout),
    /// A disk that a node adopted.
    Adopted,
    /// Partitions of kubedOS are missing or at other offsets.
    Broken,
}

/// Whether any partition has a type that only kubedOS uses.
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
    // The medium is larger than the disk that the table describes. The first copy contains the location of the second one.
    let second = Window::new(disk.source(), 0, described)
        .ok_or(ReadError::Truncated)
        .and_then(|window| gpt::read_from(&window, found.table.sector_size()));
    let second = second.map(|found| found.other);
    let larger = format!("the medium has {}, the table describes {}", human(bytes), human(described));
    match second {
        Ok(OtherCopy::Same) => {
            checks.holds(PART, "both copies are the same");
            checks.differs("medium", format!("{larger}: the data after that is not checked"));
        }
        Ok(OtherCopy::Damaged(ReadError::Absent)) => {
            checks.differs(
                PART,
                format!(
                    "the first copy is valid, the second is missing; {larger}; `sgdisk -e` writes a new one"
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
            "an older table remains at the end of the medium; it is not read while the first copy is valid",
        );
    }
}

/// Checks the protective MBR: without it the kernel does not search for a GPT. Tools and some firmware change its numbers.
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
    // Some tools erase the code; a BIOS then starts no program.
    if expected.get(..CODE) != Some(code) && code.iter().any(|byte| *byte != 0) {
        return checks.fails(
            PART,
            "sector 0 contains BIOS code other than the builder's, which only prints a message",
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
            checks.holds(PART, "the layout of a disk that a node has adopted");
            checks.differs(PART, "its second slots, STATE and DATA belong to the node and are not checked");
            return Medium::Adopted;
        }
        Some(recognised) => {
            checks.holds(PART, "the layout of a shipped image");
            return Medium::Shipped(recognised.layout.clone());
        }
        None => {}
    }
    let payload = table.get(13).map_or(0, |payload| table.len_bytes(payload));
    let Ok(expected) = layout::shipped(payload) else {
        checks.fails(PART, "the payload partition is larger than its limit");
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
            let what = format!(
                "partition {number} `{name}` is not from kubedOS; a node does not adopt a disk with this partition"
            );
            checks.foreign(PART, what);
        }
    }
    if is_whole { Medium::Shipped(expected) } else { Medium::Broken }
}

/// Checks the CD descriptors of an image with the shipped length `bytes`: firmware starts the programs that they refer to.
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
        Some(at) => checks.fails(PART, format!("byte {} differs", expected.offset + at as u64)),
    }
}
