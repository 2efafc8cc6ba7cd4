//! The authority set: the control planes whose signatures count, and how many of them are needed.
//!
//! The trust key signs it offline. Signatures count by member, so a second signature of one member adds nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::Key;
use crate::value::NodeId;

/// A control plane in an authority set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat<K> {
    /// The incarnation that has the roster key.
    pub incarnation: u32,
    /// The public roster key.
    pub roster_key: K,
}

/// The control planes that sign rosters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthoritySet<K> {
    number: u32,
    threshold: usize,
    members: BTreeMap<NodeId, Seat<K>>,
}

/// Why a set cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// The number is 0.
    #[error("the number of an authority set starts at 1")]
    Number,
    /// The threshold is not a majority, or more than all members.
    #[error("the threshold {threshold} is not a majority of {members} control planes")]
    Threshold {
        /// The threshold.
        threshold: usize,
        /// The number of members.
        members: usize,
    },
    /// Two members have one key, so one of them could sign twice.
    #[error("two control planes have the same roster key")]
    SameKey,
}

impl<K: Key> AuthoritySet<K> {
    /// Checks and creates a set.
    ///
    /// # Errors
    /// If the threshold is not a majority, the number is 0, or a key occurs twice.
    pub fn new(
        number: u32,
        threshold: usize,
        members: BTreeMap<NodeId, Seat<K>>,
    ) -> Result<Self, AuthorityError> {
        let keys: BTreeSet<&K> = members.values().map(|seat| &seat.roster_key).collect();
        if number == 0 {
            return Err(AuthorityError::Number);
        }
        if keys.len() != members.len() {
            return Err(AuthorityError::SameKey);
        }
        if threshold > members.len() || threshold <= members.len() / 2 {
            return Err(AuthorityError::Threshold { threshold, members: members.len() });
        }
        Ok(Self { number, threshold, members })
    }

    /// The number; a set replaces every set with a lower one.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How many members must sign.
    pub fn threshold(&self) -> usize {
        self.threshold
    }

    /// The members.
    pub fn members(&self) -> &BTreeMap<NodeId, Seat<K>> {
        &self.members
    }

    /// Whether this incarnation of the node is a member.
    pub fn has(&self, id: NodeId, incarnation: u32) -> bool {
        self.members.get(&id).is_some_and(|seat| seat.incarnation == incarnation)
    }

    /// Whether enough members are among these nodes. For roots: those that have signed. For freshness: those that have
    /// answered a node's nonce; a control plane counts itself.
    pub fn is_quorum(&self, nodes: &BTreeSet<NodeId>) -> bool {
        self.members.keys().filter(|id| nodes.contains(id)).count() >= self.threshold
    }
}
