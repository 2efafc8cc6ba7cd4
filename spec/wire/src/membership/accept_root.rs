//! Decides whether a node accepts a roster root: the only way by which a node's roster changes (`docs/protocol.md`,
//! section 6).
//!
//! The decision needs what the node knows and what is offered, nothing else: no clock, and no trust in the sender. Signatures
//! are checked before everything that an attacker without keys could provoke, so a refusal that stops a node
//! ([`RootRefusal::SecondGenesis`], [`RootRefusal::Forked`]) means that control planes have signed contradicting roots.
//!
//! Whether a root is *new enough* is not decided here: freshness proofs do that (`freshness.rs`).

use super::genesis_proof::GenesisProof;
use super::records::{Epoch, RosterRecord, RosterRoot, SignedRoot};
use super::roster::RosterRecords;
use super::statements::{AuthorityStatement, WithDigest};
use crate::hex32::{ClusterId, InstanceId};

/// An accepted roster, as a node keeps it in STATE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRoster {
    genesis: GenesisProof,
    authority: WithDigest<AuthorityStatement>,
    root: SignedRoot,
    records: RosterRecords,
}

/// The lowest values that the seed of a node allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RosterFloors {
    /// The lineage.
    pub lineage: u32,
    /// The number of the root, within the lowest lineage.
    pub epoch: u64,
    /// The number of the authority set.
    pub authority: u32,
}

/// What a node knows before it decides.
#[derive(Debug, Clone, Copy)]
pub struct RootContext<'a> {
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// The floors of its seed.
    pub floors: RosterFloors,
    /// The roster that it has; `None` before the first one.
    pub known: Option<&'a KnownRoster>,
}

/// A root with what is needed to accept it.
#[derive(Debug, Clone)]
pub struct RootOffer {
    /// The root.
    pub root: SignedRoot,
    /// Its records.
    pub records: OfferedRecords,
    /// The authority set, if the node may not have it. The trust key has signed it.
    pub authority: Option<WithDigest<AuthorityStatement>>,
    /// The proof of the lineage, if the node may not have it.
    pub genesis: Option<GenesisProof>,
}

/// The records of an offered root.
#[derive(Debug, Clone)]
pub enum OfferedRecords {
    /// Those that changed since the root that the node has.
    Changes(RosterRecords),
    /// All.
    All(RosterRecords),
}

/// Why a root is not accepted. The node keeps the roster that it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootRefusal {
    /// It is the root of another cluster.
    #[error("the roster is for the cluster {found}, but this is the cluster {expected}")]
    Cluster {
        /// The cluster of the root.
        found: ClusterId,
        /// The own cluster.
        expected: ClusterId,
    },
    /// It was signed under an authority set that was replaced, or is below the floor of the seed.
    #[error("the roster was signed under authority set {found}, but the lowest accepted one is {least}")]
    OldAuthority {
        /// The number of the set.
        found: u32,
        /// The lowest accepted number.
        least: u32,
    },
    /// The node does not have the authority set, or has another one with this number.
    #[error("the roster was signed under authority set {number}, which this node does not have")]
    UnknownAuthority {
        /// The number of the set.
        number: u32,
    },
    /// Too few members of the authority set have signed.
    #[error("{found} control planes have signed the roster, but {needed} must sign")]
    Signatures {
        /// The number of members whose signatures verify.
        found: usize,
        /// The threshold.
        needed: usize,
    },
    /// Its lineage was replaced, or is below the floor of the seed.
    #[error("the roster has lineage {found}, but the lowest accepted one is {least}")]
    OldLineage {
        /// The lineage of the root.
        found: u32,
        /// The lowest accepted lineage.
        least: u32,
    },
    /// The lineage is new for this node, and there is no genesis proof for it.
    #[error("the roster has lineage {lineage}, for which there is no genesis proof")]
    NoGenesis {
        /// The lineage of the root.
        lineage: u32,
    },
    /// There are two lives of the cluster in one lineage. The node halts.
    #[error("second genesis: lineage {lineage} has the instance {own} here, but the roster has {other}")]
    SecondGenesis {
        /// The lineage.
        lineage: u32,
        /// The own instance.
        own: InstanceId,
        /// The instance of the root.
        other: InstanceId,
    },
    /// It is not newer than the roster of the node, or below the floor of the seed.
    #[error("the roster has epoch {found}, but the lowest accepted one is {least}")]
    OldEpoch {
        /// The number of the root.
        found: u64,
        /// The lowest accepted number.
        least: u64,
    },
    /// There are two signed roots with one epoch.
    #[error("roster forked: there is another roster with epoch {n}")]
    TwoRoots {
        /// The epoch.
        n: u64,
    },
    /// The records are not those of the root. With changes only: the node asks for all records.
    #[error("the records are not those of the roster")]
    Records,
    /// The lowest generation of the configuration is lower than before.
    #[error("the roster lowers the lowest generation of the configuration from {own} to {found}")]
    GenerationFloor {
        /// The own floor.
        own: u64,
        /// The floor of the root.
        found: u64,
    },
    /// A record is missing or lower than before: control planes have signed contradicting roots.
    #[error("roster forked: it does not have {} as this node knows it", Subject(.0))]
    Forked(Box<RosterRecord>),
    /// The first roots of a new lineage do not have a record, or have it lower: the genesis token forgets it.
    #[error("the new lineage does not have {} as this node knows it", Subject(.0))]
    Forgotten(Box<RosterRecord>),
}

/// What a record is about, for messages.
struct Subject<'a>(&'a RosterRecord);

impl std::fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            RosterRecord::Node(entry) => {
                let state = if entry.member().is_some() { "member" } else { "revoked" };
                write!(f, "{} (incarnation {}, {state})", entry.node, entry.incarnation)
            }
            RosterRecord::Operator(entry) => write!(f, "the revoked operator with the key {}", entry.key),
        }
    }
}

impl KnownRoster {
    /// The proof of the lineage.
    pub const fn genesis(&self) -> &GenesisProof {
        &self.genesis
    }

    /// The newest authority set.
    pub const fn authority(&self) -> &WithDigest<AuthorityStatement> {
        &self.authority
    }

    /// The root with its signatures.
    pub const fn signed_root(&self) -> &SignedRoot {
        &self.root
    }

    /// The root.
    pub const fn root(&self) -> &RosterRoot {
        &self.root.root
    }

    /// The records.
    pub const fn records(&self) -> &RosterRecords {
        &self.records
    }

    /// The epoch.
    pub const fn epoch(&self) -> Epoch {
        self.root.root.epoch
    }
}

/// Decides whether a node accepts a root, and returns the roster that it has then.
///
/// # Errors
/// The first reason against it.
pub fn accept_root(context: RootContext<'_>, offer: RootOffer) -> Result<KnownRoster, RootRefusal> {
    let root = &offer.root.root;
    if root.cluster_id != context.cluster_id {
        return Err(RootRefusal::Cluster { found: root.cluster_id, expected: context.cluster_id });
    }
    let authority = signing_set(context, &offer)?;
    let genesis = lineage(context, &offer)?;
    epoch(context, root, &genesis)?;
    let records = records(context, &offer)?;
    never_lower(context, root, &records)?;
    Ok(KnownRoster { genesis, authority, root: offer.root, records })
}

/// The authority set of the root, if enough of its members have signed.
fn signing_set(
    context: RootContext<'_>,
    offer: &RootOffer,
) -> Result<WithDigest<AuthorityStatement>, RootRefusal> {
    let (root, own) = (&offer.root.root, context.known.map(|known| &known.authority));
    let number = root.authority.number.get();
    let least = own.map_or(0, |own| own.body().number.get()).max(context.floors.authority);
    if number < least {
        return Err(RootRefusal::OldAuthority { found: number, least });
    }
    // Of two sets with one number, the node keeps the one that it has.
    let offered = offer.authority.iter().filter(|_| own.is_none_or(|own| own.body().number.get() < number));
    let set = own
        .into_iter()
        .chain(offered)
        .find(|set| set.reference() == root.authority && set.body().cluster_id == context.cluster_id)
        .ok_or(RootRefusal::UnknownAuthority { number })?;
    let found = set.body().signers(root, &offer.root.signatures).len();
    if !set.body().is_quorum(found) {
        return Err(RootRefusal::Signatures { found, needed: set.body().threshold.into() });
    }
    Ok(set.clone())
}

/// The genesis proof of the root's lineage.
fn lineage(context: RootContext<'_>, offer: &RootOffer) -> Result<GenesisProof, RootRefusal> {
    let root = &offer.root.root;
    let lineage = root.epoch.lineage.get();
    let own = context.known.map(|known| &known.genesis);
    let own_lineage = context.known.map_or(0, |known| known.epoch().lineage.get());
    let least = own_lineage.max(context.floors.lineage);
    if lineage < least {
        return Err(RootRefusal::OldLineage { found: lineage, least });
    }
    if let (Some(known), Some(genesis)) = (context.known, own.filter(|_| lineage == own_lineage)) {
        let (own, other) = (known.root().instance, root.instance);
        return if own == other {
            Ok(genesis.clone())
        } else {
            Err(RootRefusal::SecondGenesis { lineage, own, other })
        };
    }
    let offered = offer.genesis.clone().filter(|genesis| genesis.starts(root));
    offered.ok_or(RootRefusal::NoGenesis { lineage })
}

/// The number of the root is higher than every known one, also in a new lineage.
fn epoch(context: RootContext<'_>, root: &RosterRoot, genesis: &GenesisProof) -> Result<(), RootRefusal> {
    let n = root.epoch.n;
    if let Some(known) = context.known
        && known.epoch() == root.epoch
        && known.root() != root
    {
        return Err(RootRefusal::TwoRoots { n });
    }
    let above_own = context.known.map_or(0, |known| known.epoch().n.saturating_add(1));
    let in_lowest = root.epoch.lineage.get() == context.floors.lineage;
    let floor = if in_lowest { context.floors.epoch } else { 0 };
    let least = above_own.max(floor).max(genesis.first().root.epoch.n);
    if n < least { Err(RootRefusal::OldEpoch { found: n, least }) } else { Ok(()) }
}

/// The records of the root.
fn records(context: RootContext<'_>, offer: &RootOffer) -> Result<RosterRecords, RootRefusal> {
    let root = &offer.root.root;
    let records = match (&offer.records, context.known) {
        (OfferedRecords::All(all), _) => all.clone(),
        (OfferedRecords::Changes(changes), None) => changes.clone(),
        (OfferedRecords::Changes(changes), Some(known)) => {
            known.records.merge(changes).map_err(|_| RootRefusal::Records)?
        }
    };
    let is_same = *records.merkle() == root.merkle && u32::try_from(records.len()) == Ok(root.count);
    if is_same { Ok(records) } else { Err(RootRefusal::Records) }
}

/// Nothing that the node knows is lower in the new roster.
fn never_lower(
    context: RootContext<'_>,
    root: &RosterRoot,
    records: &RosterRecords,
) -> Result<(), RootRefusal> {
    let Some(known) = context.known else { return Ok(()) };
    let (own, found) = (known.root().generation_floor, root.generation_floor);
    if found < own {
        return Err(RootRefusal::GenerationFloor { own, found });
    }
    match known.records.first_lowered(records) {
        None => Ok(()),
        Some(record) if known.epoch().lineage == root.epoch.lineage => {
            Err(RootRefusal::Forked(Box::new(record.clone())))
        }
        Some(record) => Err(RootRefusal::Forgotten(Box::new(record.clone()))),
    }
}
