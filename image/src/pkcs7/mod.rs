//! PKCS #7 `SignedData` (RFC 2315) with one signer, SHA-256 and RSA PKCS #1 v1.5: what UEFI takes for images and for variables.
//!
//! Deterministic: no signing time, and RSA PKCS #1 v1.5 has no randomness, so one key gives one signature for one content.
//! [`Certificate`] is as much of X.509 as naming a signer needs; chains are not followed: firmware's `db` and our own checks name the
//! signer's certificate itself.

mod certificate;
mod reader;
mod writer;

#[cfg(test)]
pub(crate) mod sample;

pub use certificate::Certificate;
pub use reader::SignedData;
pub use writer::{attributes, content_info, signed_data};

use crate::der::DerError;

/// Object identifiers, encoded with tag and length.
pub mod oid {
    /// 1.2.840.113549.1.7.1, `data`.
    pub const DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
    /// 1.2.840.113549.1.7.2, `signedData`.
    pub const SIGNED_DATA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
    /// 1.2.840.113549.1.9.3, `contentType`.
    pub const CONTENT_TYPE: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x03];
    /// 1.2.840.113549.1.9.4, `messageDigest`.
    pub const MESSAGE_DIGEST: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x04];
    /// 2.16.840.1.101.3.4.2.1, SHA-256.
    pub const SHA256: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
    /// 1.2.840.113549.1.1.1, `rsaEncryption`.
    pub const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    /// 1.2.840.113549.1.1.11, `sha256WithRSAEncryption`.
    pub const SHA256_RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
}

/// Makes signatures with one key. The key may be a file, sit in a token, or be elsewhere: then `sign` fails and the message is carried
/// to it ([`crate::authenticode::prepare`], [`crate::authenticode::attach`]).
pub trait Signer {
    /// The certificate of the key, DER.
    fn certificate(&self) -> &[u8];
    /// The RSA PKCS #1 v1.5 signature with SHA-256 over `message`.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;
}

/// A signer did not sign.
#[derive(Debug, thiserror::Error)]
#[error("the signer did not sign")]
pub struct SignerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why a signature or certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs7Error {
    /// Not DER, or not the schema.
    #[error("malformed {what}")]
    Malformed {
        /// The object.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: DerError,
    },
    /// Well-formed, but not what is taken here.
    #[error("unsupported {0}")]
    Unsupported(&'static str),
    /// The digest among the signed attributes is another.
    #[error("the signature is over other content")]
    Digest,
    /// The signer is none of the trusted certificates.
    #[error("the signer is none of the trusted certificates")]
    UnknownSigner,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
}

impl Pkcs7Error {
    fn malformed(what: &'static str) -> impl Fn(DerError) -> Self {
        move |source| Self::Malformed { what, source }
    }
}
