//! The records of a roster as a sorted set with its Merkle root (RFC 9162 §2.1.1), and the merge of changes.
//!
//! A set has the hash of each record, so a change costs the hashes of the inner nodes only. Records are shared between a set
//! and the sets that follow from it.

use std::sync::Arc;

use super::codec::{CodecError, Encoded, Problem, Reader, Writer};
use super::fields::OutOfBounds;
use super::records::{RecordKey, RosterRecord};
use crate::hex32::{Digest, sha256};

/// Maximum number of nodes that a roster has records of.
pub const MAX_NODES: usize = 10_000;

/// Maximum number of revoked operators.
pub const MAX_OPERATORS: usize = 1_000;

/// Records, sorted by kind and id, without duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterRecords {
    leaves: Vec<Leaf>,
    merkle: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Leaf {
    record: Arc<RosterRecord>,
    hash: [u8; 32],
}

/// Why records are not a roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// There are too many of one kind.
    #[error("the roster has too many records")]
    TooMany(#[source] OutOfBounds),
    /// They are not sorted, or one occurs twice.
    #[error("the records of the roster are not sorted, or one occurs twice")]
    Unsorted,
}

impl Leaf {
    fn new(record: RosterRecord) -> Self {
        let hash = sha256(&[&[0], &record.encode()]);
        Self { record: Arc::new(record), hash }
    }

    fn key(&self) -> RecordKey {
        self.record.key()
    }
}

impl Default for RosterRecords {
    fn default() -> Self {
        Self { leaves: Vec::new(), merkle: merkle_root(Vec::new()) }
    }
}

impl RosterRecords {
    /// Takes sorted records.
    pub fn new(records: impl IntoIterator<Item = RosterRecord>) -> Result<Self, RecordsError> {
        Self::of(records.into_iter().map(Leaf::new).collect())
    }

    fn of(leaves: Vec<Leaf>) -> Result<Self, RecordsError> {
        if !leaves.is_sorted_by(|one, next| one.key() < next.key()) {
            return Err(RecordsError::Unsorted);
        }
        let nodes = leaves.iter().filter(|leaf| leaf.record.node().is_some()).count();
        OutOfBounds::check("the number of nodes", nodes, 0, MAX_NODES).map_err(RecordsError::TooMany)?;
        let operators = leaves.len().saturating_sub(nodes);
        OutOfBounds::check("the number of revoked operators", operators, 0, MAX_OPERATORS)
            .map_err(RecordsError::TooMany)?;
        let merkle = merkle_root(leaves.iter().map(|leaf| leaf.hash).collect());
        Ok(Self { leaves, merkle })
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.leaves.is_empty()
    }

    /// All records in their order.
    pub fn iter(&self) -> impl Iterator<Item = &RosterRecord> {
        self.leaves.iter().map(|leaf| leaf.record.as_ref())
    }

    /// The record with this key.
    pub fn get(&self, key: &RecordKey) -> Option<&RosterRecord> {
        let found = self.leaves.binary_search_by_key(key, Leaf::key).ok()?;
        self.leaves.get(found).map(|leaf| leaf.record.as_ref())
    }

    /// The Merkle root.
    pub const fn merkle(&self) -> &Digest {
        &self.merkle
    }

    /// These records, with those of `changes` added or in place of the ones with the same key.
    ///
    /// # Errors
    /// If there would be too many.
    pub fn merge(&self, changes: &Self) -> Result<Self, RecordsError> {
        let mut merged = Vec::with_capacity(self.len().saturating_add(changes.len()));
        let (mut old, mut new) = (self.leaves.iter().peekable(), changes.leaves.iter().peekable());
        loop {
            let next = match (old.peek(), new.peek()) {
                (Some(one), Some(other)) if one.key() < other.key() => old.next(),
                (Some(one), Some(other)) => {
                    if one.key() == other.key() {
                        old.next();
                    }
                    new.next()
                }
                (Some(_), None) => old.next(),
                (None, _) => new.next(),
            };
            match next {
                Some(leaf) => merged.push(leaf.clone()),
                None => return Self::of(merged),
            }
        }
    }

    /// The records of this set that are not in `old` in the same form.
    pub fn changes_since(&self, old: &Self) -> Self {
        let is_new = |leaf: &&Leaf| {
            let found = old.leaves.binary_search_by_key(&leaf.key(), Leaf::key).ok();
            found.and_then(|at| old.leaves.get(at)).is_none_or(|known| known.hash != leaf.hash)
        };
        let leaves: Vec<Leaf> = self.leaves.iter().filter(is_new).cloned().collect();
        let merkle = merkle_root(leaves.iter().map(|leaf| leaf.hash).collect());
        Self { leaves, merkle }
    }

    /// The first record that `new` does not have, or has lower than here; `None` if `self ⊑ new` for all records.
    pub fn first_lowered(&self, new: &Self) -> Option<&RosterRecord> {
        let mut others = new.leaves.iter().peekable();
        let is_lowered = |leaf: &&Leaf| {
            while others.next_if(|other| other.key() < leaf.key()).is_some() {}
            let other = others.next_if(|other| other.key() == leaf.key());
            other.is_none_or(|other| other.hash != leaf.hash && !leaf.record.may_become(&other.record))
        };
        self.leaves.iter().find(is_lowered).map(|leaf| leaf.record.as_ref())
    }
}

/// The Merkle root of leaf hashes. A node without a sibling moves up a level unchanged, which gives the tree of the standard:
/// its left part has the largest power of two of leaves.
fn merkle_root(mut level: Vec<[u8; 32]>) -> Digest {
    while level.len() > 1 {
        let parents = level.chunks(2).map(|pair| match pair {
            [left, right] => sha256(&[&[1], left, right]),
            [single, ..] => *single,
            [] => [0; 32],
        });
        level = parents.collect();
    }
    Digest::new(level.first().copied().unwrap_or_else(|| sha256(&[])))
}

impl Encoded for RosterRecords {
    fn write(&self, to: &mut Writer) {
        to.length(self.len());
        self.iter().for_each(|record| record.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let at = from.offset();
        let most = MAX_NODES + MAX_OPERATORS;
        let leaves: Result<Vec<Leaf>, CodecError> =
            (0..from.length("records", 0, most)?).map(|_| RosterRecord::read(from).map(Leaf::new)).collect();
        let problem = |error| match error {
            RecordsError::TooMany(OutOfBounds { found, least, most, .. }) => {
                Problem::Length { found, least, most }
            }
            RecordsError::Unsorted => Problem::Unsorted,
        };
        Self::of(leaves?).map_err(|error| Reader::error("records", at, problem(error)))
    }
}

#[cfg(test)]
mod tests;
