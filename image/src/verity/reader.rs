//! Verification of a volume against its seal, without the kernel: the tree from the root hash down, then the data against the lowest level.

use super::writer::join;
use super::{
    BLOCK, DIGEST, Location, PER_BLOCK, SUPERBLOCK_BYTES, VerityError, check_lengths, for_blocks, levels,
    salted, superblock, threads_for,
};
use crate::source::Source;
use crate::width::to_usize;
use kubedos_wire::seal::Seal;

/// Verifies the superblock and every block of the tree against the root hash. This reads only 1/128 of the amount of the data. Stage 1 does
/// it before it mounts the volume, so that damage in the tree stops the boot instead of a later read.
pub fn check_tree(hash_area: &dyn Source, seal: &Seal) -> Result<(), VerityError> {
    lowest_level(hash_area, seal).map(|_| ())
}

/// Verifies every block of the tree and the data against the root hash. Reports the first corrupt block of the tree, otherwise of the data.
pub fn verify(data: &dyn Source, hash_area: &dyn Source, seal: &Seal) -> Result<(), VerityError> {
    check_lengths(seal, Some(data.len()), hash_area.len())?;
    let digests = lowest_level(hash_area, seal)?;
    let stretch = seal.data_blocks.div_ceil(threads_for(seal.data_blocks) as u64);
    let stretch_bytes = to_usize(stretch).saturating_mul(DIGEST);
    std::thread::scope(|scope| {
        let workers: Vec<_> = digests
            .chunks(stretch_bytes)
            .zip((0..).step_by(to_usize(stretch)))
            .map(|(digests, first)| scope.spawn(move || verify_stretch(data, seal, digests, first)))
            .collect();
        // In order, so that the first failed range contains the first corrupt block.
        workers.into_iter().map(join).collect::<Vec<_>>().into_iter().collect()
    })
}

fn verify_stretch(data: &dyn Source, seal: &Seal, digests: &[u8], first: u64) -> Result<(), VerityError> {
    let mut expected = digests.chunks_exact(DIGEST);
    let count = expected.len() as u64;
    for_blocks(data, "the data", first..first + count, |number, block| {
        if expected.next() == Some(&salted(seal.salt.as_bytes(), block)) {
            Ok(())
        } else {
            Err(VerityError::Corrupt(Location::Data(number)))
        }
    })
}

/// Reads the digests of all data blocks and verifies them against the root hash.
fn lowest_level(hash_area: &dyn Source, seal: &Seal) -> Result<Vec<u8>, VerityError> {
    check_lengths(seal, None, hash_area.len())?;
    let mut block = vec![0; SUPERBLOCK_BYTES];
    hash_area.read_exact_at(&mut block, 0).map_err(|error| VerityError::Io("the hash area", error))?;
    if block != superblock(seal) {
        return Err(VerityError::Corrupt(Location::Superblock));
    }
    let mut expected = seal.root_hash.as_bytes().to_vec();
    let mut first = 1;
    for blocks in levels(seal.data_blocks).into_iter().rev() {
        let mut level = Vec::new();
        let mut above = expected.chunks_exact(DIGEST);
        for_blocks(hash_area, "the hash area", first..first + blocks, |number, block| {
            if above.next() != Some(&salted(seal.salt.as_bytes(), block)) {
                return Err(VerityError::Corrupt(Location::Tree(number)));
            }
            level.extend_from_slice(block);
            Ok(())
        })?;
        first += blocks;
        expected = level;
    }
    // The end of the last block is unused. Its digest covers it, so it is zero in a tree that kubedOS built.
    let len = to_usize(seal.data_blocks).saturating_mul(DIGEST);
    expected.truncate(len);
    debug_assert!(
        expected.len() == len && expected.len() as u64 <= seal.data_blocks * PER_BLOCK * BLOCK as u64
    );
    Ok(expected)
}
