//! Random valid values of every field and record.

use kubedos_wire::hex32::{ClusterId, Digest, InstanceId, KeyId, Nonce, PublicKey};
use kubedos_wire::membership::fields::{Extension, PlaneMap, SharingValue};
use kubedos_wire::membership::keys::{PlaneKey, SignerKey};
use kubedos_wire::membership::records::{
    AuthorityRef, EnrolmentRequest, Epoch, FreshnessProof, GenesisHello, KeyStep, MAX_GENERATION, MemberKeys,
    NodeEntry, OperatorEntry, PlaneEntry, PlaneKeyChange, RosterRecord, RosterRoot, SignedRoot, Standing,
};
use kubedos_wire::membership::roster::RosterRecords;
use kubedos_wire::membership::signature::{Signature, Signatures};
use kubedos_wire::node::Role;
use kubedos_wire::value::{Endpoint, NodeId, NodeName, PlaneId, WireguardKey};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use std::num::NonZeroU32;

pub fn signer_key() -> impl Strategy<Value = SignerKey> {
    any::<[u8; 32]>().prop_filter_map("weak", |key| SignerKey::new(PublicKey::new(key)).ok())
}

pub fn plane_key() -> impl Strategy<Value = PlaneKey> {
    any::<[u8; 32]>().prop_filter_map("weak", |mut key| {
        key[31] &= 0x7f;
        PlaneKey::new(WireguardKey::new(key)).ok()
    })
}

pub fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::new)
}

fn cluster_id() -> impl Strategy<Value = ClusterId> {
    any::<[u8; 32]>().prop_map(ClusterId::new)
}

fn instance() -> impl Strategy<Value = InstanceId> {
    any::<[u8; 32]>().prop_map(InstanceId::new)
}

fn node_id() -> impl Strategy<Value = NodeId> {
    (1..=NodeId::MAX).prop_map(|number| NodeId::new(number).unwrap())
}

fn node_name() -> impl Strategy<Value = NodeName> {
    "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?".prop_map(|name| name.parse().unwrap())
}

fn plane_id() -> impl Strategy<Value = PlaneId> {
    "[a-z]([a-z0-9-]{0,13}[a-z0-9])?".prop_filter_map("reserved", |name| name.parse().ok())
}

fn from_one() -> impl Strategy<Value = NonZeroU32> {
    prop_oneof![1..4_u32, 1..=u32::MAX].prop_map(|number| NonZeroU32::new(number).unwrap())
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::ControlPlane), Just(Role::Worker)]
}

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![Just(vec![]), vec(any::<u8>(), 0..40)].prop_map(|bytes| Extension::new(bytes).unwrap())
}

fn endpoint() -> impl Strategy<Value = Option<Endpoint>> {
    any::<Option<std::net::IpAddr>>()
        .prop_map(|address| address.and_then(|address| Endpoint::new(address.to_canonical())))
}

pub fn planes<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = PlaneMap<T>> {
    btree_map(plane_id(), value, 1..=8).prop_map(|planes| PlaneMap::new(planes).unwrap())
}

fn plane_entry() -> impl Strategy<Value = PlaneEntry> {
    let psk = vec(any::<u8>(), 0..20).prop_map(|bytes| SharingValue::new(bytes).unwrap());
    (any::<u32>(), plane_key(), proptest::option::of(plane_key()), psk)
        .prop_map(|(sequence, key, next, psk)| PlaneEntry { sequence, key, next, psk })
}

fn standing() -> impl Strategy<Value = Standing> {
    let member = (signer_key(), digest(), endpoint(), planes(plane_entry())).prop_map(
        |(node_key, request, endpoint, planes)| {
            Standing::Member(MemberKeys { node_key, request, endpoint, planes })
        },
    );
    prop_oneof![4 => member, 1 => Just(Standing::Revoked)]
}

pub fn node_entry() -> impl Strategy<Value = NodeEntry> {
    (node_id(), node_name(), role(), from_one(), standing(), extension()).prop_map(
        |(id, node, role, incarnation, standing, extension)| NodeEntry {
            id,
            node,
            role,
            incarnation,
            standing,
            extension,
        },
    )
}

pub fn record() -> impl Strategy<Value = RosterRecord> {
    let operator = (signer_key(), extension())
        .prop_map(|(key, extension)| RosterRecord::Operator(OperatorEntry { key, extension }));
    prop_oneof![4 => node_entry().prop_map(RosterRecord::Node), 1 => operator]
}

pub fn records() -> impl Strategy<Value = RosterRecords> {
    vec(record(), 0..6).prop_map(|mut records| {
        records.sort_by_key(RosterRecord::key);
        records.dedup_by_key(|record| record.key());
        RosterRecords::new(records).unwrap()
    })
}

pub fn request() -> impl Strategy<Value = EnrolmentRequest> {
    let node = (node_id(), node_name(), from_one(), role());
    (cluster_id(), instance(), node, signer_key(), planes(plane_key()), extension()).prop_map(
        |(cluster_id, instance, (id, node, incarnation, role), node_key, planes, extension)| {
            EnrolmentRequest {
                cluster_id,
                instance,
                id,
                node,
                incarnation,
                role,
                node_key,
                planes,
                extension,
            }
        },
    )
}

pub fn hello() -> impl Strategy<Value = GenesisHello> {
    let node = (node_id(), node_name(), from_one());
    (cluster_id(), digest(), node, any::<[u8; 32]>(), signer_key(), planes(plane_key()), extension())
        .prop_map(|(cluster_id, token, (id, node, incarnation), nonce, node_key, planes, extension)| {
            GenesisHello {
                cluster_id,
                token,
                id,
                node,
                incarnation,
                nonce: Nonce::new(nonce),
                node_key,
                planes,
                extension,
            }
        })
}

pub fn key_change() -> impl Strategy<Value = PlaneKeyChange> {
    let step =
        prop_oneof![plane_key().prop_map(KeyStep::Announce), Just(KeyStep::Retire), Just(KeyStep::Abort)];
    let node = (node_id(), from_one());
    (cluster_id(), instance(), node, plane_id(), any::<u32>(), step, extension()).prop_map(
        |(cluster_id, instance, (id, incarnation), plane, sequence, step, extension)| PlaneKeyChange {
            cluster_id,
            instance,
            id,
            incarnation,
            plane,
            sequence,
            step,
            extension,
        },
    )
}

fn epoch() -> impl Strategy<Value = Epoch> {
    (from_one(), any::<u64>()).prop_map(|(lineage, n)| Epoch { lineage, n })
}

pub fn root() -> impl Strategy<Value = RosterRoot> {
    let authority = (from_one(), digest()).prop_map(|(number, digest)| AuthorityRef { number, digest });
    let content = (any::<u32>(), digest(), 0..=MAX_GENERATION);
    (cluster_id(), instance(), epoch(), authority, content, extension()).prop_map(
        |(cluster_id, instance, epoch, authority, (count, merkle, generation_floor), extension)| RosterRoot {
            cluster_id,
            instance,
            epoch,
            authority,
            count,
            merkle,
            generation_floor,
            extension,
        },
    )
}

pub fn signature() -> impl Strategy<Value = Signature> {
    (any::<[u8; 32]>(), any::<[u8; 64]>())
        .prop_map(|(key, ed25519)| Signature { key: KeyId::new(key), ed25519 })
}

pub fn signed_root() -> impl Strategy<Value = SignedRoot> {
    let signatures = vec(signature(), 0..9).prop_map(|all| {
        let mut signatures = Signatures::default();
        all.into_iter().for_each(|one| assert!(signatures.add(one)));
        signatures
    });
    (root(), signatures).prop_map(|(root, signatures)| SignedRoot { root, signatures })
}

pub fn proof() -> impl Strategy<Value = FreshnessProof> {
    let node = (node_id(), from_one(), any::<[u8; 32]>());
    (cluster_id(), instance(), epoch(), node, from_one(), digest(), any::<u64>(), extension()).prop_map(
        |(cluster_id, instance, epoch, (id, incarnation, nonce), authority, root, time, extension)| {
            let nonce = Nonce::new(nonce);
            FreshnessProof {
                cluster_id,
                instance,
                epoch,
                id,
                incarnation,
                nonce,
                authority,
                root,
                time,
                extension,
            }
        },
    )
}
