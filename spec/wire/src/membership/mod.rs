//! The membership protocol (`docs/protocol.md`), in two layers.
//!
//! *Decisions*: which records may follow which, what a control plane signs, which roster a node accepts, and who takes part
//! in a genesis. These functions are generic over the type of keys and digests. Products use 32 bytes; the model in
//! `tests/protocol-model` uses small numbers and checks the same functions in every state that an attacker can reach. Their
//! arguments are verified: a [`Signed`] names the key whose signature was verified. No function reads etcd: its content
//! reaches them as a proposal only.
//!
//! *Forms*: the binary records and the statements, signatures by domain and by member, rosters with their Merkle root, genesis
//! proofs, and [`accept_root`](accept_root::accept_root), the only way to a node's next roster. [`verified`] leads from them
//! to the arguments of the decisions.
//!
//! All functions are pure. Not here: clocks, files, sockets, private keys.

mod accept;
mod authority;
mod genesis;
mod judge;
mod judgement;
mod precedence;
mod standing;

pub mod accept_root;
pub mod codec;
pub mod fields;
pub mod freshness;
pub mod genesis_proof;
pub mod keys;
pub mod proposal_form;
pub mod records;
pub mod roster;
pub mod signature;
pub mod statements;
pub mod verified;

pub use accept::{Condition, Known, NotAccepted, Root, accept};
pub use authority::{AuthorityError, AuthoritySet, Seat};
pub use genesis::{GenesisCheck, GenesisRefusal, Hello, SigningSeat, Token, judge_genesis, proven};
pub use judge::{
    Check, Declared, Evidence, Grant, KeyChange, KeyStep, Knowledge, MAX_CHANGES, MAX_EPOCH_STEP, Proposal,
    Refusal, Request, Revocation, RevocationCause, Signed, judge,
};
pub use standing::{Content, Identity, PlaneKeys, Record, Standing};

use std::fmt::Debug;

/// A key or a digest. Two values are equal only if all their bytes are equal.
pub trait Key: Clone + Ord + Debug {}

impl<T: Clone + Ord + Debug> Key for T {}

/// Which life of which cluster a message belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context<K> {
    /// The cluster's id.
    pub cluster: K,
    /// The lineage; each genesis token has a higher one.
    pub lineage: u32,
    /// The digest of the first hellos of the lineage.
    pub instance: K,
}

#[cfg(test)]
mod tests;
