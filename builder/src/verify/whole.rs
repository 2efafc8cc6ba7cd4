//! Verifies that the image contains only the builder's data: assembles it again from the verified parts and compares every byte.

use std::ops::Range;

use kubedos_image::esp::EspError;
use kubedos_image::gpt::{Partition, SectorSize, TableError};
use kubedos_image::layout::{self, Layout, Names, PayloadTooLarge, Role};
use kubedos_image::source::{Source, Window};
use kubedos_wire::seal::Volume;

use super::Checks;
use super::disk::Facts;
use crate::artifact::{Disk, PartError};
use crate::compare::first_difference;
use crate::image::boot_partition;
use crate::image::disk::{DiskError, Parts, VolumeParts, assemble};

/// Checks that the root hashes determine number, place, type and UUID of every partition. Further partitions are not checked here.
pub(super) fn uuids(disk: &Disk, layout: &Layout, facts: &Facts, checks: &mut Checks<'_>) {
    const PART: &str = "partition uuids";
    let names = names(facts);
    let found = &disk.found().table;
    let expected = layout.table(found.sector_size(), names.disk_guid(), |role| names.uuid(role));
    let Some(expected) = checks.need(PART, expected) else { return };
    let same = |a: &Partition, b: &Partition| Partition { attributes: b.attributes, ..a.clone() } == *b;
    for (number, wanted) in expected.partitions() {
        if !found.get(number).is_some_and(|found| same(found, wanted)) {
            return checks.fails(
                PART,
                format!(
                    "the table entry of {} differs from the one that the root hashes determine",
                    wanted.name
                ),
            );
        }
    }
    checks.holds(
        PART,
        format!(
            "all {} table entries are equal to the ones that the root hashes determine",
            expected.partitions().count()
        ),
    );
    if expected.partitions().any(|(number, wanted)| found.get(number) != Some(wanted)) {
        checks.differs(PART, "attributes of partitions were changed");
    }
    let shipped = layout::shipped(facts.payload.data_bytes()).map_or(0, |layout| layout.disk_bytes());
    if found.disk_bytes() != shipped {
        checks.differs(
            PART,
            "the table describes a larger medium than the shipped file, as `sgdisk -e` writes it",
        );
    }
    if found.disk_guid() != expected.disk_guid() {
        checks.differs(PART, "the disk has its own GUID");
    }
}

fn names(facts: &Facts) -> Names {
    Names {
        root: facts.root.root_hash,
        configuration: facts.configuration.root_hash,
        payload: facts.payload.root_hash,
    }
}

/// The errors of assembling the image again.
#[derive(Debug, thiserror::Error)]
enum WholeError {
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    Esp(#[from] EspError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Layout(#[from] PayloadTooLarge),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("the image cannot be read")]
    Read(#[from] std::io::Error),
}

/// Areas that were checked separately and differ from the shipped file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Skip {
    /// Whether the seed partition contains a seed.
    pub(super) personalised: bool,
    /// Whether other systems wrote to the EFI system partition.
    pub(super) esp: bool,
}

/// Checks that the builder writes the same image from these parts, except for the areas in `skip`.
pub(super) fn whole(
    disk: &Disk,
    facts: &Facts,
    loader: &[u8],
    statement: &[u8],
    skip: Skip,
    checks: &mut Checks<'_>,
) {
    const PART: &str = "whole image";
    match checks.need(PART, unaccounted(disk, facts, loader, statement, skip)) {
        Some((None, skipped)) => {
            let except =
                if skipped.is_empty() { String::new() } else { format!(" except {}", skipped.join(" and ")) };
            checks.holds(
                PART,
                format!("every byte{except} is the one that the builder writes for these parts"),
            );
        }
        Some((Some(at), _)) => {
            checks.fails(
                PART,
                format!("byte {at}, in {}, differs from the byte that the builder writes", place(disk, at)),
            );
        }
        None => {}
    }
}

/// Returns the first byte that the builder would not write, and the names of the areas that were left out.
fn unaccounted(
    disk: &Disk,
    facts: &Facts,
    loader: &[u8],
    statement: &[u8],
    skip: Skip,
) -> Result<(Option<u64>, Vec<&'static str>), WholeError> {
    let esp = boot_partition::tree(&facts.release, loader, facts.uki.as_slice())?;
    let esp = esp.write(boot_partition::volume_id(&facts.release))?;
    let root = disk.volume(Volume::Root, &facts.root)?;
    let configuration = disk.volume(Volume::Configuration, &facts.configuration.seal())?;
    let payload = disk.volume(Volume::Payload, &facts.payload)?;
    let [root, configuration, payload] =
        [&root, &configuration, &payload].map(|[data, hash]| VolumeParts { data, hash });
    let statement = statement.to_vec();
    let parts = Parts { esp: &esp, root, configuration, statement: &statement, payload, names: names(facts) };
    let expected = assemble(&parts)?;
    let source = disk.source();
    let layout = layout::shipped(facts.payload.data_bytes())?;
    let place =
        |role| layout.place(role).map_or(0..0, |place| place.start..place.start.saturating_add(place.len));
    let mut left_out = Vec::new();
    // Sector 0 was checked with the table.
    left_out.push((0..512, ""));
    let [start, end] = tables(&layout);
    let table = layout.table(SectorSize::B512, parts.names.disk_guid(), |role| parts.names.uuid(role))?;
    if disk.found().table != table {
        left_out.extend([(start, "the partition table"), (end, "")]);
    } else if source.len() > layout.disk_bytes() && !has_second_copy(source, &layout)? {
        left_out.push((end, "the second copy of the partition table"));
    }
    if skip.esp {
        left_out.push((place(Role::Esp), "the EFI system partition"));
    }
    if skip.personalised {
        left_out.push((place(Role::Seed), "the seed"));
    }
    left_out.sort_by_key(|(range, _)| range.start);
    let skipped = left_out.iter().map(|(_, what)| *what).filter(|what| !what.is_empty()).collect();
    let mut at = 0;
    for (range, _) in left_out.into_iter().chain([(expected.len()..expected.len(), "")]) {
        if let Some(first) = differs(&expected, source, &(at..range.start.max(at)))? {
            return Ok((Some(first), skipped));
        }
        at = at.max(range.end);
    }
    Ok((None, skipped))
}

/// The areas of the two copies of the partition table, with sector 0 and the unused space after the last partition. On a medium that the
/// image was written to, they were checked separately: the second copy can be at the end of a larger medium.
fn tables(layout: &Layout) -> [Range<u64>; 2] {
    let start = SectorSize::B512.bytes() * (2 + 32);
    let end = layout.places().last().map_or(0, |last| last.start.saturating_add(last.len));
    [0..start, end..layout.disk_bytes()]
}

/// Whether the sector of the second header in the shipped file still starts with the header's signature.
fn has_second_copy(source: &dyn Source, layout: &Layout) -> std::io::Result<bool> {
    let mut head = [0; 8];
    let at = layout.disk_bytes().saturating_sub(SectorSize::B512.bytes());
    source.read_exact_at(&mut head, at).map(|()| head == *b"EFI PART")
}

/// Returns the first byte of a range in which image and medium differ. A medium that ends within the range differs at its end.
fn differs(expected: &dyn Source, found: &dyn Source, range: &Range<u64>) -> std::io::Result<Option<u64>> {
    let window = |source| Window::new(source, range.start, range.end.saturating_sub(range.start));
    match (window(expected), window(found)) {
        (Some(a), Some(b)) => Ok(first_difference(&a, &b)?.map(|at| range.start + at)),
        _ => Ok(Some(found.len().max(range.start))),
    }
}

/// Describes the location of a byte.
fn place(disk: &Disk, at: u64) -> String {
    let table = &disk.found().table;
    let inside = |start: u64, len: u64| (start..start.saturating_add(len)).contains(&at);
    let partition = table.partitions().find(|(_, p)| inside(table.start_bytes(p), table.len_bytes(p)));
    match partition {
        Some((_, partition)) => format!("partition {}", partition.name),
        None => "no partition".to_owned(),
    }
}
