//! The grant, `kubedos grant v1`: the right of one incarnation of a node to enrol. A seed key signs it; it is public.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{Body, StatementRefusal, WithDigest, open, require};
use crate::document::DocumentError;
use crate::hex32::{ClusterId, PublicKey};
use crate::membership::fields::{MAX_PLANES, OutOfBounds};
use crate::membership::keys::{PlaneKey, SignerKey};
use crate::node::Role;
use crate::statement::Domain;
use crate::value::{NodeId, NodeName, PlaneId};

/// The content of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantStatement {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The name of the node.
    pub node: NodeName,
    /// Its number.
    pub id: NodeId,
    /// The incarnation that may enrol.
    pub incarnation: NonZeroU32,
    /// The role of the node.
    pub role: Role,
    /// The key that signs the enrolment request; absent if an operator must approve the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voucher_key: Option<SignerKey>,
    /// The node's keys before it is enrolled, by plane.
    pub births: BTreeMap<PlaneId, PlaneKey>,
}

impl Body for GrantStatement {
    const DOMAIN: Domain = Domain::Grant;

    fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    fn check(&self) -> Result<(), DocumentError> {
        require("births", (1..=MAX_PLANES).contains(&self.births.len()))
    }
}

/// A grant with its signature, as an order or an arm list contains it: in base64. It is not verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SignedGrant(Vec<u8>);

impl SignedGrant {
    /// Maximum length of the statement in bytes.
    pub const MAX: usize = 4096;

    /// Takes the bytes of a statement.
    pub fn new(statement: Vec<u8>) -> Result<Self, OutOfBounds> {
        OutOfBounds::check("bytes of a grant", statement.len(), 1, Self::MAX)?;
        Ok(Self(statement))
    }

    /// The bytes of the statement.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Verifies and reads the grant.
    ///
    /// # Errors
    /// If no seed key has signed it, or it is not a grant for this cluster.
    pub fn open(
        &self,
        seed_keys: &[PublicKey],
        cluster: ClusterId,
    ) -> Result<WithDigest<GrantStatement>, StatementRefusal> {
        open(&self.0, seed_keys, cluster).map(|(grant, _)| grant)
    }
}

/// The text is not base64 of at most [`SignedGrant::MAX`] bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the base64 of a grant of at most 4096 bytes")]
pub struct ParseGrantError;

impl TryFrom<String> for SignedGrant {
    type Error = ParseGrantError;

    fn try_from(text: String) -> Result<Self, ParseGrantError> {
        STANDARD.decode(text).ok().and_then(|bytes| Self::new(bytes).ok()).ok_or(ParseGrantError)
    }
}

impl From<SignedGrant> for String {
    fn from(grant: SignedGrant) -> Self {
        STANDARD.encode(grant.0)
    }
}
