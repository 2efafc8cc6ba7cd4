//! The authority set, `kubedos authority v1`: the control planes whose signatures count, and how many of them are needed. The
//! trust key signs it offline.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{Body, WithDigest, require, require_once};
use crate::document::DocumentError;
use crate::hex32::{ClusterId, Digest};
use crate::membership::keys::SignerKey;
use crate::membership::records::AuthorityRef;
use crate::membership::signature::{MAX_SIGNATURES, Signable, Signatures};
use crate::statement::Domain;
use crate::value::NodeName;

/// The content of an authority set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityStatement {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// Each set replaces every set with a lower number.
    pub number: NonZeroU32,
    /// How many members must sign: a majority, at most all.
    pub threshold: u8,
    /// The control planes; 1 to 9.
    pub members: Vec<AuthorityMember>,
}

/// A control plane in an authority set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityMember {
    /// Its name.
    pub node: NodeName,
    /// The incarnation that has the keys.
    pub incarnation: NonZeroU32,
    /// The key that signs roots and freshness proofs.
    pub roster_key: SignerKey,
    /// SHA-256 of the SPKI of its issuer of certificates.
    pub issuer: Digest,
}

impl Body for AuthorityStatement {
    const DOMAIN: Domain = Domain::Authority;

    fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    /// No two members have the same name, roster key or issuer: one of them could sign twice.
    fn check(&self) -> Result<(), DocumentError> {
        let members = self.members.len();
        require("members", (1..=MAX_SIGNATURES).contains(&members))?;
        let threshold = usize::from(self.threshold);
        require("threshold", threshold <= members && threshold > members / 2)?;
        require_once("member", self.members.iter().map(|member| &member.node))?;
        require_once("roster key", self.members.iter().map(|member| member.roster_key))?;
        require_once("issuer", self.members.iter().map(|member| member.issuer))
    }
}

impl AuthorityStatement {
    /// The member with this name.
    pub fn member(&self, node: &NodeName) -> Option<&AuthorityMember> {
        self.members.iter().find(|member| member.node == *node)
    }

    /// Whether this incarnation of the node is a member.
    pub fn has(&self, node: &NodeName, incarnation: NonZeroU32) -> bool {
        self.member(node).is_some_and(|member| member.incarnation == incarnation)
    }

    /// The members who have signed the record. Signatures count by member: a second one of the same member, one of another
    /// key, and one that does not verify add nothing.
    pub fn signers<R: Signable>(&self, record: &R, signatures: &Signatures) -> BTreeSet<&NodeName> {
        let message = record.message();
        let signer = |signature: crate::membership::signature::Signature| {
            let member = self.members.iter().find(|member| member.roster_key.id() == signature.key)?;
            member.roster_key.has_signed(&message, &signature.ed25519).then_some(&member.node)
        };
        signatures.iter().filter_map(signer).collect()
    }

    /// Whether so many members are enough.
    pub fn is_quorum(&self, members: usize) -> bool {
        members >= usize::from(self.threshold)
    }
}

impl WithDigest<AuthorityStatement> {
    /// How roots refer to this set.
    pub fn reference(&self) -> AuthorityRef {
        AuthorityRef { number: self.body.number, digest: self.digest }
    }
}
