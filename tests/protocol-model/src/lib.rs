//! A model of the membership protocol (`docs/protocol.md`), small enough that every reachable state is checked.
//!
//! The decisions are those of the product: the model calls `judge`, `accept` and `judge_genesis` of
//! `kubedos_wire::membership` with small numbers instead of keys. The model owns the world around them: an attacker with the
//! keys of one control plane, a network that loses, repeats, delays and reorders, lost disks, operators. Messages are never
//! removed: whatever was signed once can reach anybody at any time. etcd is not in the state, because the attacker can
//! write every key of it: any proposal can reach any control plane.
//!
//! [`checker`] searches all states. [`genesis`], [`roster`] and [`enrolment`] are the three models. A mutant is a model
//! without one check; the tests show that the attack that this check stops is then found.
#![forbid(unsafe_code)]

pub mod checker;
pub mod enrolment;
pub mod genesis;
pub mod roster;
