//! The order of an operator, `kubedos order v1`: every request that changes something. The operator's signing key signs it.
//!
//! The one who acts verifies the order, so a control plane that relays it can drop it, but not change it. Whether the
//! operator is revoked, and whether the serial was used, is decided by the verifier's memory, not here.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{Body, SignedGrant, require};
use crate::document::DocumentError;
use crate::hex32::{ClusterId, Digest, InstanceId};
use crate::membership::keys::SignerKey;
use crate::membership::records::MAX_GENERATION;
use crate::node::{OperatorRole, Role};
use crate::statement::Domain;
use crate::value::{NodeName, OperatorName, PlaneId};

/// The content of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderStatement {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The life of the cluster.
    pub instance: InstanceId,
    /// The operator; the key that has signed must be theirs.
    pub operator: OperatorName,
    /// Counts the orders of this operator, from 1.
    pub serial: u64,
    /// When it was signed, in seconds since 1970.
    pub time: u64,
    /// What to do.
    #[serde(flatten)]
    pub verb: Verb,
}

/// What an order asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Verb {
    /// Lets the node of a grant enrol, for a limited time.
    Arm {
        /// The grant.
        grant: SignedGrant,
        /// Increases with each arming of the node.
        sequence: u64,
    },
    /// Lets the node of a grant without voucher send its request.
    Open {
        /// The grant.
        grant: SignedGrant,
        /// Increases with each arming of the node.
        sequence: u64,
    },
    /// Accepts a request without voucher.
    Approve {
        /// The node.
        node: NodeName,
        /// Its incarnation.
        incarnation: NonZeroU32,
        /// The digest of the request.
        fingerprint: Digest,
    },
    /// Refuses a request without voucher.
    Deny {
        /// The node.
        node: NodeName,
        /// Its incarnation.
        incarnation: NonZeroU32,
        /// The digest of the request.
        fingerprint: Digest,
    },
    /// Revokes this and all earlier incarnations of a node.
    Revoke {
        /// The node.
        node: NodeName,
        /// The newest revoked incarnation.
        incarnation: NonZeroU32,
    },
    /// Revokes an operator.
    RevokeOperator {
        /// Their signing key.
        key: SignerKey,
    },
    /// Revokes an incarnation and arms the grant of the next one.
    Replace {
        /// The node.
        node: NodeName,
        /// The revoked incarnation.
        incarnation: NonZeroU32,
        /// The grant of the next incarnation.
        grant: SignedGrant,
        /// Increases with each arming of the node.
        sequence: u64,
    },
    /// Changes the keys of a plane.
    Rotate {
        /// The node; absent for all nodes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<NodeName>,
        /// The plane.
        plane: PlaneId,
    },
    /// Raises the lowest generation of the configuration.
    Floor {
        /// The generation.
        generation: u64,
    },
    /// Restarts a node.
    Reboot {
        /// The node.
        node: NodeName,
        /// Its incarnation.
        incarnation: NonZeroU32,
    },
    /// Moves the workloads away from a node.
    Drain {
        /// The node.
        node: NodeName,
        /// Its incarnation.
        incarnation: NonZeroU32,
    },
    /// Erases a node.
    Reset {
        /// The node.
        node: NodeName,
        /// Its incarnation.
        incarnation: NonZeroU32,
    },
}

impl Verb {
    /// The least role of an operator for this order about a node with the role `target`.
    pub const fn least_role(&self, target: Role) -> OperatorRole {
        match (self, target) {
            (
                Self::Revoke { .. } | Self::RevokeOperator { .. } | Self::Floor { .. } | Self::Reset { .. },
                _,
            )
            | (Self::Replace { .. }, Role::ControlPlane) => OperatorRole::Admin,
            (Self::Replace { .. }, Role::Worker)
            | (
                Self::Arm { .. }
                | Self::Open { .. }
                | Self::Approve { .. }
                | Self::Deny { .. }
                | Self::Rotate { .. }
                | Self::Reboot { .. }
                | Self::Drain { .. },
                _,
            ) => OperatorRole::Operator,
        }
    }

    /// How many seconds the verifier's clock may differ from the order's time: 24 hours, or 120 seconds for an order to the
    /// machine itself.
    pub const fn tolerance_s(&self) -> u64 {
        match self {
            Self::Reboot { .. } | Self::Drain { .. } | Self::Reset { .. } => 120,
            Self::Arm { .. }
            | Self::Open { .. }
            | Self::Approve { .. }
            | Self::Deny { .. }
            | Self::Revoke { .. }
            | Self::RevokeOperator { .. }
            | Self::Replace { .. }
            | Self::Rotate { .. }
            | Self::Floor { .. } => 24 * 3600,
        }
    }
}

impl OrderStatement {
    /// Whether the order is current at `now`, in seconds since 1970.
    pub fn is_current(&self, now: u64) -> bool {
        now.abs_diff(self.time) <= self.verb.tolerance_s()
    }
}

impl Body for OrderStatement {
    const DOMAIN: Domain = Domain::Order;

    fn cluster_id(&self) -> ClusterId {
        self.cluster_id
    }

    fn check(&self) -> Result<(), DocumentError> {
        require("serial", (1..=MAX_GENERATION).contains(&self.serial))?;
        match &self.verb {
            Verb::Arm { sequence, .. } | Verb::Open { sequence, .. } | Verb::Replace { sequence, .. } => {
                require("sequence", (1..=MAX_GENERATION).contains(sequence))
            }
            Verb::Floor { generation } => require("generation", *generation <= MAX_GENERATION),
            Verb::Approve { .. }
            | Verb::Deny { .. }
            | Verb::Revoke { .. }
            | Verb::RevokeOperator { .. }
            | Verb::Rotate { .. }
            | Verb::Reboot { .. }
            | Verb::Drain { .. }
            | Verb::Reset { .. } => Ok(()),
        }
    }
}
