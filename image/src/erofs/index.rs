//! The index of a compressed inode: from extents to logical clusters and their bytes (`z_erofs_*` in `fs/erofs/zmap.c`).
//!
//! There is one entry for each logical cluster. A *head* says where in it an extent begins and where its cluster lies; a *non-head* says how
//! far the heads before and after it are, and the first one behind a head says how many blocks the cluster has. The compact form keeps one
//! block address for a pack of 2 or 16 entries, so it can only be used where the clusters of a pack lie one behind the other.

use super::format::{
    BLOCK, BLOCK_COUNT_FLAG, FULL_INDEX_GAP, FULL_INDEX_LEN, FullIndex, LCLUSTER_HEAD1, LCLUSTER_NONHEAD,
    LCLUSTER_PLAIN, MAP_HEADER_LEN,
};
use crate::width::to_usize;
use zerocopy::IntoBytes;

/// What an extent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// As it is, in one block.
    Plain,
    /// Compressed into so many blocks.
    Compressed(u32),
    /// In the packed inode: only the last extent of a file, and never its first.
    Fragment,
}

/// A stretch of a file and where its bytes lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// How many bytes of the file.
    pub(super) len: u32,
    pub(super) stored: Stored,
    /// First block of the cluster; of a fragment the upper 32 bits of its place in the packed inode.
    pub(super) block: u32,
}

impl Stored {
    /// Blocks of the cluster.
    pub(super) const fn blocks(self) -> u32 {
        match self {
            Self::Plain => 1,
            Self::Compressed(blocks) => blocks,
            Self::Fragment => 0,
        }
    }
}

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Head {
        plain: bool,
        offset: u16,
        block: u32,
        blocks: u32,
    },
    /// The second entry of an extent: says how many blocks its cluster has.
    Blocks {
        blocks: u32,
        block: u32,
        next: u16,
    },
    /// A later one.
    Within {
        previous: u16,
        next: u16,
    },
}

/// The entries of a file that consists of these extents. An extent that ends within a logical cluster in which no other begins is followed by
/// a literal head at the file's end: without it, a reader would take the extent to reach to the end of that logical cluster.
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
        // The logical cluster that the next head is in, or the end of the file, if that is inside one.
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

/// Distances are kept in 11 bits; a reader that is told less than the truth looks again from there.
fn clamp(distance: u64) -> u16 {
    u16::try_from(distance).unwrap_or(u16::MAX).min(BLOCK_COUNT_FLAG - 1)
}

/// How an index is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Eight bytes an entry.
    Full,
    /// Packs of 16 entries in 32 bytes where they are aligned to that, of 2 in 8 bytes before and behind.
    Compact,
}

/// How many entries stand in packs of two before the first pack of 16, and how many packs of 16 there are. `start` is where the first entry
/// stands, which is a multiple of 8.
pub(super) const fn packs(start: u64, entries: u64) -> (u64, u64) {
    // 32 bytes are 8 entries of four bytes; the start is aligned to two.
    let before = (32 - start % 32) % 32 / 4;
    if before < entries { (before, (entries - before) / 16) } else { (entries, 0) }
}

/// The same for entries in memory.
fn packs_of(start: u64, entries: usize) -> (usize, usize) {
    let (before, count) = packs(start, entries as u64);
    (to_usize(before), to_usize(count))
}

/// The bytes that an index takes behind its map header, which ends at `start`.
pub(super) fn index_len(form: Form, start: u64, entries: usize) -> usize {
    match form {
        Form::Full => FULL_INDEX_GAP + entries * FULL_INDEX_LEN,
        Form::Compact => {
            let (before, packs) = packs_of(start, entries);
            let behind = entries - before - packs * 16;
            before.next_multiple_of(2) * 4 + packs * 32 + behind.next_multiple_of(2) * 4
        }
    }
}

/// May the index be compact, starting there? Of its block addresses it keeps one a pack.
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

/// The address that a pack keeps: that of the first cluster that is counted in it. None if the clusters behind do not follow it.
///
/// A reader counts a cluster where its number of blocks stands; one whose extent has no second entry, at its head, as one block. A head that
/// ends a pack needs the address of its own cluster only.
fn base(pack: &[Entry]) -> Option<u32> {
    let mut base = None;
    let mut next = 0;
    let mut entries = pack.iter().peekable();
    while let Some(entry) = entries.next() {
        let (block, blocks) = match *entry {
            Entry::Within { .. } => continue,
            // Behind the file's end nothing is looked up.
            Entry::Head { blocks: 0, .. } | Entry::Blocks { blocks: 0, .. } => continue,
            Entry::Head { block, .. } if matches!(entries.peek(), Some(Entry::Blocks { .. })) => (block, 0),
            // A head that ends the pack: how many blocks follow it is none of this pack's business.
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

/// The bytes of an index behind its map header, which ends at `start`.
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

/// Two entries of 16 bits, or 16 of 14, and the block address. Missing ones at the end are zeroes.
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
            // The last entry of a pack looks ahead, the others look back.
            Entry::Within { next, .. } if number + 1 == count => (LCLUSTER_NONHEAD, next),
            Entry::Within { previous, .. } => (LCLUSTER_NONHEAD, previous),
        };
        put_bits(&mut bits, number * width, u32::from(kind << 12 | low));
    }
    let (bits, _) = bits.split_at(len - 4);
    out.extend_from_slice(bits);
    let base = base(pack).expect("the clusters of a pack follow each other");
    out.extend_from_slice(&base.to_le_bytes());
}

/// Writes up to 16 bits at a bit position.
fn put_bits(bytes: &mut [u8], position: usize, value: u32) {
    let spread = (value << (position % 8)).to_le_bytes();
    for (byte, part) in bytes.iter_mut().skip(position / 8).zip(spread) {
        *byte |= part;
    }
}

/// Where the map header of an inode stands: behind its `len` bytes of structure and attributes.
pub(super) const fn map_header_at(inode: u64, len: u64) -> u64 {
    (inode + len).next_multiple_of(8)
}

/// Where its index starts.
pub(super) const fn index_at(inode: u64, len: u64) -> u64 {
    map_header_at(inode, len) + MAP_HEADER_LEN as u64
}
