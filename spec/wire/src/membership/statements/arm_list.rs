//! The arm list, `kubedos arm list v1`: grants that the genesis arms, so that a new cluster needs no operator. The trust key
//! signs it.

use serde::{Deserialize, Serialize};

use super::{Body, SignedGrant, require};
use crate::document::DocumentError;
use crate::hex32::{ClusterId, Digest, sha256};
use crate::statement::Domain;

/// Maximum number of grants in a list.
pub const MAX_ARMED: usize = 128;

/// Maximum number of lists of a token.
pub const MAX_ARM_LISTS: usize = 64;

/// The content of an arm list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArmList {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The grants, at most [`MAX_ARMED`]; each is signed by a seed key.
    pub grants: Vec<SignedGrant>,
}

impl Body for ArmList {
    const DOMAIN: Domain = Domain::ArmList;

    fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    fn check(&self) -> Result<(), DocumentError> {
        require("grants", (1..=MAX_ARMED).contains(&self.grants.len()))
    }
}

/// How a genesis token refers to its arm lists: SHA-256 of their digests, in the order of their files.
pub fn arm_digest(lists: &[Digest]) -> Digest {
    let digests: Vec<u8> = lists.iter().flat_map(|digest| *digest.as_bytes()).collect();
    Digest::new(sha256(&[&digests]))
}
