//! The node's seed (ADR 0002): read as bytes from the boot disk's seed partition or from any other whole device, and
//! used only if a seed key of this cluster has signed it. No kernel file system ever parses it.
//!
//! Anybody can attach a device, so a candidate that does not verify is reported and skipped, and cannot prevent the use
//! of a good seed. Two different seeds that both verify are refused, because the agent has no rule to choose one.

pub mod media;

use std::fmt;

use kubedos_image::guid::Guid;
use kubedos_image::iso::seed as volume;
use kubedos_image::iso::seed::SeedVolumeError;
use kubedos_image::layout::Role;
use kubedos_wire::hex32::{ClusterId, PublicKey};
use kubedos_wire::statement::{self, Domain, Floors, Seed, StatementError};
use zeroize::Zeroizing;

/// A device or partition that may contain a seed. Contains secrets: no `Debug`, zeroized when dropped.
#[expect(missing_debug_implementations, reason = "contains secrets")]
pub struct Candidate {
    /// The kernel name of the device or partition.
    pub device: String,
    /// Its bytes, at most [`volume::MAX_BYTES`]; or the error of reading them.
    pub bytes: Result<Zeroizing<Vec<u8>>, std::io::Error>,
}

/// Which seeds are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The seed keys of `cluster.toml`.
    pub keys: Vec<PublicKey>,
    /// The cluster's id.
    pub cluster_id: ClusterId,
}

/// Why a candidate is skipped.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The device cannot be read.
    #[error("cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// The bytes have the magic number of a seed volume or are in the seed partition, but are not a valid seed volume.
    #[error("does not contain a usable seed volume")]
    Volume(#[source] SeedVolumeError),
    /// No seed key of the cluster has signed the seed, or the seed was changed afterwards.
    #[error("is not a signed seed of this cluster")]
    Statement(#[source] StatementError),
    /// The signature is valid, but the content is not a valid seed.
    #[error("cannot be parsed")]
    Body(#[source] kubedos_wire::document::DocumentError),
    /// The seed belongs to another cluster.
    #[error("belongs to cluster {theirs}, but the configuration belongs to cluster {ours}")]
    OtherCluster {
        /// In the seed.
        theirs: ClusterId,
        /// In the configuration.
        ours: ClusterId,
    },
}

/// A candidate that is not used.
#[derive(Debug)]
pub struct Skipped {
    /// The kernel name of its device.
    pub device: String,
    /// The reason.
    pub why: Refusal,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device, kubedos_wire::printable::chain(&self.why))
    }
}

/// A seed that verifies, and its device.
#[expect(missing_debug_implementations, reason = "contains secrets")]
pub struct Found {
    /// The kernel name of the device or partition.
    pub device: String,
    /// Its content.
    pub seed: Seed,
}

/// The result for all candidates.
#[expect(missing_debug_implementations, reason = "contains secrets")]
pub struct Judged {
    /// The seed that verifies; `None` if no candidate verifies. Identical copies count as one seed.
    pub found: Option<Found>,
    /// The candidates that do not verify.
    pub skipped: Vec<Skipped>,
}

/// Two different seeds verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there are two different seeds of this cluster: {0}, and {1}: remove one")]
pub struct TwoSeeds(String, String);

/// Chooses the seed among the candidates. Each is verified separately; only those that verify are compared. Pure.
///
/// # Errors
/// [`TwoSeeds`].
pub fn judge(candidates: Vec<Candidate>, trust: &Trust) -> Result<Judged, TwoSeeds> {
    let mut judged = Judged { found: None, skipped: Vec::new() };
    let mut verified: Option<Zeroizing<String>> = None;
    for Candidate { device, bytes } in candidates {
        let (body, seed) = match verify(bytes, trust) {
            Ok(verified) => verified,
            Err(why) => {
                judged.skipped.push(Skipped { device, why });
                continue;
            }
        };
        let other = Found { device, seed };
        match (&judged.found, &verified) {
            (Some(first), Some(text)) if *text != body => {
                return Err(TwoSeeds(first.to_string(), other.to_string()));
            }
            (Some(_), Some(_)) => {}
            _ => (judged.found, verified) = (Some(other), Some(body)),
        }
    }
    Ok(judged)
}

/// Verifies a candidate; returns its text and the seed. Two signatures over the same text are the same seed.
fn verify(
    bytes: Result<Zeroizing<Vec<u8>>, std::io::Error>,
    trust: &Trust,
) -> Result<(Zeroizing<String>, Seed), Refusal> {
    let bytes = bytes.map_err(Refusal::Unreadable)?;
    let statement = volume::read(&bytes).map_err(Refusal::Volume)?;
    let read = statement::read(statement).map_err(Refusal::Statement)?;
    let verified = read.verify(Domain::Seed, &trust.keys).map_err(Refusal::Statement)?;
    let seed = Seed::parse(&verified).map_err(Refusal::Body)?;
    if seed.cluster_id != trust.cluster_id {
        return Err(Refusal::OtherCluster { theirs: seed.cluster_id, ours: trust.cluster_id });
    }
    Ok((Zeroizing::new(verified.body().to_owned()), seed))
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, seed } = self;
        write!(f, "{} incarnation {}", seed.node, seed.incarnation)?;
        if let Some(Floors { generation, release }) = &seed.floors {
            write!(f, " (generation {generation}, release {release} or newer)")?;
        }
        write!(f, " on {device}")
    }
}

/// The type of the boot disk's seed partition.
pub const fn partition_type() -> Guid {
    Role::Seed.type_guid()
}

#[cfg(test)]
pub(crate) mod tests;
