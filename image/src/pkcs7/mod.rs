//! PKCS #7 `SignedData` (RFC 2315) with one signer, SHA-256 and RSA PKCS #1 v1.5, the form that UEFI accepts for images and variables.
//!
//! Signatures are deterministic: there is no signing time, and RSA PKCS #1 v1.5 uses no random numbers, so the same key and content give
//! the same signature. [`Certificate`] reads only the parts of X.509 that identify a signer. Certificate chains are not followed: the
//! `db` of firmware and the checks of kubedOS list the certificate of the signer itself.

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

/// Creates signatures with one key. The key may be a file, in a token, or on another machine. In the last case, `sign` fails, and the
/// operator transports the message to the key ([`crate::authenticode::prepare`], [`crate::authenticode::attach`]).
pub trait Signer {
    /// The certificate of the key, DER.
    fn certificate(&self) -> &[u8];
    /// The RSA PKCS #1 v1.5 signature with SHA-256 over `message`.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignerError>;
}

/// The signer did not create a signature.
#[derive(Debug, thiserror::Error)]
#[error("the signer did not sign")]
pub struct SignerError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A signature or a certificate was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs7Error {
    /// The bytes are not DER, or do not match the schema.
    #[error("malformed {what}")]
    Malformed {
        /// The object.
        what: &'static str,
        /// The cause.
        #[source]
        source: DerError,
    },
    /// The object is well-formed, but not supported.
    #[error("unsupported {0}")]
    Unsupported(&'static str),
    /// The digest in the signed attributes is not that of the content.
    #[error("the signature belongs to different content")]
    Digest,
    /// The signer is not in the list of trusted certificates.
    #[error("the signer is not one of the trusted certificates")]
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
