//! Who takes part in a genesis, and when a control plane signs the first root of a lineage.

use std::collections::{BTreeMap, BTreeSet};

use super::Key;
use crate::value::NodeId;

/// The right to start a lineage; the trust key signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The lineage.
    pub lineage: u32,
    /// The control planes that must take part, with their incarnations.
    pub control_planes: BTreeMap<NodeId, u32>,
}

/// The offer of a control plane to take part, signed by its roster key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hello<K> {
    /// The lineage of the token.
    pub lineage: u32,
    /// The incarnation.
    pub incarnation: u32,
    /// Drawn once for each STATE.
    pub nonce: K,
}

/// What a control plane remembers about genesis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSeat<K> {
    /// The control plane.
    pub id: NodeId,
    /// Its incarnation.
    pub incarnation: u32,
    /// The nonce of its STATE.
    pub nonce: K,
    /// The highest lineage that it knows to exist, from its seed or because it belongs to it; 0 if none.
    pub known_lineage: u32,
    /// The highest lineage for which it has signed a first root, and the hellos of that root.
    pub signed: Option<(u32, BTreeMap<NodeId, Hello<K>>)>,
}

/// A check before the first root is signed, in the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GenesisCheck {
    /// The token is for this incarnation, and for a lineage above every known one.
    Token,
    /// Exactly the control planes of the token have said hello, for this lineage.
    Everybody,
    /// The hello in its own name has its present nonce.
    OwnNonce,
    /// It has signed no other first root of this or a later lineage.
    Once,
}

/// Why a control plane does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the first root is not signed: the check {0:?} does not hold")]
pub struct GenesisRefusal(pub GenesisCheck);

impl GenesisCheck {
    /// All checks.
    pub const ALL: [Self; 4] = [Self::Token, Self::Everybody, Self::OwnNonce, Self::Once];

    /// Whether the check holds.
    pub fn holds<K: Key>(
        self,
        seat: &SigningSeat<K>,
        token: &Token,
        hellos: &BTreeMap<NodeId, Hello<K>>,
    ) -> bool {
        match self {
            Self::Token => {
                token.lineage > seat.known_lineage
                    && token.control_planes.get(&seat.id) == Some(&seat.incarnation)
            }
            Self::Everybody => {
                hellos.len() == token.control_planes.len()
                    && token.control_planes.iter().all(|(id, incarnation)| {
                        hellos.get(id).is_some_and(|hello| {
                            (hello.lineage, hello.incarnation) == (token.lineage, *incarnation)
                        })
                    })
            }
            Self::OwnNonce => hellos.get(&seat.id).is_some_and(|hello| hello.nonce == seat.nonce),
            Self::Once => seat.signed.as_ref().is_none_or(|(lineage, signed)| {
                token.lineage > *lineage || (token.lineage == *lineage && signed == hellos)
            }),
        }
    }
}

/// Decides whether a control plane signs the first root that follows from these hellos.
///
/// # Errors
/// The first check that does not hold.
pub fn judge_genesis<K: Key>(
    seat: &SigningSeat<K>,
    token: &Token,
    hellos: &BTreeMap<NodeId, Hello<K>>,
) -> Result<(), GenesisRefusal> {
    match GenesisCheck::ALL.into_iter().find(|check| !check.holds(seat, token, hellos)) {
        Some(check) => Err(GenesisRefusal(check)),
        None => Ok(()),
    }
}

/// Whether these signatures of a first root prove the genesis: those of every control plane that the token names.
pub fn proven(token: &Token, signers: &BTreeSet<NodeId>) -> bool {
    !token.control_planes.is_empty() && token.control_planes.keys().all(|id| signers.contains(id))
}
