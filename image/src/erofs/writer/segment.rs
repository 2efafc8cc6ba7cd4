//! Segments: the pieces of files that are compressed independently, by any thread, or taken from the cache.

use super::WriteError;
use super::cut::{Compression, Cut, End, cut};
use super::fill::EXTENT_MAX;
use crate::erofs::format::{BLOCK, CLUSTER_MAX};
use crate::erofs::index::Stored;
use kubedos_wire::hex32::sha256;

/// The maximum size of a segment, in bytes. Extents do not cross segments, so the result does not depend on the threads. Each border
/// between segments costs half a block on average.
pub(super) const SEGMENT: u64 = 4 << 20;

/// The version of the writer. It must be increased when the same tree gives another volume; a test with pinned digests detects that.
const WRITER: u32 = 1;

/// The versions of this writer and of the compression libraries. The bytes of a volume depend on them in addition to tree and parameters.
pub fn writer() -> String {
    format!("{WRITER} zstd {} lz4 {}", zstd_safe::version_number(), lz4::liblz4::version())
}

/// A cache of compressed segments between runs. The writer verifies each returned entry, so the cache may be damaged, and it may lose
/// entries at any time.
pub trait SegmentCache: Sync {
    /// The bytes of a key, if the cache contains them.
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>>;
    /// Stores bytes under a key. A failure only costs time, so it is not reported.
    fn put(&self, key: &[u8; 32], bytes: &[u8]);
}

/// A cache without entries.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCache;

impl SegmentCache for NoCache {
    fn get(&self, _: &[u8; 32]) -> Option<Vec<u8>> {
        None
    }

    fn put(&self, _: &[u8; 32], _: &[u8]) {}
}

/// The settings that the extents of a segment depend on in addition to its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Settings {
    pub(super) compression: Compression,
    /// The maximum cluster size, in bytes.
    pub(super) cluster: u32,
    pub(super) end: End,
}

impl Settings {
    /// The cache key of data with this digest.
    fn key(&self, digest: &[u8; 32]) -> [u8; 32] {
        let (algorithm, level) = match self.compression {
            Compression::None => (0, 0),
            Compression::Lz4hc(level) => (1, level),
            Compression::Zstd(level) => (2, level),
        };
        let end = u8::from(self.end == End::Leave);
        let settings = [algorithm, level, end];
        sha256(&[
            b"kubedos erofs segment",
            writer().as_bytes(),
            &settings,
            &self.cluster.to_le_bytes(),
            digest,
        ])
    }
}

/// The extents of a segment: from the cache if it contains a valid entry. The flag tells whether they came from the cache.
pub(super) fn cut_segment(
    data: &[u8],
    digest: &[u8; 32],
    settings: &Settings,
    cache: &dyn SegmentCache,
) -> Result<(Cut, bool), WriteError> {
    let key = settings.key(digest);
    let kept = cache.get(&key).and_then(|bytes| decode(&key, &bytes)).filter(|cut| fits(cut, data, settings));
    if let Some(cut) = kept {
        return Ok((cut, true));
    }
    // Otherwise, the cache would permanently contain an entry for other data under this digest.
    if sha256(&[data]) != *digest {
        return Err(WriteError::Changed);
    }
    let cut = cut(data, settings.compression, settings.cluster as usize, settings.end)?;
    cache.put(&key, &encode(&key, &cut));
    Ok((cut, false))
}

/// Whether the extents cover this data. (The digest at the end of the entry already proves that the entry is not damaged.)
fn fits(cut: &Cut, data: &[u8], settings: &Settings) -> bool {
    let taken = cut.taken();
    let len = data.len() as u64;
    taken == len || settings.end == End::Leave && taken < len
}

/// Encodes a cache entry: the number of extents, the extents (length, number of blocks, which is 0 for a plain extent), the clusters, and
/// the digest of the key and all these bytes.
#[expect(
    clippy::expect_used,
    reason = "a segment has fewer extents than bytes, and at most a few MiB of bytes"
)]
fn encode(key: &[u8; 32], cut: &Cut) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(cut.clusters.len() + cut.extents.len() * 8 + 36);
    let count = u32::try_from(cut.extents.len()).expect("extents are counted in 32 bits");
    bytes.extend_from_slice(&count.to_le_bytes());
    for (len, stored) in &cut.extents {
        let blocks = if let Stored::Compressed(blocks) = stored { *blocks } else { 0 };
        bytes.extend_from_slice(&len.to_le_bytes());
        bytes.extend_from_slice(&blocks.to_le_bytes());
    }
    bytes.extend_from_slice(&cut.clusters);
    bytes.extend_from_slice(&sha256(&[key, &bytes]));
    bytes
}

fn decode(key: &[u8; 32], bytes: &[u8]) -> Option<Cut> {
    let (body, digest) = bytes.split_last_chunk::<32>()?;
    if sha256(&[key, body]) != *digest {
        return None;
    }
    let (count, mut rest) = body.split_first_chunk()?;
    let mut extents = Vec::new();
    let mut blocks = 0_usize;
    for _ in 0..u32::from_le_bytes(*count) {
        let (len, after) = rest.split_first_chunk()?;
        let (count, after) = after.split_first_chunk()?;
        rest = after;
        let (len, count) = (u32::from_le_bytes(*len), u32::from_le_bytes(*count));
        let stored = if count == 0 { Stored::Plain } else { Stored::Compressed(count) };
        let most = if count == 0 { BLOCK } else { EXTENT_MAX };
        let in_blocks = usize::try_from(count.max(1)).ok()?;
        if len == 0 || usize::try_from(len).ok()? > most || in_blocks > CLUSTER_MAX / BLOCK {
            return None;
        }
        blocks += in_blocks;
        extents.push((len, stored));
    }
    (rest.len() == blocks * BLOCK).then(|| Cut { extents, clusters: rest.to_vec() })
}
