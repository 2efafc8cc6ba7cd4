//! Freshness, lease and quarantine: when a node may believe that its roster is new enough, and which peers it may have until
//! then.
//!
//! One control plane may be compromised and answer with an old root. Among `t` of them is an honest one, so a roster that is
//! not below any of `t` proofs is not below that of an honest control plane. Proofs count by member of the authority set.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::accept_root::KnownRoster;
use super::codec::Encoded;
use super::records::{Epoch, FreshnessProof};
use super::signature::{Signable, Signature};
use crate::hex32::Nonce;
use crate::value::{NodeId, NodeName};

/// The question of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreshnessQuestion {
    /// The node.
    pub id: NodeId,
    /// Its incarnation.
    pub incarnation: NonZeroU32,
    /// A random value for this question only.
    pub nonce: Nonce,
}

/// What the proofs say about the roster of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freshness {
    /// The members who have proved that the roster is their newest, or is newer than theirs.
    pub proven_by: BTreeSet<NodeName>,
    /// How many are needed.
    pub needed: usize,
    /// The members whose newest root the node does not have, with its epoch: it asks them for it.
    pub ahead: Vec<(NodeName, Epoch)>,
}

impl Freshness {
    /// Whether enough members have proved it.
    pub fn is_fresh(&self) -> bool {
        self.proven_by.len() >= self.needed
    }
}

/// Counts the proofs that answer the question. A proof of a root that the node does not have does not count until it has it.
/// A control plane counts its own memory: `own` is its name, if it is a member and its memory is of this incarnation.
pub fn freshness(
    known: &KnownRoster,
    question: &FreshnessQuestion,
    proofs: &[(FreshnessProof, Signature)],
    own: Option<&NodeName>,
) -> Freshness {
    let (set, root) = (known.authority().body(), known.root());
    let mut proven_by: BTreeSet<NodeName> =
        own.filter(|own| set.member(own).is_some()).into_iter().cloned().collect();
    let mut ahead = Vec::new();
    for (proof, signature) in proofs {
        let answers = proof.cluster_id == root.cluster_id
            && (proof.id, proof.incarnation) == (question.id, question.incarnation)
            && proof.nonce == question.nonce;
        let member = set.members.iter().find(|member| proof.is_signed_by(&member.roster_key, signature));
        let Some(member) = member.filter(|_| answers) else { continue };
        let is_same = (proof.instance, proof.epoch, proof.authority, proof.root)
            == (root.instance, root.epoch, root.authority.number, root.digest());
        let is_other_life = proof.epoch.lineage == root.epoch.lineage && proof.instance != root.instance;
        let is_older = proof.authority <= set.number && proof.epoch < root.epoch && !is_other_life;
        if is_same || is_older {
            proven_by.insert(member.node.clone());
        } else {
            ahead.push((member.node.clone(), proof.epoch));
        }
    }
    Freshness { proven_by, needed: set.threshold.into(), ahead }
}

/// Which peers a member may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerScope {
    /// All peers of its roster.
    All,
    /// Quarantine: the control planes only, until the roster is fresh.
    ControlPlanes,
}

/// The peers of a member at `now`, on the clock that counts from the start of the machine and also while it sleeps
/// (`CLOCK_BOOTTIME`). `fresh_at` is the time of the last proof of freshness since the start; a start begins in quarantine.
pub fn peer_scope(now: Duration, fresh_at: Option<Duration>, max_offline: Duration) -> PeerScope {
    match fresh_at.map(|at| now.saturating_sub(at)) {
        Some(offline) if offline < max_offline => PeerScope::All,
        Some(_) | None => PeerScope::ControlPlanes,
    }
}
