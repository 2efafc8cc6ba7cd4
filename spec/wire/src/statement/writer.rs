//! Signs and writes statements. The caller provides the signer: a key file, a token, or a remote service.

use super::format::{Header, MAGIC, MAX_BODY, MAX_SIGNATURES, Signature};
use super::{Domain, StatementError};
use crate::hex32::PublicKey;
use ring::signature::{ED25519, UnparsedPublicKey};
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

/// Signs with one Ed25519 key.
pub trait Signer {
    /// The error of signing.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The public key.
    fn public_key(&self) -> PublicKey;

    /// Signs `message` by RFC 8032 (pure Ed25519).
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Self::Error>;
}

/// Why a statement cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SignError<E: std::error::Error + Send + Sync + 'static> {
    /// The body is too long, or the number of signers is not 1 to 8.
    #[error("failed to build the statement")]
    Statement(#[from] StatementError),
    /// The signer failed.
    #[error("failed to sign with key {0}")]
    Signer(PublicKey, #[source] E),
}

/// Builds the bytes of a statement. Each signature is verified before it is written.
pub fn write<S: Signer>(domain: Domain, body: &str, signers: &[&S]) -> Result<Vec<u8>, SignError<S::Error>> {
    if body.len() > MAX_BODY {
        return Err(StatementError::Bounds("length of the body").into());
    }
    if signers.is_empty() || signers.len() > MAX_SIGNATURES {
        return Err(StatementError::Bounds("number of signatures").into());
    }
    let header = Header {
        magic: MAGIC,
        body_len: U32::new(u32::try_from(body.len()).unwrap_or(u32::MAX)),
        signatures: U16::new(u16::try_from(signers.len()).unwrap_or(u16::MAX)),
        zero: [0; 2],
    };
    let message = domain.message(body.as_bytes());
    let mut bytes = header.as_bytes().to_vec();
    for signer in signers {
        let key = signer.public_key();
        let ed25519 = signer.sign(&message).map_err(|error| SignError::Signer(key, error))?;
        UnparsedPublicKey::new(&ED25519, key.as_bytes())
            .verify(&message, &ed25519)
            .map_err(|_| StatementError::BadSignature)?;
        bytes.extend_from_slice(Signature { key: *key.id().as_bytes(), ed25519 }.as_bytes());
    }
    bytes.extend_from_slice(body.as_bytes());
    Ok(bytes)
}
