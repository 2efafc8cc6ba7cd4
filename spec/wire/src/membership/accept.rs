//! Which roster a node accepts. The caller has verified the signatures and the Merkle root.

use std::collections::BTreeSet;

use super::{AuthoritySet, Content, Context, Key};
use crate::value::NodeId;

/// What a node knows, from STATE and from its seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known<K> {
    /// The cluster, and the lineage with its genesis proof.
    pub context: Context<K>,
    /// The newest authority set.
    pub authority: AuthoritySet<K>,
    /// The accepted epoch, or the floor of the seed.
    pub epoch: u64,
    /// The accepted content.
    pub content: Content<K>,
}

/// A root with its content, and the members of the authority set whose signatures verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root<K> {
    /// The cluster and the lineage.
    pub context: Context<K>,
    /// The number of the authority set that signed.
    pub authority: u32,
    /// The epoch.
    pub epoch: u64,
    /// What it says.
    pub content: Content<K>,
    /// Who has signed.
    pub signers: BTreeSet<NodeId>,
}

/// A condition for accepting a root, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// It belongs to this lineage and instance.
    Context,
    /// It was signed under the newest known authority set.
    Authority,
    /// Enough members have signed.
    Signatures,
    /// Its epoch is higher.
    Epoch,
    /// Nothing in it is lower.
    Order,
}

impl Condition {
    /// All conditions.
    pub const ALL: [Self; 5] = [Self::Context, Self::Authority, Self::Signatures, Self::Epoch, Self::Order];

    /// Whether the condition holds.
    pub fn holds<K: Key>(self, known: &Known<K>, root: &Root<K>) -> bool {
        match self {
            Self::Context => known.context == root.context,
            Self::Authority => known.authority.number() == root.authority,
            Self::Signatures => known.authority.is_quorum(&root.signers),
            Self::Epoch => root.epoch > known.epoch,
            Self::Order => known.content.may_become(&root.content),
        }
    }
}

/// Why a root is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// It belongs to another lineage or instance.
    #[error("the roster belongs to another lineage or instance of the cluster")]
    Context,
    /// It was signed under another authority set.
    #[error("the roster was signed under another authority set than the newest known one")]
    Authority,
    /// Too few members have signed.
    #[error("too few control planes have signed the roster")]
    Signatures,
    /// Its epoch is not higher.
    #[error("the epoch of the roster is not higher than the accepted one")]
    Epoch,
    /// It would take something back. Control planes have signed contradicting roots.
    #[error("the roster has forked: it takes back what an accepted one says")]
    Order,
}

impl From<Condition> for NotAccepted {
    fn from(condition: Condition) -> Self {
        match condition {
            Condition::Context => Self::Context,
            Condition::Authority => Self::Authority,
            Condition::Signatures => Self::Signatures,
            Condition::Epoch => Self::Epoch,
            Condition::Order => Self::Order,
        }
    }
}

/// Decides whether a node accepts a root.
///
/// # Errors
/// The first condition that does not hold.
pub fn accept<K: Key>(known: &Known<K>, root: &Root<K>) -> Result<(), NotAccepted> {
    match Condition::ALL.into_iter().find(|condition| !condition.holds(known, root)) {
        Some(condition) => Err(condition.into()),
        None => Ok(()),
    }
}
