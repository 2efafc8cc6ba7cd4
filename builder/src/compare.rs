//! Compares large sources byte by byte. Ranges that are holes in both are skipped.

use std::io;

use kubedos_image::source::Source;
use kubedos_image::width::to_usize;

/// The number of bytes that are compared at a time.
const PIECE: usize = 1 << 20;
/// The unit of the count of differences, in bytes.
pub const BLOCK: u64 = BLOCK_BYTES as u64;
const BLOCK_BYTES: usize = 4096;

/// The differences between two sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Differences {
    /// The offset of the first different byte, or the end of the shorter source if only the lengths differ.
    pub first: Option<u64>,
    /// The number of blocks of 4096 bytes that differ within the common length.
    pub blocks: u64,
}

/// Returns the offset of the first different byte. If one source is a prefix of the other, this is its end.
///
/// # Errors
/// If a source cannot be read.
pub fn first_difference(a: &dyn Source, b: &dyn Source) -> io::Result<Option<u64>> {
    Ok(walk(a, b, true)?.first)
}

/// Returns all differences.
///
/// # Errors
/// If a source cannot be read.
pub fn differences(a: &dyn Source, b: &dyn Source) -> io::Result<Differences> {
    walk(a, b, false)
}

fn walk(a: &dyn Source, b: &dyn Source, first_only: bool) -> io::Result<Differences> {
    let common = a.len().min(b.len());
    let mut found = Differences::default();
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    while let Some(start) = next_data(a, b, at).filter(|start| *start < common) {
        // Pieces start at block boundaries, so that no block is counted twice.
        let start = (start / BLOCK * BLOCK).max(at);
        let len = to_usize(common - start).min(PIECE);
        let ((left, _), (right, _)) = (left.split_at_mut(len), right.split_at_mut(len));
        a.read_exact_at(left, start)?;
        b.read_exact_at(right, start)?;
        // Most pieces are equal, and comparing whole slices is faster.
        if left != right
            && let Some(first) = left.iter().zip(right.iter()).position(|(a, b)| a != b)
        {
            found.first.get_or_insert(start + first as u64);
            if first_only {
                return Ok(found);
            }
            let pairs = left.chunks(BLOCK_BYTES).zip(right.chunks(BLOCK_BYTES));
            found.blocks += pairs.filter(|(a, b)| a != b).count() as u64;
        }
        at = start + len as u64;
    }
    if a.len() != b.len() {
        found.first.get_or_insert(common);
    }
    Ok(found)
}

/// The next offset at which one of the sources has data.
fn next_data(a: &dyn Source, b: &dyn Source, at: u64) -> Option<u64> {
    let starts = [a.next_data(at), b.next_data(at)];
    starts.into_iter().flatten().map(|data| data.start.max(at)).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_image::sparse::Runs;
    use proptest::prelude::*;

    #[test]
    fn holes_of_both_are_skipped_and_those_of_one_are_compared() {
        let with = |at: u64, byte: u8| {
            let mut runs = Runs::new(1 << 40);
            runs.add_bytes(at, vec![byte; 10]).unwrap();
            runs
        };
        let (a, b) = (with(1 << 39, 1), with((1 << 39) + 5, 1));
        assert_eq!(first_difference(&a, &a).unwrap(), None);
        assert_eq!(differences(&a, &b).unwrap(), Differences { first: Some(1 << 39), blocks: 1 });
        assert_eq!(first_difference(&with(0, 0), &Runs::new(1 << 40)).unwrap(), None);
        assert_eq!(first_difference(&Runs::new(10), &Runs::new(12)).unwrap(), Some(10));
    }

    proptest! {
        #[test]
        fn the_first_difference_is_that_of_the_flat_bytes(
            a in proptest::collection::vec(0u8..2, 0..9000),
            change in proptest::option::of((0usize..9000, 0u8..2)),
            end in 0usize..9000,
        ) {
            let mut b = a.clone();
            if let Some((at, byte)) = change && at < b.len() {
                b[at] = byte;
            }
            b.truncate(end.max(1));
            let expected = a.iter().zip(&b).position(|(a, b)| a != b).or((a.len() != b.len()).then_some(a.len().min(b.len())));
            prop_assert_eq!(first_difference(&a, &b).unwrap(), expected.map(|at| at as u64));
        }
    }
}
