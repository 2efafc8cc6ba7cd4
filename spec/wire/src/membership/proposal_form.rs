//! What a control plane checks about the bytes of a proposed root, beside [`super::judge`], which sees what the protocol decides
//! about and not the bytes.
//!
//! The Merkle root and the count are those of the records, the authority set is named by its digest, and nothing changes that
//! `judge` does not see: names, extensions, and values for pre-shared keys. With `judge` this covers every byte of a record.
//! Otherwise a compromised control plane could put bytes of its choice into the roster of every node.

use super::accept_root::KnownRoster;
use super::fields::{Extension, SharingValue};
use super::records::{AuthorityRef, MemberKeys, NodeEntry, RecordKey, RosterRecord, RosterRoot};
use super::roster::RosterRecords;
use crate::value::{NodeId, NodeName, PlaneId};

/// Why the bytes of a proposed root are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormRefusal {
    /// The authority set has another number or digest than the newest one that the signer knows.
    #[error("the proposed root names another authority set than the newest known one")]
    Authority,
    /// Merkle root or count are not those of the records.
    #[error("the records are not those of the proposed root")]
    Records,
    /// The root has an extension that the accepted one does not have.
    #[error("the proposed root changes its extension, which this release does not know")]
    Root,
    /// A record has another name than before, or than in the configuration.
    #[error("the proposed root changes the name of the node with id {0}")]
    Name(NodeId),
    /// A record changes in a field that this release does not know.
    #[error("the proposed root changes a field of a record which this release does not know")]
    Field(RecordKey),
}

/// Checks the form of a proposed root. `authority` is the newest authority set that the signer knows, `name` is the name of a
/// node in its configuration.
///
/// # Errors
/// The first reason against it.
pub fn check_form(
    known: &KnownRoster,
    authority: AuthorityRef,
    name: impl Fn(NodeId) -> Option<NodeName>,
    (root, records): (&RosterRoot, &RosterRecords),
) -> Result<(), FormRefusal> {
    if root.authority != authority {
        return Err(FormRefusal::Authority);
    }
    if *records.merkle() != root.merkle || u32::try_from(records.len()) != Ok(root.count) {
        return Err(FormRefusal::Records);
    }
    if root.extension != known.root().extension {
        return Err(FormRefusal::Root);
    }
    records.changes_since(known.records()).iter().try_for_each(|new| {
        let old = known.records().get(&new.key());
        match new {
            RosterRecord::Node(entry) => {
                let old = old.and_then(RosterRecord::node);
                let expected = old.map(|old| old.node.clone()).or_else(|| name(entry.id));
                if expected.as_ref() != Some(&entry.node) {
                    return Err(FormRefusal::Name(entry.id));
                }
                if is_plain(old, entry) { Ok(()) } else { Err(FormRefusal::Field(new.key())) }
            }
            // Its key does not change, so only the extension can.
            RosterRecord::Operator(entry) => {
                let is_plain = old.is_none() && entry.extension == Extension::default();
                if is_plain { Ok(()) } else { Err(FormRefusal::Field(new.key())) }
            }
        }
    })
}

/// Whether the unknown fields are as they were; those of a new record, or of a new incarnation, are empty.
fn is_plain(old: Option<&NodeEntry>, new: &NodeEntry) -> bool {
    let old = old.filter(|old| old.incarnation == new.incarnation);
    let nothing = Extension::default();
    let old_keys = old.and_then(NodeEntry::member);
    let value = |keys: Option<&MemberKeys>, plane: &PlaneId| -> SharingValue {
        keys.and_then(|keys| keys.planes.get().get(plane)).map(|entry| entry.psk.clone()).unwrap_or_default()
    };
    let planes = new.member().map(|keys| keys.planes.get()).into_iter().flatten();
    new.extension == *old.map_or(&nothing, |old| &old.extension)
        && planes.into_iter().all(|(plane, entry)| entry.psk == value(old_keys, plane))
}
