//! Tests of partition tables.

use super::format::{ENTRIES_BYTES, HEADER_LEN};
use super::*;
use crate::guid::Guid;
use kubedos_wire::hex32::sha256;
use proptest::prelude::*;

const DISK: u64 = 8 << 20;
const SIZES: [SectorSize; 2] = [SectorSize::B512, SectorSize::B4096];

fn partition(first_lba: u64, last_lba: u64, uuid: u128, name: &str) -> Partition {
    let (type_guid, uuid) = (Guid::from_u128(77), Guid::from_u128(uuid));
    Partition { type_guid, uuid, first_lba, last_lba, attributes: 1 << 60, name: name.into() }
}

/// A table of two partitions on a disk of 8 MiB.
fn table(size: SectorSize, disk_guid: u128) -> Table {
    let mut table = Table::new(size, DISK, Guid::from_u128(disk_guid)).unwrap();
    let first = *table.usable().start();
    table.set(1, partition(first, first + 99, 1, "esp")).unwrap();
    table.set(26, partition(first + 100, first + 300, 2, "Größe")).unwrap();
    table
}

fn apply(disk: &mut [u8], step: &Step) {
    if let Step::Write(Extent { offset, bytes }) = step {
        let at = usize::try_from(*offset).unwrap();
        disk[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

fn written(table: &Table) -> Vec<u8> {
    let mut disk = vec![0; usize::try_from(table.disk_bytes()).unwrap()];
    table.steps().iter().for_each(|step| apply(&mut disk, step));
    disk
}

/// The offsets of (primary header, primary entries, backup entries, backup header).
fn places(size: SectorSize) -> [usize; 4] {
    let sector = usize::try_from(size.bytes()).unwrap();
    let end = usize::try_from(DISK).unwrap();
    let entries = (ENTRIES_BYTES as usize).next_multiple_of(sector);
    [sector, 2 * sector, end - sector - entries, end - sector]
}

#[test]
fn a_written_table_has_pinned_bytes_and_two_equal_copies() {
    let pins = [
        "f8b4bb57833170940dc69ca13b13f95d54927c7b0a3549b7cd5027877a790ac4",
        "40eb79afd5897195b08b387c168ac14646c2805ec1d5fc169762adf133845993",
    ];
    let written = SIZES.map(|size| {
        let table = table(size, 9);
        let disk = written(&table);
        let found = read_from(&disk, size).unwrap();
        assert_eq!((&found.table, found.copy), (&table, Copy::Primary));
        assert!(found.is_consistent());
        hex::encode(sha256(&[&disk]))
    });
    assert_eq!(written, pins);
}

/// ADR 0001 defines this order.
#[test]
fn the_backup_is_on_the_medium_before_the_primary_is_changed() {
    for size in SIZES {
        let [header, entries, backup_entries, backup_header] = places(size);
        let at: Vec<Option<usize>> = table(size, 9)
            .steps()
            .iter()
            .map(|step| match step {
                Step::Write(extent) => Some(usize::try_from(extent.offset).unwrap()),
                Step::Flush => None,
            })
            .collect();
        let expected = [
            Some(backup_entries),
            Some(backup_header),
            None,
            Some(entries),
            Some(header),
            None,
            Some(0),
            None,
        ];
        assert_eq!(at, expected);
    }
}

/// O1: between two flushes, any subset of whole sectors may have been written. The reader then gets the old table or the new table. This
/// test covers prefixes, suffixes and single sectors.
#[test]
fn a_power_cut_at_any_sector_leaves_the_old_or_the_new_table() {
    for size in SIZES {
        let (old, new) = (table(size, 9), table(size, 10));
        let sector = usize::try_from(size.bytes()).unwrap();
        let mut disk = written(&old);
        let mut pending: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut seen = [false; 2];
        for step in new.steps() {
            match step {
                Step::Write(Extent { offset, bytes }) => {
                    let at = usize::try_from(offset).unwrap();
                    let pieces = bytes.chunks(sector).enumerate();
                    pending.extend(pieces.map(|(n, piece)| (at + n * sector, piece.to_vec())));
                }
                Step::Flush => {
                    // Any prefix, any suffix, and any single sector of the group.
                    let count = pending.len();
                    let prefixes = (0..=count).map(|n| (0..n).collect());
                    let suffixes = (0..count).map(|n| (n..count).collect());
                    let single = (0..count).map(|n| vec![n]);
                    let cases: Vec<Vec<usize>> = prefixes.chain(suffixes).chain(single).collect();
                    for case in cases {
                        let mut cut = disk.clone();
                        for number in case {
                            let (at, piece) = &pending[number];
                            cut[*at..at + sector].copy_from_slice(piece);
                        }
                        let found = read_from(&cut, size).unwrap();
                        assert!(found.table == old || found.table == new);
                        seen[usize::from(found.table == new)] = true;
                    }
                    for (at, piece) in pending.drain(..) {
                        disk[at..at + sector].copy_from_slice(&piece);
                    }
                }
            }
        }
        assert_eq!(seen, [true; 2]);
        assert!(read_from(&disk, size).unwrap().is_consistent());
    }
}

/// A5: the checksums cover each byte of a copy. If one copy is damaged, the other is used; if both are damaged, the result is an error.
#[test]
fn a_flip_in_one_copy_is_found_and_the_other_copy_is_used() {
    for size in SIZES {
        let good = table(size, 9);
        let disk = written(&good);
        let [header, entries, backup_entries, backup_header] = places(size);
        let mut both = disk.clone();
        for (copy, header, entries) in
            [(Copy::Backup, header, entries), (Copy::Primary, backup_header, backup_entries)]
        {
            let bytes =
                (header..header + HEADER_LEN as usize).chain(entries..entries + ENTRIES_BYTES as usize);
            for at in bytes {
                let mut bad = disk.clone();
                bad[at] ^= 1;
                let found = read_from(&bad, size).unwrap();
                assert_eq!((&found.table, found.copy), (&good, copy), "{at}");
                assert!(matches!(found.other, OtherCopy::Damaged(_)), "{at}");
                // A few damaged bytes per copy are enough for the case in which both copies are damaged.
                if at > header + 8 && at != entries {
                    continue;
                }
                both[at] ^= 1;
            }
        }
        assert!(matches!(read_from(&both, size), Err(ReadError::NoCopy { .. })));
    }
}

/// P2: after the file was copied to a larger disk, the backup copy is not at the end of the disk.
#[test]
fn a_disk_that_grew_keeps_its_primary_and_can_be_repaired() {
    for size in SIZES {
        let small = table(size, 9);
        let mut disk = written(&small);
        disk.resize(disk.len() * 2, 0);
        let found = read_from(&disk, size).unwrap();
        assert_eq!((&found.table, found.copy), (&small, Copy::Primary));
        assert!(!found.is_consistent());
        let grown = small.resized(disk.len() as u64).unwrap();
        grown.steps().iter().for_each(|step| apply(&mut disk, step));
        let found = read_from(&disk, size).unwrap();
        assert!(found.is_consistent() && found.table == grown);
        // A disk that shrank has no usable table.
        disk.truncate(4 << 20);
        assert!(read_from(&disk, size).is_err());
    }
}

/// Field testing: `sgdisk -e` ends the usable area at a whole MiB and writes the entries of the backup copy directly after it, far from the
/// header.
#[test]
fn entries_of_the_backup_may_be_far_from_its_header() {
    let size = SectorSize::B512;
    let table = table(size, 9);
    let mut disk = written(&table);
    let [primary, entries, _, backup] = places(size);
    let last_usable = (DISK - (2 << 20)) / 512 - 1;
    let list = disk[entries..entries + ENTRIES_BYTES as usize].to_vec();
    let moved = usize::try_from(DISK - (2 << 20)).unwrap();
    disk[backup - list.len()..backup].fill(0);
    disk[moved..moved + list.len()].copy_from_slice(&list);
    for header in [primary, backup] {
        disk[header + 48..header + 56].copy_from_slice(&last_usable.to_le_bytes());
        if header == backup {
            disk[header + 72..header + 80].copy_from_slice(&(last_usable + 1).to_le_bytes());
        }
        disk[header + 16..header + 20].fill(0);
        let sum = crc32fast::hash(&disk[header..header + HEADER_LEN as usize]);
        disk[header + 16..header + 20].copy_from_slice(&sum.to_le_bytes());
    }
    assert!(read_from(&disk, size).unwrap().is_consistent());
    // The checksum of these entries is checked.
    disk[moved + 20] ^= 1;
    let other = read_from(&disk, size).unwrap().other;
    assert_eq!(other, OtherCopy::Damaged(ReadError::EntriesChecksum));
}

#[test]
fn a_wrong_sector_size_and_a_missing_table_are_errors() {
    let disk = written(&table(SectorSize::B512, 9));
    assert!(read_from(&disk, SectorSize::B4096).is_err());
    for len in [0usize, 1, 511, 512, 1024, 4096, 70_000, 1 << 20] {
        for size in SIZES {
            assert!(matches!(read_from(&vec![0; len], size), Err(ReadError::NoCopy { .. })), "{len}");
        }
    }
    assert!(matches!(Table::new(SectorSize::B512, 1 << 20, Guid::ZERO), Err(TableError::DiskTooSmall(_))));
}

#[test]
fn partitions_that_break_a_rule_are_refused() {
    let mut table = table(SectorSize::B512, 9);
    let (first, last) = (*table.usable().start(), *table.usable().end());
    let free = first + 400;
    for (number, wrong) in [
        (0, partition(free, free, 3, "x")),
        (129, partition(free, free, 3, "x")),
        (3, Partition { type_guid: Guid::ZERO, ..partition(free, free, 3, "x") }),
        (3, partition(first - 1, free, 3, "x")),
        (3, partition(free, last + 1, 3, "x")),
        (3, partition(free + 1, free, 3, "x")),
        (3, partition(first + 99, free, 3, "x")),
        (3, partition(first, last, 3, "x")),
        (3, partition(free, free, 3, &"x".repeat(37))),
        (3, partition(free, free, 3, "a\0b")),
    ] {
        assert!(table.set(number, wrong.clone()).is_err(), "{number} {wrong:?}");
    }
    table.set(3, partition(free, last, 3, &"x".repeat(36))).unwrap();
}

/// A correct checksum does not prove that the values are valid, so the bounds are checked as well.
#[test]
fn a_header_with_a_correct_checksum_and_wrong_bounds_is_refused() {
    let size = SectorSize::B512;
    let good = written(&table(size, 9));
    let [header, ..] = places(size);
    for (field, value) in [
        (24usize, 2u64),
        (32, 1),
        (32, 1 << 40),
        (32, u64::MAX),
        (40, 0),
        (40, 33),
        (40, u64::MAX),
        (48, u64::MAX),
        (48, DISK / 512 - 2),
        (48, 0),
        (72, 0),
        (72, 1),
        (72, 2047),
        (72, u64::MAX),
    ] {
        let mut bad = good.clone();
        bad[header + field..][..8].copy_from_slice(&value.to_le_bytes());
        bad[header + 16..][..4].fill(0);
        let crc = crc32fast::hash(&bad[header..header + 92]);
        bad[header + 16..][..4].copy_from_slice(&crc.to_le_bytes());
        let found = read_from(&bad, size).unwrap();
        assert_eq!(found.copy, Copy::Backup, "{field} {value}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_table_round_trips(
        parts in proptest::collection::vec((1u32..=128, 0u64..16_000, 0u64..3000, any::<u64>(), "\\PC{0,18}"), 0..20),
        guid: [u8; 16],
        large in any::<bool>(),
    ) {
        let size = SIZES[usize::from(large)];
        let mut table = Table::new(size, DISK, Guid::from_bytes(guid)).unwrap();
        for (number, first, len, attributes, name) in parts {
            let new = Partition { attributes, ..partition(first, first + len, u128::from(first), &name) };
            if table.set(number, new).is_err() {
                continue;
            }
        }
        let found = read_from(&written(&table), size).unwrap();
        prop_assert!(found.is_consistent());
        prop_assert_eq!(found.table, table);
    }

    #[test]
    fn arbitrary_edges_never_panic(
        head in proptest::collection::vec(any::<u8>(), 0..2000),
        tail in proptest::collection::vec(any::<u8>(), 0..2000),
        disk_bytes: u64,
    ) {
        for size in SIZES {
            prop_assert!(read(&head, &tail, disk_bytes, size).is_err());
        }
    }
}
