//! What a node reads from its configuration volume: `cluster.toml` and its own shard, public data only.
//!
//! Written by one release and read by it or a neighbour: `version = 1`, unknown fields are ignored, another version is refused
//! (ADR 0003). Nothing here is a secret; those come in the seed.

mod cluster;
mod shard;

pub use cluster::{
    ClusterDocument, ControlPlane, Kubernetes, Limits, Operator, OperatorRole, Plane, PlanePurpose, Policy,
    PolicyAllow, PublicTrust,
};
pub use shard::{
    Bond, BondMode, Dhcp, Disk, DiskIdentity, DiskPurpose, DiskRule, Interface, InterfaceMatch, Role, Shard,
    ShardKubernetes, ShardPlane, SubstrateType, Underlay, Vlan,
};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of both documents.
pub const VERSION: u32 = 1;

/// The longest document that is read, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// A document of the configuration volume that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is longer than [`MAX_BYTES`].
    #[error("the document has {0} bytes, more than {MAX_BYTES}")]
    TooLong(usize),
    /// It is not TOML, or a field is missing or not of its kind.
    #[error("the document does not read as TOML of its kind")]
    Toml(#[from] toml::de::Error),
    /// Its version is not understood.
    #[error("the document has version {0}, and only version {VERSION} is understood")]
    Version(u32),
    /// It cannot be written.
    #[error("the document does not write as TOML")]
    Write(#[from] toml::ser::Error),
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// The version is read first and alone, so that a document of another version says so, whatever else it holds.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T, DocumentError> {
    if text.len() > MAX_BYTES {
        return Err(DocumentError::TooLong(text.len()));
    }
    let Head { version } = toml::from_str(text)?;
    if version != VERSION {
        return Err(DocumentError::Version(version));
    }
    Ok(toml::from_str(text)?)
}

fn write<T: Serialize>(document: &T) -> Result<String, DocumentError> {
    Ok(toml::to_string(document)?)
}

#[cfg(test)]
mod tests;
