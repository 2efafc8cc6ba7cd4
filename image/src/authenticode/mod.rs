//! Authenticode signatures of EFI programs, which firmware verifies under Secure Boot (UEFI 2.11, 32.5; "Windows Authenticode Portable
//! Executable Signature Format", 2008).
//!
//! The digest of the *unsigned* program identifies it. With the key, [`sign`] creates a signature in one step. If the key is on another
//! machine, [`prepare`] creates the message to sign, and [`attach`] adds the signature. [`detach`] removes a signature and [`graft`] adds it
//! again, so that a person without the key can rebuild the program and compare it with the signed one. A signature is attached only if it
//! verifies.

mod indirect;
mod reader;
mod writer;

pub use reader::{claimed_signer, digest, signature, verify};
pub use writer::{Request, attach, detach, graft, prepare, sign};

use crate::pe::PeError;
use crate::pkcs7::{Pkcs7Error, SignerError};

/// A program cannot be signed, or its signature was refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticodeError {
    /// The program does not have the accepted form.
    #[error("not a program that can be signed")]
    Pe(#[from] PeError),
    /// The program has no signature.
    #[error("the program is not signed")]
    Unsigned,
    /// The program already has a signature, which must be detached first.
    #[error("the program is already signed")]
    Signed,
    /// The table that contains the signature is invalid.
    #[error("malformed certificate table: {0}")]
    Table(&'static str),
    /// The signature is malformed, or not made by a trusted certificate.
    #[error("the signature is refused")]
    Signature(#[from] Pkcs7Error),
    /// The signature contains the digest of a different program.
    #[error("the signature belongs to a different program, or the program was changed")]
    Digest,
    /// The signer failed.
    #[error("failed to sign")]
    Signer(#[from] SignerError),
}

#[cfg(test)]
mod tests;
