//! The genesis token, `kubedos genesis v1`: the right to start a lineage of the cluster. The trust key signs it.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{Body, require, require_once, require_sorted};
use crate::document::DocumentError;
use crate::hex32::{ClusterId, Digest};
use crate::membership::records::{AuthorityRef, MAX_GENERATION};
use crate::membership::signature::MAX_SIGNATURES;
use crate::statement::Domain;
use crate::value::{NodeId, NodeName};

/// Maximum number of entries of `revoked`.
const MAX_REVOKED: usize = 1_000;

/// The content of a genesis token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenesisToken {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The lineage; each token has a higher one.
    pub lineage: NonZeroU32,
    /// The first root has the next number.
    pub epoch_floor: u64,
    /// The authority set of the first root.
    pub authority: AuthorityRef,
    /// The control planes that take part: all of them must sign the first root; 1 to 9.
    pub control_planes: Vec<NamedIncarnation>,
    /// Incarnations that the first root revokes, sorted by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked: Vec<RevokedIncarnation>,
    /// The digest of the roster root whose records the first root takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carry: Option<Digest>,
    /// The arm lists ([`super::arm_digest`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arm: Option<Digest>,
}

/// An incarnation of a node, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedIncarnation {
    /// The node.
    pub node: NodeName,
    /// The incarnation.
    pub incarnation: NonZeroU32,
}

/// An incarnation of a node, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedIncarnation {
    /// The node.
    pub id: NodeId,
    /// The newest revoked incarnation.
    pub incarnation: NonZeroU32,
}

impl Body for GenesisToken {
    const DOMAIN: Domain = Domain::Genesis;

    fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    fn check(&self) -> Result<(), DocumentError> {
        require("epoch_floor", self.epoch_floor < MAX_GENERATION)?;
        require("control_planes", (1..=MAX_SIGNATURES).contains(&self.control_planes.len()))?;
        require_once("control plane", self.control_planes.iter().map(|named| &named.node))?;
        require("revoked", self.revoked.len() <= MAX_REVOKED)?;
        require_sorted("revoked", self.revoked.iter().map(|revoked| revoked.id))
    }
}
