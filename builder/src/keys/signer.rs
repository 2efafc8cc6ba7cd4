//! Signers with a key from a file. They implement `kubedos_wire::statement::Signer` and `kubedos_image::pkcs7::Signer`.

use std::convert::Infallible;
use std::path::Path;

use kubedos_image::pkcs7::{Certificate, Signer, SignerError};
use kubedos_wire::hex32::PublicKey;
use kubedos_wire::statement;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

use super::KeyError;

/// Signs statements.
#[expect(missing_debug_implementations, reason = "secrets must not be printed")]
pub struct Ed25519Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Ed25519Signer {
    pub(super) fn new(pkcs8: &[u8], path: &Path) -> Result<Self, KeyError> {
        let malformed = || KeyError::Malformed { path: path.to_owned(), what: "an Ed25519 key" };
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(|_| malformed())?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| malformed())?;
        Ok(Self { pair, public: PublicKey::new(public) })
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl statement::Signer for Ed25519Signer {
    type Error = Infallible;

    fn public_key(&self) -> PublicKey {
        self.public
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], Infallible> {
        let mut out = [0; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        Ok(out)
    }
}

/// Signs EFI programs and authenticated variables.
#[expect(missing_debug_implementations, reason = "secrets must not be printed")]
pub struct RsaSigner {
    pair: RsaKeyPair,
    certificate: Vec<u8>,
}

impl RsaSigner {
    pub(super) fn new(pkcs8: &[u8], certificate: Vec<u8>, path: &Path) -> Result<Self, KeyError> {
        let pair = RsaKeyPair::from_pkcs8(pkcs8)
            .map_err(|_| KeyError::Malformed { path: path.to_owned(), what: "an RSA key" })?;
        let parsed = Certificate::parse(&certificate)
            .map_err(|source| KeyError::Certificate { path: path.to_owned(), source })?;
        if pair.public_key().as_ref() != parsed.public_key {
            return Err(KeyError::Pair { path: path.to_owned() });
        }
        Ok(Self { pair, certificate })
    }
}

impl Signer for RsaSigner {
    fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        // The random numbers are for blinding; PKCS #1 v1.5 signatures themselves are deterministic.
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| SignerError("RSA signing failed".into()))?;
        Ok(signature)
    }
}
