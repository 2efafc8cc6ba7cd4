//! Signatures of records: the bytes that are signed, and the set of signatures of one record.
//!
//! Signed bytes are the domain, a zero byte, and the encoding, as for statements (ADR 0002). The domains of records and of
//! statements are all different, so a signature of one kind is never one of another kind.
//!
//! A signature names its key by the key's id. Who may sign is not decided here: the authority set counts signatures by
//! member (`statements/authority_set.rs`), and other records name the key that must have signed.

use std::collections::BTreeMap;

use super::codec::{CodecError, Encoded, Reader, Writer};
use super::keys::SignerKey;
use crate::hex32::KeyId;
use crate::statement::{SignError, Signer, StatementError};

/// Maximum number of signatures of a record, and of members of an authority set.
pub const MAX_SIGNATURES: usize = 9;

/// A record that is signed.
pub trait Signable: Encoded {
    /// The domain-separation text of this kind of record, with the version of the kind.
    const DOMAIN: &'static str;

    /// The bytes that are signed.
    fn message(&self) -> Vec<u8> {
        [Self::DOMAIN.as_bytes(), &[0], &self.encode()].concat()
    }

    /// Whether this key has made this signature of the record. The key id of the signature must be the key's.
    fn is_signed_by(&self, key: &SignerKey, signature: &Signature) -> bool {
        key.id() == signature.key && key.has_signed(&self.message(), &signature.ed25519)
    }

    /// Signs the record. The signature is verified before it is returned.
    ///
    /// # Errors
    /// If the signer fails, or reports another key than the one that it signs with.
    fn sign<S: Signer>(&self, signer: &S) -> Result<Signature, SignError<S::Error>> {
        let (public, message) = (signer.public_key(), self.message());
        let ed25519 = signer.sign(&message).map_err(|error| SignError::Signer(public, error))?;
        let key = SignerKey::new(public).map_err(|_| StatementError::BadSignature)?;
        let is_valid = key.has_signed(&message, &ed25519);
        if is_valid {
            Ok(Signature { key: key.id(), ed25519 })
        } else {
            Err(StatementError::BadSignature.into())
        }
    }
}

/// One Ed25519 signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// SHA-256 of the public key.
    pub key: KeyId,
    /// The signature.
    pub ed25519: [u8; 64],
}

impl Encoded for Signature {
    fn write(&self, to: &mut Writer) {
        to.raw(self.key.as_bytes());
        to.raw(&self.ed25519);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { key: KeyId::new(from.array("key")?), ed25519: from.array("signature")? })
    }
}

/// The signatures of one record: sorted by key, one for each key, at most [`MAX_SIGNATURES`]. They are not verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signatures(BTreeMap<KeyId, [u8; 64]>);

impl Signatures {
    /// Adds a signature that the caller has verified. Returns `false` if the key has another signature here, or if there
    /// are too many.
    pub fn add(&mut self, signature: Signature) -> bool {
        match self.0.get(&signature.key) {
            Some(known) => *known == signature.ed25519,
            None if self.0.len() < MAX_SIGNATURES => {
                self.0.insert(signature.key, signature.ed25519).is_none()
            }
            None => false,
        }
    }

    /// The number of signatures.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All signatures.
    pub fn iter(&self) -> impl Iterator<Item = Signature> {
        self.0.iter().map(|(key, ed25519)| Signature { key: *key, ed25519: *ed25519 })
    }
}

impl Encoded for Signatures {
    fn write(&self, to: &mut Writer) {
        to.map(&self.0, |to, key, ed25519| Signature { key: *key, ed25519: *ed25519 }.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let item = |from: &mut Reader<'_>| Signature::read(from).map(|one| (one.key, one.ed25519));
        from.map("signatures", (0, MAX_SIGNATURES), item).map(Self)
    }
}
