//! The bytes of the superblock (cryptsetup wiki, "DMVerity on-disk format"). Unused bytes are zero.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const SIGNATURE: [u8; 8] = *b"verity\0\0";
pub(super) const VERSION: u32 = 1;
/// Hash type 1: the salt is hashed before the block (type 0 is Chrome OS's).
pub(super) const HASH_TYPE: u32 = 1;
pub(super) const ALGORITHM: &[u8] = b"sha256";

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct RawSuperblock {
    pub(super) signature: [u8; 8],
    pub(super) version: U32,
    pub(super) hash_type: U32,
    pub(super) uuid: [u8; 16],
    pub(super) algorithm: [u8; 32],
    pub(super) data_block_size: U32,
    pub(super) hash_block_size: U32,
    pub(super) data_blocks: U64,
    pub(super) salt_size: U16,
    pub(super) zero_a: [u8; 6],
    pub(super) salt: [u8; 256],
    pub(super) zero_b: [u8; 168],
}
