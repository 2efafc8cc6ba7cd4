//! Rosters as sorted sets of records: merge, changes, comparison, and the cost for 10,000 nodes.

use std::time::Instant;

use kubedos_wire::hex32::{Digest, sha256};
use kubedos_wire::membership::codec::Encoded;
use kubedos_wire::membership::fields::{Extension, PlaneMap};
use kubedos_wire::membership::keys::{PlaneKey, SignerKey};
use kubedos_wire::membership::records::{
    MemberKeys, NodeEntry, OperatorEntry, PlaneEntry, RecordKey, RosterRecord, Standing,
};
use kubedos_wire::membership::roster::{MAX_NODES, RecordsError, RosterRecords};
use kubedos_wire::node::Role;
use kubedos_wire::value::{NodeId, WireguardKey};
use proptest::prelude::*;

use super::fixture::{Key, node, one, records};

fn revoked(entry: &NodeEntry) -> NodeEntry {
    NodeEntry { standing: Standing::Revoked, ..entry.clone() }
}

#[test]
fn records_are_sorted_by_kind_and_id_and_occur_once() {
    let operator = OperatorEntry { key: Key::new("ada").signer(), extension: Extension::default() };
    let [one, two] = [node("w-1", 4), node("w-2", 5)].map(RosterRecord::Node);
    let operator = RosterRecord::Operator(operator);
    let all = [one.clone(), two.clone(), operator.clone()];
    let set = RosterRecords::new(all.clone()).unwrap();
    assert!(set.iter().eq(&all) && set.get(&operator.key()) == Some(&operator));
    assert_eq!(set.get(&RecordKey::Node(NodeId::new(6).unwrap())), None);
    for bad in [
        [two.clone(), one.clone(), operator.clone()],
        [one.clone(), one.clone(), two.clone()],
        [operator, one, two],
    ] {
        assert_eq!(RosterRecords::new(bad.clone()), Err(RecordsError::Unsorted));
        let mut bytes = 3_u16.to_le_bytes().to_vec();
        bad.iter().for_each(|record| bytes.extend(record.encode()));
        let error = RosterRecords::decode(&bytes).unwrap_err().to_string();
        assert!(error.ends_with("its items are not sorted, or one occurs twice"), "{error}");
    }
}

proptest! {
    /// Merging the changes between two sets gives the second one, in any number of steps, and its Merkle root is that of a
    /// set that is built at once.
    #[test]
    fn merging_changes_gives_the_new_roster(old in 0..64_u64, new in 0..64_u64, gone in 0..64_u64) {
        let set = |bits: u64, revoked_bits: u64| {
            let ids = (0..6_u32).filter(|id| bits & (1 << id) != 0);
            records(ids.map(|id| {
                let entry = node(&format!("w-{id}"), id + 1);
                if revoked_bits & (1 << id) != 0 { revoked(&entry) } else { entry }
            }))
        };
        let (before, after) = (set(old, 0), set(old | new, gone));
        let changes = after.changes_since(&before);
        let merged = before.merge(&changes).unwrap();
        prop_assert_eq!(&merged, &after);
        prop_assert_eq!(merged.merkle(), after.merkle());
        prop_assert_eq!(merged.merge(&changes).unwrap(), after.clone());
        prop_assert!(before.first_lowered(&after).is_none());
        let differ = before != after;
        prop_assert_eq!(after.first_lowered(&before).is_some(), differ);
        prop_assert_eq!(changes.is_empty(), !differ);
    }
}

#[test]
fn the_first_lowered_record_is_named() {
    let (a, b, c) = (node("w-1", 4), node("w-2", 5), node("w-3", 6));
    let known = records([a.clone(), revoked(&b), c.clone()]);
    let lowered = |new: RosterRecords| known.first_lowered(&new).map(RosterRecord::key);
    let key = |id: u32| Some(RecordKey::Node(NodeId::new(id).unwrap()));
    assert_eq!(lowered(known.clone()), None);
    assert_eq!(lowered(records([a.clone(), b.clone(), c.clone()])), key(5));
    assert_eq!(lowered(records([a.clone(), revoked(&b)])), key(6));
    assert_eq!(lowered(records([revoked(&b), c.clone(), node("w-9", 9)])), key(4));
    assert_eq!(lowered(records([])), key(4));
}

/// Every record that is added, removed or changed changes the Merkle root.
#[test]
fn the_merkle_root_covers_every_record() {
    let entries = [node("w-1", 4), node("w-2", 5), node("w-3", 6)];
    let mut roots = std::collections::BTreeSet::new();
    for bits in 0..27_u32 {
        let states = [bits % 3, bits / 3 % 3, bits / 9];
        let chosen = entries.iter().zip(states).filter(|(_, state)| *state > 0);
        let set =
            records(chosen.map(|(entry, state)| if state == 1 { entry.clone() } else { revoked(entry) }));
        roots.insert(*set.merkle());
    }
    assert_eq!(roots.len(), 27);
    let extended = NodeEntry { extension: Extension::new(vec![0]).unwrap(), ..node("w-1", 4) };
    assert!(!roots.contains(records([extended]).merkle()));
}

fn many(count: u32) -> Vec<RosterRecord> {
    let bytes = |what: &str, id: u32| sha256(&[what.as_bytes(), &id.to_le_bytes()]);
    let signer = |id: u32| {
        (0..).find_map(|n| SignerKey::new(kubedos_wire::hex32::PublicKey::new(bytes("n", id + n))).ok())
    };
    let plane = |plane: &str, id: u32| {
        let mut key = bytes(plane, id);
        key[31] &= 0x3f;
        (plane.parse().unwrap(), PlaneEntry::first(PlaneKey::new(WireguardKey::new(key)).unwrap()))
    };
    let entry = |id: u32| NodeEntry {
        id: NodeId::new(id).unwrap(),
        node: format!("worker-{id}").parse().unwrap(),
        role: Role::Worker,
        incarnation: one(1),
        standing: Standing::Member(MemberKeys {
            node_key: signer(id).unwrap(),
            request: Digest::new(bytes("request", id)),
            endpoint: Some(std::net::Ipv4Addr::from(0x0a00_0000 + id).to_string().parse().unwrap()),
            planes: PlaneMap::new(["wg1", "wg2", "wg3"].map(|name| plane(name, id)).into()).unwrap(),
        }),
        extension: Extension::default(),
    };
    (1..=count).map(|id| RosterRecord::Node(entry(id))).collect()
}

/// The numbers of `docs/protocol.md`, section 12: size and hashes for 10,000 nodes. The times are printed, not asserted.
#[test]
fn a_roster_of_10000_nodes() {
    let all = many(10_000);
    let start = Instant::now();
    let known = RosterRecords::new(all).unwrap();
    let build = start.elapsed();
    let bytes = known.encode();
    assert!(bytes.len() < 10_000 * 300, "{} bytes", bytes.len());
    let start = Instant::now();
    let read = RosterRecords::decode(&bytes).unwrap();
    let decode = start.elapsed();
    assert_eq!(read, known);

    let changes = known.iter().step_by(157).filter_map(RosterRecord::node).map(revoked);
    let changes = records(changes.take(64));
    let start = Instant::now();
    let merged = known.merge(&changes).unwrap();
    let merge = start.elapsed();
    let start = Instant::now();
    assert_eq!(known.first_lowered(&merged), None);
    let compare = start.elapsed();
    assert_eq!(
        merged.first_lowered(&known).map(RosterRecord::key),
        changes.iter().next().map(RosterRecord::key)
    );
    println!(
        "10,000 nodes, {} bytes: build {build:?}, read {decode:?}, merge 64 changes {merge:?}, compare all {compare:?}",
        bytes.len()
    );
}

#[test]
fn more_than_10000_nodes_are_refused() {
    let mut all = many(10_001);
    let error = RosterRecords::new(all.clone()).unwrap_err();
    assert!(
        matches!(error, RecordsError::TooMany(ref bound) if (bound.found, bound.most) == (10_001, MAX_NODES))
    );
    let last = all.pop().unwrap();
    let full = RosterRecords::new(all).unwrap();
    assert!(full.merge(&RosterRecords::new([last]).unwrap()).is_err());
}
