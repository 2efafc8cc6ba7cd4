//! A cluster of three control planes and two workers: its keys, statements, and roots.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use kubedos_wire::hex32::{ClusterId, Digest, InstanceId, Nonce, PublicKey, sha256};
use kubedos_wire::membership::accept_root::{
    KnownRoster, OfferedRecords, RootContext, RootOffer, RootRefusal, RosterFloors, accept_root,
};
use kubedos_wire::membership::codec::Encoded;
use kubedos_wire::membership::fields::{Extension, PlaneMap};
use kubedos_wire::membership::genesis_proof::{GenesisProof, ProofRefusal};
use kubedos_wire::membership::keys::{PlaneKey, SignerKey};
use kubedos_wire::membership::records::{
    EnrolmentRequest, Epoch, GenesisHello, NodeEntry, RosterRecord, RosterRoot, SignedRoot, instance,
};
use kubedos_wire::membership::roster::RosterRecords;
use kubedos_wire::membership::signature::{Signable, Signatures};
use kubedos_wire::membership::statements::{
    AuthorityMember, AuthorityStatement, Body, GenesisToken, NamedIncarnation, WithDigest, open,
};
use kubedos_wire::node::Role;
use kubedos_wire::statement::{self, Signer};
use kubedos_wire::value::{NodeId, NodeName, WireguardKey};
use ring::signature::{Ed25519KeyPair, KeyPair};

pub const CLUSTER: ClusterId = ClusterId::new([0xc1; 32]);
pub const TRUST: &str = "trust";
pub const CONTROL_PLANES: [&str; 3] = ["cp-1", "cp-2", "cp-3"];

/// The private key that derives from a text.
pub struct Key(Ed25519KeyPair);

impl Key {
    pub fn new(text: &str) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&sha256(&[text.as_bytes()])).unwrap())
    }

    /// The roster key of a control plane.
    pub fn roster(node: &str) -> Self {
        Self::new(&format!("roster key of {node}"))
    }

    pub fn signer(&self) -> SignerKey {
        SignerKey::new(self.public_key()).unwrap()
    }
}

impl Signer for Key {
    type Error = std::io::Error;

    fn public_key(&self) -> PublicKey {
        PublicKey::new(self.0.public_key().as_ref().try_into().unwrap())
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], std::io::Error> {
        Ok(self.0.sign(message).as_ref().try_into().unwrap())
    }
}

pub fn one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

pub fn name(node: &str) -> NodeName {
    node.parse().unwrap()
}

/// A key on a plane; any reduced number is one.
pub fn plane_key(text: &str) -> PlaneKey {
    let mut bytes = sha256(&[text.as_bytes()]);
    bytes[31] &= 0x3f;
    PlaneKey::new(WireguardKey::new(bytes)).unwrap()
}

fn planes(node: &str) -> PlaneMap<PlaneKey> {
    let plane = |plane: &str| (plane.parse().unwrap(), plane_key(&format!("{node} on {plane}")));
    PlaneMap::new(["wg1", "wg2", "wg3"].map(plane).into()).unwrap()
}

/// A member that has the name and the id, with its first keys.
pub fn node(node: &str, id: u32) -> NodeEntry {
    enrolment(node, id, 1).entry(Some(format!("192.0.2.{id}").parse().unwrap()))
}

/// The request that a member has made.
pub fn request(entry: &NodeEntry) -> EnrolmentRequest {
    enrolment(entry.node.as_str(), entry.id.get(), entry.incarnation.get())
}

pub fn enrolment(node: &str, id: u32, incarnation: u32) -> EnrolmentRequest {
    let secret = format!("{node}.{incarnation}");
    EnrolmentRequest {
        cluster_id: CLUSTER,
        instance: InstanceId::new([0x11; 32]),
        id: NodeId::new(id).unwrap(),
        node: name(node),
        incarnation: one(incarnation),
        role: if node.starts_with("cp") { Role::ControlPlane } else { Role::Worker },
        node_key: Key::new(&format!("node key of {secret}")).signer(),
        planes: planes(&secret),
        extension: Extension::default(),
    }
}

pub fn hello(node: &str, id: u32, token: Digest, disk: u8) -> GenesisHello {
    GenesisHello {
        cluster_id: CLUSTER,
        token,
        id: NodeId::new(id).unwrap(),
        node: name(node),
        incarnation: one(1),
        nonce: Nonce::new([disk; 32]),
        node_key: Key::new(&format!("node key of {node} on disk {disk}")).signer(),
        planes: planes(&format!("{node} on disk {disk}")),
        extension: Extension::default(),
    }
}

/// Signs a statement with the key and reads it again as everybody does.
pub fn stated<B: Body>(body: B, key: &str) -> WithDigest<B> {
    let key = Key::new(key);
    let (emitted, text) = WithDigest::emit(body).unwrap();
    let bytes = statement::write(B::DOMAIN, &text, &[&key]).unwrap();
    let (read, signer) = open(&bytes, &[key.public_key()], CLUSTER).unwrap();
    assert!(signer == key.public_key() && read.digest() == emitted.digest());
    read
}

pub fn authority_body(number: u32, members: &[&str]) -> AuthorityStatement {
    let member = |node: &&str| AuthorityMember {
        node: name(node),
        incarnation: one(1),
        roster_key: Key::roster(node).signer(),
        issuer: Digest::new(sha256(&[b"issuer of ", node.as_bytes()])),
    };
    let threshold = u8::try_from(members.len() / 2 + 1).unwrap();
    let members = members.iter().map(member).collect();
    AuthorityStatement { cluster_id: CLUSTER, number: one(number), threshold, members }
}

pub fn authority(number: u32, members: &[&str]) -> WithDigest<AuthorityStatement> {
    stated(authority_body(number, members), TRUST)
}

pub fn token_body(lineage: u32, authority: &WithDigest<AuthorityStatement>, planes: &[&str]) -> GenesisToken {
    let named = |node: &&str| NamedIncarnation { node: name(node), incarnation: one(1) };
    GenesisToken {
        cluster_id: CLUSTER,
        lineage: one(lineage),
        epoch_floor: 0,
        authority: authority.reference(),
        control_planes: planes.iter().map(named).collect(),
        revoked: Vec::new(),
        carry: None,
        arm: None,
    }
}

/// The signatures of these control planes, each by its own roster key.
pub fn signatures<R: Signable>(record: &R, signers: &[&str]) -> Signatures {
    let mut signatures = Signatures::default();
    for signer in signers {
        assert!(signatures.add(record.sign(&Key::roster(signer)).unwrap()));
    }
    signatures
}

pub fn signed(root: RosterRoot, signers: &[&str]) -> SignedRoot {
    let signatures = signatures(&root, signers);
    SignedRoot { root, signatures }
}

/// Sorted records of these nodes.
pub fn records(nodes: impl IntoIterator<Item = NodeEntry>) -> RosterRecords {
    let sorted: BTreeMap<_, _> = nodes.into_iter().map(|node| (node.id, node)).collect();
    RosterRecords::new(sorted.into_values().map(RosterRecord::Node)).unwrap()
}

/// The first root of a lineage that starts after `epoch_floor`, and its records. The numbers of the disks make the hellos
/// differ.
pub fn first_root(token: &WithDigest<GenesisToken>, disks: [u8; 3]) -> (RosterRoot, RosterRecords) {
    let numbered = CONTROL_PLANES.iter().zip(1_u32..).zip(disks);
    let hellos: BTreeMap<NodeId, GenesisHello> = numbered
        .map(|((node, id), disk)| (NodeId::new(id).unwrap(), hello(node, id, token.digest(), disk)))
        .collect();
    let records = records(hellos.values().map(|hello| hello.entry(None)));
    let said = token.body();
    let root = RosterRoot {
        cluster_id: CLUSTER,
        instance: instance(&token.digest(), &hellos),
        epoch: Epoch { lineage: said.lineage, n: said.epoch_floor + 1 },
        authority: said.authority,
        count: u32::try_from(records.len()).unwrap(),
        merkle: *records.merkle(),
        generation_floor: 0,
        extension: Extension::default(),
    };
    (root, records)
}

/// The genesis of a lineage.
pub struct Genesis {
    pub authority: WithDigest<AuthorityStatement>,
    pub token: WithDigest<GenesisToken>,
    pub root: RosterRoot,
    pub records: RosterRecords,
}

impl Genesis {
    pub fn new(lineage: u32, epoch_floor: u64, disks: [u8; 3]) -> Self {
        let authority = authority(1, &CONTROL_PLANES);
        let body = GenesisToken { epoch_floor, ..token_body(lineage, &authority, &CONTROL_PLANES) };
        let token = stated(body, TRUST);
        let (root, records) = first_root(&token, disks);
        Self { authority, token, root, records }
    }

    pub fn proof(&self, signers: &[&str]) -> Result<GenesisProof, ProofRefusal> {
        let first = signed(self.root.clone(), signers);
        GenesisProof::new(self.token.clone(), self.authority.clone(), first)
    }

    /// The offer of the first root, with everything that a blank node needs.
    pub fn offer(&self) -> RootOffer {
        RootOffer {
            root: signed(self.root.clone(), &CONTROL_PLANES),
            records: OfferedRecords::All(self.records.clone()),
            authority: Some(self.authority.clone()),
            genesis: Some(self.proof(&CONTROL_PLANES).unwrap()),
        }
    }
}

/// A root that follows another one, before it is signed.
#[derive(Clone)]
pub struct Next {
    pub root: RosterRoot,
    pub changes: RosterRecords,
}

/// The next root with these changed records.
pub fn next(known: &KnownRoster, changes: impl IntoIterator<Item = RosterRecord>) -> Next {
    let mut sorted: Vec<_> = changes.into_iter().collect();
    sorted.sort_by_key(RosterRecord::key);
    let changes = RosterRecords::new(sorted).unwrap();
    let merged = known.records().merge(&changes).unwrap();
    let epoch = Epoch { n: known.epoch().n + 1, ..known.epoch() };
    let count = u32::try_from(merged.len()).unwrap();
    Next { root: RosterRoot { epoch, count, merkle: *merged.merkle(), ..known.root().clone() }, changes }
}

impl Next {
    pub fn offer(&self, signers: &[&str]) -> RootOffer {
        RootOffer {
            root: signed(self.root.clone(), signers),
            records: OfferedRecords::Changes(self.changes.clone()),
            authority: None,
            genesis: None,
        }
    }
}

/// What a node decides that has this roster.
pub fn decide(known: Option<&KnownRoster>, offer: RootOffer) -> Result<KnownRoster, RootRefusal> {
    accept_root(RootContext { cluster_id: CLUSTER, floors: RosterFloors::default(), known }, offer)
}

/// The roster of the first root.
pub fn started() -> KnownRoster {
    decide(None, Genesis::new(1, 0, [1, 2, 3]).offer()).unwrap()
}

/// The roster with these records in addition, signed by two control planes.
pub fn after(known: &KnownRoster, changes: impl IntoIterator<Item = RosterRecord>) -> KnownRoster {
    decide(Some(known), next(known, changes).offer(&["cp-1", "cp-2"])).unwrap()
}

/// The digest of a root.
pub fn digest_of(known: &KnownRoster) -> Digest {
    known.root().digest()
}
