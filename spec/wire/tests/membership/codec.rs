//! The elements of the binary form, and the errors about them.

use kubedos_wire::membership::codec::{CodecError, Encoded, Problem, Reader};
use kubedos_wire::membership::fields::{Extension, PlaneMap, SharingValue};
use kubedos_wire::membership::records::{EnrolmentRequest, NodeEntry, RosterRecord};
use kubedos_wire::membership::roster::RosterRecords;
use kubedos_wire::value::{NodeName, PlaneId};

use super::fixture::{node, request};

fn error(field: &'static str, offset: usize, problem: Problem) -> CodecError {
    CodecError { field, offset, problem }
}

/// The request of `w-1` with some bytes replaced. It is version (1), cluster (32), instance (32), id (4), name (1 + 3),
/// incarnation (4), role (1), node key (32), number of planes (2), planes (1 + 3 + 32 each), extension (2).
fn patched(at: usize, bytes: &[u8]) -> Result<EnrolmentRequest, CodecError> {
    let mut patched = request(&node("w-1", 4)).encode();
    patched[at..at + bytes.len()].copy_from_slice(bytes);
    EnrolmentRequest::decode(&patched)
}

#[test]
fn an_error_names_the_field_and_its_offset() {
    assert!(patched(0, &[1]).is_ok());
    for (at, bytes, expected) in [
        (0, &[2][..], error("version", 0, Problem::Version(2))),
        (65, &[0, 0, 0, 0], error("id", 65, Problem::Value)),
        (65, &[1, 0, 16, 0], error("id", 65, Problem::Value)),
        (69, &[255], error("node", 70, Problem::Truncated)),
        (70, b"W", error("node", 69, Problem::Value)),
        (71, &[0xc3, 0xa9], error("node", 69, Problem::Value)),
        (73, &[0, 0, 0, 0], error("incarnation", 73, Problem::Value)),
        (77, &[3], error("role", 77, Problem::Value)),
        (78, &[0; 32], error("node_key", 78, Problem::Value)),
        (110, &[0, 0], error("planes", 110, Problem::Length { found: 0, least: 1, most: 8 })),
        (110, &[9, 0], error("planes", 110, Problem::Length { found: 9, least: 1, most: 8 })),
        (113, b"wg2", error("planes", 148, Problem::Unsorted)),
        (113, b"zz9", error("planes", 148, Problem::Unsorted)),
        (116, &[0; 32], error("key", 116, Problem::Value)),
        (220, &[1, 4], error("extension", 220, Problem::Length { found: 1025, least: 0, most: 1024 })),
        (220, &[1, 0], error("extension", 222, Problem::Truncated)),
    ] {
        assert_eq!(patched(at, bytes), Err(expected), "{bytes:?} at {at}");
    }
    assert_eq!(
        patched(110, &[9, 0]).unwrap_err().to_string(),
        "invalid record: field `planes` at byte 110: its length is 9, but the limits are 1 and 8"
    );
}

/// A count is not trusted: the items must be there.
#[test]
fn a_large_count_without_items_is_refused_at_the_first_missing_item() {
    let problem = RosterRecords::decode(&11_000_u16.to_le_bytes()).unwrap_err();
    assert_eq!(problem, error("version", 2, Problem::Truncated));
    let problem = RosterRecords::decode(&11_001_u16.to_le_bytes()).unwrap_err();
    assert_eq!(problem, error("records", 0, Problem::Length { found: 11_001, least: 0, most: 11_000 }));
}

#[test]
fn limits_are_those_of_the_form() {
    let long = |length: usize| vec![7; length];
    assert_eq!(Extension::new(long(1024)).unwrap().as_bytes(), long(1024));
    assert!(Extension::new(long(1025)).is_err() && SharingValue::new(long(1217)).is_err());
    assert!(SharingValue::new(long(1216)).is_ok());
    let planes = |count: u8| (0..count).map(|n| (format!("wg{n}").parse::<PlaneId>().unwrap(), ())).collect();
    assert!(PlaneMap::new(planes(8)).is_ok() && PlaneMap::new(planes(0)).is_err());
    assert_eq!(PlaneMap::new(planes(9)).unwrap_err().to_string(), "planes has 9, but the limits are 1 and 8");
}

/// The largest record: the name, the names of all planes, all values and the extension have their full length.
#[test]
fn the_largest_record_has_less_than_16_kib() {
    let mut entry: NodeEntry = node("w-1", 4);
    entry.node = "n".repeat(63).parse::<NodeName>().unwrap();
    let key = entry.member().unwrap().planes.get().values().next().unwrap().clone();
    let plane = kubedos_wire::membership::records::PlaneEntry {
        next: Some(key.key),
        psk: SharingValue::new(vec![1; SharingValue::MAX]).unwrap(),
        ..key
    };
    let planes =
        (0..8).map(|n| (format!("p{n}{}", "x".repeat(13)).parse().unwrap(), plane.clone())).collect();
    if let kubedos_wire::membership::records::Standing::Member(keys) = &mut entry.standing {
        keys.planes = PlaneMap::new(planes).unwrap();
    }
    entry.extension = Extension::new(vec![2; Extension::MAX]).unwrap();
    let record = RosterRecord::Node(entry);
    let bytes = record.encode();
    assert!((11_000..16_384).contains(&bytes.len()), "{}", bytes.len());
    assert_eq!(RosterRecord::decode(&bytes), Ok(record));
}

/// A revoked record has no keys: there is one encoding of it.
#[test]
fn a_revoked_record_with_a_key_is_refused() {
    let mut entry = node("w-1", 4);
    entry.standing = kubedos_wire::membership::records::Standing::Revoked;
    let bytes = RosterRecord::Node(entry).encode();
    assert!(RosterRecord::decode(&bytes).is_ok());
    for (at, field) in [(16, "node_key"), (79, "node_key"), (80, "endpoint"), (82, "planes")] {
        let mut bad = bytes.clone();
        bad[at] = 1;
        assert_eq!(RosterRecord::decode(&bad).unwrap_err().field, field, "{at}");
    }
}

#[test]
fn a_reader_never_reads_past_the_end() {
    let mut reader = Reader::new(&[1, 2, 3]);
    assert_eq!(reader.take("x", usize::MAX), Err(error("x", 0, Problem::Truncated)));
    assert_eq!(reader.u16("x"), Ok(0x0201));
    assert_eq!(reader.take("x", usize::MAX), Err(error("x", 2, Problem::Truncated)));
    assert_eq!(reader.u64("y"), Err(error("y", 2, Problem::Truncated)));
    assert_eq!((reader.offset(), reader.u8("z"), reader.end()), (2, Ok(3), Ok(())));
}
