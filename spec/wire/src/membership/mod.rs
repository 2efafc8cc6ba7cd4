//! The membership protocol (`docs/protocol.md`): its binary records, signatures, and rosters.
//!
//! All functions are pure. Bytes and signatures come from other machines, so each reader accepts exactly one encoding of each
//! value, and types that carry a decision are made only from verified input.
//!
//! Not here: clocks, files, sockets, private keys.

pub mod codec;
pub mod fields;
pub mod keys;
pub mod records;
pub mod signature;
