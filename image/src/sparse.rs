//! Long byte strings that consist mostly of holes: pieces at offsets within a virtual length. An image is composed as [`Runs`] and
//! written once, without the holes. A piece is in memory or in another [`Source`].

use crate::source::Source;
use crate::width::to_usize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;

/// The bytes of a piece.
enum Content<'a> {
    Bytes(Cow<'a, [u8]>),
    Source(&'a dyn Source),
}

/// Pieces that do not overlap, within a virtual length. The bytes between them are zero.
#[expect(missing_debug_implementations, reason = "the pieces may be gigabytes, or other sources")]
pub struct Runs<'a> {
    len: u64,
    runs: BTreeMap<u64, Content<'a>>,
}

/// A piece cannot be added at the requested offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RunsError {
    /// The piece reaches beyond the end.
    #[error("{len} bytes at {offset} reach beyond the end at {end}")]
    BeyondEnd {
        /// The requested offset, in bytes.
        offset: u64,
        /// The length of the piece, in bytes.
        len: u64,
        /// The virtual length, in bytes.
        end: u64,
    },
    /// The piece overlaps another piece.
    #[error("{len} bytes at {offset} overlap another piece")]
    Overlap {
        /// The requested offset, in bytes.
        offset: u64,
        /// The length of the piece, in bytes.
        len: u64,
    },
}

impl Content<'_> {
    fn source(&self) -> &dyn Source {
        match self {
            Self::Bytes(Cow::Borrowed(bytes)) => bytes,
            Self::Bytes(Cow::Owned(bytes)) => bytes,
            Self::Source(source) => *source,
        }
    }
}

impl<'a> Runs<'a> {
    /// Creates `len` zero bytes, without any piece.
    pub fn new(len: u64) -> Self {
        Self { len, runs: BTreeMap::new() }
    }

    /// Adds bytes at an offset.
    pub fn add_bytes(&mut self, offset: u64, bytes: impl Into<Cow<'a, [u8]>>) -> Result<(), RunsError> {
        self.add(offset, Content::Bytes(bytes.into()))
    }

    /// Adds all bytes of a source at an offset.
    pub fn add_source(&mut self, offset: u64, source: &'a dyn Source) -> Result<(), RunsError> {
        self.add(offset, Content::Source(source))
    }

    fn add(&mut self, offset: u64, content: Content<'a>) -> Result<(), RunsError> {
        let len = content.source().len();
        if len == 0 {
            return Ok(());
        }
        let end = offset.checked_add(len).filter(|end| *end <= self.len);
        let end = end.ok_or(RunsError::BeyondEnd { offset, len, end: self.len })?;
        let before = self.runs.range(..end).next_back();
        if before.is_some_and(|(at, other)| at.saturating_add(other.source().len()) > offset) {
            return Err(RunsError::Overlap { offset, len });
        }
        self.runs.insert(offset, content);
        Ok(())
    }

    /// The pieces that overlap a range, with their offsets. The first piece may end before the range.
    fn touching(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, &dyn Source)> {
        let first = self.runs.range(..=range.start).next_back().map_or(range.start, |(at, _)| *at);
        self.runs.range(first..range.end.max(first)).map(|(at, content)| (*at, content.source()))
    }
}

impl Source for Runs<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64).filter(|end| *end <= self.len);
        let end = end.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "read past the end"))?;
        buffer.fill(0);
        for (at, source) in self.touching(&(offset..end)) {
            let from = at.max(offset);
            let to = at.saturating_add(source.len()).min(end);
            if from >= to {
                continue;
            }
            #[expect(
                clippy::indexing_slicing,
                reason = "the range is within `offset..end`, which the buffer covers"
            )]
            let part = &mut buffer[to_usize(from - offset)..to_usize(to - offset)];
            source.read_exact_at(part, from - at)?;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        self.touching(&(offset..self.len)).find_map(|(at, source)| {
            let data = source.next_data(offset.saturating_sub(at))?;
            let (start, end) = (at.saturating_add(data.start).max(offset), at.saturating_add(data.end));
            (start < end).then_some(start..end)
        })
    }

    fn in_file(&self, offset: u64, len: u64) -> Option<(&File, u64)> {
        let (at, content) = self.runs.range(..=offset).next_back()?;
        let (source, within) = (content.source(), offset - at);
        (within.checked_add(len)? <= source.len()).then(|| source.in_file(within, len))?
    }
}

/// Calls `sink` with all pieces of `source` that are not zero, in order of offset. A piece starts and ends at a multiple of `grain` bytes
/// (or at the end) and contains no aligned block of `grain` zero bytes. `sink` gets at most 1 MiB per call.
pub fn for_data(
    source: &dyn Source,
    grain: u64,
    mut sink: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let grain = grain.clamp(1, 1 << 20);
    let most = (1u64 << 20) / grain * grain;
    let mut buffer = vec![0; to_usize(most)];
    let mut at = 0;
    while let Some(data) = source.next_data(at) {
        let mut start = (data.start / grain * grain).max(at);
        // Round up to whole grains. This includes a following piece that starts in the same grain.
        let end = data.end.next_multiple_of(grain).min(source.len());
        while start < end {
            let count = most.min(end - start);
            let (piece, _) = buffer.split_at_mut(to_usize(count));
            source.read_exact_at(piece, start)?;
            emit_nonzero(start, piece, to_usize(grain), &mut sink)?;
            start += count;
        }
        at = end;
    }
    Ok(())
}

#[expect(clippy::indexing_slicing, reason = "the ranges are those of chunks of the piece")]
fn emit_nonzero(
    start: u64,
    piece: &[u8],
    grain: usize,
    sink: &mut impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut pending: Option<Range<usize>> = None;
    for (number, chunk) in piece.chunks(grain).enumerate() {
        let here = number * grain..number * grain + chunk.len();
        if chunk.iter().all(|byte| *byte == 0) {
            if let Some(range) = pending.take() {
                sink(start + range.start as u64, &piece[range])?;
            }
        } else {
            pending = Some(pending.map_or(here.clone(), |range| range.start..here.end));
        }
    }
    match pending {
        Some(range) => sink(start + range.start as u64, &piece[range]),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(source: &dyn Source, grain: u64) -> (Vec<u8>, u64) {
        let mut out = vec![0; usize::try_from(source.len()).unwrap()];
        let (mut allocated, mut last) = (0, 0);
        for_data(source, grain, |at, bytes| {
            assert!(at >= last && at % grain == 0);
            last = at + bytes.len() as u64;
            allocated += bytes.len() as u64;
            out[usize::try_from(at).unwrap()..][..bytes.len()].copy_from_slice(bytes);
            Ok(())
        })
        .unwrap();
        (out, allocated)
    }

    #[test]
    fn pieces_that_overlap_or_exceed_the_length_are_refused() {
        let mut runs = Runs::new(100);
        runs.add_bytes(10, vec![1; 10]).unwrap();
        for (offset, len) in [(10, 1), (19, 1), (5, 6), (0, 100), (9, 12)] {
            assert_eq!(
                runs.add_bytes(offset, vec![2; len]),
                Err(RunsError::Overlap { offset, len: len as u64 })
            );
        }
        for (offset, len) in [(100, 1), (95, 6), (u64::MAX, 1)] {
            assert!(matches!(runs.add_bytes(offset, vec![2; len]), Err(RunsError::BeyondEnd { .. })));
        }
        runs.add_bytes(20, vec![3; 80]).unwrap();
        runs.add_bytes(0, vec![3; 10]).unwrap();
    }

    #[test]
    fn holes_are_not_written() {
        let inner = vec![0u8; 1 << 20];
        let mut runs = Runs::new(1 << 40);
        runs.add_bytes(1 << 39, vec![7u8; 5000]).unwrap();
        runs.add_source(1 << 20, &inner).unwrap();
        let mut seen = Vec::new();
        for_data(&runs, 4096, |at, bytes| {
            seen.push((at, bytes.len()));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [(1 << 39, 8192)]);
    }

    proptest! {
        #[test]
        fn reading_and_writing_agree_with_a_flat_buffer(
            pieces in proptest::collection::vec((0usize..20_000, proptest::collection::vec(0u8..2, 0..3000)), 0..12),
            grain in prop_oneof![Just(1u64), Just(512), Just(4096)],
            reads in proptest::collection::vec((0usize..20_000, 0usize..5000), 8),
        ) {
            let mut flat = vec![0u8; 20_000];
            let mut runs = Runs::new(20_000);
            for (at, bytes) in &pieces {
                if runs.add_bytes(*at as u64, bytes.as_slice()).is_ok() {
                    flat[*at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
            for (at, len) in reads {
                let mut buffer = vec![9; len];
                let read = runs.read_exact_at(&mut buffer, at as u64);
                prop_assert_eq!(read.is_ok(), at + len <= flat.len());
                if read.is_ok() {
                    prop_assert_eq!(&buffer, &flat[at..at + len]);
                }
            }
            let (out, allocated) = written(&runs, grain);
            let nonzero = flat.chunks(usize::try_from(grain).unwrap()).filter(|chunk| chunk.iter().any(|byte| *byte != 0));
            prop_assert_eq!(allocated, nonzero.map(|chunk| chunk.len() as u64).sum::<u64>());
            prop_assert_eq!(out, flat);
        }
    }
}
