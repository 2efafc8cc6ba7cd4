//! Converts the entries of the index of a compressed file to its extents (`z_erofs_*` in `fs/erofs/zmap.c` of Linux 6.12).
//!
//! A lookup goes back to the head of the extent, and then reads forward. Every entry on the way forward is checked, so that lookups from
//! all offsets give the same extents, or an error.

use zerocopy::FromBytes;

use super::super::format::{
    ADVISE_BIG_PCLUSTER, ADVISE_COMPACTED_2B, ADVISE_FRAGMENT, ADVISE_INLINE, ADVISE_INTERLACED, Algorithm,
    BLOCK_COUNT_FLAG, BLOCK_U64, CLUSTER_MAX, DECODED_MAX, LCLUSTER_HEAD2, LCLUSTER_PLAIN, MAP_HEADER_LEN,
    MapHeader, WHOLE_FRAGMENT,
};
use super::super::index;
use super::entry::{Entry, Form, Index};
use super::error::{ErofsError, Part, Place};
use super::inode::Inode;
use super::map::{Cluster, Extent, Stored};
use super::superblock::unsupported;
use super::volume::Volume;

const ADVISE_ALL: u16 =
    ADVISE_COMPACTED_2B | ADVISE_BIG_PCLUSTER | ADVISE_INLINE | ADVISE_INTERLACED | ADVISE_FRAGMENT;
/// `Z_EROFS_ADVISE_BIG_PCLUSTER_1`, and `_2` for the second algorithm.
const ADVISE_BIG: [u16; 2] = [0x02, 0x04];
/// Distances have 11 bits. This is the value for all larger distances.
const FAR: u64 = BLOCK_COUNT_FLAG as u64 - 1;

/// The index of a file.
pub(super) struct Clusters<'v> {
    volume: &'v Volume<'v>,
    nid: u64,
    size: u64,
    index: Index,
    advise: u16,
    algorithms: [u8; 2],
    /// The lower 32 bits of the offset of a tail in the packed inode.
    fragment: u64,
    /// The length of a tail after the index, in bytes.
    inline: u64,
    /// The entry in which the next extent begins.
    next: u64,
}

impl<'v> Clusters<'v> {
    /// Starts at the last head at or before `offset`.
    pub(super) fn new(volume: &'v Volume<'v>, inode: &Inode, offset: u64) -> Result<Self, ErofsError> {
        let place = inode.place(Part::Inode, inode.at);
        let header_at = index::map_header_at(inode.at, inode.head_len + inode.xattr_len);
        let at = index::index_at(inode.at, inode.head_len + inode.xattr_len);
        let mut header = [0; MAP_HEADER_LEN];
        volume.fill(&mut header, header_at, place)?;
        let whole = u64::from_le_bytes(header);
        let header =
            MapHeader::read_from_bytes(&header).map_err(|_| place.damaged("its map header is too short"))?;
        let advise = header.advise.get();
        let whole = (whole & WHOLE_FRAGMENT != 0).then_some(whole ^ WHOLE_FRAGMENT);
        let form = whole.map_or_else(|| Form::of(inode, at, advise), Form::Whole);
        let mut clusters = Self {
            volume,
            nid: inode.nid,
            size: inode.size,
            index: Index::new(inode, form, advise & ADVISE_BIG_PCLUSTER != 0),
            advise,
            algorithms: [header.algorithms & 15, header.algorithms >> 4],
            fragment: 0,
            inline: 0,
            next: 0,
        };
        if whole.is_some() {
            return Ok(clusters);
        }
        clusters.check_header(&header, place)?;
        let end = clusters.index.end();
        if end > volume.sb.len {
            return Err(place.damaged("the index of its clusters ends past the end of the volume"));
        }
        let tail = header.fragment_or_inline.get();
        if clusters.has(ADVISE_FRAGMENT) {
            clusters.fragment = tail.into();
        } else if clusters.has(ADVISE_INLINE) {
            clusters.inline = (tail >> 16).into();
            if clusters.inline == 0 || end % BLOCK_U64 + clusters.inline > BLOCK_U64 {
                return Err(place.damaged("the tail after its index crosses a block boundary"));
            }
        }
        clusters.next = clusters.head_before(offset)?;
        Ok(clusters)
    }

    fn check_header(&self, header: &MapHeader, place: Place) -> Result<(), ErofsError> {
        if header.cluster_bits & 7 != 0 {
            return Err(ErofsError::Unsupported("logical clusters of several blocks".into()));
        }
        if self.advise & !ADVISE_ALL != 0 {
            let what = format!("the map header flags {:#x}", self.advise & !ADVISE_ALL);
            return Err(ErofsError::Unsupported(what.into()));
        }
        if self.has(ADVISE_BIG_PCLUSTER) && !self.volume.sb.big_clusters {
            return Err(place.damaged("it has clusters of several blocks in a volume without them"));
        }
        let compact = matches!(self.index.form, Form::Compact { .. });
        if compact && self.has(ADVISE_BIG[0]) != self.has(ADVISE_BIG[1]) {
            return Err(place.damaged("only one of its algorithms has clusters of several blocks"));
        }
        if self.has(ADVISE_FRAGMENT) && self.has(ADVISE_INLINE) {
            return Err(place.damaged("its tail is both after the index and in the packed inode"));
        }
        Ok(())
    }

    fn has(&self, advise: u16) -> bool {
        self.advise & advise != 0
    }

    fn place(&self, entry: u64) -> Place {
        Place { nid: self.nid, part: Part::Index, at: entry }
    }

    /// The entry of the last head at or before this byte.
    fn head_before(&mut self, offset: u64) -> Result<u64, ErofsError> {
        let mut at = offset / BLOCK_U64;
        loop {
            let back = match self.index.entry(self.volume, at)? {
                Entry::Head { offset: start, .. } if at * BLOCK_U64 + start <= offset => return Ok(at),
                Entry::Head { .. } => 1,
                Entry::Within { back, .. } => back,
            };
            at = match at.checked_sub(back) {
                Some(before) if before != at => before,
                _ => {
                    return Err(self
                        .place(at)
                        .damaged(format!("the distance {back} to its head is invalid")));
                }
            };
        }
    }

    /// The extent whose head is the next entry.
    pub(super) fn next_extent(&mut self) -> Result<Option<Extent>, ErofsError> {
        if let Form::Whole(at) = self.index.form {
            let start = std::mem::replace(&mut self.next, 1);
            let extent = Extent { start: 0, len: self.size, stored: Stored::Fragment { at } };
            return Ok((start == 0).then_some(extent));
        }
        if self.next >= self.index.count {
            return Ok(None);
        }
        let (first, place) = (self.next, self.place(self.next));
        let Entry::Head { kind, offset, block, partial } = self.index.entry(self.volume, first)? else {
            return Err(place.damaged("it is not the head of an extent"));
        };
        if first == 0 && offset != 0 {
            return Err(place.damaged("the first extent does not begin at byte 0 of the file"));
        }
        let start = first * BLOCK_U64 + offset;
        if start == self.size {
            // This head only marks the end of the last extent.
            return Ok(None);
        }
        let (end, counted) = self.rest(first)?;
        if start > self.size || end > self.size {
            return Err(place.damaged("it is after the end of the file"));
        }
        let head = Head { kind, block, partial, counted };
        let extent = Extent { start, len: end - start, stored: self.stored(first, start, end, head)? };
        if !matches!(extent.stored, Stored::Fragment { .. }) && extent.len > DECODED_MAX as u64 {
            return Err(place.damaged("its extent is longer than 12 MiB"));
        }
        Ok(Some(extent))
    }

    /// The end of the extent with this head, and the number of blocks in the entry after the head.
    fn rest(&mut self, head: u64) -> Result<(u64, Option<u32>), ErofsError> {
        let mut counted = None;
        self.next = head + 1;
        while self.next < self.index.count {
            let place = self.place(self.next);
            match self.index.entry(self.volume, self.next)? {
                Entry::Head { offset, .. } => return Ok((self.next * BLOCK_U64 + offset, counted)),
                Entry::Within { back, exact, blocks } => {
                    let distance = self.next - head;
                    if exact && back != distance.min(FAR) {
                        return Err(
                            place.damaged(format!("the distance to its head is {back}, expected {distance}"))
                        );
                    }
                    if blocks.is_some() != (distance == 1 && self.has(ADVISE_BIG_PCLUSTER)) {
                        return Err(place.damaged("the number of blocks is in the wrong entry"));
                    }
                    counted = counted.or(blocks);
                }
            }
            self.next += 1;
        }
        Ok((self.size, counted))
    }

    fn stored(&self, number: u64, start: u64, end: u64, head: Head) -> Result<Stored, ErofsError> {
        let place = self.place(number);
        let is_last = end == self.size;
        if is_last && self.has(ADVISE_FRAGMENT) {
            let upper =
                if matches!(self.index.form, Form::Full(_)) { u64::from(head.block) << 32 } else { 0 };
            return Ok(Stored::Fragment { at: upper | self.fragment });
        }
        let inline = (is_last && self.has(ADVISE_INLINE)).then_some(self.inline);
        let at = match inline {
            Some(_) => self.index.end(),
            None => u64::from(head.block) * BLOCK_U64,
        };
        let bytes = match (inline, head.counted) {
            (Some(bytes), _) => bytes,
            (None, Some(blocks)) if head.kind != LCLUSTER_PLAIN => u64::from(blocks) * BLOCK_U64,
            _ => BLOCK_U64,
        };
        if inline.is_none() && !self.volume.contains(at, bytes) {
            return Err(place.damaged(format!("its cluster, block {}, is not inside the volume", head.block)));
        }
        if head.kind == LCLUSTER_PLAIN {
            if end - start > bytes {
                return Err(place.damaged("its plain extent is longer than its cluster"));
            }
            return match (self.has(ADVISE_INTERLACED), inline) {
                (false, _) => Ok(Stored::Plain { at }),
                (true, None) => Ok(Stored::Rotated { at }),
                // mkfs.erofs does not rotate them, but the kernel expects rotated bytes.
                (true, Some(_)) => Err(ErofsError::Unsupported("rotated plain data after an index".into())),
            };
        }
        let number =
            self.algorithms.get(usize::from(head.kind == LCLUSTER_HEAD2)).copied().unwrap_or(u8::MAX);
        let algorithm = Algorithm::from_number(number).ok_or_else(|| unsupported(number.into()))?;
        let blocks = u32::try_from(bytes.div_ceil(BLOCK_U64)).unwrap_or(u32::MAX);
        if bytes == 0 || bytes > CLUSTER_MAX as u64 || !self.volume.sb.allows(algorithm, blocks) {
            return Err(
                place.damaged(format!("its cluster of {blocks} blocks is not allowed in this volume"))
            );
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Ok(Stored::Compressed(Cluster { algorithm, at, bytes, partial: head.partial }))
    }
}

/// The fields of the head of an extent, and the number of blocks in the entry after it.
#[derive(Clone, Copy)]
struct Head {
    kind: u16,
    block: u32,
    partial: bool,
    counted: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::super::super::format::{FULL_INDEX_GAP, FULL_INDEX_LEN, Layout};
    use super::super::test::{FILE, volume};
    use super::*;
    use index::{Extent as Written, Stored as WrittenAs};
    use proptest::prelude::*;

    const FRAGMENT_AT: u32 = 0x0102_0304;

    /// The bytes after an inode with these extents: map header and index.
    fn index_bytes(extents: &[Written], form: index::Form, advise: u16) -> Vec<u8> {
        let at = FILE.index_at();
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&FRAGMENT_AT.to_le_bytes());
        bytes.extend_from_slice(&advise.to_le_bytes());
        // The first of the two compressors is zstd.
        bytes.extend_from_slice(&[3, 0]);
        bytes.extend(index::encode(form, at, &index::entries(extents)));
        bytes
    }

    fn advise(extents: &[Written]) -> u16 {
        let tail = extents.last().is_some_and(|extent| extent.stored == WrittenAs::Fragment);
        ADVISE_COMPACTED_2B | ADVISE_BIG_PCLUSTER | if tail { ADVISE_FRAGMENT } else { 0 }
    }

    /// Checks that written extents are read back, from the start and from any offset on.
    fn read_as_written(extents: &[Written], form: index::Form, offset: u64) {
        let layout =
            if form == index::Form::Full { Layout::CompressedFull } else { Layout::CompressedCompact };
        let size = extents.iter().map(|extent| u64::from(extent.len)).sum();
        let bytes = FILE.volume(layout, size, &index_bytes(extents, form, advise(extents)));
        let volume = volume(&bytes);
        let inode = volume.inode(FILE.nid()).unwrap();
        let mut start = 0;
        let expected: Vec<Extent> = extents
            .iter()
            .map(|extent| {
                let (at, len) = (u64::from(extent.block) * BLOCK_U64, u64::from(extent.len));
                let stored = match extent.stored {
                    WrittenAs::Plain => Stored::Plain { at },
                    WrittenAs::Fragment => {
                        let upper = if form == index::Form::Full { u64::from(extent.block) << 32 } else { 0 };
                        Stored::Fragment { at: upper | u64::from(FRAGMENT_AT) }
                    }
                    WrittenAs::Compressed(blocks) => Stored::Compressed(Cluster {
                        algorithm: Algorithm::Zstd,
                        at,
                        bytes: blocks * 4096,
                        partial: false,
                    }),
                };
                start += len;
                Extent { start: start - len, len, stored }
            })
            .collect();
        for offset in [0, offset % size, size - 1] {
            let read: Result<Vec<Extent>, _> = volume.extents(&inode, offset).unwrap().collect();
            let first = expected.iter().position(|extent| extent.end() > offset).unwrap();
            assert_eq!(read.unwrap(), expected[first..], "from {offset} on");
        }
    }

    /// Lengths and blocks that a writer may choose. The clusters are contiguous, or have gaps.
    fn extents() -> impl Strategy<Value = Vec<Written>> {
        let one =
            (0_u32..8, 2_u32..30, 0_u32..4096, 1_u32..20, prop_oneof![4 => Just(0_u32), 1 => 1_u32..50]);
        (proptest::collection::vec(one, 1..60), any::<bool>(), any::<bool>()).prop_map(
            |(list, gaps, tail)| {
                let (mut block, count) = (1, list.len());
                let extents = list.into_iter().enumerate().map(|(number, (kind, len, more, blocks, gap))| {
                    block += if gaps { gap } else { 0 };
                    let (len, stored) = match kind {
                        0 => (4096, WrittenAs::Plain),
                        1 => (4096 + more, WrittenAs::Compressed(1)),
                        _ => (len * 4096 + more, WrittenAs::Compressed(blocks)),
                    };
                    let last = tail && number > 0 && number + 1 == count;
                    let (stored, at) = if last { (WrittenAs::Fragment, 5) } else { (stored, block) };
                    let extent = Written { len, stored, block: at };
                    block += extent.stored.blocks();
                    extent
                });
                extents.collect()
            },
        )
    }

    proptest! {
        #[test]
        fn any_index_round_trips(extents in extents(), offset in any::<u64>()) {
            read_as_written(&extents, index::Form::Full, offset);
            if index::form(FILE.index_at(), &index::entries(&extents)) == index::Form::Compact {
                read_as_written(&extents, index::Form::Compact, offset);
            }
        }

        /// An index with a changed byte gives the same extents, other extents, or an error. But lookups from all offsets are consistent.
        #[test]
        fn a_damaged_index_is_consistent_or_refused(extents in extents(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let form = index::form(FILE.index_at(), &index::entries(&extents));
            let mut bytes = index_bytes(&extents, form, advise(&extents));
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let layout = if form == index::Form::Full { Layout::CompressedFull } else { Layout::CompressedCompact };
            let size = extents.iter().map(|extent| u64::from(extent.len)).sum();
            let bytes = FILE.volume(layout, size, &bytes);
            let volume = volume(&bytes);
            let inode = volume.inode(FILE.nid()).unwrap();
            let Ok(found) = volume.extents(&inode, 0) else { return Ok(()) };
            let Ok(whole) = found.collect::<Result<Vec<Extent>, _>>() else { return Ok(()) };
            let mut start = 0;
            for extent in &whole {
                prop_assert_eq!(extent.start, start);
                start = extent.end();
            }
            prop_assert_eq!(start, size);
            for offset in (0..size).step_by(4096) {
                if let Ok(mut from_there) = volume.extents(&inode, offset)
                    && let Some(Ok(extent)) = from_there.next()
                {
                    prop_assert!(whole.contains(&extent), "{:?} from {}", extent, offset);
                }
            }
        }
    }

    #[test]
    fn invalid_indices_are_refused() {
        let one = |len, stored, block| Written { len, stored, block };
        let extents = [
            one(20_000, WrittenAs::Compressed(2), 1),
            one(4096, WrittenAs::Plain, 3),
            one(30_000, WrittenAs::Compressed(3), 4),
        ];
        let valid = index_bytes(&extents, index::Form::Full, advise(&extents));
        let size = 54_096;
        let message = |bytes: &[u8], size| {
            let bytes = FILE.volume(Layout::CompressedFull, size, bytes);
            let volume = volume(&bytes);
            let inode = volume.inode(FILE.nid()).unwrap();
            match volume.extents(&inode, 0).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
                Ok(extents) => format!("{} extents", extents.len()),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(message(&valid, size), "3 extents");
        // The position of the byte `offset` of entry `number`.
        let at =
            |number: usize, offset: usize| MAP_HEADER_LEN + FULL_INDEX_GAP + number * FULL_INDEX_LEN + offset;
        let cases: &[(usize, u8, &str)] = &[
            (4, 0x80, "flags"),
            (4, 0x0f | 0x20, "both after the index and in the packed inode"),
            (6, 1, "LZMA clusters"),
            (7, 1, "logical clusters of several blocks"),
            (at(0, 0), 2, "the distance 1 to its head is invalid"),
            (at(0, 2), 1, "the distance 1 to its head is invalid"),
            (at(0, 7), 1, "is not inside the volume"),
            (at(0, 4), 0, "is not inside the volume"),
            (at(1, 5), 0, "the distance to its head is 2, expected 1"),
            (at(1, 4), 0, "its cluster of 0 blocks"),
            (at(2, 4), 0, "the distance to its head is 0, expected 2"),
            (at(2, 4), 1, "the distance to its head is 1, expected 2"),
            (at(4, 3), 0x10, "its extent begins"),
            (at(5, 0), 2, "to its head is"),
        ];
        for (position, byte, expected) in cases {
            let mut bytes = valid.clone();
            bytes[*position] = *byte;
            let message = message(&bytes, size);
            assert!(message.contains(expected), "{position} as {byte}: {message}");
        }
        let mut uncounted = valid.clone();
        uncounted[at(1, 4)..at(1, 6)].copy_from_slice(&[1, 0]);
        assert!(message(&uncounted, size).contains("the number of blocks is in the wrong entry"));
        assert!(message(&valid, 24_000).contains("after the end"));
        assert!(message(&valid, 1 << 40).contains("the index of its clusters ends past the end"));
    }
}
