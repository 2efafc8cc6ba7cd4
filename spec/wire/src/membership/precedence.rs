//! Which roster record may follow which: the order `⊑` of `docs/protocol.md`, section 6, for the records as they are encoded.
//!
//! [`super::Record`] has the order of what the protocol decides about. Here it gets what never changes (id and name), and what
//! counts with a plane's sequence (`psk`). The extension is not compared, because a later release decides how it changes;
//! apart from it the order is partial (reflexive, antisymmetric, transitive).

use super::records::{MemberKeys, NodeEntry, RosterRecord};

impl RosterRecord {
    /// Whether a party that knows this record may accept `new` in its place: `self ⊑ new`.
    pub fn may_become(&self, new: &Self) -> bool {
        match (self, new) {
            (Self::Node(old), Self::Node(new)) => old.may_become(new),
            (Self::Operator(old), Self::Operator(new)) => old.key == new.key,
            (Self::Node(_), Self::Operator(_)) | (Self::Operator(_), Self::Node(_)) => false,
        }
    }
}

impl NodeEntry {
    /// Whether a party that knows this record may accept `new` in its place.
    pub fn may_become(&self, new: &Self) -> bool {
        let same_values = |old: &MemberKeys, new: &MemberKeys| {
            let pairs = old.planes.get().values().zip(new.planes.get().values());
            pairs.into_iter().all(|(old, new)| old.sequence != new.sequence || old.psk == new.psk)
        };
        let is_same_incarnation = self.incarnation == new.incarnation;
        (self.id, &self.node) == (new.id, &new.node)
            && self.record().may_become(&new.record())
            && self
                .member()
                .zip(new.member())
                .is_none_or(|(old, new)| !is_same_incarnation || same_values(old, new))
    }

    /// Whether the two are different enrolments of one incarnation. Whoever sees both treats the incarnation as revoked.
    pub fn is_double_enrolment(&self, other: &Self) -> bool {
        let is_other = |one: &MemberKeys, other: &MemberKeys| {
            (one.node_key, one.request) != (other.node_key, other.request)
        };
        let same = (self.id, self.incarnation) == (other.id, other.incarnation);
        same && self.member().zip(other.member()).is_some_and(|(one, other)| is_other(one, other))
    }
}
