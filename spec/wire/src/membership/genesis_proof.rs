//! The genesis proof: the first root of a lineage with the signatures of all control planes that the token names.
//!
//! A node accepts no life of a cluster without it (ADR 0066). A quorum is not enough: two quorums of the same control planes
//! could start two lives.

use std::collections::BTreeSet;

use super::records::{RosterRoot, SignedRoot};
use super::statements::{AuthorityStatement, GenesisToken, WithDigest};
use crate::value::NodeName;

/// A proof that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenesisProof {
    token: WithDigest<GenesisToken>,
    authority: WithDigest<AuthorityStatement>,
    first: SignedRoot,
}

/// Why a proof is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofRefusal {
    /// Token, authority set and root are not for one cluster.
    #[error("the genesis token, its authority set and the first root are for different clusters")]
    Cluster,
    /// The root is not the first one of the token's lineage.
    #[error("the root is not the first one of lineage {lineage}")]
    NotFirst {
        /// The lineage of the token.
        lineage: u32,
    },
    /// The authority set is not the one that the token and the root name.
    #[error("the genesis token or the first root names another authority set")]
    Authority,
    /// A control plane of the token is not in the authority set with this incarnation.
    #[error("the genesis token names {0}, but the authority set does not have this incarnation of it")]
    NoMember(NodeName),
    /// A control plane of the token has not signed.
    #[error("{0} has not signed the first root")]
    NotSigned(NodeName),
}

impl GenesisProof {
    /// Verifies a proof. The trust key has signed the token and the set, which is the one that the token names.
    ///
    /// # Errors
    /// [`ProofRefusal`].
    pub fn new(
        token: WithDigest<GenesisToken>,
        authority: WithDigest<AuthorityStatement>,
        first: SignedRoot,
    ) -> Result<Self, ProofRefusal> {
        let (said, set, root) = (token.body(), authority.body(), &first.root);
        if said.cluster_id != root.cluster_id || set.cluster_id != root.cluster_id {
            return Err(ProofRefusal::Cluster);
        }
        if root.epoch.lineage != said.lineage || Some(root.epoch.n) != said.epoch_floor.checked_add(1) {
            return Err(ProofRefusal::NotFirst { lineage: said.lineage.get() });
        }
        if authority.reference() != said.authority || authority.reference() != root.authority {
            return Err(ProofRefusal::Authority);
        }
        let signers: BTreeSet<&NodeName> = set.signers(root, &first.signatures);
        for named in &said.control_planes {
            if !set.has(&named.node, named.incarnation) {
                return Err(ProofRefusal::NoMember(named.node.clone()));
            }
            if !signers.contains(&named.node) {
                return Err(ProofRefusal::NotSigned(named.node.clone()));
            }
        }
        Ok(Self { token, authority, first })
    }

    /// The token.
    pub const fn token(&self) -> &WithDigest<GenesisToken> {
        &self.token
    }

    /// The authority set that signed the first root.
    pub const fn authority(&self) -> &WithDigest<AuthorityStatement> {
        &self.authority
    }

    /// The first root with its signatures.
    pub const fn first(&self) -> &SignedRoot {
        &self.first
    }

    /// Whether the root belongs to the life of the cluster that this proof starts.
    pub fn starts(&self, root: &RosterRoot) -> bool {
        let first = &self.first.root;
        (first.cluster_id, first.instance, first.epoch.lineage)
            == (root.cluster_id, root.instance, root.epoch.lineage)
    }
}
