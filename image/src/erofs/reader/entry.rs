//! The reader of the entries of an index. The module `index` writes them.

use zerocopy::FromBytes;

use super::super::format::{
    ADVISE_COMPACTED_2B, BLOCK_COUNT_FLAG, BLOCK_U64, FULL_INDEX_GAP, FULL_INDEX_LEN, FullIndex,
    LCLUSTER_NONHEAD, LCLUSTER_PARTIAL, LCLUSTER_TYPE_MASK, Layout,
};
use super::super::index;
use super::error::{ErofsError, Part, Place};
use super::inode::Inode;
use super::volume::Volume;
use crate::width::{halves_of_u32, to_usize};

/// The form of an index, and the offset of its first entry.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// There is no index: the whole file is in the packed inode, at this offset.
    Whole(u64),
    Full(u64),
    /// `before`: the number of entries in packs of two before the packs of 16. `packed`: the number of entries in packs of 16.
    Compact {
        at: u64,
        before: u64,
        packed: u64,
    },
}

/// A decoded entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Head {
        kind: u16,
        offset: u64,
        block: u32,
        partial: bool,
    },
    /// `exact`: the distance to the head is stored in this entry, and not derived from another entry.
    Within {
        back: u64,
        exact: bool,
        blocks: Option<u32>,
    },
}

/// The entries that share a block address.
struct Pack {
    at: u64,
    /// The type and the value of each entry. Only the first `count` entries are used.
    entries: [(u16, u16); 16],
    count: usize,
    block: u32,
}

/// The location of the entries, and the pack that was read last.
pub(super) struct Index {
    nid: u64,
    pub(super) form: Form,
    /// The number of entries: one per block of the file.
    pub(super) count: u64,
    /// The file may have clusters of several blocks.
    big: bool,
    pack: Option<Pack>,
}

impl Form {
    /// The form for a file whose map header ends at `at` and has the flags `advise`.
    pub(super) fn of(inode: &Inode, at: u64, advise: u16) -> Self {
        if inode.layout == Layout::CompressedFull {
            return Self::Full(at + FULL_INDEX_GAP as u64);
        }
        let count = inode.size.div_ceil(BLOCK_U64);
        let (before, packs) =
            if advise & ADVISE_COMPACTED_2B != 0 { index::packs(at, count) } else { (count, 0) };
        Self::Compact { at, before, packed: packs * 16 }
    }
}

impl Index {
    pub(super) fn new(inode: &Inode, form: Form, big: bool) -> Self {
        Self { nid: inode.nid, form, count: inode.size.div_ceil(BLOCK_U64), big, pack: None }
    }

    /// The end of the index, in bytes.
    pub(super) fn end(&self) -> u64 {
        match self.form {
            Form::Whole(at) => at,
            Form::Full(at) => at + self.count * FULL_INDEX_LEN as u64,
            Form::Compact { .. } => {
                let (at, _, len) = self.pack_of(self.count - 1);
                at + len as u64
            }
        }
    }

    pub(super) fn entry(&mut self, volume: &Volume<'_>, number: u64) -> Result<Entry, ErofsError> {
        let place = Place { nid: self.nid, part: Part::Index, at: number };
        let entry = match self.form {
            Form::Full(at) => full(volume, at + number * FULL_INDEX_LEN as u64, place)?,
            _ => self.compact(volume, number, place)?,
        };
        match entry {
            Entry::Head { offset, .. } if offset >= BLOCK_U64 => {
                Err(place.damaged(format!("its extent begins {offset} bytes after its start")))
            }
            Entry::Within { blocks: Some(_), .. } if !self.big => {
                Err(place.damaged("it contains a number of blocks, but the file has clusters of one block"))
            }
            entry => Ok(entry),
        }
    }

    /// The offset of the pack that contains an entry, the index of the entry in the pack, and the length of the pack.
    fn pack_of(&self, number: u64) -> (u64, usize, usize) {
        let Form::Compact { at, before, packed } = self.form else { return (0, 0, 0) };
        let small = |at: u64, number: u64| (at + number / 2 * 8, usize::from(number % 2 == 1), 8);
        match number.checked_sub(before) {
            None => small(at, number),
            Some(number) => match number.checked_sub(packed) {
                None => (at + before * 4 + number / 16 * 32, to_usize(number % 16), 32),
                Some(number) => small(at + before * 4 + packed * 2, number),
            },
        }
    }

    fn compact(&mut self, volume: &Volume<'_>, number: u64, place: Place) -> Result<Entry, ErofsError> {
        let (at, number, len) = self.pack_of(number);
        let pack = match self.pack.take() {
            Some(pack) if pack.at == at => pack,
            _ => {
                let mut bytes = [0; 32];
                let (bytes, _) = bytes.split_at_mut(len);
                volume.fill(bytes, at, place)?;
                Pack::read(at, bytes)
            }
        };
        let entry = pack.entry(number, self.big);
        self.pack = Some(pack);
        entry.ok_or_else(|| place.damaged("it is not in its pack"))
    }
}

fn full(volume: &Volume<'_>, at: u64, place: Place) -> Result<Entry, ErofsError> {
    let mut bytes = [0; FULL_INDEX_LEN];
    volume.fill(&mut bytes, at, place)?;
    let entry = FullIndex::read_from_bytes(&bytes).map_err(|_| place.damaged("it is too short"))?;
    let advise = entry.advise.get();
    Ok(match advise & LCLUSTER_TYPE_MASK {
        LCLUSTER_NONHEAD => {
            // The lower half of the field that is the block address in a head.
            let [number, _] = halves_of_u32(entry.block.get());
            within(number)
        }
        kind => Entry::Head {
            kind,
            offset: entry.cluster_offset.get().into(),
            block: entry.block.get(),
            partial: advise & LCLUSTER_PARTIAL != 0,
        },
    })
}

/// Decodes a non-head. Its number is the distance to the previous head, or the number of blocks of the cluster.
fn within(number: u16) -> Entry {
    if number & BLOCK_COUNT_FLAG != 0 {
        return Entry::Within { back: 1, exact: true, blocks: Some(u32::from(number & !BLOCK_COUNT_FLAG)) };
    }
    Entry::Within { back: number.into(), exact: true, blocks: None }
}

impl Pack {
    /// Decodes a pack: two entries of 16 bits or 16 entries of 14 bits, and a block address. The upper two bits of an entry are its type.
    fn read(at: u64, bytes: &[u8]) -> Self {
        let (count, width) = if bytes.len() == 8 { (2, 16) } else { (16, 14) };
        let entry = |number: usize| {
            let position = number * width;
            let bytes = bytes.iter().skip(position / 8).take(3).rev();
            let bits = bytes.fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) >> (position % 8);
            // Both values have at most 12 bits.
            let [kind, _] = halves_of_u32(bits >> 12 & 3);
            let [number, _] = halves_of_u32(bits & 0xfff);
            (kind, number)
        };
        let block = bytes.last_chunk().map_or(0, |block| u32::from_le_bytes(*block));
        let mut entries = [(0, 0); 16];
        entries.iter_mut().take(count).enumerate().for_each(|(number, place)| *place = entry(number));
        Self { at, entries, count, block }
    }

    fn entry(&self, number: usize, big: bool) -> Option<Entry> {
        let (kind, low) = *self.entries.get(number)?;
        if kind != LCLUSTER_NONHEAD {
            let block = self.block.wrapping_add(self.blocks_before(number, big));
            return Some(Entry::Head { kind, offset: low.into(), block, partial: false });
        }
        if low & BLOCK_COUNT_FLAG != 0 || number + 1 < self.count {
            return Some(within(low));
        }
        // The last entry contains the distance to the next head. The distance to the previous head is derived from the previous entry.
        let back = match self.entries.get(number.checked_sub(1)?)? {
            (LCLUSTER_NONHEAD, low) if low & BLOCK_COUNT_FLAG != 0 => 2,
            (LCLUSTER_NONHEAD, low) => u64::from(*low) + 1,
            _ => 1,
        };
        Some(Entry::Within { back, exact: false, blocks: None })
    }

    /// The number of blocks of the clusters that are counted in the pack before an entry. Without clusters of several blocks, the address
    /// of the pack is that of the block before the first head.
    fn blocks_before(&self, number: usize, big: bool) -> u32 {
        let mut blocks = u32::from(!big);
        let mut entries = self.entries.iter().take(number).peekable();
        while let Some((kind, low)) = entries.next() {
            let counted =
                |(kind, low): &(u16, u16)| big && *kind == LCLUSTER_NONHEAD && low & BLOCK_COUNT_FLAG != 0;
            blocks += if counted(&(*kind, *low)) {
                u32::from(low & !BLOCK_COUNT_FLAG)
            } else {
                u32::from(*kind != LCLUSTER_NONHEAD && !entries.peek().is_some_and(|next| counted(next)))
            };
        }
        blocks
    }
}
