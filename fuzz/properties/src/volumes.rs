//! The structures on disks: partition tables, seed volumes, sealed volumes.

use kubedos_image::gpt::{self, EDGE_BYTES, LONGEST_TAIL, SectorSize, Table};
use kubedos_image::guid::Guid;
use kubedos_image::iso::seed;
use kubedos_image::layout::{self, MIB, MINIMUM_DISK, recognise};
use kubedos_image::source::Source;
use kubedos_image::sparse::Runs;
use kubedos_image::verity::{self, Location, Superblock, VerityError};
use kubedos_wire::hex32::Salt;
use kubedos_wire::seal::Seal;

use crate::frugal::{Most, NOTHING, frugal};
use crate::{Seed, Target, sparse};

pub(crate) const TARGETS: [Target; 3] = [
    Target { name: "gpt", property: gpt, seeds: gpt_seeds, mutants: 10_000 },
    Target { name: "seed_volume", property: seed_volume, seeds: seed_volume_seeds, mutants: 100_000 },
    Target { name: "verity", property: verity, seeds: verity_seeds, mutants: 4000 },
];

/// The head and the tail of the disk, two tables, and a long tail for entries far from their header.
const TABLES: Most = Most { factor: 0, constant: 4 * EDGE_BYTES + LONGEST_TAIL };

/// A sparse disk. All partitions are on the disk. Round trip: read a table, write it, and read it again; both tables are equal. A
/// recognised table has the places of the layout. Random changes rarely have correct checksums, so the table is read a second time with
/// corrected checksums.
fn gpt(input: &[u8]) {
    let disk = sparse::decode(input);
    for sector_size in [SectorSize::B512, SectorSize::B4096] {
        read_table(&disk, sector_size);
        if let Some(corrected) = with_checksums(&disk, sector_size) {
            read_table(&corrected, sector_size);
        }
    }
}

fn read_table(disk: &dyn Source, sector_size: SectorSize) {
    let Ok(found) = frugal(TABLES, 0, || gpt::read_from(disk, sector_size)) else { return };
    let table = found.table;
    assert!(table.disk_bytes() <= disk.len());
    for (number, partition) in table.partitions() {
        let end = table.start_bytes(partition) + table.len_bytes(partition);
        assert!(end <= table.disk_bytes(), "partition {number} ends at {end}");
    }
    let again = gpt::read_from(&written(&table), sector_size).unwrap();
    assert!(again.is_consistent());
    assert_eq!(again.table, table);
    if let Some(ours) = recognise(&table) {
        assert_eq!(ours.layout.places().len(), table.partitions().count());
        assert_eq!(ours.layout.disk_bytes(), table.disk_bytes());
    }
}

fn written(table: &Table) -> Runs<'static> {
    let mut runs = Runs::new(table.disk_bytes());
    for extent in table.extents() {
        runs.add_bytes(extent.offset, extent.bytes).unwrap();
    }
    runs
}

/// The head and the tail of a disk with corrected checksums in both headers; `None` if the disk is too short for both.
pub(crate) fn with_checksums(disk: &dyn Source, sector_size: SectorSize) -> Option<Runs<'static>> {
    let (edge, sector) = (EDGE_BYTES as u64, sector_size.bytes());
    let tail_at = disk.len().checked_sub(edge).filter(|tail| *tail >= edge)?;
    let mut edges = [sparse::stretch(disk, 0, EDGE_BYTES), sparse::stretch(disk, tail_at, EDGE_BYTES)];
    // The last complete sector. The disk may end with an incomplete one.
    let backup = edge - disk.len() % sector - sector;
    let [head, tail] = &mut edges;
    for (bytes, start, header) in [(head, 0, sector), (tail, tail_at, backup)] {
        let header = header as usize;
        let entries_lba = u64::from_le_bytes(bytes[header + 72..header + 80].try_into().unwrap());
        let entries = entries_lba.checked_mul(sector).and_then(|at| at.checked_sub(start));
        let entries = entries.and_then(|at| bytes.get(usize::try_from(at).ok()?..)?.get(..128 * 128));
        if let Some(sum) = entries.map(crc32fast::hash) {
            bytes[header + 88..header + 92].copy_from_slice(&sum.to_le_bytes());
        }
        bytes[header + 16..header + 20].fill(0);
        let sum = crc32fast::hash(&bytes[header..header + 92]);
        bytes[header + 16..header + 20].copy_from_slice(&sum.to_le_bytes());
    }
    let mut runs = Runs::new(disk.len());
    for (at, bytes) in [0, tail_at].into_iter().zip(edges) {
        runs.add_bytes(at, bytes).unwrap();
    }
    Some(runs)
}

pub(crate) fn gpt_seeds() -> Vec<Seed> {
    let names = |role: layout::Role| {
        Guid::from_digest_head(&kubedos_wire::hex32::sha256(&[role.to_string().as_bytes()]))
    };
    let table = |layout: &layout::Layout, size| layout.table(size, Guid::from_u128(7), names).unwrap();
    let shipped = layout::shipped(3 * MIB).unwrap();
    let adopted = layout::adopted(MINIMUM_DISK).unwrap();
    let mut interrupted = written(&table(&shipped, SectorSize::B512));
    let backup = interrupted.len() - 512;
    let mut torn = Runs::new(interrupted.len());
    torn.add_bytes(0, sparse::stretch(&interrupted, 0, EDGE_BYTES)).unwrap();
    torn.add_bytes(backup, b"EFI PART".as_slice()).unwrap();
    interrupted = torn;
    let grown = table(&adopted, SectorSize::B512).resized(MINIMUM_DISK + 512).unwrap();
    let empty = Table::new(SectorSize::B4096, 2 * MIB, Guid::from_u128(1)).unwrap();
    [
        ("shipped", written(&table(&shipped, SectorSize::B512))),
        ("adopted", written(&table(&adopted, SectorSize::B512))),
        ("grown", written(&grown)),
        ("of-4096-bytes", written(&empty)),
        ("backup-torn", interrupted),
    ]
    .into_iter()
    .map(|(name, disk)| (name, sparse::encode(&disk)))
    .collect()
}

/// A volume without its system area, which the reader ignores. The statement is read from the volume, and also from a volume that is
/// written with it.
fn seed_volume(input: &[u8]) {
    let volume = seed_volume_of(input);
    let read = frugal(NOTHING, 0, || seed::read(&volume));
    assert!(seed::is_seed(&volume) || read.is_err());
    if let Ok(statement) = read {
        match seed::write(statement) {
            Ok(again) => assert_eq!(seed::read(&again), Ok(statement)),
            Err(error) => assert_eq!(error, seed::SeedVolumeError::TooLong),
        }
    }
}

/// The bytes of a system area: 16 sectors of 2048 bytes (ECMA-119, 6.2.1).
const SYSTEM_AREA: usize = 16 * 2048;

pub(crate) fn seed_volume_of(input: &[u8]) -> Vec<u8> {
    let mut volume = vec![0; SYSTEM_AREA];
    volume.extend_from_slice(input);
    volume
}

fn seed_volume_seeds() -> Vec<Seed> {
    let volume = |statement: &[u8]| seed::write(statement).unwrap()[SYSTEM_AREA..].to_vec();
    vec![("short", volume(b"statement")), ("empty", volume(b"")), ("two-sectors", volume(&[7; 3000]))]
}

/// A superblock; or the number of data blocks (1 byte), the position of a flipped bit (4 bytes), and the data. A superblock that is read is
/// encoded to the same bytes. A built tree verifies. After a bit flip in data or tree, verification fails and reports the block.
fn verity(input: &[u8]) {
    if let Ok(superblock) =
        frugal(Most { factor: 0, constant: 8192 }, input.len(), || Superblock::parse(input))
    {
        assert_eq!(superblock.encode(), input[..verity::SUPERBLOCK_BYTES]);
    }
    let Some((&[blocks, a, b, c, d], pattern)) = input.split_first_chunk::<5>() else { return };
    let blocks = usize::from(blocks) + 1;
    let mut data = pattern.repeat((blocks * 4096).div_ceil(pattern.len().max(1)));
    data.resize(blocks * 4096, 0);
    let built = verity::build(&data, &Salt::new([a; 32])).unwrap();
    verity::verify(&data, &built.hash_area, &built.seal).unwrap();
    assert_eq!(built.hash_area.len() as u64, verity::hash_area_bytes(built.seal.data_blocks));

    let mut hash_area = built.hash_area;
    let bit = u32::from_le_bytes([a, b, c, d]) as usize % (8 * (data.len() + hash_area.len()));
    let (at, mask) = (bit / 8, 1 << (bit % 8));
    let expected = if let Some(byte) = data.get_mut(at) {
        *byte ^= mask;
        Location::Data(at as u64 / 4096)
    } else {
        let at = at - data.len();
        hash_area[at] ^= mask;
        if at < 4096 { Location::Superblock } else { Location::Tree(at as u64 / 4096) }
    };
    match verity::verify(&data, &hash_area, &built.seal) {
        Err(VerityError::Corrupt(found)) => assert_eq!(found, expected),
        other => panic!("bit {bit} was flipped: {other:?}"),
    }
}

fn verity_seeds() -> Vec<Seed> {
    let seal = |data_blocks| Seal {
        root_hash: kubedos_wire::hex32::RootHash::new([1; 32]),
        salt: Salt::new([2; 32]),
        data_blocks,
    };
    vec![
        ("superblock", verity::superblock(&seal(5))),
        ("one-block", [&[0, 1, 2, 0, 0][..], b"data"].concat()),
        ("two-levels", [&[130, 0, 0x10, 4, 0][..], b"data"].concat()),
        ("flip-in-the-tree", [&[130, 0, 0x80, 0x41, 0][..], b"x"].concat()),
    ]
}
