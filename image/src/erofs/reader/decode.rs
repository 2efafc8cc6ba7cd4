//! Decoding of clusters.

use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::super::format::{Algorithm, BLOCK_U64, ZSTD_WINDOW_LOG_MAX};
use super::error::{ErofsError, Place};
use super::lz4;
use super::map::Cluster;
use super::volume::Volume;
use crate::width::to_usize;

/// Decodes clusters, and keeps the last result.
#[derive(Default)]
pub(super) struct Decoder {
    /// The cluster whose first decoded bytes are in `output`.
    decoded: Option<Cluster>,
    input: Vec<u8>,
    output: Vec<u8>,
    zstd: Option<DCtx<'static>>,
}

impl Decoder {
    /// The first `len` decoded bytes of a cluster. They must be all decoded bytes, except for a partial extent.
    pub(super) fn decode(
        &mut self,
        volume: &Volume<'_>,
        cluster: Cluster,
        len: usize,
        place: Place,
    ) -> Result<&[u8], ErofsError> {
        if self.decoded != Some(cluster) || self.output.len() != len {
            self.decoded = None;
            self.input.resize(cluster.bytes as usize, 0);
            volume.fill(&mut self.input, cluster.at, place)?;
            self.output.clear();
            self.output.resize(len, 0);
            let padded = volume.sb.zero_padding || cluster.algorithm != Algorithm::Lz4;
            let padding = if padded { padding(&self.input, cluster.at) } else { Some(0) };
            let padding =
                padding.ok_or_else(|| place.damaged("its cluster begins with a block of zeroes"))?;
            let (_, input) = self.input.split_at(padding);
            match cluster.algorithm {
                // Without padding, the end of the data is not known.
                Algorithm::Lz4 => lz4::decode(input, &mut self.output, padded && !cluster.partial)
                    .map_err(|error| place.damaged(error.to_string()))?,
                Algorithm::Zstd => {
                    let window = volume.sb.zstd_window.unwrap_or(ZSTD_WINDOW_LOG_MAX);
                    zstd(&mut self.zstd, input, &mut self.output, window, !cluster.partial)
                        .map_err(|what| place.damaged(what))?;
                }
            }
            self.decoded = Some(cluster);
        }
        Ok(&self.output)
    }
}

/// The number of zeroes before the data. They must end in the first block.
fn padding(input: &[u8], at: u64) -> Option<usize> {
    let first_block = to_usize(BLOCK_U64 - at % BLOCK_U64);
    input.iter().take(first_block).position(|byte| *byte != 0)
}

/// Fills `out` from a frame. A `whole` frame must end at the end of `out` and of `input`.
fn zstd(
    context: &mut Option<DCtx<'static>>,
    input: &[u8],
    out: &mut [u8],
    window_log: u8,
    whole: bool,
) -> Result<(), String> {
    if window(input)? > 1 << window_log {
        return Err("the window of the zstd data is larger than the superblock allows".to_owned());
    }
    let no_memory = || "out of memory for a zstd decoder".to_owned();
    let context = match context {
        Some(context) => context,
        None => context.insert(DCtx::try_create().ok_or_else(no_memory)?),
    };
    let damaged = |code| format!("the zstd data is damaged: {}", zstd_safe::get_error_name(code));
    context.reset(ResetDirective::SessionOnly).map_err(damaged)?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX.into())).map_err(damaged)?;
    let mut input = InBuffer::around(input);
    let mut room = OutBuffer::around(out);
    loop {
        let before = (input.pos(), room.pos());
        let left = context.decompress_stream(&mut room, &mut input).map_err(damaged)?;
        let full = room.pos() == room.capacity();
        match (left == 0, full) {
            (true, true) if whole && input.pos() != input.src.len() => {
                return Err("bytes follow the zstd data".to_owned());
            }
            (true, true) => return Ok(()),
            (true, false) => return Err("the zstd data is shorter than the extent".to_owned()),
            (false, true) if !whole => return Ok(()),
            // The output is full. Only the end of the frame may follow.
            (false, true) => break,
            (false, false) if before == (input.pos(), room.pos()) => {
                return Err("the zstd data ends early".to_owned());
            }
            (false, false) => {}
        }
    }
    let mut more = [0];
    let mut room = OutBuffer::around(more.as_mut_slice());
    let left = context.decompress_stream(&mut room, &mut input).map_err(damaged)?;
    if left != 0 || room.pos() != 0 || input.pos() != input.src.len() {
        return Err("the zstd data is longer than the extent".to_owned());
    }
    Ok(())
}

/// The window size in bytes that a frame requires (RFC 8878, 3.1.1.1).
fn window(frame: &[u8]) -> Result<u64, String> {
    let none = || "there is no zstd data".to_owned();
    let [0x28, 0xb5, 0x2f, 0xfd, descriptor, next, ..] = frame else { return Err(none()) };
    let single_segment = descriptor & 0x20 != 0;
    if single_segment {
        return zstd_safe::get_frame_content_size(frame).ok().flatten().ok_or_else(none);
    }
    let base = 1_u64 << (10 + (next >> 3));
    Ok(base + base / 8 * u64::from(next & 7))
}

#[cfg(test)]
mod tests {
    use super::*;
    use zstd_safe::{CCtx, CParameter};

    /// A frame with this window, and without the content size.
    fn frame(content: &[u8], window_log: u32, checksum: bool) -> Vec<u8> {
        let mut context = CCtx::create();
        context.set_parameter(CParameter::WindowLog(window_log)).unwrap();
        context.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
        context.set_parameter(CParameter::ChecksumFlag(checksum)).unwrap();
        let mut frame = vec![0; zstd_safe::compress_bound(content.len())];
        let len = context.compress2(frame.as_mut_slice(), content).unwrap();
        frame.truncate(len);
        frame
    }

    fn decoded(frame: &[u8], len: usize, whole: bool) -> Result<Vec<u8>, String> {
        let mut out = vec![0; len];
        zstd(&mut None, frame, &mut out, 16, whole).map(|()| out)
    }

    #[test]
    fn a_frame_fills_its_extent_and_ends_with_it() {
        let content: Vec<u8> = (0..200_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect();
        for checksum in [false, true] {
            let frame = frame(&content, 16, checksum);
            assert!(decoded(&frame, content.len(), true).unwrap() == content);
            assert!(decoded(&frame, content.len(), false).unwrap() == content);
            assert!(decoded(&frame, 70_001, false).unwrap() == content[..70_001]);
            for (input, len, expected) in [
                (frame.as_slice(), content.len() - 1, "is longer than the extent"),
                (&frame, content.len() + 1, "is shorter than the extent"),
                (&frame[..frame.len() / 2], content.len(), "ends early"),
                (&[frame.as_slice(), &[0]].concat(), content.len(), "bytes follow"),
                (&frame[1..], content.len(), "there is no zstd data"),
                (&[], 1, "there is no zstd data"),
            ] {
                let message = decoded(input, len, true).unwrap_err();
                assert!(message.contains(expected), "{expected}: {message}");
            }
        }
        let message = decoded(&frame(&content, 17, false), content.len(), true).unwrap_err();
        assert!(message.contains("window"), "{message}");
        let mut flipped = frame(&content, 16, true);
        let end = flipped.len() - 1;
        flipped[end] ^= 1;
        assert!(decoded(&flipped, content.len(), true).unwrap_err().contains("is damaged"));
    }

    #[test]
    fn padding_ends_in_the_first_block() {
        assert_eq!(padding(&[0, 0, 7, 0], 4096), Some(2));
        assert_eq!(padding(&[0; 5000], 4096), None);
        let mut second = [0; 5000];
        second[4096] = 1;
        assert_eq!(padding(&second, 0), None);
        // A tail that begins inside a block.
        assert_eq!(padding(&[0, 0, 7], 4095), None);
    }
}
