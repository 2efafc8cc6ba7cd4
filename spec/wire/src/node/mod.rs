//! The documents that a node reads from its configuration volume: `cluster.toml`, its own shard, and in a lab with the demo
//! keys `roster.toml`. They contain public data only; the secrets are in the seed.
//!
//! One release writes them, and the same or a neighbouring release reads them: unknown fields are ignored, earlier
//! versions are read, a later version is refused (ADR 0003).

mod cluster;
mod roster;
mod shard;

pub use cluster::{
    ClusterDocument, ControlPlane, Kubernetes, Limits, Operator, OperatorRole, Peers, Plane, PlanePurpose,
    Policy, PolicyAllow, PublicTrust,
};
pub use roster::{DEMO_IDENTITY, Roster, RosterKind, RosterNode, RosterPlane};
pub use shard::{
    Bond, BondMode, Dhcp, Disk, DiskIdentity, DiskPurpose, DiskRule, Interface, InterfaceMatch, Role, Shard,
    ShardKubernetes, ShardPlane, SubstrateType, Underlay, Vlan,
};

use serde::de::DeserializeOwned;

use crate::document::{self, DocumentError};

/// The version of `cluster.toml`.
pub const CLUSTER_VERSION: u32 = 1;

/// The version of a shard. Version 2 added `incarnation`, which a reader must not ignore.
pub const SHARD_VERSION: u32 = 2;

/// The version of `roster.toml`.
pub const ROSTER_VERSION: u32 = 1;

/// Maximum length of a document in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Parses a document of the configuration volume.
fn parse<T: DeserializeOwned>(text: &str, newest: u32) -> Result<T, DocumentError> {
    document::within(text.len(), MAX_BYTES)?;
    document::parse_text(text, newest.into())
}

#[cfg(test)]
mod tests;
