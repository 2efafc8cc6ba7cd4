//! Inspects disk images: the partition table, the ESP, and the volumes that the boot manifest and the statement name.

use kubedos_image::gpt::{Copy, OtherCopy, Partition};
use kubedos_image::layout::{Role, Slot, State};
use kubedos_image::source::Source;
use kubedos_image::sparse::for_data;
use kubedos_wire::accept::Authority;
use kubedos_wire::seal::Seal;
use kubedos_wire::seal::Volume;

use super::Trees;
use super::program::{hex_digest, program};
use super::report::{
    DiskReport, FileReport, PartitionReport, Problem, ProgramReport, SeedReport, StatementReport,
    TableReport, VolumeReport,
};
use super::statement::{self, noted};
use super::tree::tree;
use crate::artifact::Disk;
use crate::image::disk::cd_extent;
use kubedos_wire::printable::chain;

/// The offset of the number of sectors in the primary volume descriptor (ECMA-119, 8.4.8).
const CD_SECTORS: u64 = 16 * 2048 + 80;
/// The granularity in which zeros are skipped, in bytes.
const BLOCK: u64 = 4096;

pub(super) fn report(disk: &Disk, trees: Trees, problems: &mut Vec<Problem>) -> DiskReport {
    let partitions =
        disk.found().table.partitions().map(|(number, p)| partition(disk, number, p, problems)).collect();
    let (esp, programs) = esp(disk, problems);
    let boot = programs.iter().find_map(|program| program.uki.as_ref()).map(|uki| &uki.boot);
    let authority = boot.map(|boot| Authority {
        identity: boot.identity,
        keys: boot.configuration_keys.iter().filter_map(|signer| signer.key).collect(),
        release: boot.release.clone(),
    });
    let configuration = configuration(disk, authority.as_ref(), problems);
    let named = [
        boot.map(|boot| (Volume::Root, boot.root)),
        boot.map(|boot| (Volume::Payload, boot.payload)),
        configuration.as_ref().map(|statement| (Volume::Configuration, statement.volume)),
    ];
    let named = named.into_iter().flatten();
    let volumes = named.map(|(name, seal)| volume(disk, name, seal, trees, problems)).collect();
    DiskReport {
        wrapper: disk.wrapper(),
        disk_bytes: disk.source().len(),
        table: table(disk),
        cd: is_cd(disk),
        partitions,
        esp,
        programs,
        volumes,
        configuration,
        seed: seed(disk, problems),
    }
}

fn table(disk: &Disk) -> TableReport {
    let found = disk.found();
    TableReport {
        disk_guid: found.table.disk_guid(),
        layout: match disk.recognised().map(|recognised| recognised.state) {
            Some(State::Shipped) => "shipped",
            Some(State::Adopted) => "adopted",
            None => "unknown",
        },
        copy: match found.copy {
            Copy::Primary => "primary",
            Copy::Backup => "backup",
        },
        other: match &found.other {
            OtherCopy::Same => "same".to_owned(),
            OtherCopy::Differs(_) => "differs".to_owned(),
            OtherCopy::Damaged(error) => chain(error),
        },
        protective_mbr: found.protective_mbr,
    }
}

/// Whether the ISO 9660 area is the one that the builder writes for this image.
fn is_cd(disk: &Disk) -> bool {
    let table = &disk.found().table;
    let esp = table.of_type(Role::Esp.type_guid()).next().map_or(0, |(_, esp)| table.start_bytes(esp));
    // The image's length is in the descriptors, because the medium can be larger.
    let mut sectors = [0; 4];
    if disk.source().read_exact_at(&mut sectors, CD_SECTORS).is_err() {
        return false;
    }
    let bytes = u64::from(u32::from_le_bytes(sectors)) * 2048;
    let Ok(extent) = cd_extent(bytes, esp) else { return false };
    let mut bytes = vec![0; extent.bytes.len()];
    disk.source().read_exact_at(&mut bytes, extent.offset).is_ok() && bytes == extent.bytes
}

fn partition(
    disk: &Disk,
    number: u32,
    partition: &Partition,
    problems: &mut Vec<Problem>,
) -> PartitionReport {
    let part = format!("partition {}", partition.name);
    let window = noted(disk.window(partition), &part, problems);
    let used = window.and_then(|window| noted(used(&window), &part, problems));
    let table = &disk.found().table;
    PartitionReport {
        number,
        name: partition.name.clone(),
        start: table.start_bytes(partition),
        bytes: table.len_bytes(partition),
        used,
        type_guid: partition.type_guid,
        uuid: partition.uuid,
        attributes: partition.attributes,
    }
}

/// The offset after the last byte that is not zero.
fn used(source: &dyn Source) -> std::io::Result<u64> {
    let mut end = 0;
    for_data(source, BLOCK, |at, bytes| {
        let last = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        end = at + last;
        Ok(())
    })?;
    Ok(end)
}

fn esp(disk: &Disk, problems: &mut Vec<Problem>) -> (Vec<FileReport>, Vec<ProgramReport>) {
    let Some(listing) = noted(disk.esp(), "esp", problems) else { return (Vec::new(), Vec::new()) };
    for fault in listing.faults() {
        problems.push(Problem::new(format!("esp, {}", fault.path), &fault.error));
    }
    let file = |(path, content): (&str, &[u8])| FileReport {
        path: path.to_owned(),
        bytes: content.len() as u64,
        sha256: hex_digest(content),
    };
    let files = listing.files().map(file).collect();
    let programs = listing.files().filter(|(_, content)| content.starts_with(b"MZ"));
    (files, programs.map(|(path, content)| program(path, content, problems)).collect())
}

fn configuration(
    disk: &Disk,
    authority: Option<&Authority>,
    problems: &mut Vec<Problem>,
) -> Option<StatementReport> {
    const PART: &str = "configuration statement";
    let bytes = noted(disk.statement(Slot::A), PART, problems)?;
    noted(statement::configuration(&bytes, authority), PART, problems)
}

fn volume(
    disk: &Disk,
    volume: Volume,
    seal: Seal,
    trees: Trees,
    problems: &mut Vec<Problem>,
) -> VolumeReport {
    let areas = disk.volume(volume, &seal).ok();
    let present = areas.is_some();
    let data = areas.filter(|_| trees != Trees::Closed).map(|[data, _]| data);
    let part = format!("files of {}", volume.name());
    let tree = data.and_then(|data| noted(tree(&data, trees == Trees::Listed), &part, problems));
    VolumeReport { name: volume.name(), seal, bytes: seal.data_bytes(), present, tree }
}

/// Reads the seed of a personalised image; `None` if the partition is empty.
fn seed(disk: &Disk, problems: &mut Vec<Problem>) -> Option<SeedReport> {
    let bytes = noted(disk.seed(), "seed", problems)?;
    if bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    statement::seed(&bytes, problems)
}
