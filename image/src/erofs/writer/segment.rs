//! Segments: the pieces of files that are compressed by themselves, by any thread, or found compressed already.

use super::WriteError;
use super::cut::{Compression, Cut, End, cut};
use super::fill::EXTENT_MAX;
use crate::erofs::format::{BLOCK, CLUSTER_MAX};
use crate::erofs::index::Stored;
use kubedos_wire::hex32::sha256;

/// How much of a file is compressed at a time. Extents do not cross the borders, so the result does not depend on who compresses what; each border costs
/// half a block.
pub(super) const SEGMENT: u64 = 4 << 20;

/// Raised when the same tree gives another volume; a test holds it against one.
const WRITER: u32 = 1;

/// What the bytes of a volume depend on beside tree and parameters: this writer, and the libraries that compress.
pub fn writer() -> String {
    format!("{WRITER} zstd {} lz4 {}", zstd_safe::version_number(), lz4::liblz4::version())
}

/// Keeps compressed segments from one run to the next. What it hands out is checked, so it may be damaged; it may forget at any time.
pub trait SegmentCache: Sync {
    /// What was kept under a key, if it is still there.
    fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>>;
    /// Keeps bytes under a key. A failure costs nothing but time, so it is none.
    fn put(&self, key: &[u8; 32], bytes: &[u8]);
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCache;

impl SegmentCache for NoCache {
    fn get(&self, _: &[u8; 32]) -> Option<Vec<u8>> {
        None
    }

    fn put(&self, _: &[u8; 32], _: &[u8]) {}
}

/// What the extents of a segment depend on beside its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Settings {
    pub(super) compression: Compression,
    /// Bytes of the largest cluster.
    pub(super) cluster: u32,
    pub(super) end: End,
}

impl Settings {
    /// The key of data with this digest.
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

/// The data of a segment, cut: from the cache if it is there and sound.
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
    // Else the cache would have other bytes under this digest for ever.
    if sha256(&[data]) != *digest {
        return Err(WriteError::Changed);
    }
    let cut = cut(data, settings.compression, settings.cluster as usize, settings.end)?;
    cache.put(&key, &encode(&key, &cut));
    Ok((cut, false))
}

/// The digest behind the bytes says that they are what was kept; this, that they are of this data.
fn fits(cut: &Cut, data: &[u8], settings: &Settings) -> bool {
    let taken = cut.taken();
    let len = data.len() as u64;
    taken == len || settings.end == End::Leave && taken < len
}

/// Number of extents, extents (length, blocks; no blocks for one that is stored as it is), clusters, digest of key and all that.
#[expect(clippy::expect_used, reason = "a segment has fewer extents than bytes, of which it has a few MiB")]
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
