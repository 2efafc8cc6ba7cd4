//! One encoding of each record as hex, so that the form cannot drift. The root is also read here without the codec.
//!
//! `KUBEDOS_UPDATE_GOLDENS=1` writes the file again.

use kubedos_wire::hex32::{Digest, InstanceId, Nonce};
use kubedos_wire::membership::codec::Encoded;
use kubedos_wire::membership::fields::{Extension, PlaneMap, SharingValue};
use kubedos_wire::membership::records::{
    AuthorityRef, Epoch, FreshnessProof, KeyStep, NodeEntry, OperatorEntry, PlaneEntry, PlaneKeyChange,
    RosterRecord, RosterRoot, Standing, instance,
};
use kubedos_wire::membership::signature::Signable;
use kubedos_wire::value::NodeId;

use super::fixture::{CLUSTER, Key, enrolment, hello, node, one, plane_key, signed};

const GOLDEN: &str = include_str!("../golden/membership-records-v1.txt");

fn root() -> RosterRoot {
    RosterRoot {
        cluster_id: CLUSTER,
        instance: InstanceId::new([0x11; 32]),
        epoch: Epoch { lineage: one(2), n: 0x0102_0304_0506_0708 },
        authority: AuthorityRef { number: one(3), digest: Digest::new([0xa0; 32]) },
        count: 4,
        merkle: Digest::new([0x3e; 32]),
        generation_floor: 9,
        extension: Extension::new(b"later".to_vec()).unwrap(),
    }
}

fn rotating() -> NodeEntry {
    let mut entry = node("w-1", 4);
    if let Standing::Member(keys) = &mut entry.standing {
        let next = PlaneEntry {
            sequence: 2,
            next: Some(plane_key("next")),
            psk: SharingValue::new(vec![0x55; 4]).unwrap(),
            ..PlaneEntry::first(plane_key("present"))
        };
        keys.planes = PlaneMap::new([("wg1".parse().unwrap(), next)].into()).unwrap();
    }
    entry
}

fn key_change(step: KeyStep) -> PlaneKeyChange {
    PlaneKeyChange {
        cluster_id: CLUSTER,
        instance: InstanceId::new([0x11; 32]),
        id: NodeId::new(4).unwrap(),
        incarnation: one(1),
        plane: "wg2".parse().unwrap(),
        sequence: 2,
        step,
        extension: Extension::default(),
    }
}

fn fresh() -> FreshnessProof {
    FreshnessProof {
        cluster_id: CLUSTER,
        instance: InstanceId::new([0x11; 32]),
        epoch: Epoch { lineage: one(2), n: 7 },
        id: NodeId::new(4).unwrap(),
        incarnation: one(1),
        nonce: Nonce::new([0x4e; 32]),
        authority: one(3),
        root: Digest::new([0x60; 32]),
        time: 1_763_300_000,
        extension: Extension::default(),
    }
}

#[test]
fn every_record_has_its_golden_encoding() {
    let operator = OperatorEntry { key: Key::new("ada").signer(), extension: Extension::default() };
    let revoked = NodeEntry { standing: Standing::Revoked, ..node("w-1", 4) };
    let hello = hello("cp-1", 1, Digest::new([0x70; 32]), 1);
    let life = instance(&Digest::new([0x70; 32]), &[(hello.id, hello.clone())].into());
    let records = [
        ("roster record, member", RosterRecord::Node(node("w-1", 4)).encode()),
        ("roster record, rotating", RosterRecord::Node(rotating()).encode()),
        ("roster record, revoked", RosterRecord::Node(revoked).encode()),
        ("roster record, revoked operator", RosterRecord::Operator(operator).encode()),
        ("enrolment request", enrolment("w-1", 4, 1).encode()),
        ("key change, announce", key_change(KeyStep::Announce(plane_key("next"))).encode()),
        ("key change, retire", key_change(KeyStep::Retire).encode()),
        ("key change, abort", key_change(KeyStep::Abort).encode()),
        ("root", root().encode()),
        ("root with a signature", signed(root(), &["cp-1"]).encode()),
        ("signed bytes of the root", root().message()),
        ("freshness proof", fresh().encode()),
        ("hello", hello.encode()),
        ("instance of this hello", life.as_bytes().to_vec()),
    ];
    let text: String =
        records.iter().map(|(name, bytes)| format!("{name} = {}\n", hex::encode(bytes))).collect();
    if std::env::var_os("KUBEDOS_UPDATE_GOLDENS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/membership-records-v1.txt");
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, GOLDEN);
}

/// Offsets and byte order as `docs/protocol.md` has them, without the codec.
#[test]
fn the_golden_root_is_what_the_document_describes() {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix("root = ")).unwrap();
    let bytes: Vec<u8> = line
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let fields: [(&str, usize, &[u8]); 13] = [
        ("version", 1, &[1]),
        ("cluster id", 32, &[0xc1; 32]),
        ("instance", 32, &[0x11; 32]),
        ("lineage", 4, &[2, 0, 0, 0]),
        ("n", 8, &[8, 7, 6, 5, 4, 3, 2, 1]),
        ("authority number", 4, &[3, 0, 0, 0]),
        ("authority digest", 32, &[0xa0; 32]),
        ("count", 4, &[4, 0, 0, 0]),
        ("Merkle root", 32, &[0x3e; 32]),
        ("generation floor", 8, &[9, 0, 0, 0, 0, 0, 0, 0]),
        ("length of the extension", 2, &[5, 0]),
        ("extension", 5, b"later"),
        ("end", 0, &[]),
    ];
    let mut rest = &bytes[..];
    for (name, length, expected) in fields {
        let (field, after) = rest.split_at(length);
        assert_eq!(field, expected, "{name}");
        rest = after;
    }
    assert_eq!(rest, [0_u8; 0]);
    let message = GOLDEN.lines().find_map(|line| line.strip_prefix("signed bytes of the root = ")).unwrap();
    assert_eq!(message, format!("{}00{line}", hex::encode("kubedos root v1")));
}
