//! Fills a cluster with lz4 in one pass.
//!
//! An lz4 block (`doc/lz4_Block_format.md` of lz4) consists of sequences of whole bytes: literals, then a copy of bytes that were decoded
//! before. A block that is too long can therefore be cut after the last sequence that fits. The remaining space is filled with literals,
//! with which a block must end.

use lz4::block::{CompressionMode, compress_bound, compress_to_buffer};

use super::fill::{CompressError, EXTENT_MAX, Fill, Filled};
use super::predict::Prediction;
use crate::erofs::format::BLOCK;
use crate::erofs::reader::lz4::{MATCH_MIN, byte, length};

/// A block ends with at least 5 literals, and its last copy begins at least 12 bytes before the end.
const LAST_LITERALS: usize = 12;
/// The maximum number of attempts with more input, if the whole input fits.
const TRIES: usize = 3;

pub(super) struct Lz4<'d> {
    data: &'d [u8],
    level: u8,
    cluster: usize,
    predicted: Prediction,
}

impl<'d> Lz4<'d> {
    pub(super) fn new(data: &'d [u8], level: u8, cluster: usize) -> Result<Self, CompressError> {
        // lz4 has no entropy coding, so the output is longer than that of zstd at level 1.
        Ok(Self { data, level, cluster, predicted: Prediction::new(data, 1200)? })
    }

    fn compress(input: &[u8], level: u8) -> Result<Vec<u8>, CompressError> {
        let failed = |_| CompressError("lz4");
        let mut out = vec![0; compress_bound(input.len()).map_err(failed)?];
        let mode = CompressionMode::HIGHCOMPRESSION(level.into());
        let written = compress_to_buffer(input, Some(mode), false, &mut out).map_err(failed)?;
        out.truncate(written);
        Ok(out)
    }
}

impl Fill for Lz4<'_> {
    #[expect(
        clippy::indexing_slicing,
        reason = "the input ends at or before `end`, which is within the data"
    )]
    fn fill(&mut self, at: usize) -> Result<Option<Filled>, CompressError> {
        let end = self.data.len().min(at + EXTENT_MAX);
        if self.predicted.is_hopeless(at..(at + self.cluster).min(end)) {
            return Ok(None);
        }
        // Compress a little more than is expected to fit, and cut the excess.
        let mut margin = 1040;
        for attempt in 1..=TRIES {
            let to = self.predicted.reach(at, self.cluster * margin / 1000).max(at + BLOCK).min(end);
            let input = &self.data[at..to];
            let bytes = Self::compress(input, self.level)?;
            self.predicted.update(at..to, bytes.len());
            if bytes.len() > self.cluster {
                return Ok(cut(&bytes, input, self.cluster).map(|(used, bytes)| Filled { used, bytes }));
            }
            if to == end || attempt == TRIES || bytes.len() > self.cluster * 99 / 100 {
                return Ok(Some(Filled { used: to - at, bytes }));
            }
            margin += 20;
        }
        Ok(None)
    }

    fn is_short(&mut self, at: usize) -> Result<bool, CompressError> {
        Ok(self.predicted.is_short(at, self.data.len(), self.cluster))
    }
}

/// Cuts the compressed block of `input` to at most `room` bytes. Returns the number of input bytes in the cut block, and the block.
/// `None` if no sequence fits.
fn cut(block: &[u8], input: &[u8], room: usize) -> Option<(usize, Vec<u8>)> {
    let (mut read, mut decoded) = (0, 0);
    let (mut kept, mut used) = (0, 0);
    // The last sequence has no copy. It is never kept: otherwise the whole block would fit.
    while let Some((literals, copy, next)) = sequence(block, read) {
        read = next;
        decoded += literals + copy;
        if read + encoded(LAST_LITERALS) > room || decoded + LAST_LITERALS > input.len() {
            break;
        }
        (kept, used) = (read, decoded);
    }
    if used == 0 {
        return None;
    }
    let mut literals = room - kept - 1;
    while encoded(literals) > room - kept {
        literals -= 1;
    }
    let literals = input.get(used..)?.get(..literals.min(input.len() - used))?;
    let mut bytes = block.get(..kept)?.to_vec();
    push_literals(&mut bytes, literals);
    Some((used + literals.len(), bytes))
}

/// The sequence at an offset: the number of its literals, the length of its copy, and the offset of the next sequence. `None` for the last
/// sequence.
fn sequence(block: &[u8], at: usize) -> Option<(usize, usize, usize)> {
    let mut rest = block.get(at..)?;
    let token = byte(&mut rest).ok()?;
    let literals = length(token >> 4, &mut rest).ok()?;
    // The distance of the copy follows the literals.
    rest = rest.get(literals..)?.get(2..)?;
    let copy = length(token & 15, &mut rest).ok()?.saturating_add(MATCH_MIN);
    Some((literals, copy, block.len() - rest.len()))
}

/// The encoded length of a sequence of `literals` literals without a copy.
const fn encoded(literals: usize) -> usize {
    1 + literals + if literals < 15 { 0 } else { (literals - 15) / 255 + 1 }
}

fn push_literals(bytes: &mut Vec<u8>, literals: &[u8]) {
    match u8::try_from(literals.len()) {
        Ok(few @ ..15) => bytes.push(few << 4),
        _ => {
            bytes.push(0xf0);
            let mut more = literals.len() - 15;
            let last = loop {
                match u8::try_from(more) {
                    Ok(last) if last < 255 => break last,
                    _ => {
                        bytes.push(255);
                        more -= 255;
                    }
                }
            };
            bytes.push(last);
        }
    }
    bytes.extend_from_slice(literals);
}
