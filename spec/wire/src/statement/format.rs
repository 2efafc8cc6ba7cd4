//! The byte format of a statement (ADR 0002): a header of 16 bytes, 96 bytes for each signature, the body, zeroes.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const MAGIC: [u8; 8] = *b"KUBEDST1";
pub(super) const MAX_BODY: usize = 65_536;
pub(super) const MAX_SIGNATURES: usize = 8;

/// Maximum length of a statement; a reader needs no more bytes of a partition.
pub const MAX_LEN: usize = size_of::<Header>() + MAX_SIGNATURES * size_of::<Signature>() + MAX_BODY;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: [u8; 8],
    pub(super) body_len: U32,
    pub(super) signatures: U16,
    pub(super) zero: [u8; 2],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Signature {
    /// SHA-256 of the 32-byte public key.
    pub(super) key: [u8; 32],
    pub(super) ed25519: [u8; 64],
}
