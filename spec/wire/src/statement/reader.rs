//! Reads and verifies statements.

use super::format::{Header, MAGIC, MAX_BODY, MAX_SIGNATURES, Signature};
use super::{Domain, StatementError};
use crate::hex32::{KeyId, PublicKey};
use ring::signature::{ED25519, UnparsedPublicKey};
use zerocopy::FromBytes;

/// The structure of a statement; its content is not accessible before it is verified.
#[expect(missing_debug_implementations, reason = "the body may contain secrets")]
pub struct Statement<'a> {
    signatures: &'a [Signature],
    body: &'a str,
    len: usize,
}

/// A body with the signature of a trusted key.
#[expect(missing_debug_implementations, reason = "the body may contain secrets")]
#[derive(Clone, Copy)]
pub struct Verified<'a> {
    domain: Domain,
    body: &'a str,
    signer: PublicKey,
}

/// Reads the statement at the start of `bytes`; the remaining bytes must be zeroes, as in a partition.
pub fn read(bytes: &[u8]) -> Result<Statement<'_>, StatementError> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Err(StatementError::Empty);
    }
    let (header, rest) = Header::ref_from_prefix(bytes).map_err(|_| StatementError::Truncated)?;
    if header.magic != MAGIC {
        return Err(StatementError::Magic);
    }
    if header.zero != [0; 2] {
        return Err(StatementError::NotZero);
    }
    let body_len = usize::try_from(header.body_len.get()).unwrap_or(usize::MAX);
    let count = usize::from(header.signatures.get());
    if body_len > MAX_BODY {
        return Err(StatementError::Bounds("length of the body"));
    }
    if count == 0 || count > MAX_SIGNATURES {
        return Err(StatementError::Bounds("number of signatures"));
    }
    let (signatures, rest) =
        <[Signature]>::ref_from_prefix_with_elems(rest, count).map_err(|_| StatementError::Truncated)?;
    let (body, rest) = rest.split_at_checked(body_len).ok_or(StatementError::Truncated)?;
    if rest.iter().any(|byte| *byte != 0) {
        return Err(StatementError::NotZero);
    }
    let body = std::str::from_utf8(body).map_err(|_| StatementError::NotUtf8)?;
    Ok(Statement { signatures, body, len: bytes.len() - rest.len() })
}

impl<'a> Statement<'a> {
    /// The ids of the keys that have signed, as the statement claims, in its order.
    pub fn signers(&self) -> impl Iterator<Item = KeyId> {
        self.signatures.iter().map(|signature| KeyId::new(signature.key))
    }

    pub(super) fn body(&self) -> &'a str {
        self.body
    }

    /// Length of the statement in bytes, without the zeroes after it.
    pub fn encoded_len(&self) -> usize {
        self.len
    }

    /// Checks that at least one trusted key has signed, and that each signature by a trusted key verifies. Signatures
    /// by other keys are ignored: a neighbouring release may trust them.
    pub fn verify(&self, domain: Domain, keys: &[PublicKey]) -> Result<Verified<'a>, StatementError> {
        let message = domain.message(self.body.as_bytes());
        let mut signer = None;
        for signature in self.signatures {
            let Some(key) = keys.iter().find(|key| key.id().as_bytes() == &signature.key) else { continue };
            UnparsedPublicKey::new(&ED25519, key.as_bytes())
                .verify(&message, &signature.ed25519)
                .map_err(|_| StatementError::BadSignature)?;
            signer.get_or_insert(*key);
        }
        let signer = signer.ok_or(StatementError::UnknownSigner(keys.len()))?;
        Ok(Verified { domain, body: self.body, signer })
    }
}

impl<'a> Verified<'a> {
    /// The verified kind.
    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// The verified text.
    pub fn body(&self) -> &'a str {
        self.body
    }

    /// The first trusted key that has signed.
    pub fn signer(&self) -> PublicKey {
        self.signer
    }
}
