//! The writer of a volume. This module contains the sequence of the steps and the superblock.

mod area;
mod cut;
mod directory;
mod files;
mod fill;
mod lz4;
mod metadata;
mod packed;
mod predict;
mod segment;
mod stream;
#[cfg(test)]
mod tests;
mod xattr;
mod zstd;

pub use area::Sink;
pub use cut::Compression;
pub use fill::CompressError;
pub use segment::{NoCache, SegmentCache, writer};

use std::io;
use std::num::NonZeroUsize;

use crate::erofs::format::{
    Algorithm, BLOCK, BLOCK_BITS, CLUSTER_MAX, COMPAT_CHECKSUM, COMPAT_MTIME, INCOMPAT_BIG_PCLUSTER,
    INCOMPAT_CHUNKED, INCOMPAT_FRAGMENTS, INCOMPAT_ZERO_PADDING, Lz4Config, MAGIC, SUPER_LEN, SUPER_OFFSET,
    SuperBlock, ZstdConfig, checksum,
};
use crate::erofs::tree::{Time, Tree};
use crate::width::const_u16;
use area::Area;
use metadata::Metadata;
use zerocopy::{FromZeros, IntoBytes};

/// The parameters of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// Volume UUID.
    pub uuid: [u8; 16],
    /// Time of the superblock. An inode with this time takes 32 bytes less than an inode with a different time.
    pub epoch: Time,
    /// The compression of file data.
    pub compression: Compression,
    /// The maximum cluster size in bytes: a multiple of 4096, at most 1 MiB.
    pub cluster: u32,
    /// The number of threads that compress. The bytes of the volume do not depend on it.
    pub threads: NonZeroUsize,
}

impl Params {
    pub(super) const fn algorithm(&self) -> Option<Algorithm> {
        match self.compression {
            Compression::None => None,
            Compression::Lz4hc(_) => Some(Algorithm::Lz4),
            Compression::Zstd(_) => Some(Algorithm::Zstd),
        }
    }
}

/// Statistics about a written volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// The number of blocks of 4096 bytes.
    pub blocks: u32,
    /// The number of inodes without the packed inode.
    pub inodes: u64,
    /// The size of inodes, indices, attributes and ends of directories, in bytes.
    pub metadata_bytes: u64,
    /// The size of the packed inode before compression, in bytes.
    pub packed_bytes: u64,
    /// The number of segments that were compressed or taken from the cache.
    pub segments: usize,
    /// The number of segments that were taken from the cache.
    pub cached_segments: usize,
}

/// The volume cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// EROFS does not support the cluster size.
    #[error("a cluster of {0} bytes is not a multiple of 4096 up to 1048576")]
    Cluster(u32),
    /// The compressor does not support the level.
    #[error("{0:?} is not a level of the compressor")]
    Level(Compression),
    /// The content of a file cannot be read.
    #[error("failed to read the content of a file")]
    Source(#[source] io::Error),
    /// The content of a file was read twice and was different.
    #[error("the content of a file changed while it was read")]
    Changed,
    /// The sink failed.
    #[error("failed to write the volume")]
    Sink(#[source] io::Error),
    /// The compressor failed.
    #[error(transparent)]
    Compress(#[from] CompressError),
    /// The volume needs more blocks than 32 bits can number, or a file is too large.
    #[error("the volume exceeds the limits of EROFS")]
    TooLarge,
    /// The extended attributes of an inode take more than 262 KB.
    #[error("the extended attributes of an inode exceed the limit of EROFS")]
    TooManyXattrs,
}

/// Writes the tree as a volume. Every block is written, block 0 last. The blocks of directories are written twice: the second time with
/// their entries, when the numbers of all inodes are known.
pub fn write(
    tree: &Tree<'_>,
    params: &Params,
    cache: &dyn SegmentCache,
    sink: &mut dyn Sink,
) -> Result<Statistics, WriteError> {
    check(params)?;
    let order = tree.in_order();
    let mut area = Area::new(sink, 1);
    let mut files = files::write(tree, &order, params, cache, &mut area)?;
    let mut counts = files.counts;
    let pieces = std::mem::take(&mut files.pieces);
    let packed = packed::write(tree, &pieces, params, cache, &mut area, &mut counts)?;
    let storage = files.storage(&packed.offsets);
    let metadata = metadata::write(tree, &order, params, storage, &packed, &mut area)?;
    let meta_block = area.append(&metadata.bytes)?;
    let blocks = area.next()?;
    let first = first_block(params, &metadata, meta_block, blocks, area.shares || packed.len > 0);
    area.finish(&first)?;
    Ok(Statistics {
        blocks,
        inodes: metadata.inodes,
        metadata_bytes: metadata.bytes.len() as u64,
        packed_bytes: packed.len,
        segments: counts.segments,
        cached_segments: counts.cached,
    })
}

fn check(params: &Params) -> Result<(), WriteError> {
    let cluster = params.cluster as usize;
    if cluster == 0 || cluster > CLUSTER_MAX || !cluster.is_multiple_of(BLOCK) {
        return Err(WriteError::Cluster(params.cluster));
    }
    match params.compression {
        Compression::Lz4hc(level) if !(1..=12).contains(&level) => Err(WriteError::Level(params.compression)),
        Compression::Zstd(level) if !(1..=22).contains(&level) => Err(WriteError::Level(params.compression)),
        _ => Ok(()),
    }
}

/// Block 0: the superblock, followed by the configuration of the compressor.
fn first_block(
    params: &Params,
    metadata: &Metadata,
    meta_block: u32,
    blocks: u32,
    fragments: bool,
) -> Vec<u8> {
    let mut incompat = 0;
    let mut configuration = Vec::new();
    if let Some(algorithm) = params.algorithm() {
        incompat |= INCOMPAT_ZERO_PADDING | INCOMPAT_BIG_PCLUSTER;
        configuration = configure(algorithm, params);
    }
    if fragments {
        incompat |= INCOMPAT_FRAGMENTS;
    }
    if metadata.has_chunks {
        incompat |= INCOMPAT_CHUNKED;
    }
    let mut superblock = SuperBlock::new_zeroed();
    superblock.magic = MAGIC.into();
    superblock.compat = (COMPAT_CHECKSUM | COMPAT_MTIME).into();
    superblock.block_bits = BLOCK_BITS;
    superblock.root_nid = metadata.root_nid.into();
    superblock.inodes = metadata.inodes.into();
    superblock.epoch = params.epoch.seconds.into();
    superblock.epoch_nanos = params.epoch.nanos.into();
    superblock.blocks = blocks.into();
    superblock.meta_block = meta_block.into();
    superblock.xattr_block = (meta_block + metadata.xattr_block).into();
    superblock.uuid = params.uuid;
    superblock.incompat = incompat.into();
    superblock.algorithms = params.algorithm().map_or(0, |algorithm| 1 << algorithm.number()).into();
    superblock.packed_nid = metadata.packed_nid.into();

    let mut block = vec![0; BLOCK];
    let put = |block: &mut [u8], at: usize, bytes: &[u8]| {
        let (_, place) = block.split_at_mut(at);
        let (place, _) = place.split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
    };
    put(&mut block, SUPER_OFFSET, superblock.as_bytes());
    put(&mut block, SUPER_OFFSET + SUPER_LEN, &configuration);
    let (_, summed) = block.split_at(SUPER_OFFSET);
    superblock.checksum = checksum(summed).into();
    put(&mut block, SUPER_OFFSET, superblock.as_bytes());
    block
}

/// The configuration of a compressor, after its length.
#[expect(clippy::expect_used, reason = "`check` has bounded the cluster by 1 MiB")]
fn configure(algorithm: Algorithm, params: &Params) -> Vec<u8> {
    let blocks = u16::try_from(params.cluster >> BLOCK_BITS).expect("a cluster has at most 256 blocks");
    let lz4 = Lz4Config { max_distance: 0.into(), max_cluster_blocks: blocks.into(), reserved: [0; 10] };
    let zstd = ZstdConfig { format: 0, window_log: stream::WINDOW_LOG - 10, reserved: [0; 4] };
    let (len, bytes) = match algorithm {
        Algorithm::Lz4 => (const { const_u16(size_of::<Lz4Config>() as u64) }, lz4.as_bytes()),
        Algorithm::Zstd => (const { const_u16(size_of::<ZstdConfig>() as u64) }, zstd.as_bytes()),
    };
    [&len.to_le_bytes(), bytes].concat()
}
