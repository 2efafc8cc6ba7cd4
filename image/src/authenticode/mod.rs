//! Authenticode signatures of EFI programs: what firmware checks under Secure Boot (UEFI 2.11, 32.5; "Windows Authenticode Portable
//! Executable Signature Format", 2008).
//!
//! The digest of the *unsigned* program is its identity. A signature is made in one step where the key is at hand ([`sign`]), or in two
//! ([`prepare`] here, the key elsewhere, [`attach`] here); it can be taken off and put back ([`detach`], [`graft`]), so whoever
//! rebuilds the program compares it with the signed one without having the key. Nothing is attached that does not verify.

mod indirect;
mod reader;
mod writer;

pub use reader::{claimed_signer, digest, signature, verify};
pub use writer::{Request, attach, detach, graft, prepare, sign};

use crate::pe::PeError;
use crate::pkcs7::{Pkcs7Error, SignerError};

/// Why a program was not signed, or its signature refused.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticodeError {
    /// The program.
    #[error("not a program that can be signed")]
    Pe(#[from] PeError),
    /// It has no signature.
    #[error("the program is not signed")]
    Unsigned,
    /// It has one already: detach it first.
    #[error("the program is signed already")]
    Signed,
    /// The table that holds the signature.
    #[error("malformed certificate table: {0}")]
    Table(&'static str),
    /// The signature.
    #[error("the signature is refused")]
    Signature(#[from] Pkcs7Error),
    /// The signature is of another program.
    #[error("the signature is of another program, or the program was changed")]
    Digest,
    /// The signer failed.
    #[error("failed to sign")]
    Signer(#[from] SignerError),
}

#[cfg(test)]
mod tests;
