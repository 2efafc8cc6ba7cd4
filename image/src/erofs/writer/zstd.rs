//! Fills a cluster with zstd in one pass.
//!
//! libzstd cannot compress exactly as much input as fits into 64 KiB of output. But a frame is a sequence of blocks, and a flush ends a
//! block: after it, the current size of the frame is known. A frame is therefore written in pieces, each of which should take most of the
//! remaining space. An empty last block (RFC 8878, section 3.1.1.2) ends the frame when the space is used. If a piece does not fit, its
//! bytes are discarded, and the frame ends before it. The input size of a piece is predicted from the size of the same bytes at level 1.
//!
//! The frame header contains the content size, which is known only at the end. This module therefore writes the header.

use zstd_safe::{CCtx, ResetDirective};

use super::fill::{CompressError, EXTENT_MAX, Fill, Filled};
use super::predict::Prediction;
use super::stream::{append, context, failed};

/// The share of the remaining space that each piece of a frame should take, in thousandths. Every piece costs its own tables, but saves
/// up to a block.
const AIMS: [usize; 3] = [900, 850, 750];
/// The minimum number of remaining bytes for another piece.
const ENOUGH: usize = 250;
/// The maximum number of attempts with a smaller first piece, if it does not fit.
const TRIES: usize = 4;

/// Magic number, descriptor (content size in 4 bytes, window, no checksum), window, content size.
const HEADER: usize = 10;
/// The length of the header that libzstd writes without a content size.
const SHORT_HEADER: usize = 6;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const DESCRIPTOR: u8 = 0x80;
/// An empty raw block with the flag of the last block.
const LAST_BLOCK: [u8; 3] = [1, 0, 0];

pub(super) struct Zstd<'d> {
    data: &'d [u8],
    cluster: usize,
    context: CCtx<'static>,
    predicted: Prediction,
}

impl<'d> Zstd<'d> {
    pub(super) fn new(data: &'d [u8], level: u8, cluster: usize) -> Result<Self, CompressError> {
        let hint = u32::try_from(cluster * 3).unwrap_or(u32::MAX);
        Ok(Self {
            data,
            cluster,
            context: context(level, hint)?,
            // Typical levels save about a sixth in comparison with level 1.
            predicted: Prediction::new(data, 850)?,
        })
    }
}

impl Fill for Zstd<'_> {
    #[expect(clippy::indexing_slicing, reason = "a piece ends at or before `end`, which is within the data")]
    fn fill(&mut self, at: usize) -> Result<Option<Filled>, CompressError> {
        let end = self.data.len().min(at + EXTENT_MAX);
        if self.predicted.is_hopeless(at..(at + self.cluster).min(end)) {
            return Ok(None);
        }
        let room = self.cluster - LAST_BLOCK.len() - (HEADER - SHORT_HEADER);
        let mut frame = Vec::with_capacity(self.cluster);
        let mut limit = end;
        for _ in 0..TRIES {
            self.context.reset(ResetDirective::SessionOnly).map_err(failed)?;
            frame.clear();
            let mut to = at;
            for (number, aim) in AIMS.iter().enumerate() {
                let left = room - frame.len();
                let next =
                    self.predicted.reach(to, left * aim / 1000).min(if number == 0 { limit } else { end });
                if next <= to || left < ENOUGH {
                    break;
                }
                let before = frame.len();
                append(&mut self.context, &self.data[to..next], &mut frame)?;
                self.predicted.update(to..next, frame.len() - before);
                if frame.len() > room {
                    frame.truncate(before);
                    limit = next - (next - to) / 8;
                    break;
                }
                to = next;
            }
            if to > at {
                let used = to - at;
                return close(&frame, used).map(|bytes| Some(Filled { used, bytes }));
            }
        }
        Ok(None)
    }

    fn is_short(&mut self, at: usize) -> Result<bool, CompressError> {
        Ok(self.predicted.is_short(at, self.data.len(), self.cluster))
    }
}

/// Completes a frame. `blocks` starts with the header without a content size.
fn close(blocks: &[u8], content: usize) -> Result<Vec<u8>, CompressError> {
    let Some((&[m0, m1, m2, m3, 0, window], blocks)) = blocks.split_first_chunk::<SHORT_HEADER>() else {
        return Err(CompressError("a frame header with an unexpected form"));
    };
    let size = u32::try_from(content).map_err(|_| CompressError("an extent of 4 GiB"))?;
    debug_assert_eq!([m0, m1, m2, m3], MAGIC);
    let mut frame = Vec::with_capacity(HEADER + blocks.len() + LAST_BLOCK.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&[DESCRIPTOR, window]);
    frame.extend_from_slice(&size.to_le_bytes());
    frame.extend_from_slice(blocks);
    frame.extend_from_slice(&LAST_BLOCK);
    Ok(frame)
}
