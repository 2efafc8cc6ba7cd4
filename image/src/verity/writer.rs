//! Builds the tree. The data is read once; each thread hashes one range of it. The levels above are small, and one thread builds them.

use super::{BLOCK, DIGEST, VerityError, for_blocks, levels, salted, superblock, threads_for};
use crate::source::Source;
use crate::width::to_usize;
use kubedos_wire::hex32::{RootHash, Salt};
use kubedos_wire::seal::Seal;

/// A volume's seal and its hash area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The parameters with which the volume is opened.
    pub seal: Seal,
    /// The content of the `-hash` partition: the superblock, then the tree with its top level first.
    pub hash_area: Vec<u8>,
}

/// The length in bytes of the hash area for `data_blocks` data blocks, including the superblock.
pub fn hash_area_bytes(data_blocks: u64) -> u64 {
    let tree: u64 = levels(data_blocks).iter().sum();
    tree.saturating_add(1).saturating_mul(BLOCK as u64)
}

/// Builds the tree of `data`, which must be a whole number of blocks of 4096 bytes.
pub fn build(data: &dyn Source, salt: &Salt) -> Result<Built, VerityError> {
    let len = data.len();
    if len == 0 || !len.is_multiple_of(BLOCK as u64) {
        return Err(VerityError::Length(len));
    }
    let data_blocks = len / BLOCK as u64;
    finish(leaf_digests(data, salt, data_blocks)?, salt, data_blocks)
}

/// The digests of data blocks, calculated while the data is written.
#[derive(Debug, Clone)]
pub struct Leaves {
    salt: Salt,
    digests: Vec<u8>,
}

impl Leaves {
    /// Creates an empty set of digests.
    pub const fn new(salt: Salt) -> Self {
        Self { salt, digests: Vec::new() }
    }

    /// Adds whole blocks that are written from block `first` on. They replace blocks that were added before.
    pub fn add(&mut self, first: u64, blocks: &[u8]) {
        let start = to_usize(first) * DIGEST;
        let end = start + blocks.len() / BLOCK * DIGEST;
        if self.digests.len() < end {
            self.digests.resize(end, 0);
        }
        let (_, slots) = self.digests.split_at_mut(start);
        for (slot, block) in slots.chunks_exact_mut(DIGEST).zip(blocks.chunks_exact(BLOCK)) {
            slot.copy_from_slice(&salted(self.salt.as_bytes(), block));
        }
    }

    /// Builds the tree of `data_blocks` blocks. All of them must have been added.
    ///
    /// # Errors
    /// [`VerityError::Short`] or [`VerityError::Missing`] if a block was not added.
    pub fn finish(self, data_blocks: u64) -> Result<Built, VerityError> {
        if data_blocks == 0 || self.digests.len() as u64 != data_blocks * DIGEST as u64 {
            return Err(VerityError::Short("the data"));
        }
        // `add` fills the digests of skipped blocks with zeroes. No known block has this digest.
        let missing =
            (0..).zip(self.digests.chunks_exact(DIGEST)).find(|(_, digest)| **digest == [0; DIGEST]);
        if let Some((block, _)) = missing {
            return Err(VerityError::Missing(block));
        }
        finish(self.digests, &self.salt, data_blocks)
    }
}

/// Builds the levels above the digests of the data blocks.
fn finish(leaves: Vec<u8>, salt: &Salt, data_blocks: u64) -> Result<Built, VerityError> {
    let mut below = leaves;
    let mut built: Vec<Vec<u8>> = Vec::new();
    for _ in levels(data_blocks) {
        below.resize(below.len().next_multiple_of(BLOCK), 0);
        let above = below.chunks_exact(BLOCK).flat_map(|block| salted(salt.as_bytes(), block)).collect();
        built.push(std::mem::replace(&mut below, above));
    }
    // `below` is now the digest of the top block, or of the only data block.
    let root = *below.first_chunk::<DIGEST>().ok_or(VerityError::Length(0))?;
    let seal = Seal { root_hash: RootHash::new(root), salt: *salt, data_blocks };
    let mut hash_area = superblock(&seal);
    for level in built.iter().rev() {
        hash_area.extend_from_slice(level);
    }
    Ok(Built { seal, hash_area })
}

/// Calculates the digests of all data blocks, in order.
fn leaf_digests(data: &dyn Source, salt: &Salt, data_blocks: u64) -> Result<Vec<u8>, VerityError> {
    let total = usize::try_from(data_blocks).ok().and_then(|blocks| blocks.checked_mul(DIGEST));
    let mut digests = vec![0; total.ok_or(VerityError::Length(data.len()))?];
    let stretch = data_blocks.div_ceil(threads_for(data_blocks) as u64);
    let stretch_bytes = to_usize(stretch) * DIGEST;
    std::thread::scope(|scope| {
        let workers: Vec<_> = digests
            .chunks_mut(stretch_bytes)
            .zip((0..).step_by(to_usize(stretch)))
            .map(|(out, first): (&mut [u8], u64)| {
                scope.spawn(move || {
                    let count = (out.len() / DIGEST) as u64;
                    let mut slots = out.chunks_exact_mut(DIGEST);
                    for_blocks(data, "the data", first..first + count, |_, block| {
                        if let Some(slot) = slots.next() {
                            slot.copy_from_slice(&salted(salt.as_bytes(), block));
                        }
                        Ok::<(), VerityError>(())
                    })
                })
            })
            .collect();
        workers.into_iter().try_for_each(join)
    })?;
    Ok(digests)
}

/// Returns the result of a thread, or propagates its panic.
pub(super) fn join<T>(worker: std::thread::ScopedJoinHandle<'_, T>) -> T {
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
