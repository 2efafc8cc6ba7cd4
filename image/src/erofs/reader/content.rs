//! Reading the content of files.

use std::io;
use std::ops::Range;

use super::super::format::BLOCK_U64;
use super::decode::Decoder;
use super::error::{ErofsError, Part};
use super::inode::Inode;
use super::map::{Extent, Extents, Stored};
use super::volume::Volume;
use crate::width::to_usize;

/// A piece of content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// This number of zeroes, which are not stored.
    Zeroes(u64),
}

/// The maximum size of a piece of uncompressed bytes.
const STEP: u64 = 64 << 10;

/// Reads content. It keeps the cluster that it decoded last, so that sequential reads decode each cluster once.
#[expect(missing_debug_implementations, reason = "the volume's source need not be printable")]
pub struct Reader<'v> {
    volume: &'v Volume<'v>,
    files: Track<'v>,
    /// The position in the packed inode, which is independent of the position in files.
    packed: Track<'v>,
    packed_inode: Option<Inode>,
    plain: Vec<u8>,
}

/// The position of the last read.
#[derive(Default)]
struct Track<'v> {
    extents: Option<(u64, Extents<'v>)>,
    extent: Option<Extent>,
    decoder: Decoder,
}

/// The receiver of the content.
type Sink<'a> = dyn FnMut(Piece<'_>) -> io::Result<()> + 'a;

impl<'v> Reader<'v> {
    pub(super) fn new(volume: &'v Volume<'v>) -> Self {
        Self {
            volume,
            files: Track::default(),
            packed: Track::default(),
            packed_inode: None,
            plain: Vec::new(),
        }
    }

    /// Reads bytes from `offset` on: the length of `buffer`, or fewer at the end of the content. Returns the number of bytes.
    ///
    /// # Errors
    /// If the inode has no content, or the content is damaged.
    pub fn read_at(&mut self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, ErofsError> {
        let end = inode.size.min(offset.saturating_add(buffer.len() as u64));
        let mut filled = 0_usize;
        self.read(inode, offset..end, &mut |piece| {
            let len = match piece {
                Piece::Bytes(bytes) => bytes.len(),
                Piece::Zeroes(len) => to_usize(len),
            };
            let room = buffer.get_mut(filled..filled.saturating_add(len)).ok_or(io::ErrorKind::WriteZero)?;
            match piece {
                Piece::Bytes(bytes) => room.copy_from_slice(bytes),
                Piece::Zeroes(_) => room.fill(0),
            }
            filled += len;
            Ok(())
        })?;
        Ok(filled)
    }

    /// Calls `sink` with the pieces of a range of the content, in order. The range is limited to the end of the content.
    ///
    /// # Errors
    /// If the inode has no content, the content is damaged, or the receiver fails.
    pub fn read(&mut self, inode: &Inode, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), ErofsError> {
        let (mut at, end) = (range.start, range.end.min(inode.size));
        while at < end {
            let extent = self.files.find(self.volume, inode, at)?;
            let next = end.min(extent.end());
            match extent.stored {
                Stored::Fragment { at: start } => {
                    let start = start.checked_add(at - extent.start);
                    self.fragment(inode, at, start, next - at, sink)?;
                }
                _ => pass(
                    self.volume,
                    &mut self.files.decoder,
                    &mut self.plain,
                    inode,
                    extent,
                    at..next,
                    sink,
                )?,
            }
            at = next;
        }
        Ok(())
    }

    /// Reads bytes of the packed inode. Its own content must not be a fragment.
    fn fragment(
        &mut self,
        inode: &Inode,
        offset: u64,
        start: Option<u64>,
        len: u64,
        sink: &mut Sink<'_>,
    ) -> Result<(), ErofsError> {
        let place = inode.place(Part::Content, offset);
        let packed = match self.packed_inode.take() {
            Some(packed) => packed,
            None => {
                let nid = self.volume.sb.packed;
                self.volume.inode(nid.ok_or_else(|| place.damaged("there is no packed inode"))?)?
            }
        };
        let packed = self.packed_inode.insert(packed);
        let end = start.and_then(|start| start.checked_add(len)).filter(|end| *end <= packed.size);
        let end = end.ok_or_else(|| place.damaged("it is past the end of the packed inode"))?;
        let mut at = end - len;
        while at < end {
            let extent = self.packed.find(self.volume, packed, at)?;
            let next = end.min(extent.end());
            if let Stored::Fragment { .. } = extent.stored {
                let place = packed.place(Part::Content, at);
                return Err(place.damaged("the packed inode refers to itself"));
            }
            pass(self.volume, &mut self.packed.decoder, &mut self.plain, packed, extent, at..next, sink)?;
            at = next;
        }
        Ok(())
    }
}

impl<'v> Track<'v> {
    /// Finds the extent that contains a byte.
    fn find(&mut self, volume: &'v Volume<'v>, inode: &Inode, at: u64) -> Result<Extent, ErofsError> {
        let mut same = self.extents.take().filter(|(nid, _)| *nid == inode.nid);
        let last = self.extent.take().filter(|_| same.is_some());
        let found = match last {
            Some(extent) if extent.start <= at && at < extent.end() => Some(extent),
            Some(extent) if extent.end() == at => {
                same.as_mut().and_then(|(_, extents)| extents.next()).transpose()?
            }
            _ => {
                let mut extents = Extents::new(volume, inode, at)?;
                let found = extents.next().transpose()?;
                same = Some((inode.nid, extents));
                found
            }
        };
        let found = found.filter(|extent| extent.start <= at && at < extent.end());
        let found = found.ok_or_else(|| inode.place(Part::Content, at).damaged("no extent contains it"))?;
        (self.extents, self.extent) = (same, Some(found));
        Ok(found)
    }
}

/// Calls `sink` with the bytes of a range inside an extent.
fn pass(
    volume: &Volume<'_>,
    decoder: &mut Decoder,
    plain: &mut Vec<u8>,
    inode: &Inode,
    extent: Extent,
    range: Range<u64>,
    sink: &mut Sink<'_>,
) -> Result<(), ErofsError> {
    let place = inode.place(Part::Content, extent.start);
    let within = range.start - extent.start..range.end - extent.start;
    let mut sink =
        |piece: Piece<'_>| sink(piece).map_err(|source| ErofsError::Sink { nid: inode.nid, source });
    let mut plainly = |mut at: u64, len: u64| {
        let end = at.saturating_add(len);
        while at < end {
            let step = (end - at).min(STEP);
            plain.resize(to_usize(step), 0);
            volume.fill(plain, at, place)?;
            sink(Piece::Bytes(plain))?;
            at += step;
        }
        Ok(())
    };
    match extent.stored {
        Stored::Hole => sink(Piece::Zeroes(range.end - range.start)),
        Stored::Plain { at } => plainly(at.saturating_add(within.start), within.end - within.start),
        Stored::Rotated { at } => {
            // The bytes before the block boundary of the file are at their offset in the block. The bytes after it are at the start of
            // the block.
            let border = (extent.start / BLOCK_U64 + 1) * BLOCK_U64;
            let split = border.clamp(range.start, range.end);
            plainly(at + range.start % BLOCK_U64, split - range.start)?;
            plainly(at + split.saturating_sub(border), range.end - split)
        }
        Stored::Compressed(cluster) => {
            let bytes = decoder.decode(volume, cluster, to_usize(extent.len), place)?;
            let part = bytes.get(to_usize(within.start)..to_usize(within.end));
            sink(Piece::Bytes(part.ok_or_else(|| place.damaged("its cluster decodes to fewer bytes"))?))
        }
        Stored::Fragment { .. } => Err(place.damaged("the fragment refers to itself")),
    }
}
