//! Building the tree: the data is read once, in stretches of which each thread has one; the levels above are small.

use super::{BLOCK, DIGEST, VerityError, for_blocks, levels, salted, superblock, threads_for};
use crate::source::Source;
use crate::width::to_usize;
use kubedos_wire::hex32::{RootHash, Salt};
use kubedos_wire::seal::Seal;

/// A volume's seal and its hash area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// How to open the volume.
    pub seal: Seal,
    /// Superblock and tree, root level first: the content of the `-hash` partition.
    pub hash_area: Vec<u8>,
}

/// The length of a hash area over so many data blocks, superblock included.
pub fn hash_area_bytes(data_blocks: u64) -> u64 {
    let tree: u64 = levels(data_blocks).iter().sum();
    tree.saturating_add(1).saturating_mul(BLOCK as u64)
}

/// Builds the tree over `data`, which must be a whole number of blocks of 4096 bytes.
pub fn build(data: &dyn Source, salt: &Salt) -> Result<Built, VerityError> {
    let len = data.len();
    if len == 0 || !len.is_multiple_of(BLOCK as u64) {
        return Err(VerityError::Length(len));
    }
    let data_blocks = len / BLOCK as u64;
    finish(leaf_digests(data, salt, data_blocks)?, salt, data_blocks)
}

/// Digests of data blocks, taken while the data is written.
#[derive(Debug, Clone)]
pub struct Leaves {
    salt: Salt,
    digests: Vec<u8>,
}

impl Leaves {
    /// None yet.
    pub const fn new(salt: Salt) -> Self {
        Self { salt, digests: Vec::new() }
    }

    /// Whole blocks that are written from block `first` on, in place of what may have been there.
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

    /// The tree over so many blocks, all of which were added.
    ///
    /// # Errors
    /// [`VerityError::Short`] or [`VerityError::Missing`] when one of them was not.
    pub fn finish(self, data_blocks: u64) -> Result<Built, VerityError> {
        if data_blocks == 0 || self.digests.len() as u64 != data_blocks * DIGEST as u64 {
            return Err(VerityError::Short("the data"));
        }
        // No block has this digest: it is what `add` leaves where it skips blocks.
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
    // What is left is the digest of the root block, or of the only data block.
    let root = *below.first_chunk::<DIGEST>().ok_or(VerityError::Length(0))?;
    let seal = Seal { root_hash: RootHash::new(root), salt: *salt, data_blocks };
    let mut hash_area = superblock(&seal);
    for level in built.iter().rev() {
        hash_area.extend_from_slice(level);
    }
    Ok(Built { seal, hash_area })
}

/// The digests of all data blocks, one after the other.
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

/// A worker's result; its panic goes on in the caller.
pub(super) fn join<T>(worker: std::thread::ScopedJoinHandle<'_, T>) -> T {
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
