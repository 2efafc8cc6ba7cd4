//! The records of a roster: one for each node, one for each revoked operator. They are not signed one by one: the roster
//! root covers them by its Merkle root.
//!
//! A revoked incarnation has no keys. So there is one revoked record of an incarnation, whatever enrolments of it anybody has
//! seen, and a node can be revoked that was never a member. In the fixed binary form its node key and request are zero (zero
//! is the encoding of no key), it has no endpoint, and its list of planes is empty.

use std::num::NonZeroU32;

use crate::hex32::Digest;
use crate::membership::codec::{CodecError, Encoded, Reader, Writer};
use crate::membership::fields::{Extension, PlaneMap, SharingValue, VERSION};
use crate::membership::keys::{PlaneKey, SignerKey};
use crate::node::Role;
use crate::value::{Endpoint, NodeId, NodeName};

/// The largest generation of a configuration: TOML has signed integers of 64 bits.
pub const MAX_GENERATION: u64 = i64::MAX.unsigned_abs();

/// A record of a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RosterRecord {
    /// A node that is or was a member, or was revoked.
    Node(NodeEntry),
    /// An operator who was revoked.
    Operator(OperatorEntry),
}

/// What a record is about; records are sorted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKey {
    /// The node with this id.
    Node(NodeId),
    /// The operator with this signing key.
    Operator(SignerKey),
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// Its number; never changes.
    pub id: NodeId,
    /// Its name; never changes.
    pub node: NodeName,
    /// Its role; never changes.
    pub role: Role,
    /// Its newest incarnation.
    pub incarnation: NonZeroU32,
    /// Whether this incarnation is a member.
    pub standing: Standing,
    /// For later releases.
    pub extension: Extension,
}

/// Whether an incarnation is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is a member with these keys.
    Member(MemberKeys),
    /// It never becomes a member again.
    Revoked,
}

/// The keys and the address of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberKeys {
    /// The key that the node created for itself; fixed within an incarnation.
    pub node_key: SignerKey,
    /// The digest of its enrolment request, or of its hello in a genesis; fixed within an incarnation.
    pub request: Digest,
    /// The address at which peers reach it; fixed within an incarnation.
    pub endpoint: Option<Endpoint>,
    /// Its keys on every plane of the cluster.
    pub planes: PlaneMap<PlaneEntry>,
}

/// The keys of a member on one plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneEntry {
    /// Counts the changes of the other fields, from 1.
    pub sequence: u32,
    /// The key.
    pub key: PlaneKey,
    /// The key that replaces it, while it rotates.
    pub next: Option<PlaneKey>,
    /// The value from which pre-shared keys are derived.
    pub psk: SharingValue,
}

/// A revoked operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorEntry {
    /// The operator's signing key.
    pub key: SignerKey,
    /// For later releases.
    pub extension: Extension,
}

impl PlaneEntry {
    /// The sequence of the keys with which an incarnation becomes a member.
    pub const FIRST: u32 = 1;

    /// The keys of a new member.
    pub fn first(key: PlaneKey) -> Self {
        Self { sequence: Self::FIRST, key, next: None, psk: SharingValue::default() }
    }
}

impl RosterRecord {
    /// What the record is about.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Node(entry) => RecordKey::Node(entry.id),
            Self::Operator(entry) => RecordKey::Operator(entry.key),
        }
    }

    /// The node, if it is the record of one.
    pub fn node(&self) -> Option<&NodeEntry> {
        match self {
            Self::Node(entry) => Some(entry),
            Self::Operator(_) => None,
        }
    }
}

impl NodeEntry {
    /// The keys, if it is a member.
    pub fn member(&self) -> Option<&MemberKeys> {
        match &self.standing {
            Standing::Member(keys) => Some(keys),
            Standing::Revoked => None,
        }
    }
}

/// The kinds of records.
const NODE: u8 = 1;
const OPERATOR: u8 = 2;

/// The states of a node.
const MEMBER: u8 = 1;
const REVOKED: u8 = 2;

impl Encoded for RosterRecord {
    fn write(&self, to: &mut Writer) {
        to.u8(VERSION);
        match self {
            Self::Node(entry) => {
                to.u8(NODE);
                entry.write(to);
            }
            Self::Operator(entry) => {
                to.u8(OPERATOR);
                to.raw(entry.key.as_bytes());
                to.extension(&entry.extension);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        from.version()?;
        let at = from.offset();
        match from.u8("kind")? {
            NODE => NodeEntry::read(from).map(Self::Node),
            OPERATOR => {
                let (key, extension) = (from.signer_key("key")?, from.extension()?);
                Ok(Self::Operator(OperatorEntry { key, extension }))
            }
            _ => from.valid("kind", at, None),
        }
    }
}

impl NodeEntry {
    fn write(&self, to: &mut Writer) {
        to.u32(self.id.get());
        to.text(self.node.as_str());
        to.role(self.role);
        to.u32(self.incarnation.get());
        match &self.standing {
            Standing::Member(keys) => {
                to.u8(MEMBER);
                to.raw(keys.node_key.as_bytes());
                to.raw(keys.request.as_bytes());
                to.option(keys.endpoint, Writer::endpoint);
                to.planes(&keys.planes, |to, plane| plane.write(to));
            }
            Standing::Revoked => {
                to.u8(REVOKED);
                to.raw(&[0; 64]);
                to.length(0);
                to.length(0);
            }
        }
        to.extension(&self.extension);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (id, node, role) = (from.node_id()?, from.text("node")?, from.role()?);
        let incarnation = from.positive("incarnation")?;
        let at = from.offset();
        let standing = match from.u8("state")? {
            MEMBER => Standing::Member(MemberKeys {
                node_key: from.signer_key("node_key")?,
                request: from.digest("request")?,
                endpoint: from.option("endpoint", Reader::endpoint)?,
                planes: from.planes(PlaneEntry::read)?,
            }),
            REVOKED => {
                let at = from.offset();
                let zero = (from.array("node_key")? == [0; 64]).then_some(());
                from.valid("node_key", at, zero)?;
                from.length("endpoint", 0, 0)?;
                from.length("planes", 0, 0)?;
                Standing::Revoked
            }
            _ => from.valid("state", at, None)?,
        };
        Ok(Self { id, node, role, incarnation, standing, extension: from.extension()? })
    }
}

impl PlaneEntry {
    fn write(&self, to: &mut Writer) {
        to.u32(self.sequence);
        to.raw(self.key.as_bytes());
        to.option(self.next, |to, next| to.raw(next.as_bytes()));
        to.sharing_value(&self.psk);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            sequence: from.u32("sequence")?,
            key: from.plane_key("key")?,
            next: from.option("next", |from| from.plane_key("next"))?,
            psk: from.sharing_value()?,
        })
    }
}
