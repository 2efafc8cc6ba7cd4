//! The proof file of a lock: the signed indices and the stanzas of the packages, verbatim, as zstd-compressed JSON.
//!
//! This module encodes and decodes the file, with a limit on its unpacked size. It does not verify signatures or stanzas; `verify` does.
//! The lock contains the digest of the compressed file, so another zstd level would change the digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decompress;

pub(super) const VERSION: u32 = 1;

/// The maximum unpacked size of a proof. A proof for all packages of trixie would be smaller.
const MAX_BYTES: u64 = 256 << 20;
/// The zstd level. Proofs are written rarely and stay in the Git history, so size is more important than time.
const LEVEL: i32 = 19;

/// A proof that cannot be used.
#[derive(Debug, Error)]
pub enum ProofError {
    /// Compression or decompression failed.
    #[error("failed to compress or decompress the proof of the lock")]
    Unpack(#[source] std::io::Error),
    /// The JSON does not follow the format of a proof.
    #[error("the proof of the lock is malformed")]
    Parse(#[source] serde_json::Error),
    /// The format version is not supported.
    #[error("the proof of the lock has version {0}, but only version {VERSION} is supported")]
    Version(u32),
}

/// The texts from which a lock was created: signed indices and package stanzas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The format version, 1.
    pub version: u32,
    /// The fetched `InRelease` text of each suite.
    pub releases: BTreeMap<String, String>,
    /// The stanza of each package, by package name.
    pub stanzas: BTreeMap<String, String>,
}

impl Proof {
    /// Encodes the bytes of the file.
    pub fn encode(&self) -> Result<Vec<u8>, ProofError> {
        let json = serde_json::to_vec(self).map_err(ProofError::Parse)?;
        zstd::bulk::compress(&json, LEVEL).map_err(ProofError::Unpack)
    }

    /// Decodes the bytes of the file.
    pub fn decode(bytes: &[u8]) -> Result<Self, ProofError> {
        let json = zstd::stream::read::Decoder::with_buffer(bytes)
            .and_then(|decoder| decompress::whole(decoder, MAX_BYTES))
            .map_err(ProofError::Unpack)?;
        let proof: Self = serde_json::from_slice(&json).map_err(ProofError::Parse)?;
        if proof.version != VERSION {
            return Err(ProofError::Version(proof.version));
        }
        Ok(proof)
    }
}
