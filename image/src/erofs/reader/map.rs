//! The extents of files: the places of their bytes.

use zerocopy::FromBytes;

use super::super::format::{
    Algorithm, BLOCK_BITS, BLOCK_U64, CHUNK_BITS_MASK, CHUNK_INDEXES, ChunkIndex, Layout, NO_BLOCK,
};
use super::cluster::Clusters;
use super::error::{ErofsError, Part, Place};
use super::inode::{Inode, Kind};
use super::volume::Volume;

/// A range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The start in the file, in bytes.
    pub start: u64,
    /// The length, in bytes of the file.
    pub len: u64,
    /// The place and the form of its bytes.
    pub stored: Stored,
}

impl Extent {
    /// The end in the file, in bytes.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }
}

/// How an extent is stored. Offsets are bytes of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// The extent consists of zeroes that are not stored.
    Hole,
    /// Uncompressed and contiguous.
    Plain {
        /// The offset of the first byte.
        at: u64,
    },
    /// Uncompressed in one block. Each byte has the same offset in this block as in its block of the file.
    Rotated {
        /// The offset of the block.
        at: u64,
    },
    /// Compressed.
    Compressed(Cluster),
    /// In the packed inode.
    Fragment {
        /// The offset of the first byte in the content of the packed inode.
        at: u64,
    },
}

/// A compressed cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// The compression algorithm.
    pub algorithm: Algorithm,
    /// The offset in the volume, in bytes.
    pub at: u64,
    /// The length in bytes, including padding.
    pub bytes: u32,
    /// The cluster decodes to more bytes than this extent has.
    pub partial: bool,
}

/// The extents of a file, in order and without gaps.
#[expect(missing_debug_implementations, reason = "the volume's source need not be printable")]
pub struct Extents<'v> {
    volume: &'v Volume<'v>,
    inode: Inode,
    map: Map<'v>,
    /// The start of the next extent.
    at: u64,
    /// An extent that was already read and is returned first.
    first: Option<Extent>,
}

enum Map<'v> {
    Done,
    /// Contiguous blocks up to the byte `blocks_end` of the file. The rest is after the inode.
    Flat {
        blocks_at: u64,
        blocks_end: u64,
    },
    /// `index_at`: the offset of the addresses. `long`: they have eight bytes. `bits`: log2 of the size of a chunk in bytes.
    Chunks {
        index_at: u64,
        long: bool,
        bits: u32,
    },
    Clusters(Box<Clusters<'v>>),
}

impl<'v> Extents<'v> {
    /// Starts at the extent that contains the byte at `offset`.
    pub(super) fn new(volume: &'v Volume<'v>, inode: &Inode, offset: u64) -> Result<Self, ErofsError> {
        if !matches!(inode.kind, Kind::File | Kind::Directory | Kind::Symlink) {
            return Err(ErofsError::Kind { nid: inode.nid, wanted: "file, directory or symbolic link" });
        }
        let mut extents = Self { volume, inode: inode.clone(), map: Map::Done, at: 0, first: None };
        if offset >= inode.size {
            return Ok(extents);
        }
        match inode.layout {
            Layout::Plain | Layout::Inline => extents.flat(offset),
            Layout::Chunked => extents.chunks(offset)?,
            Layout::CompressedFull | Layout::CompressedCompact => {
                extents.map = Map::Clusters(Box::new(Clusters::new(volume, inode, offset)?));
                loop {
                    extents.first = extents.advance()?;
                    if extents.first.is_none_or(|first| first.end() > offset) {
                        break;
                    }
                }
            }
        }
        Ok(extents)
    }

    fn flat(&mut self, offset: u64) {
        let size = self.inode.size;
        let blocks_end = match self.inode.layout {
            // The last block, full or not, is after the inode.
            Layout::Inline => (size - 1) / BLOCK_U64 * BLOCK_U64,
            _ => size,
        };
        self.at = if offset < blocks_end { 0 } else { blocks_end };
        self.map = Map::Flat { blocks_at: u64::from(self.inode.data) * BLOCK_U64, blocks_end };
    }

    fn chunks(&mut self, offset: u64) -> Result<(), ErofsError> {
        let place = self.inode.place(Part::Inode, self.inode.at);
        let format = self.inode.data;
        if format & !(CHUNK_BITS_MASK | CHUNK_INDEXES) != 0 {
            return Err(place.damaged(format!("its chunks have the format {format:#x}")));
        }
        let long = format & CHUNK_INDEXES != 0;
        let bits = u32::from(BLOCK_BITS) + (format & CHUNK_BITS_MASK);
        let unit = if long { 8 } else { 4 };
        let index_at = self.inode.data_start().next_multiple_of(unit);
        let count = ((self.inode.size - 1) >> bits) + 1;
        if index_at + count * unit > self.volume.sb.len {
            return Err(place.damaged("the index of its chunks ends past the end of the volume"));
        }
        self.at = offset >> bits << bits;
        self.map = Map::Chunks { index_at, long, bits };
        Ok(())
    }

    fn advance(&mut self) -> Result<Option<Extent>, ErofsError> {
        let (at, size) = (self.at, self.inode.size);
        let extent = match &mut self.map {
            Map::Done => None,
            Map::Clusters(clusters) => clusters.next_extent()?,
            _ if at >= size => None,
            Map::Flat { blocks_at, blocks_end } if at < *blocks_end => {
                let place = self.inode.place(Part::Content, 0);
                let stored = Stored::Plain { at: *blocks_at };
                if !self.volume.contains(*blocks_at, *blocks_end) {
                    return Err(place.damaged("its blocks are not inside the volume"));
                }
                Some(Extent { start: 0, len: *blocks_end, stored })
            }
            Map::Flat { .. } => {
                let (start, len) = (self.inode.data_start(), size - at);
                if start % BLOCK_U64 + len > BLOCK_U64 || start + len > self.volume.sb.len {
                    let place = self.inode.place(Part::Content, at);
                    return Err(place.damaged("the data after the inode crosses a block boundary"));
                }
                Some(Extent { start: at, len, stored: Stored::Plain { at: start } })
            }
            Map::Chunks { index_at, long, bits } => {
                let number = at >> *bits;
                let place = self.inode.place(Part::Index, number);
                let len = (1_u64 << *bits).min(size - at);
                let stored = chunk(self.volume, *index_at, number, *long, place)?;
                if let Stored::Plain { at } = stored
                    && !self.volume.contains(at, len)
                {
                    return Err(place.damaged("its blocks are not inside the volume"));
                }
                Some(Extent { start: at, len, stored })
            }
        };
        if let Some(extent) = extent {
            self.at = extent.end();
        }
        Ok(extent)
    }
}

/// Reads the place of a chunk.
fn chunk(
    volume: &Volume<'_>,
    index_at: u64,
    number: u64,
    long: bool,
    place: Place,
) -> Result<Stored, ErofsError> {
    let block = if long {
        let mut entry = [0; size_of::<ChunkIndex>()];
        volume.fill(&mut entry, index_at + number * size_of::<ChunkIndex>() as u64, place)?;
        let entry = ChunkIndex::read_from_bytes(&entry).map_err(|_| place.damaged("it is too short"))?;
        if entry.device.get() != 0 {
            return Err(ErofsError::Unsupported("chunks on other devices".into()));
        }
        entry.block.get()
    } else {
        let mut block = [0; 4];
        volume.fill(&mut block, index_at + number * 4, place)?;
        u32::from_le_bytes(block)
    };
    Ok(match block {
        NO_BLOCK => Stored::Hole,
        block => Stored::Plain { at: u64::from(block) * BLOCK_U64 },
    })
}

impl Iterator for Extents<'_> {
    type Item = Result<Extent, ErofsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.first.take().map_or_else(|| self.advance(), |first| Ok(Some(first))).transpose();
        if !matches!(next, Some(Ok(_))) {
            self.map = Map::Done;
        }
        next
    }
}
