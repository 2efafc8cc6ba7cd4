//! The node's seed (ADR 0002): found on the boot disk's seed partition or on any other whole device, read as bytes, believed only
//! when a seed key of this cluster has signed it. No kernel file system ever parses it.
//!
//! Anybody can attach a device, so a candidate has no weight before it verifies: it is named and skipped, and cannot keep a good seed from
//! being used. Two seeds that verify and differ are refused, because nobody can say which one counts.

pub mod media;

use std::fmt;

use kubedos_image::guid::Guid;
use kubedos_image::hex32::{ClusterId, PublicKey};
use kubedos_image::iso::seed as volume;
use kubedos_image::iso::seed::SeedVolumeError;
use kubedos_image::layout::Role;
use kubedos_image::statement::{self, Domain, Floors, Seed, StatementError};
use zeroize::Zeroizing;

/// A place where a seed may be. Holds secrets: no `Debug`, wiped when dropped.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Candidate {
    /// The kernel's name of the device or partition.
    pub device: String,
    /// Its bytes, at most [`volume::MAX_BYTES`]; or why they cannot be read.
    pub bytes: Result<Zeroizing<Vec<u8>>, std::io::Error>,
}

/// Whose seeds are believed.
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
    /// What is there is unknown.
    #[error("cannot be read")]
    Unreadable(#[source] std::io::Error),
    /// It is marked as a seed, or lies where one belongs, but is none.
    #[error("holds no usable seed volume")]
    Volume(#[source] SeedVolumeError),
    /// No key that counts has signed it, or it was changed since.
    #[error("is not a signed seed of this cluster")]
    Statement(#[source] StatementError),
    /// It is signed, but does not say what a seed says.
    #[error("cannot be understood")]
    Body(#[source] kubedos_image::DocumentError),
    /// It is of another cluster.
    #[error("is of cluster {theirs}, the configuration of cluster {ours}")]
    OtherCluster {
        /// In the seed.
        theirs: ClusterId,
        /// In the configuration.
        ours: ClusterId,
    },
}

/// A candidate that does not count.
#[derive(Debug)]
pub struct Skipped {
    /// Where it is.
    pub device: String,
    /// Why.
    pub why: Refusal,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device, crate::console::chain(&self.why))
    }
}

/// A seed that verifies, and where it is.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Found {
    /// The kernel's name of the device or partition.
    pub device: String,
    /// What it says.
    pub seed: Seed,
}

/// What the candidates come to.
#[expect(missing_debug_implementations, reason = "holds secrets")]
pub struct Judged {
    /// The one seed that verifies, if there is one. Equal copies are one seed.
    pub found: Option<Found>,
    /// The candidates that do not verify.
    pub skipped: Vec<Skipped>,
}

/// Nobody can say which one counts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there are two different seeds of this cluster: {0}, and {1}: remove one")]
pub struct TwoSeeds(String, String);

/// The seed among the candidates. Each is verified by itself; only those that verify are compared. Pure.
///
/// # Errors
/// [`TwoSeeds`].
pub fn judge(candidates: Vec<Candidate>, trust: &Trust) -> Result<Judged, TwoSeeds> {
    let mut judged = Judged { found: None, skipped: Vec::new() };
    let mut believed: Option<Zeroizing<String>> = None;
    for Candidate { device, bytes } in candidates {
        let (body, seed) = match verify(bytes, trust) {
            Ok(verified) => verified,
            Err(why) => {
                judged.skipped.push(Skipped { device, why });
                continue;
            }
        };
        let other = Found { device, seed };
        match (&judged.found, &believed) {
            (Some(first), Some(says)) if *says != body => {
                return Err(TwoSeeds(first.to_string(), other.to_string()));
            }
            (Some(_), Some(_)) => {}
            _ => (judged.found, believed) = (Some(other), Some(body)),
        }
    }
    Ok(judged)
}

/// What a candidate says, as text and as a seed. Two signatures over one text are one seed.
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
