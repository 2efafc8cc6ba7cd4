//! The packed inode: the ends of files, including whole small files, concatenated and compressed together.
//!
//! Pieces of the same kind are next to each other, which compresses best. Each group of pieces is compressed independently, so a changed
//! file changes only its group. The end of a group depends only on the pieces near it, so adding or removing a file does not move the
//! borders of distant groups.

use std::collections::HashMap;

use super::area::Area;
use super::cut::End;
use super::files::{Counts, Stretch};
use super::segment::{SegmentCache, Settings, cut_segment};
use super::{Params, WriteError};
use crate::erofs::format::BLOCK_U64;
use crate::erofs::index::Extent;
use crate::erofs::tree::{InodeId, Node, Tree};
use crate::ordered::ordered;
use crate::width::to_usize;
use kubedos_wire::hex32::sha256;

/// The end of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) stretch: Stretch,
    /// The digest of the segment whose end it is.
    pub(super) digest: [u8; 32],
}

/// The packed inode.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Packed {
    pub(super) len: u64,
    pub(super) extents: Vec<Extent>,
    /// The offset of each piece.
    pub(super) offsets: Vec<u64>,
}

/// The minimum size of a group in bytes. Above it, the group ends after a piece whose digest marks a border.
const GROUP_MIN: u64 = 256 << 10;
/// The size in bytes at which a group ends after any piece.
const GROUP_MAX: u64 = 2 << 20;

/// Compresses and writes the pieces.
#[expect(clippy::indexing_slicing, reason = "the number of a piece is its index")]
pub(super) fn write(
    tree: &Tree<'_>,
    pieces: &[Piece],
    params: &Params,
    cache: &dyn SegmentCache,
    area: &mut Area<'_>,
    counts: &mut Counts,
) -> Result<Packed, WriteError> {
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    let kinds = kinds(tree);
    order.sort_by_key(|&number| (kinds.get(&pieces[number].stretch.inode), number));
    let (groups, offsets, len) = group(pieces, &order);
    let settings = Settings { compression: params.compression, cluster: params.cluster, end: End::Take };
    let mut packed = Packed { len, extents: Vec::new(), offsets };
    let cut = |group: &Group| {
        let mut bytes = Vec::new();
        for &number in &group.pieces {
            pieces[number].stretch.read(tree, &mut bytes)?;
        }
        bytes.resize(to_usize(group.len), 0);
        cut_segment(&bytes, &sha256(&[&bytes]), &settings, cache)
    };
    ordered(params.threads, &groups, cut, |_, cut: Result<_, WriteError>| {
        let (cut, was_cached) = cut?;
        counts.count(was_cached);
        packed.extents.extend(area.place(&cut, len)?);
        Ok::<_, WriteError>(())
    })?;
    Ok(packed)
}

/// Pieces that are compressed together.
struct Group {
    pieces: Vec<usize>,
    /// The number of bytes up to the start of the next group.
    len: u64,
}

/// The groups, the offset of each piece, and the total length. A group begins at a block boundary, so that its extents do not depend on the
/// previous groups.
#[expect(clippy::indexing_slicing, reason = "the order contains the number of each piece once")]
fn group(pieces: &[Piece], order: &[usize]) -> (Vec<Group>, Vec<u64>, u64) {
    let mut offsets = vec![0; pieces.len()];
    let mut groups: Vec<Group> = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut members = Vec::new();
    for (position, &number) in order.iter().enumerate() {
        let piece = &pieces[number];
        offsets[number] = at;
        members.push(number);
        at += piece.stretch.len;
        let len = at - start;
        let looks_so = piece.digest.first().is_some_and(|byte| byte % 4 == 0);
        let is_last = position + 1 == order.len();
        if is_last || len >= GROUP_MAX || len >= GROUP_MIN && looks_so {
            if !is_last {
                at = at.next_multiple_of(BLOCK_U64);
            }
            groups.push(Group { pieces: std::mem::take(&mut members), len: at - start });
            start = at;
        }
    }
    (groups, offsets, at)
}

/// The kind of each file, by the extension of its first name. Files of the same kind have similar content.
fn kinds(tree: &Tree<'_>) -> HashMap<InodeId, Vec<u8>> {
    let mut kinds = HashMap::new();
    for id in tree.in_order() {
        let Node::Directory { entries, .. } = &tree.inode(id).node else { continue };
        for (name, child) in entries {
            kinds.entry(*child).or_insert_with(|| kind(name).to_vec());
        }
    }
    kinds
}

/// The extension of a name without version numbers: `so` for `libx.so.1.2`. Empty if the name has no extension.
fn kind(name: &[u8]) -> &[u8] {
    let dots = name.iter().filter(|byte| **byte == b'.').count();
    let mut tails = name.rsplit(|byte| *byte == b'.').take(dots);
    tails.find(|tail| !tail.iter().all(u8::is_ascii_digit)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_numbers_are_not_an_extension() {
        let table: [(&str, &str); 7] = [
            ("libx.so.1.2", "so"),
            ("a.ko", "ko"),
            ("README", ""),
            ("x.1", ""),
            (".hidden", "hidden"),
            ("a.b.conf", "conf"),
            ("v1.2.3", ""),
        ];
        for (name, expected) in table {
            assert_eq!(kind(name.as_bytes()), expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn removing_a_piece_moves_only_the_borders_near_it() {
        let piece = |number: u32| Piece {
            stretch: Stretch { inode: InodeId::ROOT, offset: 0, len: 10_000 + u64::from(number) * 37 },
            digest: sha256(&[&number.to_le_bytes()]),
        };
        let cut = |pieces: &[Piece]| {
            let order: Vec<usize> = (0..pieces.len()).collect();
            let (groups, offsets, len) = group(pieces, &order);
            assert_eq!(groups.iter().map(|group| group.len).sum::<u64>(), len);
            assert!(offsets.iter().zip(pieces).all(|(offset, piece)| offset + piece.stretch.len <= len));
            groups
                .iter()
                .map(|group| {
                    let digests: Vec<u8> =
                        group.pieces.iter().flat_map(|&number| pieces[number].digest).collect();
                    sha256(&[&digests])
                })
                .collect::<Vec<_>>()
        };
        let pieces: Vec<Piece> = (0..600).map(piece).collect();
        let before = cut(&pieces);
        let mut fewer = pieces;
        fewer.remove(300);
        let after = cut(&fewer);
        assert!(before.len() > 15);
        let new = after.iter().filter(|group| !before.contains(group)).count();
        assert!((1..=4).contains(&new), "{new} groups of {} changed", after.len());
    }
}
