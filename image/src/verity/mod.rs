//! dm-verity volumes (kernel documentation, "dm-verity"; on-disk format of cryptsetup's veritysetup, hash type 1): SHA-256, data and hash
//! blocks of 4096 bytes, a salt of 32 bytes, and a superblock in front of the tree.
//!
//! The bytes are equal to the output of `veritysetup format` with the same salt and UUID. The [`Seal`] of a volume determines the whole
//! superblock: verification compares it with the expected bytes. It is parsed for display only.

mod format;
mod reader;
mod superblock;
mod table;
mod writer;

pub use reader::{check_tree, verify};
pub use superblock::{SUPERBLOCK_BYTES, Superblock, superblock};
pub use table::{data_sectors, table_line};
pub use writer::{Built, Leaves, build, hash_area_bytes};

use crate::width::to_usize;
use kubedos_wire::seal::Seal;
use std::io;

/// The first place at which verification of a volume failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// The superblock is not the one that the seal determines.
    Superblock,
    /// A block of the tree, counted from the start of the hash area (the superblock is block 0).
    Tree(u64),
    /// A block of the data.
    Data(u64),
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Superblock => f.write_str("the superblock"),
            Self::Tree(block) => write!(f, "hash block {block}"),
            Self::Data(block) => write!(f, "data block {block}"),
        }
    }
}

/// A tree cannot be built, or a volume does not verify.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    /// The data is empty, or not a whole number of blocks.
    #[error("data of {0} bytes is not a whole number of blocks")]
    Length(u64),
    /// The seal has an impossible number of blocks.
    #[error("a volume cannot have {0} blocks")]
    Blocks(u64),
    /// The data or the hash area is shorter than the seal requires.
    #[error("{0} is shorter than the seal requires")]
    Short(&'static str),
    /// A block of the data was not hashed while the data was written.
    #[error("data block {0} was not written")]
    Missing(u64),
    /// The bytes are not a superblock of the form that kubedOS writes.
    #[error("not a superblock: {0}")]
    Superblock(&'static str),
    /// A block does not verify. It is the first such block of the tree or of the data.
    #[error("{0} does not verify")]
    Corrupt(Location),
    /// The data or the hash area cannot be read.
    #[error("cannot read {0}")]
    Io(&'static str, #[source] io::Error),
}

/// The size of data and hash blocks, in bytes.
const BLOCK: usize = 4096;
/// Digests in one hash block.
const PER_BLOCK: u64 = 128;
const DIGEST: usize = 32;

/// The sizes of the tree's levels in blocks, lowest level first. A single data block needs no level: its digest is the root hash.
fn levels(data_blocks: u64) -> Vec<u64> {
    let mut levels = Vec::new();
    let mut below = data_blocks;
    while below > 1 {
        below = below.div_ceil(PER_BLOCK);
        levels.push(below);
    }
    levels
}

/// The number of threads for a volume of `blocks` blocks: for a short volume, starting threads takes longer than hashing.
fn threads_for(blocks: u64) -> usize {
    let most = crate::ordered::threads().get();
    to_usize(blocks / 1024).clamp(1, most)
}

fn salted(seal_salt: &[u8; 32], block: &[u8]) -> [u8; DIGEST] {
    kubedos_wire::hex32::sha256(&[seal_salt, block])
}

/// Reads the blocks `range` of `source` in large pieces and calls `each` with the number and the bytes of each block.
fn for_blocks<E: From<VerityError>>(
    source: &dyn crate::source::Source,
    what: &'static str,
    range: std::ops::Range<u64>,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    const PIECE: u64 = 256;
    let mut buffer = vec![0; BLOCK * to_usize(PIECE.min(range.end - range.start))];
    let mut at = range.start;
    while at < range.end {
        let count = PIECE.min(range.end - at);
        let (piece, _) = buffer.split_at_mut(to_usize(count) * BLOCK);
        source.read_exact_at(piece, at * BLOCK as u64).map_err(|error| VerityError::Io(what, error))?;
        for (number, block) in (at..).zip(piece.chunks_exact(BLOCK)) {
            each(number, block)?;
        }
        at += count;
    }
    Ok(())
}

/// Checks that the numbers of the seal do not overflow and that both areas are long enough.
fn check_lengths(seal: &Seal, data: Option<u64>, hash: u64) -> Result<(), VerityError> {
    let bytes = seal.data_blocks.checked_mul(BLOCK as u64).filter(|bytes| *bytes > 0);
    let bytes = bytes.ok_or(VerityError::Blocks(seal.data_blocks))?;
    if data.is_some_and(|data| data < bytes) {
        return Err(VerityError::Short("the data"));
    }
    if hash < hash_area_bytes(seal.data_blocks) {
        return Err(VerityError::Short("the hash area"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
