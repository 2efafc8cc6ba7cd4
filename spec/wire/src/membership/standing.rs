//! Records of nodes, and which record may follow which.
//!
//! The order is the reason why no revocation is ever taken back: incarnation first, then revoked after member, then the
//! sequences of plane keys. Whatever is signed, replayed or restored, nobody accepts a lower record than the one it has.

use std::collections::{BTreeMap, BTreeSet};

use super::Key;
use crate::node::Role;
use crate::value::{Endpoint, NodeId, PlaneId};

/// A node in the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<K> {
    /// Its role; never changes.
    pub role: Role,
    /// Its newest incarnation.
    pub incarnation: u32,
    /// Whether this incarnation is a member.
    pub standing: Standing<K>,
}

/// Whether an incarnation is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing<K> {
    /// It is a member with these keys.
    Member(Identity<K>),
    /// It never becomes a member again.
    Revoked,
}

/// The keys of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity<K> {
    /// The key that the node created for itself; fixed within an incarnation.
    pub node_key: K,
    /// The digest of its enrolment request; fixed within an incarnation.
    pub request: K,
    /// The address at which peers reach it; fixed within an incarnation.
    pub endpoint: Option<Endpoint>,
    /// Its keys on every plane of the cluster.
    pub planes: BTreeMap<PlaneId, PlaneKeys<K>>,
}

/// The keys of a member on one plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneKeys<K> {
    /// Counts the changes of the other two fields.
    pub sequence: u32,
    /// The key.
    pub key: K,
    /// The key that replaces it, while it rotates.
    pub next: Option<K>,
}

/// What a roster says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content<K> {
    /// The nodes that were ever members or are revoked.
    pub nodes: BTreeMap<NodeId, Record<K>>,
    /// The signing keys of operators that are revoked.
    pub revoked_operators: BTreeSet<K>,
    /// The lowest generation that a node may have.
    pub generation_floor: u64,
}

impl<K> Default for Content<K> {
    fn default() -> Self {
        Self { nodes: BTreeMap::new(), revoked_operators: BTreeSet::new(), generation_floor: 0 }
    }
}

impl<K: Key> Record<K> {
    /// Whether `new` may replace this record.
    pub fn may_become(&self, new: &Self) -> bool {
        if self.role != new.role || new.incarnation < self.incarnation {
            return false;
        }
        if new.incarnation > self.incarnation {
            return true;
        }
        match (&self.standing, &new.standing) {
            (_, Standing::Revoked) => true,
            (Standing::Revoked, Standing::Member(_)) => false,
            (Standing::Member(old), Standing::Member(new)) => old.may_become(new),
        }
    }
}

impl<K: Key> Identity<K> {
    fn may_become(&self, new: &Self) -> bool {
        let pairs = || self.planes.values().zip(new.planes.values());
        self.node_key == new.node_key
            && self.request == new.request
            && self.endpoint == new.endpoint
            && self.planes.keys().eq(new.planes.keys())
            && pairs().all(|(old, new)| new.sequence > old.sequence || new == old)
    }

    /// All keys that identify the member: no other one may have any of them.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        let planes = self.planes.values().flat_map(|plane| std::iter::once(&plane.key).chain(&plane.next));
        std::iter::once(&self.node_key).chain(planes)
    }
}

impl<K: Key> Content<K> {
    /// Whether `new` may replace this content: nothing is missing, and nothing is lower.
    pub fn may_become(&self, new: &Self) -> bool {
        let nodes =
            self.nodes.iter().all(|(id, old)| new.nodes.get(id).is_some_and(|new| old.may_become(new)));
        nodes
            && self.revoked_operators.is_subset(&new.revoked_operators)
            && self.generation_floor <= new.generation_floor
    }
}
