//! Tests of the disk layout (ADR 0001).

use super::*;
use crate::gpt::{self, SectorSize};
use proptest::prelude::*;

const ALL: [&str; 26] = [
    "esp",
    "seed",
    "root-a-sig",
    "root-a-fec",
    "root-a-hash",
    "root-a",
    "configuration-a-sig",
    "configuration-a-hash",
    "configuration-a",
    "payload-a-sig",
    "payload-a-fec",
    "payload-a-hash",
    "payload-a",
    "root-b-sig",
    "root-b-fec",
    "root-b-hash",
    "root-b",
    "configuration-b-sig",
    "configuration-b-hash",
    "configuration-b",
    "payload-b-sig",
    "payload-b-fec",
    "payload-b-hash",
    "payload-b",
    "state",
    "data",
];

fn names() -> Names {
    Names {
        root: RootHash::new([0x11; 32]),
        configuration: RootHash::new([0x22; 32]),
        payload: RootHash::new([0x33; 32]),
    }
}

#[test]
fn the_shipped_file_is_the_first_thirteen_partitions() {
    let layout = shipped(5 * MIB + 1).unwrap();
    let found: Vec<String> = layout.places().iter().map(|place| place.role.to_string()).collect();
    assert_eq!(found, ALL[..13]);
    // 888 MiB of fixed partitions, 6 MiB of payload, 1 MiB before the partitions and 1 MiB after them.
    assert_eq!(layout.disk_bytes(), (888 + 6 + 2) * MIB);
}

#[test]
fn an_adopted_disk_has_all_twenty_six() {
    let layout = adopted(MINIMUM_DISK).unwrap();
    let found: Vec<String> = layout.places().iter().map(|place| place.role.to_string()).collect();
    assert_eq!(found, ALL);
    assert!(layout.places().last().unwrap().len >= DATA_MIN);
}

#[test]
fn disks_that_are_too_small_and_payloads_that_are_too_large_are_refused() {
    assert_eq!(adopted(MINIMUM_DISK - 1), Err(TooSmall { bytes: MINIMUM_DISK - 1 }));
    assert_eq!(adopted(0), Err(TooSmall { bytes: 0 }));
    assert_eq!(shipped(PAYLOAD_MAX + 1), Err(PayloadTooLarge { bytes: PAYLOAD_MAX + 1 }));
}

#[test]
fn growing_a_shipped_file_moves_no_partition() {
    let (small, large) = (shipped(700 * MIB).unwrap(), adopted(1 << 40).unwrap());
    for (before, after) in small.places().iter().zip(large.places()) {
        assert_eq!((before.number, before.role, before.start), (after.number, after.role, after.start));
        assert!(before.len <= after.len);
    }
}

#[test]
fn only_the_two_slots_of_an_area_share_a_type_guid() {
    let layout = adopted(MINIMUM_DISK).unwrap();
    let mut seen = std::collections::BTreeMap::new();
    for place in layout.places() {
        let without_slot = place.role.to_string().replace("-b", "-a");
        let first = seen.entry(place.role.type_guid()).or_insert_with(|| without_slot.clone());
        assert_eq!(*first, without_slot);
    }
    assert_eq!(seen.len(), 15);
}

/// These values are goldens: partition tables of installed nodes contain them.
#[test]
fn uuids_are_derived_from_the_root_hashes() {
    let names = names();
    let uuid = |text: &str| {
        let layout = shipped(1).unwrap();
        let place = layout.places().iter().find(|place| place.role.to_string() == text).copied().unwrap();
        names.uuid(place.role).to_string()
    };
    assert_eq!(uuid("root-a"), "11111111-1111-1111-1111-111111111111");
    assert_eq!(uuid("payload-a-hash"), "33333333-3333-3333-3333-333333333333");
    let expect = |text: &str, parts: &[&[u8]]| {
        assert_eq!(uuid(text), Guid::from_digest_head(&sha256(parts)).to_string(), "{text}");
    };
    expect("root-a-fec", &[b"kubedos partition\0root-fec\0", &[0x11; 32]]);
    expect("payload-a-sig", &[b"kubedos partition\0payload-sig\0", &[0x33; 32]]);
    expect("configuration-a", &[b"kubedos partition\0configuration\0", &[0x22; 32]]);
    expect("configuration-a-hash", &[b"kubedos partition\0configuration-hash\0", &[0x22; 32]]);
    expect("configuration-a-sig", &[b"kubedos partition\0configuration-sig\0", &[0x22; 32]]);
    expect("esp", &[b"kubedos disk\0esp\0", &[0x11; 32], &[0x33; 32]]);
    expect("seed", &[b"kubedos disk\0seed\0", &[0x11; 32], &[0x33; 32]]);
}

#[test]
fn the_hash_tree_of_a_volume_of_maximum_size_fits_into_its_area() {
    for volume in [Volume::Root, Volume::Configuration, Volume::Payload] {
        let (data, room) = (volume.max_data_bytes(), Area::Hash.full_size(volume).unwrap());
        let mut level = data / 4096;
        let mut blocks = 1; // superblock
        while level > 1 {
            level = level.div_ceil(128);
            blocks += level;
        }
        assert!(blocks * 4096 <= room, "{volume:?}");
    }
}

#[test]
fn a_table_with_one_changed_field_is_not_recognised() {
    let names = names();
    let table =
        |layout: &Layout| layout.table(SectorSize::B512, names.disk_guid(), |role| names.uuid(role)).unwrap();
    for (layout, state) in
        [(shipped(3 * MIB).unwrap(), State::Shipped), (adopted(1 << 36).unwrap(), State::Adopted)]
    {
        let good = table(&layout);
        let seen = recognise(&good).unwrap();
        assert_eq!((seen.state, &seen.layout), (state, &layout));
        for place in layout.places() {
            let partition = good.get(place.number).unwrap().clone();
            let mut changed = good.clone();
            changed.remove(place.number);
            assert!(recognise(&changed).is_none(), "{} missing", place.role);
            let other = gpt::Partition { type_guid: Guid::from_u128(1), ..partition.clone() };
            changed.set(place.number, other).unwrap();
            assert!(recognise(&changed).is_none(), "{} with a different type", place.role);
            changed.set(place.number, gpt::Partition { name: "x".into(), ..partition.clone() }).unwrap();
            assert!(recognise(&changed).is_none(), "{} with a different name", place.role);
            let later = gpt::Partition { first_lba: partition.first_lba + 8, ..partition.clone() };
            changed.set(place.number, later).unwrap();
            assert!(recognise(&changed).is_none(), "{} elsewhere", place.role);
            // UUIDs differ from node to node.
            let renamed = gpt::Partition { uuid: Guid::from_u128(5), ..partition };
            changed.set(place.number, renamed).unwrap();
            assert!(recognise(&changed).is_some(), "{} with a different UUID", place.role);
        }
        let mut more = good.clone();
        let last = layout.places().last().unwrap();
        let free = (last.start + last.len) / 512;
        let extra = gpt::Partition {
            type_guid: Guid::from_u128(1),
            uuid: Guid::from_u128(2),
            first_lba: free,
            last_lba: free,
            attributes: 0,
            name: String::new(),
        };
        more.set(100, extra).unwrap();
        assert!(recognise(&more).is_none());
    }
}

#[test]
fn an_adopted_disk_that_grew_is_recognised() {
    let table = adopted(1 << 36).unwrap().table(SectorSize::B512, Guid::ZERO, |_| Guid::ZERO).unwrap();
    let grown = table.resized(1 << 37).unwrap();
    assert_eq!(recognise(&grown).unwrap().state, State::Adopted);
}

proptest! {
    #[test]
    fn places_are_aligned_disjoint_and_inside(disk in MINIMUM_DISK..(1u64 << 50),payload in 0..=PAYLOAD_MAX) {
        for layout in [adopted(disk / 4096 * 4096).unwrap(), shipped(payload).unwrap()] {
            let mut end = FIRST_PARTITION;
            for place in layout.places() {
                prop_assert_eq!(place.start, end);
                prop_assert_eq!(place.len % MIB, 0);
                prop_assert!(place.len > 0);
                end = place.start + place.len;
            }
            for sector in [SectorSize::B512, SectorSize::B4096] {
                let table = layout.table(sector, Guid::ZERO, |_| Guid::ZERO).unwrap();
                let seen = recognise(&table).unwrap().layout;
                prop_assert_eq!(seen.places(), layout.places());
            }
        }
    }
}
