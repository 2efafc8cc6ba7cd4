//! The data of files: read in segments, compressed by several threads, written in the order of the tree.
//!
//! Segments with the same bytes are compressed and written once, so equal files share everything except their inode. The end of a file that
//! does not fill a cluster becomes a piece of the packed inode; for a small file, this is the whole file.

use std::collections::HashMap;

use super::area::Area;
use super::cut::{Compression, Cut, End};
use super::packed::Piece;
use super::segment::{SEGMENT, SegmentCache, Settings, cut_segment};
use super::{Params, WriteError};
use crate::erofs::format::{BLOCK, BLOCK_U64, NO_BLOCK};
use crate::erofs::index::{Extent, Stored};
use crate::erofs::tree::{InodeId, Kind, Node, Tree};
use crate::ordered::ordered;
use crate::source::Source;
use crate::width::{halves, to_usize};
use kubedos_wire::hex32::sha256;

/// How the data of a file is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Storage {
    /// Contiguous blocks, and the last `tail` bytes of the file after the inode.
    Flat { block: u32, tail: usize },
    /// Compressed extents. The end of the file may be at an offset in the packed inode.
    Extents { extents: Vec<Extent>, fragment: Option<u64> },
    /// The whole file is in the packed inode, at this offset.
    Fragment(u64),
    /// Chunks of 2^bits blocks. Some chunks are holes.
    Chunks { bits: u8, blocks: Vec<u32> },
}

/// A range of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    pub(super) inode: InodeId,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Stretch {
    /// Reads the range and appends its bytes to `out`.
    #[expect(clippy::expect_used, reason = "`write` and `find_segments` create ranges of files only")]
    pub(super) fn read(&self, tree: &Tree<'_>, out: &mut Vec<u8>) -> Result<(), WriteError> {
        let start = out.len();
        let source = content(tree, self.inode).expect("a range belongs to a file");
        out.resize(start + to_usize(self.len), 0);
        let (_, room) = out.split_at_mut(start);
        source.read_exact_at(room, self.offset).map_err(WriteError::Source)
    }

    fn bytes(&self, tree: &Tree<'_>) -> Result<Vec<u8>, WriteError> {
        let mut bytes = Vec::new();
        self.read(tree, &mut bytes)?;
        Ok(bytes)
    }
}

/// The content of an inode, if it is a file.
pub(super) fn content<'t>(tree: &'t Tree<'_>, id: InodeId) -> Option<&'t dyn Source> {
    match &tree.inode(id).node {
        Node::Other(Kind::File(source)) => Some(&**source),
        _ => None,
    }
}

/// A segment with unique content, and how it is stored.
struct Unique {
    stretch: Stretch,
    digest: [u8; 32],
    /// The settings that its extents depend on.
    settings: Settings,
    /// The length of the first file that contains the segment.
    file_len: u64,
    extents: Vec<Extent>,
    /// The number of the piece of the packed inode that contains its end, if there is one.
    piece: Option<usize>,
}

/// The files of a tree after their data was written. The pieces for the packed inode are not written yet.
pub(super) struct Files {
    segments: Vec<Unique>,
    /// The segments of each file, in order.
    files: Vec<(InodeId, Vec<usize>)>,
    /// Files that are stored in a different way.
    others: Vec<(InodeId, Storage)>,
    pub(super) pieces: Vec<Piece>,
    pub(super) counts: Counts,
}

/// The number of segments, and how many of them came from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) segments: usize,
    pub(super) cached: usize,
}

impl Counts {
    pub(super) fn count(&mut self, was_cached: bool) {
        self.segments += 1;
        self.cached += usize::from(was_cached);
    }
}

/// Writes the data of every file, and collects the pieces for the packed inode.
pub(super) fn write(
    tree: &Tree<'_>,
    order: &[InodeId],
    params: &Params,
    cache: &dyn SegmentCache,
    area: &mut Area<'_>,
) -> Result<Files, WriteError> {
    let mut files = Files {
        segments: Vec::new(),
        files: Vec::new(),
        others: Vec::new(),
        pieces: Vec::new(),
        counts: Counts::default(),
    };
    let mut compressed = Vec::new();
    for &id in order {
        let Some(source) = content(tree, id) else { continue };
        if let Some(bits) = chunk_bits(source)? {
            files.others.push((id, write_chunks(source, bits, area)?));
        } else if params.compression == Compression::None || source.is_empty() {
            files.others.push((id, write_flat(tree, id, source.len(), area)?));
        } else {
            compressed.push((id, source.len()));
        }
    }
    files.find_segments(tree, &compressed, params)?;
    files.compress(tree, params, cache, area)?;
    Ok(files)
}

impl Files {
    /// Reads all data once, and finds equal segments.
    fn find_segments(
        &mut self,
        tree: &Tree<'_>,
        files: &[(InodeId, u64)],
        params: &Params,
    ) -> Result<(), WriteError> {
        let stretches: Vec<(Stretch, u64)> = files
            .iter()
            .flat_map(|&(inode, file_len)| {
                let starts = (0..file_len.div_ceil(SEGMENT)).map(|number| number * SEGMENT);
                starts.map(move |offset| {
                    (Stretch { inode, offset, len: SEGMENT.min(file_len - offset) }, file_len)
                })
            })
            .collect();
        let mut known: HashMap<([u8; 32], u64, End), usize> = HashMap::new();
        let digest = |(stretch, _): &(Stretch, u64)| stretch.bytes(tree).map(|bytes| sha256(&[&bytes]));
        ordered(params.threads, &stretches, digest, |&(stretch, file_len), digest| {
            let digest = digest?;
            let is_last = stretch.offset + stretch.len == file_len;
            // If the last segment has the full length, no end is left for the packed inode.
            let end = if is_last && stretch.len < SEGMENT { End::Leave } else { End::Take };
            let number = *known.entry((digest, stretch.len, end)).or_insert_with(|| {
                let settings = Settings { compression: params.compression, cluster: params.cluster, end };
                let unique = Unique { stretch, digest, settings, file_len, extents: Vec::new(), piece: None };
                self.segments.push(unique);
                self.segments.len() - 1
            });
            match self.files.last_mut() {
                Some((id, segments)) if *id == stretch.inode => segments.push(number),
                _ => self.files.push((stretch.inode, vec![number])),
            }
            Ok(())
        })
    }

    /// Compresses each segment once, and writes its clusters.
    #[expect(clippy::indexing_slicing, reason = "the number of a segment is its index")]
    fn compress(
        &mut self,
        tree: &Tree<'_>,
        params: &Params,
        cache: &dyn SegmentCache,
        area: &mut Area<'_>,
    ) -> Result<(), WriteError> {
        let cluster = u64::from(params.cluster);
        let numbered: Vec<(usize, Stretch, [u8; 32], Settings)> = self
            .segments
            .iter()
            .enumerate()
            .map(|(number, unique)| (number, unique.stretch, unique.digest, unique.settings))
            .collect();
        let cut = |(_, stretch, digest, settings): &(usize, Stretch, [u8; 32], Settings)| {
            if settings.end == End::Leave && stretch.len < cluster {
                return Ok(None);
            }
            let bytes = stretch.bytes(tree)?;
            Ok(Some(cut_segment(&bytes, digest, settings, cache)?))
        };
        let (segments, pieces, counts) = (&mut self.segments, &mut self.pieces, &mut self.counts);
        ordered(params.threads, &numbered, cut, |(number, stretch, digest, _), cut: Result<_, WriteError>| {
            let unique = &mut segments[*number];
            let cut = match cut? {
                Some((cut, was_cached)) => {
                    counts.count(was_cached);
                    cut
                }
                None => Cut::default(),
            };
            unique.extents = area.place(&cut, unique.file_len)?;
            let taken = cut.taken();
            if taken < stretch.len {
                let rest = Stretch { offset: stretch.offset + taken, len: stretch.len - taken, ..*stretch };
                unique.piece = Some(pieces.len());
                pieces.push(Piece { stretch: rest, digest: *digest });
            }
            Ok(())
        })
    }

    /// How each file is stored. `offsets` are the offsets of the pieces in the packed inode.
    #[expect(
        clippy::indexing_slicing,
        reason = "the number of a segment or piece is its index, and every piece has an offset"
    )]
    pub(super) fn storage(self, offsets: &[u64]) -> HashMap<InodeId, Storage> {
        let mut storage: HashMap<InodeId, Storage> = self.others.into_iter().collect();
        for (id, segments) in self.files {
            let parts = || segments.iter().map(|&number| &self.segments[number]);
            let extents: Vec<Extent> = parts().flat_map(|unique| unique.extents.iter().copied()).collect();
            let piece = parts().filter_map(|unique| unique.piece).next_back();
            let fragment = piece.map(|number| offsets[number]);
            let stored = match (fragment, extents.as_slice()) {
                (Some(offset), []) => Storage::Fragment(offset),
                (None, [first, ..]) if is_flat(&extents) => Storage::Flat { block: first.block, tail: 0 },
                _ => {
                    let rest = parts().map(|unique| unique.stretch.len).sum::<u64>()
                        - extents.iter().map(|extent| u64::from(extent.len)).sum::<u64>();
                    extents_with(extents, rest, fragment)
                }
            };
            storage.insert(id, stored);
        }
        storage
    }
}

#[expect(clippy::expect_used, reason = "the rest of a file is a part of its last segment")]
fn extents_with(mut extents: Vec<Extent>, rest: u64, fragment: Option<u64>) -> Storage {
    if let Some(offset) = fragment {
        // The upper half of the offset is stored as the block address of the extent.
        let [_, block] = halves(offset);
        let len = u32::try_from(rest).expect("a segment has at most 4 MiB");
        extents.push(Extent { len, stored: Stored::Fragment, block });
    }
    Storage::Extents { extents, fragment }
}

/// Whether compression saved no space and the blocks are contiguous, so that the file needs no index.
fn is_flat(extents: &[Extent]) -> bool {
    extents.iter().all(|extent| extent.stored == Stored::Plain)
        && extents
            .iter()
            .zip(extents.iter().skip(1))
            .all(|(a, b)| a.block.checked_add(1) == Some(b.block) && a.len as usize == BLOCK)
}

/// The maximum length of the end of a flat file that is stored after its inode, in bytes.
const TAIL_MAX: u64 = 3072;

/// Writes a file uncompressed.
fn write_flat(tree: &Tree<'_>, inode: InodeId, len: u64, area: &mut Area<'_>) -> Result<Storage, WriteError> {
    let tail = if len % BLOCK_U64 <= TAIL_MAX { len % BLOCK_U64 } else { 0 };
    let (mut offset, end) = (0, len - tail);
    let block = if end == 0 { 0 } else { area.next()? };
    while offset < end {
        let stretch = Stretch { inode, offset, len: SEGMENT.min(end - offset) };
        area.append(&stretch.bytes(tree)?)?;
        offset += stretch.len;
    }
    Ok(Storage::Flat { block, tail: to_usize(tail) })
}

/// The maximum number of chunks of a file. A file that consists of holes for at least a half is stored in chunks, each of at most 2^30
/// blocks.
const CHUNKS: u64 = 8192;

/// log2 of the number of blocks of a chunk for a file with many holes; `None` for other files.
fn chunk_bits(source: &dyn Source) -> Result<Option<u8>, WriteError> {
    let (mut at, mut data) = (0, 0);
    while let Some(stretch) = source.next_data(at) {
        data += stretch.end - stretch.start;
        at = stretch.end;
    }
    let len = source.len();
    if len < 16 * BLOCK_U64 || data > len / 2 {
        return Ok(None);
    }
    let fits = |bits: &u8| len.div_ceil(BLOCK_U64 << bits) <= CHUNKS;
    (0..31).find(fits).map(Some).ok_or(WriteError::TooLarge)
}

/// Writes the chunks that are not holes.
fn write_chunks(source: &dyn Source, bits: u8, area: &mut Area<'_>) -> Result<Storage, WriteError> {
    let chunk = BLOCK_U64 << bits;
    let mut blocks = Vec::new();
    let mut buffer = Vec::new();
    for start in (0..source.len().div_ceil(chunk)).map(|number| number * chunk) {
        let end = (start + chunk).min(source.len());
        if source.next_data(start).is_none_or(|stretch| stretch.start >= end) {
            blocks.push(NO_BLOCK);
            continue;
        }
        blocks.push(area.next()?);
        let mut at = start;
        while at < end {
            let piece = SEGMENT.min(end - at);
            buffer.resize(to_usize(piece), 0);
            source.read_exact_at(&mut buffer, at).map_err(WriteError::Source)?;
            area.append(&buffer)?;
            at += piece;
        }
    }
    Ok(Storage::Chunks { bits, blocks })
}
