//! The node after its stages have ended: the input of the reconcile loop.

use kubedos_wire::handover::Handover;

use crate::stages::validate_shard::Identity;

/// The node.
#[expect(missing_debug_implementations, reason = "holds the seed's secrets")]
pub struct Node {
    /// The boot, as stage 1 handed it over.
    pub handover: Handover,
    /// The node's identity.
    pub identity: Identity,
    /// The clock is never set before this, in seconds since 1970.
    pub clock_floor: u64,
    /// STATE and DATA are in memory.
    pub volatile: bool,
}
