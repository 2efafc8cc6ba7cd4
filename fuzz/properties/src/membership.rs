//! Records and statements of the membership protocol, which compromised nodes and operators write.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use kubedos_wire::document::DocumentError;
use kubedos_wire::hex32::{Digest, InstanceId, KeyId, Nonce, PublicKey};
use kubedos_wire::membership::codec::Encoded;
use kubedos_wire::membership::fields::{Extension, PlaneMap, SharingValue};
use kubedos_wire::membership::keys::{PlaneKey, SignerKey};
use kubedos_wire::membership::records::{
    AuthorityRef, EnrolmentRequest, Epoch, FreshnessProof, GenesisHello, KeyStep, NodeEntry, OperatorEntry,
    PlaneKeyChange, RosterRecord, RosterRoot, SignedRoot, Standing,
};
use kubedos_wire::membership::roster::RosterRecords;
use kubedos_wire::membership::signature::{Signature, Signatures};
use kubedos_wire::membership::statements::{
    ArmList, AuthorityMember, AuthorityStatement, Body, GenesisToken, GrantStatement, NamedIncarnation,
    OrderStatement, RevokedIncarnation, SignedGrant, Verb, WithDigest, open,
};
use kubedos_wire::node::Role;
use kubedos_wire::value::{NodeId, WireguardKey};

use crate::documents::TOML;
use crate::frugal::{Most, frugal};
use crate::{Seed, Target, keys};

pub(crate) const TARGETS: [Target; 2] = [
    Target { name: "membership_record", property: record, seeds: record_seeds, mutants: 100_000 },
    Target { name: "membership_statement", property: statement, seeds: statement_seeds, mutants: 20_000 },
];

/// The limit for a record: a map of planes has a node of the map for each record, and a roster has a hash of each record.
const RECORD: Most = Most { factor: 32, constant: 4 << 10 };

/// The kind (1 byte) and a record of that kind. Whatever is read has exactly these bytes as its encoding.
fn record(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 8 {
        0 => {
            if let Some(record) = one_encoding::<RosterRecord>(bytes) {
                assert!(record.may_become(&record));
            }
        }
        1 => {
            if let Some(records) = one_encoding::<RosterRecords>(bytes) {
                assert_eq!(records.merge(&records).as_ref(), Ok(&records));
                assert_eq!(records.first_lowered(&records), None);
                assert!(records.changes_since(&records).is_empty());
            }
        }
        2 => drop(one_encoding::<EnrolmentRequest>(bytes)),
        3 => drop(one_encoding::<PlaneKeyChange>(bytes)),
        4 => drop(one_encoding::<RosterRoot>(bytes)),
        5 => drop(one_encoding::<SignedRoot>(bytes)),
        6 => drop(one_encoding::<FreshnessProof>(bytes)),
        _ => drop(one_encoding::<GenesisHello>(bytes)),
    }
}

fn one_encoding<T: Encoded>(bytes: &[u8]) -> Option<T> {
    let value = frugal(RECORD, bytes.len(), || T::decode(bytes)).ok()?;
    assert!(value.encode() == bytes, "the value has another encoding");
    Some(value)
}

/// The kind (1 byte) and a body, which this function signs. What is read is written and read again as the same value.
fn statement(input: &[u8]) {
    let Some((kind, body)) = input.split_first() else { return };
    let Ok(body) = std::str::from_utf8(body) else { return };
    if body.len() > 65_536 {
        return;
    }
    match kind % 5 {
        0 => round_trip::<AuthorityStatement>(body),
        1 => round_trip::<GenesisToken>(body),
        2 => round_trip::<GrantStatement>(body),
        3 => round_trip::<ArmList>(body),
        _ => round_trip::<OrderStatement>(body),
    }
}

fn round_trip<B: Body + Clone + PartialEq>(body: &str) {
    let (bytes, cluster) = (keys::signed(B::DOMAIN, body), keys::cluster_id("lab"));
    let read = frugal(TOML, body.len(), || open::<B>(&bytes, &keys::trusted(), cluster));
    let Ok((read, signer)) = read else { return };
    assert_eq!([signer], keys::trusted());
    match WithDigest::emit(read.body().clone()) {
        Ok((_, text)) => {
            let again = open::<B>(&keys::signed(B::DOMAIN, &text), &keys::trusted(), cluster).unwrap().0;
            assert!(again.body() == read.body());
        }
        // The written text can be longer than the one that was read.
        Err(DocumentError::TooLong { .. }) => {}
        Err(error) => panic!("what was read cannot be written: {error}"),
    }
}

fn toml_of<B: Body + Clone>(body: &B) -> String {
    WithDigest::emit(body.clone()).unwrap().1
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

fn id() -> NodeId {
    NodeId::new(4).unwrap()
}

fn signer(byte: u8) -> SignerKey {
    SignerKey::new(PublicKey::new([byte; 32])).unwrap()
}

fn plane(byte: u8) -> PlaneKey {
    PlaneKey::new(WireguardKey::new([byte; 32])).unwrap()
}

fn request() -> EnrolmentRequest {
    let planes: BTreeMap<_, _> = ["wg1", "wg2", "wg3"].into_iter().zip(8..).collect();
    let planes = planes.into_iter().map(|(name, byte)| (name.parse().unwrap(), plane(byte))).collect();
    EnrolmentRequest {
        cluster_id: keys::cluster_id("lab"),
        instance: InstanceId::new([2; 32]),
        id: id(),
        node: "w-1".parse().unwrap(),
        incarnation: one(),
        role: Role::Worker,
        node_key: signer(7),
        planes: PlaneMap::new(planes).unwrap(),
        extension: Extension::default(),
    }
}

fn rotating() -> NodeEntry {
    let mut entry = request().entry(Some("192.0.2.4".parse().unwrap()));
    if let Standing::Member(keys) = &mut entry.standing {
        let wg2 = keys.planes.plane_mut(&"wg2".parse().unwrap()).unwrap();
        (wg2.sequence, wg2.next) = (2, Some(plane(20)));
        wg2.psk = SharingValue::new(vec![3; 4]).unwrap();
    }
    entry
}

fn root() -> RosterRoot {
    RosterRoot {
        cluster_id: keys::cluster_id("lab"),
        instance: InstanceId::new([2; 32]),
        epoch: Epoch { lineage: one(), n: 7 },
        authority: AuthorityRef { number: one(), digest: Digest::new([3; 32]) },
        count: 4,
        merkle: Digest::new([4; 32]),
        generation_floor: 5,
        extension: Extension::new(vec![1, 2, 3]).unwrap(),
    }
}

fn record_seeds() -> Vec<Seed> {
    let of = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
    let revoked = RosterRecord::Node(NodeEntry { standing: Standing::Revoked, ..rotating() });
    let operator = RosterRecord::Operator(OperatorEntry { key: signer(5), extension: Extension::default() });
    let mut other = rotating();
    other.id = NodeId::new(5).unwrap();
    let all = [RosterRecord::Node(rotating()), RosterRecord::Node(other), operator.clone()];
    let change = |step| PlaneKeyChange {
        cluster_id: keys::cluster_id("lab"),
        instance: InstanceId::new([2; 32]),
        id: id(),
        incarnation: one(),
        plane: "wg2".parse().unwrap(),
        sequence: 2,
        step,
        extension: Extension::default(),
    };
    let mut signatures = Signatures::default();
    for key in [1, 2] {
        assert!(signatures.add(Signature { key: KeyId::new([key; 32]), ed25519: [key; 64] }));
    }
    let proof = FreshnessProof {
        cluster_id: keys::cluster_id("lab"),
        instance: InstanceId::new([2; 32]),
        epoch: Epoch { lineage: one(), n: 7 },
        id: id(),
        incarnation: one(),
        nonce: Nonce::new([6; 32]),
        authority: one(),
        root: Digest::new([4; 32]),
        time: 1_763_300_000,
        extension: Extension::default(),
    };
    let hello = GenesisHello {
        cluster_id: keys::cluster_id("lab"),
        token: Digest::new([3; 32]),
        id: id(),
        node: "cp-1".parse().unwrap(),
        incarnation: one(),
        nonce: Nonce::new([6; 32]),
        node_key: signer(7),
        planes: request().planes,
        extension: Extension::default(),
    };
    vec![
        ("member", of(0, RosterRecord::Node(rotating()).encode())),
        ("revoked", of(0, revoked.encode())),
        ("revoked-operator", of(0, operator.encode())),
        ("roster", of(1, RosterRecords::new(all).unwrap().encode())),
        ("enrolment-request", of(2, request().encode())),
        ("announce", of(3, change(KeyStep::Announce(plane(20))).encode())),
        ("retire", of(3, change(KeyStep::Retire).encode())),
        ("root", of(4, root().encode())),
        ("signed-root", of(5, SignedRoot { root: root(), signatures }.encode())),
        ("freshness-proof", of(6, proof.encode())),
        ("hello", of(7, hello.encode())),
    ]
}

fn statement_seeds() -> Vec<Seed> {
    let cluster_id = keys::cluster_id("lab");
    let authority = AuthorityStatement {
        cluster_id,
        number: one(),
        threshold: 2,
        members: (1..=3)
            .map(|number| AuthorityMember {
                node: format!("cp-{number}").parse().unwrap(),
                incarnation: one(),
                roster_key: signer(number),
                issuer: Digest::new([number; 32]),
            })
            .collect(),
    };
    let token = GenesisToken {
        cluster_id,
        lineage: one(),
        epoch_floor: 3,
        authority: AuthorityRef { number: one(), digest: Digest::new([3; 32]) },
        control_planes: vec![NamedIncarnation { node: "cp-1".parse().unwrap(), incarnation: one() }],
        revoked: vec![RevokedIncarnation { id: id(), incarnation: one() }],
        carry: Some(Digest::new([4; 32])),
        arm: Some(Digest::new([5; 32])),
    };
    let grant = GrantStatement {
        cluster_id,
        node: "w-1".parse().unwrap(),
        id: id(),
        incarnation: one(),
        role: Role::Worker,
        voucher_key: Some(signer(6)),
        births: BTreeMap::from([("wg1".parse().unwrap(), plane(8))]),
    };
    let signed = |grant: &GrantStatement| {
        let text = toml_of(grant);
        SignedGrant::new(keys::signed(GrantStatement::DOMAIN, &text)).unwrap()
    };
    let order = |verb| OrderStatement {
        cluster_id,
        instance: InstanceId::new([2; 32]),
        operator: "ada".parse().unwrap(),
        serial: 1,
        time: 1_763_300_000,
        verb,
    };
    let arm = order(Verb::Arm { grant: signed(&grant), sequence: 1 });
    let revoke = order(Verb::Revoke { node: "w-1".parse().unwrap(), incarnation: one() });
    let list = ArmList { cluster_id, grants: vec![signed(&grant)] };
    let of = |kind: u8, text: String| [&[kind], text.as_bytes()].concat();
    vec![
        ("authority", of(0, toml_of(&authority))),
        ("token", of(1, toml_of(&token))),
        ("grant", of(2, toml_of(&grant))),
        ("arm-list", of(3, toml_of(&list))),
        ("arm", of(4, toml_of(&arm))),
        ("revoke", of(4, toml_of(&revoke))),
    ]
}
