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
use serde::{Deserialize, Serialize};

/// The version of `cluster.toml`.
pub const CLUSTER_VERSION: u32 = 1;

/// The version of a shard. Version 2 added `incarnation`, which a reader must not ignore.
pub const SHARD_VERSION: u32 = 2;

/// The version of `roster.toml`.
pub const ROSTER_VERSION: u32 = 1;

/// Maximum length of a document in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Why a document of the configuration volume is not usable.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is longer than [`MAX_BYTES`].
    #[error("the document has {0} bytes, more than {MAX_BYTES}")]
    TooLong(usize),
    /// It is not TOML, or a field is missing or has the wrong type.
    #[error("failed to parse the document")]
    Toml(#[from] toml::de::Error),
    /// Its version is not supported.
    #[error("the document has version {found}, this release supports versions 1 to {newest}")]
    Version {
        /// The version of the document.
        found: u32,
        /// The newest supported version.
        newest: u32,
    },
    /// A field that its version requires is missing, or has a value that is not allowed.
    #[error("the document's field `{0}` is missing or out of range")]
    Field(&'static str),
    /// A value that must be unique occurs twice.
    #[error("the document has the {what} {value} twice")]
    Twice {
        /// The kind of the value.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// It is a fixed roster, but the cluster does not use the demo keys.
    #[error("a fixed roster is allowed only with the published demo keys, and this cluster has other keys")]
    NotDemo,
    /// It cannot be serialized.
    #[error("failed to serialize the document")]
    Write(#[from] toml::ser::Error),
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// Parses the version first, so that a document of an unsupported version is reported as such even if its other fields are
/// not readable.
fn parse<T: DeserializeOwned>(text: &str, newest: u32) -> Result<T, DocumentError> {
    if text.len() > MAX_BYTES {
        return Err(DocumentError::TooLong(text.len()));
    }
    let Head { version } = toml::from_str(text)?;
    if !(1..=newest).contains(&version) {
        return Err(DocumentError::Version { found: version, newest });
    }
    Ok(toml::from_str(text)?)
}

fn write<T: Serialize>(document: &T) -> Result<String, DocumentError> {
    Ok(toml::to_string(document)?)
}

#[cfg(test)]
mod tests;
