//! Is a configuration one that an image may use? This is the only place that decides it: stage 1 asks before it opens a volume, the agent
//! asks again and for every configuration that arrives later, and `verify` and `seed --into` ask on the build machine.
//!
//! A statement is accepted when one of the accepted keys has signed it, when its cluster id derives from the image's *identity* and the
//! cluster's name, and when the image's release is not below the statement's `minimum_release`. The order of the keys has no meaning, and
//! the identity is no key: it only names the cluster, so that it outlives every key (ADR 0011).
//!
//! What is not decided here: whether a generation is too low. That floor lies in the seed and in STATE.

use crate::document::DocumentError;
use crate::hex32::{ClusterId, PublicKey};
use crate::release::Release;
use crate::statement::{self, ConfigurationStatement, Domain, StatementError};

/// What configurations are judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The first configuration key there ever was.
    pub identity: PublicKey,
    /// Keys whose signature counts.
    pub keys: Vec<PublicKey>,
    /// The release that is to use the configuration.
    pub release: Release,
}

/// A configuration that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What it says.
    pub statement: ConfigurationStatement,
    /// The accepted key that has signed it.
    pub signer: PublicKey,
    /// The statement's own length in bytes, without the zeroes behind it.
    pub encoded_len: usize,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no statement, or not signed by an accepted key.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// What was signed is not the statement of a configuration.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Its cluster id does not derive from the image's identity and the cluster's name.
    #[error(
        "signed for another cluster: {cluster} has id {theirs}, under this image's identity it would have {ours}"
    )]
    Foreign {
        /// The name in the statement.
        cluster: String,
        /// The id in the statement.
        theirs: ClusterId,
        /// The id that the name has under the image's identity.
        ours: ClusterId,
    },
    /// It demands a newer release.
    #[error("generation {generation} demands release {minimum} or newer, this is release {release}")]
    Release {
        /// Of the configuration.
        generation: u64,
        /// What it demands.
        minimum: Release,
        /// What there is.
        release: Release,
    },
}

/// Judges the statement at the start of `bytes`; the rest must be zeroes, as it is in a partition.
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
