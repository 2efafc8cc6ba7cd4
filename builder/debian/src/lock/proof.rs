//! The lock's side file: the signed indices and the packages' stanzas, verbatim, as zstd-compressed JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::decompress;

pub(super) const VERSION: u32 = 1;

/// A proof of trixie's whole archive would be below this.
const MAX_BYTES: u64 = 256 << 20;
/// Locks change seldom and stay for ever: size matters, time does not.
const LEVEL: i32 = 19;

/// Why a proof cannot be used.
#[derive(Debug, Error)]
pub enum ProofError {
    /// It is damaged.
    #[error("the lock's proof cannot be unpacked")]
    Unpack(#[source] std::io::Error),
    /// It is not of the proof's form.
    #[error("the lock's proof is malformed")]
    Parse(#[source] serde_json::Error),
    /// A version that is not understood.
    #[error("the lock's proof is of version {0}; version {VERSION} is understood")]
    Version(u32),
}

/// The texts that a lock was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Version of the form: 1.
    pub version: u32,
    /// Each suite's `InRelease`, as it was fetched.
    pub releases: BTreeMap<String, String>,
    /// Each package's stanza.
    pub stanzas: BTreeMap<String, String>,
}

impl Proof {
    /// The file's bytes.
    pub fn encode(&self) -> Result<Vec<u8>, ProofError> {
        let json = serde_json::to_vec(self).map_err(ProofError::Parse)?;
        zstd::bulk::compress(&json, LEVEL).map_err(ProofError::Unpack)
    }

    /// Reads the file's bytes.
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
