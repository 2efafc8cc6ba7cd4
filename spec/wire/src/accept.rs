//! Decides whether an image may use a configuration. This is the only implementation: stage 1 calls it before it opens a
//! volume, the agent calls it again, also for every configuration that arrives later, and `verify` and `seed --into`
//! call it on the build machine.
//!
//! A statement is accepted if an accepted key has signed it, its cluster id derives from the image's *identity* and the
//! cluster's name, and the image's release is not below the statement's `minimum_release`. The order of the keys has no
//! meaning. The identity is not a signing key: it only names the cluster, so that the cluster's id outlives every key
//! (ADR 0011).
//!
//! Whether a generation is too low is not decided here: the agent compares it with the floors of the seed
//! (`stages/validate_shard/floors.rs`) and of STATE (`stages/disks/node_record.rs`).

use crate::document::DocumentError;
use crate::hex32::{ClusterId, PublicKey};
use crate::release::Release;
use crate::statement::{self, ConfigurationStatement, Domain, StatementError};

/// The facts that configurations are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The first configuration key of the cluster.
    pub identity: PublicKey,
    /// The keys whose signatures are accepted.
    pub keys: Vec<PublicKey>,
    /// The release that would use the configuration.
    pub release: Release,
}

/// An accepted configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its content.
    pub statement: ConfigurationStatement,
    /// The accepted key that has signed it.
    pub signer: PublicKey,
    /// Length of the statement in bytes, without the zeroes after it.
    pub encoded_len: usize,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are not a statement, or no accepted key has signed it.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The signed text is not the statement of a configuration.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Its cluster id does not derive from the image's identity and the cluster's name.
    #[error(
        "signed for a different cluster: {cluster} has cluster id {theirs}, but this image expects {ours}"
    )]
    Foreign {
        /// The name in the statement.
        cluster: String,
        /// The id in the statement.
        theirs: ClusterId,
        /// The id that the name has under the image's identity.
        ours: ClusterId,
    },
    /// It requires a newer release.
    #[error("generation {generation} requires release {minimum} or newer, this is release {release}")]
    Release {
        /// The generation of the configuration.
        generation: u64,
        /// The release that it requires.
        minimum: Release,
        /// The release that would use it.
        release: Release,
    },
}

/// Checks the statement at the start of `bytes`; the remaining bytes must be zeroes, as in a partition.
///
/// # Errors
/// [`Refusal`].
pub fn accept(bytes: &[u8], authority: &Authority) -> Result<Accepted, Refusal> {
    let read = statement::read(bytes)?;
    let verified = read.verify(Domain::Configuration, &authority.keys)?;
    let statement = ConfigurationStatement::parse(&verified)?;
    let ours = ClusterId::derive(&authority.identity, &statement.cluster);
    if statement.cluster_id != ours {
        let ConfigurationStatement { cluster, cluster_id: theirs, .. } = statement;
        return Err(Refusal::Foreign { cluster, theirs, ours });
    }
    match &statement.minimum_release {
        Some(minimum) if *minimum > authority.release => Err(Refusal::Release {
            generation: statement.generation,
            minimum: minimum.clone(),
            release: authority.release.clone(),
        }),
        _ => Ok(Accepted { signer: verified.signer(), encoded_len: read.encoded_len(), statement }),
    }
}

#[cfg(test)]
mod tests;
