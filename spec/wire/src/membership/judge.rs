//! What a control plane checks before it signs a roster: the facts, the proposal, and the closed list of checks.
//!
//! [`judge`] is the only implementation. One compromised control plane is stopped here: a root needs the signatures of a
//! majority, so at least one honest control plane has applied this list to its own memory. The checks are in
//! `judgement.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::{AuthoritySet, Content, Context, Key};
use crate::node::{OperatorRole, Role};
use crate::value::{Endpoint, NodeId, PlaneId};

/// Maximum number of records that one root changes; a transaction of etcd has at most 128 operations.
pub const MAX_CHANGES: usize = 64;

/// How far an epoch may be above the highest known one. Without this bound, one proposal could use up all epochs.
pub const MAX_EPOCH_STEP: u64 = 1000;

/// A value and the key whose signature of it was verified. Only the code that verifies signatures creates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<K, T> {
    /// The value.
    pub value: T,
    /// The key.
    pub by: K,
}

/// The right of one incarnation of a node to enrol; a seed key signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant<K> {
    /// The node.
    pub id: NodeId,
    /// The incarnation.
    pub incarnation: u32,
    /// The role.
    pub role: Role,
    /// The key that signs the request; `None` if an operator must approve the request.
    pub voucher_key: Option<K>,
}

/// The request of a node to become a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request<K> {
    /// The life of the cluster that the node wants to join.
    pub context: Context<K>,
    /// The node.
    pub id: NodeId,
    /// The incarnation.
    pub incarnation: u32,
    /// The key that the node created for itself.
    pub node_key: K,
    /// Its keys by plane.
    pub planes: BTreeMap<PlaneId, K>,
    /// The digest of the encoded request.
    pub digest: K,
}

/// Why an incarnation is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RevocationCause<K> {
    /// An administrator's order.
    Order(Signed<K, Revocation>),
    /// An operator replaces a worker.
    Replacement(Signed<K, Revocation>),
    /// The signers have had no session with a worker for the declared time.
    Lost,
}

/// The incarnations of a node that an order revokes: this one and all earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// The node.
    pub id: NodeId,
    /// The newest incarnation that is revoked.
    pub incarnation: u32,
}

/// A change of a plane key; the node key signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange<K> {
    /// The node.
    pub id: NodeId,
    /// The incarnation.
    pub incarnation: u32,
    /// The plane.
    pub plane: PlaneId,
    /// The sequence after the change.
    pub sequence: u32,
    /// What changes.
    pub step: KeyStep<K>,
}

/// A step of a rotation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyStep<K> {
    /// The plane gets a next key.
    Announce(K),
    /// The next key becomes the key.
    Retire,
    /// The next key is given up.
    Abort,
}

/// Why a record changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence<K> {
    /// An incarnation becomes a member.
    Enrolment {
        /// Its right to enrol.
        grant: Signed<K, Grant<K>>,
        /// What it asks for.
        request: Request<K>,
        /// The keys whose signatures of the request were verified.
        signers: BTreeSet<K>,
        /// An operator's approval of a request with this digest, for grants without voucher.
        approval: Option<Signed<K, K>>,
    },
    /// An incarnation ends.
    Revocation(RevocationCause<K>),
    /// A plane key changes.
    Keys(Signed<K, KeyChange<K>>),
}

/// What the configuration of the signer says about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its role.
    pub role: Role,
    /// The planes, and whether the node's key on it may rotate.
    pub planes: BTreeMap<PlaneId, bool>,
    /// The address at which peers reach it.
    pub endpoint: Option<Endpoint>,
}

/// What a control plane knows by itself: from its configuration, its STATE and its own observation, never from etcd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Knowledge<K> {
    /// The life of the cluster.
    pub context: Context<K>,
    /// The newest authority set.
    pub authority: AuthoritySet<K>,
    /// The number of the authority set under which the accepted root was signed.
    pub accepted_authority: u32,
    /// The control plane itself, with the incarnation of its seed.
    pub own: (NodeId, u32),
    /// The incarnation for which its memory was created; `None` if it has no memory, because STATE was lost.
    pub memory: Option<u32>,
    /// The highest epoch that it has signed, or seen in a valid root.
    pub top: u64,
    /// The newest content that it has accepted.
    pub accepted: Content<K>,
    /// The grants that are armed here, by node, with their incarnation; expired ones are absent.
    pub armed: BTreeMap<NodeId, u32>,
    /// The request that it has signed, by node, for the newest incarnation.
    pub requests: BTreeMap<NodeId, (u32, K)>,
    /// Workers that have had no session with this control plane for the declared time.
    pub lost: BTreeSet<NodeId>,
    /// Planes whose key changed a short time ago.
    pub resting: BTreeSet<(NodeId, PlaneId)>,
    /// Whether it may sign its own content again with a higher epoch: it has seen a valid root with other content whose
    /// epoch is not lower than the accepted one. Without this, a node that accepted that root would wait for the next change.
    pub may_repeat: bool,
    /// The nodes of its configuration.
    pub declared: BTreeMap<NodeId, Declared>,
    /// The keys that sign grants.
    pub seed_keys: BTreeSet<K>,
    /// The signing keys of the operators.
    pub operators: BTreeMap<K, OperatorRole>,
    /// Keys that no member may have: those of operators' machines, and points of small order.
    pub reserved: BTreeSet<K>,
}

/// A root that a control plane is asked to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal<K> {
    /// The life of the cluster.
    pub context: Context<K>,
    /// The number of the authority set.
    pub authority: u32,
    /// The epoch.
    pub epoch: u64,
    /// The content after the changes.
    pub content: Content<K>,
    /// Evidence for each changed record.
    pub evidence: BTreeMap<NodeId, Evidence<K>>,
    /// For each operator that becomes revoked, the key that ordered it.
    pub revoked_by: BTreeMap<K, K>,
    /// The order that raises the generation floor.
    pub floor: Option<Signed<K, u64>>,
}

/// A check, in the order of the checks. `docs/protocol.md` has the attack that each one stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Lineage, instance and authority set are the newest ones that it knows.
    Context,
    /// It is a member of the authority set, and its memory is that of this incarnation.
    Memory,
    /// The epoch is new, and not far above the highest known one.
    Epoch,
    /// Nothing that it knows is taken back.
    Order,
    /// Every change has evidence that gives exactly this change.
    Evidence,
    /// The grant of a new member is armed here, or its request is approved.
    Armed,
    /// It has signed no other request of this incarnation.
    OneRequest,
    /// No key belongs to two parties.
    Keys,
    /// Role, planes and endpoint are those of its configuration.
    Declared,
    /// A new control plane is a member of the authority set.
    ControlPlanes,
    /// Enough members of the authority set remain.
    Quorum,
    /// Something changes, and not too much.
    Size,
}

/// Why a control plane does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proposed roster is not signed: the check {check:?} does not hold{}", Of(.node))]
pub struct Refusal {
    /// The check.
    pub check: Check,
    /// The node whose change fails it.
    pub node: Option<NodeId>,
}

struct Of<'a>(&'a Option<NodeId>);

impl std::fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |id| write!(f, " for the node with id {}", id.get()))
    }
}

impl Check {
    /// All checks.
    pub const ALL: [Self; 12] = [
        Self::Context,
        Self::Memory,
        Self::Epoch,
        Self::Order,
        Self::Evidence,
        Self::Armed,
        Self::OneRequest,
        Self::Keys,
        Self::Declared,
        Self::ControlPlanes,
        Self::Quorum,
        Self::Size,
    ];
}

/// Decides whether a control plane signs a proposed root. Before the signature leaves, the caller writes the epoch and the
/// requests of new members to STATE.
///
/// # Errors
/// The first check that does not hold.
pub fn judge<K: Key>(knowledge: &Knowledge<K>, proposal: &Proposal<K>) -> Result<(), Refusal> {
    Check::ALL.into_iter().try_for_each(|check| check.apply(knowledge, proposal))
}
