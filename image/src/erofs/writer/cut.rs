//! Cuts data into extents. Each extent fills a cluster as far as the compressor can (see the modules `zstd` and `lz4`).
//!
//! The result depends only on the data and the settings.

use super::fill::{CompressError, Fill, Filled};
use super::lz4::Lz4;
use super::zstd::Zstd;
use crate::erofs::format::{BLOCK, CLUSTER_MAX};
use crate::erofs::index::Stored;

/// How file data is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// No compression.
    None,
    /// lz4hc with a level of 1 to 12: the fastest to read.
    Lz4hc(u8),
    /// zstd with a level of 1 to 22: the smallest volume.
    Zstd(u8),
}

/// What happens with an end of the data that does not fill a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// It becomes a smaller cluster.
    Take,
    /// It is left for the packed inode.
    Leave,
}

/// The extents and clusters of some data.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Cut {
    /// The length and the form of each extent, in order.
    pub(super) extents: Vec<(u32, Stored)>,
    /// The clusters of the extents, in order, in whole blocks.
    pub(super) clusters: Vec<u8>,
}

impl Cut {
    /// The number of bytes of the data that the extents cover.
    pub(super) fn taken(&self) -> u64 {
        self.extents.iter().map(|(len, _)| u64::from(*len)).sum()
    }
}

/// Cuts `data` into extents with clusters of `cluster` bytes.
pub(super) fn cut(
    data: &[u8],
    compression: Compression,
    cluster: usize,
    end: End,
) -> Result<Cut, CompressError> {
    let cluster = cluster.clamp(BLOCK, CLUSTER_MAX) / BLOCK * BLOCK;
    // Data that is shorter than a cluster is also shorter after compression.
    if end == End::Leave && data.len() < cluster {
        return Ok(Cut::default());
    }
    match compression {
        Compression::None => cut_with(data, cluster, end, &mut Never),
        Compression::Lz4hc(level) => cut_with(data, cluster, end, &mut Lz4::new(data, level, cluster)?),
        Compression::Zstd(level) => cut_with(data, cluster, end, &mut Zstd::new(data, level, cluster)?),
    }
}

fn cut_with(data: &[u8], cluster: usize, end: End, fill: &mut dyn Fill) -> Result<Cut, CompressError> {
    let mut cut = Cut::default();
    let mut at = 0;
    while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
        if end == End::Leave && fill.is_short(at)? {
            break;
        }
        match fill.fill(at)? {
            Some(filled) if filled.bytes.len().next_multiple_of(BLOCK) < filled.used => {
                at += filled.used;
                cut.push_compressed(&filled);
            }
            _ => {
                let (run, _) = rest.split_at(cluster.min(rest.len()));
                at += run.len();
                run.chunks(BLOCK).for_each(|block| cut.push_plain(block));
            }
        }
    }
    Ok(cut)
}

impl Cut {
    /// Appends a compressed extent. The compressed bytes end with the cluster, and less than a block of zeroes is before them.
    fn push_compressed(&mut self, filled: &Filled) {
        let blocks = filled.bytes.len().div_ceil(BLOCK);
        let padding = blocks * BLOCK - filled.bytes.len();
        self.clusters.resize(self.clusters.len() + padding, 0);
        self.clusters.extend_from_slice(&filled.bytes);
        self.extents.push((narrow(filled.used), Stored::Compressed(narrow(blocks))));
    }

    fn push_plain(&mut self, block: &[u8]) {
        self.clusters.extend_from_slice(block);
        self.clusters.resize(self.clusters.len().next_multiple_of(BLOCK), 0);
        self.extents.push((narrow(block.len()), Stored::Plain));
    }
}

/// Converts a number of bytes or blocks of an extent.
#[expect(clippy::expect_used, reason = "`Fill` returns extents of at most EXTENT_MAX bytes")]
fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("an extent has at most 2^20 bytes")
}

/// A compressor that never compresses.
struct Never;

impl Fill for Never {
    fn fill(&mut self, _: usize) -> Result<Option<Filled>, CompressError> {
        Ok(None)
    }

    fn is_short(&mut self, _: usize) -> Result<bool, CompressError> {
        Ok(false)
    }
}
