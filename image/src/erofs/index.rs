//! The index of a compressed inode: converts extents to the entries of logical clusters, and these to bytes (`z_erofs_*` in
//! `fs/erofs/zmap.c`).
//!
//! The index has one entry per logical cluster. A *head* contains the offset in the logical cluster at which an extent begins, and the
//! block of its cluster. A *non-head* contains the distances to the previous and the next head; the first non-head after a head contains
//! the number of blocks of the cluster. The compact form stores one block address per pack of 2 or 16 entries, so it requires that the
//! clusters of a pack are contiguous.

use super::format::{
    BLOCK, BLOCK_COUNT_FLAG, FULL_INDEX_GAP, FULL_INDEX_LEN, FullIndex, LCLUSTER_HEAD1, LCLUSTER_NONHEAD,
    LCLUSTER_PLAIN, MAP_HEADER_LEN,
};
use crate::width::to_usize;
use zerocopy::IntoBytes;

/// How an extent is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// Uncompressed, in one block.
    Plain,
    /// Compressed, in a cluster of this number of blocks.
    Compressed(u32),
    /// In the packed inode. Only the last extent of a file, but not its first extent, can be a fragment.
    Fragment,
}

/// A range of a file, and the place of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The number of bytes of the file.
    pub(super) len: u32,
    pub(super) stored: Stored,
    /// The first block of the cluster. For a fragment, the upper 32 bits of its offset in the packed inode.
    pub(super) block: u32,
}

impl Stored {
    /// The number of blocks of the cluster.
    pub(super) const fn blocks(self) -> u32 {
        match self {
            Self::Plain => 1,
            Self::Compressed(blocks) => blocks,
            Self::Fragment => 0,
        }
    }
}

/// An entry of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Head {
        plain: bool,
        offset: u16,
        block: u32,
        blocks: u32,
    },
    /// The second entry of an extent, which contains the number of blocks of its cluster.
    Blocks {
        blocks: u32,
        block: u32,
        next: u16,
    },
    /// A later entry of an extent.
    Within {
        previous: u16,
        next: u16,
    },
}

/// The entries of a file that consists of these extents. If the last extent ends inside a logical cluster in which no other extent
/// begins, a plain head at the end of the file follows. Without it, a reader would assume that the extent ends with that logical cluster.
pub(super) fn entries(extents: &[Extent]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut at = 0_u64;
    for (number, extent) in extents.iter().enumerate() {
        let end = at + u64::from(extent.len);
        let is_last = number + 1 == extents.len();
        let offset = within_block(at);
        let plain = extent.stored == Stored::Plain;
        entries.push(Entry::Head { plain, offset, block: extent.block, blocks: extent.stored.blocks() });
        let first = at / BLOCK as u64;
        // The logical cluster that contains the next head, or the end of the file.
        let next_head = end / BLOCK as u64;
        for cluster in first + 1..next_head {
            let next = clamp(next_head - cluster);
            entries.push(if cluster == first + 1 {
                Entry::Blocks { blocks: extent.stored.blocks(), block: extent.block, next }
            } else {
                Entry::Within { previous: clamp(cluster - first), next }
            });
        }
        if is_last && within_block(end) != 0 && next_head > first {
            entries.push(Entry::Head { plain: true, offset: within_block(end), block: 0, blocks: 0 });
        }
        at = end;
    }
    entries
}

#[expect(clippy::expect_used, reason = "a block has 4096 bytes")]
fn within_block(at: u64) -> u16 {
    u16::try_from(at % BLOCK as u64).expect("less than a block")
}

/// Distances have 11 bits. If a distance is limited, the reader continues its search from the entry at that distance.
fn clamp(distance: u64) -> u16 {
    u16::try_from(distance).unwrap_or(u16::MAX).min(BLOCK_COUNT_FLAG - 1)
}

/// The form of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Eight bytes per entry.
    Full,
    /// Packs of 16 entries in 32 bytes, aligned to 32 bytes, with packs of 2 entries in 8 bytes before and after them.
    Compact,
}

/// The number of entries in packs of two before the first pack of 16, and the number of packs of 16. `start` is the offset of the first
/// entry, which is a multiple of 8.
pub(super) const fn packs(start: u64, entries: u64) -> (u64, u64) {
    // In a pack of two, an entry takes four bytes, and the start is aligned to two entries.
    let before = (32 - start % 32) % 32 / 4;
    if before < entries { (before, (entries - before) / 16) } else { (entries, 0) }
}

/// Like [`packs`], for a number of entries in memory.
fn packs_of(start: u64, entries: usize) -> (usize, usize) {
    let (before, count) = packs(start, entries as u64);
    (to_usize(before), to_usize(count))
}

/// The length of an index in bytes, without its map header, which ends at `start`.
pub(super) fn index_len(form: Form, start: u64, entries: usize) -> usize {
    match form {
        Form::Full => FULL_INDEX_GAP + entries * FULL_INDEX_LEN,
        Form::Compact => {
            let (before, packs) = packs_of(start, entries);
            let after = entries - before - packs * 16;
            before.next_multiple_of(2) * 4 + packs * 32 + after.next_multiple_of(2) * 4
        }
    }
}

/// The form of an index at `start`. It is compact if each pack needs only one block address.
pub(super) fn form(start: u64, entries: &[Entry]) -> Form {
    let compact = split(start, entries).all(|pack| base(pack).is_some());
    if compact { Form::Compact } else { Form::Full }
}

/// The packs of a compact index.
fn split(start: u64, entries: &[Entry]) -> impl Iterator<Item = &[Entry]> {
    let (before, count) = packs_of(start, entries.len());
    let (first, rest) = entries.split_at(before);
    let (middle, last) = rest.split_at(count * 16);
    first.chunks(2).chain(middle.chunks(16)).chain(last.chunks(2))
}

/// The block address of a pack: that of the first cluster that a reader counts in it. `None` if the later clusters are not contiguous
/// with it.
///
/// A reader counts a cluster at the entry with its number of blocks. If an extent has no second entry, the reader counts its cluster at the
/// head, as one block. A head at the end of a pack needs only the address of its own cluster.
fn base(pack: &[Entry]) -> Option<u32> {
    let mut base = None;
    let mut next = 0;
    let mut entries = pack.iter().peekable();
    while let Some(entry) = entries.next() {
        let (block, blocks) = match *entry {
            Entry::Within { .. } => continue,
            // Fragments and the mark of the end of the file have no block address.
            Entry::Head { blocks: 0, .. } | Entry::Blocks { blocks: 0, .. } => continue,
            Entry::Head { block, .. } if matches!(entries.peek(), Some(Entry::Blocks { .. })) => (block, 0),
            // At the end of the pack, the number of blocks has no effect, because no entry of this pack follows.
            Entry::Head { block, .. } => (block, 1),
            Entry::Blocks { block, blocks, .. } => (block, blocks),
        };
        match base {
            None => (base, next) = (Some(block), block),
            Some(_) if block != next => return None,
            Some(_) => {}
        }
        next = next.checked_add(blocks)?;
    }
    Some(base.unwrap_or(0))
}

/// Encodes an index, without its map header, which ends at `start`.
pub(super) fn encode(form: Form, start: u64, entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(index_len(form, start, entries.len()));
    match form {
        Form::Full => {
            out.extend_from_slice(&[0; FULL_INDEX_GAP]);
            entries.iter().for_each(|entry| out.extend_from_slice(full(entry).as_bytes()));
        }
        Form::Compact => {
            let (before, count) = packs_of(start, entries.len());
            for (number, pack) in split(start, entries).enumerate() {
                let first_of_16 = before.div_ceil(2);
                let of_16 = (first_of_16..first_of_16 + count).contains(&number);
                encode_pack(pack, of_16, &mut out);
            }
        }
    }
    out
}

fn full(entry: &Entry) -> FullIndex {
    let (kind, cluster_offset, block) = match *entry {
        Entry::Head { plain, offset, block, .. } => {
            (if plain { LCLUSTER_PLAIN } else { LCLUSTER_HEAD1 }, offset, block)
        }
        Entry::Blocks { blocks, next, .. } => (LCLUSTER_NONHEAD, 0, distances(block_count(blocks), next)),
        Entry::Within { previous, next } => (LCLUSTER_NONHEAD, 0, distances(previous, next)),
    };
    FullIndex { advise: kind.into(), cluster_offset: cluster_offset.into(), block: block.into() }
}

fn distances(previous: u16, next: u16) -> u32 {
    u32::from(previous) | u32::from(next) << 16
}

#[expect(clippy::expect_used, reason = "a cluster has at most 1 MiB")]
fn block_count(blocks: u32) -> u16 {
    u16::try_from(blocks).expect("a cluster has at most 256 blocks") | BLOCK_COUNT_FLAG
}

/// Encodes a pack: two entries of 16 bits or 16 entries of 14 bits, and the block address. Missing entries at the end are zero.
#[expect(clippy::expect_used, reason = "`form` finds a base for every pack, or the index is not compact")]
fn encode_pack(pack: &[Entry], of_16: bool, out: &mut Vec<u8>) {
    let (count, width, len) = if of_16 { (16, 14, 32) } else { (2, 16, 8) };
    let mut bits = [0_u8; 32];
    for (number, entry) in pack.iter().enumerate() {
        let (kind, low) = match *entry {
            Entry::Head { plain, offset, .. } => {
                (if plain { LCLUSTER_PLAIN } else { LCLUSTER_HEAD1 }, offset)
            }
            Entry::Blocks { blocks, .. } => (LCLUSTER_NONHEAD, block_count(blocks)),
            // The last entry of a pack contains the distance to the next head, the others to the previous head.
            Entry::Within { next, .. } if number + 1 == count => (LCLUSTER_NONHEAD, next),
            Entry::Within { previous, .. } => (LCLUSTER_NONHEAD, previous),
        };
        put_bits(&mut bits, number * width, u32::from(kind << 12 | low));
    }
    let (bits, _) = bits.split_at(len - 4);
    out.extend_from_slice(bits);
    let base = base(pack).expect("the clusters of a pack are contiguous");
    out.extend_from_slice(&base.to_le_bytes());
}

/// Writes up to 16 bits at a bit position.
fn put_bits(bytes: &mut [u8], position: usize, value: u32) {
    let spread = (value << (position % 8)).to_le_bytes();
    for (byte, part) in bytes.iter_mut().skip(position / 8).zip(spread) {
        *byte |= part;
    }
}

/// The offset of the map header of an inode, after its `len` bytes of structure and attributes.
pub(super) const fn map_header_at(inode: u64, len: u64) -> u64 {
    (inode + len).next_multiple_of(8)
}

/// The offset of the index of an inode.
pub(super) const fn index_at(inode: u64, len: u64) -> u64 {
    map_header_at(inode, len) + MAP_HEADER_LEN as u64
}
