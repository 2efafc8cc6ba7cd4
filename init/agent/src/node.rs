//! The data about the node that the reconcile loop needs after the stages have ended.

use kubedos_wire::handover::Handover;

use crate::stages::backplanes::stage::Desired;
use crate::stages::validate_shard::Identity;

/// The node.
#[expect(missing_debug_implementations, reason = "contains the seed's secrets")]
pub struct Node {
    /// The boot, as stage 1 handed it over.
    pub handover: Handover,
    /// The node's identity.
    pub identity: Identity,
    /// The lower bound of the clock, in seconds since 1970.
    pub clock_floor: u64,
    /// STATE and DATA are in memory.
    pub volatile: bool,
    /// Firewall, underlay and planes.
    pub backplanes: Desired,
    /// Whether the underlay was complete at the end of the stage Backplanes.
    pub underlay_complete: bool,
}
