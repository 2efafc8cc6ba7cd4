//! The superblock: encoding from a seal, which is also the expected value in verification, and parsing for display.

use super::format::{ALGORITHM, HASH_TYPE, RawSuperblock, SIGNATURE, VERSION};
use super::{BLOCK, VerityError};
use crate::guid::Guid;
use kubedos_wire::hex32::{Salt, sha256};
use kubedos_wire::seal::Seal;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// The size of the superblock: one hash block.
pub const SUPERBLOCK_BYTES: usize = BLOCK;

/// The fields of a superblock. The root hash does not cover it, so no decision may depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// The volume's UUID.
    pub uuid: Guid,
    /// The salt.
    pub salt: Salt,
    /// The number of data blocks of 4096 bytes.
    pub data_blocks: u64,
}

/// The block before the tree of a volume. Its UUID is the first 128 bits of SHA-256(`"kubedos verity\0" + salt`), so that the seal
/// determines every byte.
pub fn superblock(seal: &Seal) -> Vec<u8> {
    let uuid = Guid::from_digest_head(&sha256(&[b"kubedos verity\0", seal.salt.as_bytes()]));
    Superblock { uuid, salt: seal.salt, data_blocks: seal.data_blocks }.encode()
}

impl Superblock {
    /// Encodes the whole block.
    pub fn encode(&self) -> Vec<u8> {
        let mut raw = RawSuperblock::new_zeroed();
        raw.signature = SIGNATURE;
        raw.version = U32::new(VERSION);
        raw.hash_type = U32::new(HASH_TYPE);
        raw.uuid = self.uuid.to_bytes();
        for (to, from) in raw.algorithm.iter_mut().zip(ALGORITHM) {
            *to = *from;
        }
        raw.data_block_size = U32::new(4096);
        raw.hash_block_size = U32::new(4096);
        raw.data_blocks = U64::new(self.data_blocks);
        raw.salt_size = U16::new(32);
        for (to, from) in raw.salt.iter_mut().zip(self.salt.as_bytes()) {
            *to = *from;
        }
        let mut block = raw.as_bytes().to_vec();
        block.resize(SUPERBLOCK_BYTES, 0);
        block
    }

    /// Parses the block. Only the form that kubedOS writes is accepted.
    pub fn parse(bytes: &[u8]) -> Result<Self, VerityError> {
        let (raw, rest) =
            RawSuperblock::ref_from_prefix(bytes).map_err(|_| VerityError::Superblock("too short"))?;
        let salt = raw.salt.first_chunk::<32>().ok_or(VerityError::Superblock("salt"))?;
        let parsed = Self {
            uuid: Guid::from_bytes(raw.uuid),
            salt: Salt::new(*salt),
            data_blocks: raw.data_blocks.get(),
        };
        let own = parsed.encode();
        if raw.signature != SIGNATURE {
            return Err(VerityError::Superblock("no signature"));
        }
        let (own, _) = own.split_at(size_of::<RawSuperblock>());
        if raw.as_bytes() != own {
            return Err(VerityError::Superblock("not of the form that kubedOS writes"));
        }
        let tail = rest.get(..SUPERBLOCK_BYTES - size_of::<RawSuperblock>());
        if tail.is_none_or(|tail| tail.iter().any(|byte| *byte != 0)) {
            return Err(VerityError::Superblock("not followed by zeroes"));
        }
        Ok(parsed)
    }
}
