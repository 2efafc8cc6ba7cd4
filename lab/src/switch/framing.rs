//! The framing of frames in the byte stream of a socket: a length of 32 bits, big-endian, before each frame.
//!
//! It is the framing of QEMU's `stream` netdev (`net/stream.c` writes it, `net_fill_rstate` in `net/net.c` reads it).
//! A length that QEMU cannot send, more than its `NET_BUFSIZE`, shows that the stream is not at the start of a frame.
//! The reader then gives up, because a stream has no mark at which it could continue.
//!
//! The reader needs memory for the bytes that arrived, never for a length that the peer only announced.

use super::frame::MAX_FRAME;

/// The longest frame that QEMU can send: `NET_BUFSIZE` in `include/net/net.h`. Frames from [`MAX_FRAME`] up to this
/// length are skipped.
pub const MAX_LENGTH: usize = 4096 + 65_536;

/// Reads frames from arbitrary pieces of a byte stream.
#[derive(Debug, Default)]
pub struct FrameReader {
    prefix: Vec<u8>,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    length: usize,
    missing: usize,
    bytes: Vec<u8>,
}

/// Something that the reader found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framed<'a> {
    /// A whole frame of 0 to [`MAX_FRAME`] bytes.
    Frame(&'a [u8]),
    /// A skipped frame of this length, which is more than [`MAX_FRAME`].
    Oversized(usize),
}

/// The stream is not at the start of a frame, and the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes was announced, more than any peer sends")]
pub struct FramingError(pub u32);

impl FrameReader {
    /// Calls `found` for each frame that ends in `bytes`, in order.
    ///
    /// # Errors
    /// If a length is more than [`MAX_LENGTH`]. The reader must not be used after that.
    pub fn push(&mut self, mut bytes: &[u8], mut found: impl FnMut(Framed<'_>)) -> Result<(), FramingError> {
        loop {
            if let Some(mut body) = self.body.take() {
                let (piece, rest) = bytes.split_at(body.missing.min(bytes.len()));
                bytes = rest;
                body.missing -= piece.len();
                if body.missing == 0 && body.bytes.is_empty() && body.length <= MAX_FRAME {
                    // The whole frame is in one piece, so it needs no copy.
                    found(Framed::Frame(piece));
                    continue;
                }
                if body.length <= MAX_FRAME {
                    body.bytes.extend_from_slice(piece);
                }
                if body.missing > 0 {
                    self.body = Some(body);
                    return Ok(());
                }
                found(match body.length {
                    ..=MAX_FRAME => Framed::Frame(&body.bytes),
                    length => Framed::Oversized(length),
                });
            } else {
                let (piece, rest) = bytes.split_at((4 - self.prefix.len()).min(bytes.len()));
                bytes = rest;
                self.prefix.extend_from_slice(piece);
                let Some(prefix) = self.prefix.first_chunk() else { return Ok(()) };
                let announced = u32::from_be_bytes(*prefix);
                let length = usize::try_from(announced).map_err(|_| FramingError(announced))?;
                if length > MAX_LENGTH {
                    return Err(FramingError(announced));
                }
                self.prefix.clear();
                self.body = Some(Body { length, missing: length, bytes: Vec::new() });
            }
        }
    }

    /// Whether the last byte so far was the last one of a frame.
    pub fn is_between_frames(&self) -> bool {
        self.prefix.is_empty() && self.body.is_none()
    }
}

/// Appends a frame and its length to `out`. The frame has at most [`MAX_FRAME`] bytes.
pub fn append_framed(out: &mut Vec<u8>, frame: &[u8]) {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(frame);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(reader: &mut FrameReader, bytes: &[u8]) -> (Vec<Vec<u8>>, Result<(), FramingError>) {
        let mut frames = Vec::new();
        let result = reader.push(bytes, |framed| match framed {
            Framed::Frame(frame) => frames.push(frame.to_vec()),
            Framed::Oversized(length) => frames.push(format!("oversized {length}").into()),
        });
        (frames, result)
    }

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        frames.iter().for_each(|frame| append_framed(&mut out, frame));
        out
    }

    #[test]
    fn an_empty_frame_is_a_frame() {
        assert_eq!(read(&mut FrameReader::default(), &[0, 0, 0, 0, 0, 0, 0, 1, 7]).0, [vec![], vec![7]]);
    }

    #[test]
    fn an_oversized_frame_is_skipped_and_the_next_one_is_read() {
        let bytes = stream(&[vec![1; MAX_FRAME], vec![2; MAX_FRAME + 1], vec![3; MAX_LENGTH], vec![4; 20]]);
        let (frames, result) = read(&mut FrameReader::default(), &bytes);
        assert_eq!(result, Ok(()));
        let skipped = |length: usize| format!("oversized {length}").into_bytes();
        assert_eq!(frames, [vec![1; MAX_FRAME], skipped(MAX_FRAME + 1), skipped(MAX_LENGTH), vec![4; 20]]);
    }

    #[test]
    fn an_impossible_length_ends_the_stream_after_the_frames_before_it() {
        let mut bytes = stream(&[vec![1; 20]]);
        bytes.extend_from_slice(&69_633_u32.to_be_bytes());
        let (frames, result) = read(&mut FrameReader::default(), &bytes);
        assert_eq!((frames, result), (vec![vec![1; 20]], Err(FramingError(69_633))));
        assert_eq!(read(&mut FrameReader::default(), &[0xff; 4]).1, Err(FramingError(u32::MAX)));
    }

    proptest! {
        #[test]
        fn the_frames_do_not_depend_on_the_pieces_of_the_stream(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
            cuts in prop::collection::vec(1_usize..30, 1..60),
        ) {
            let bytes = stream(&frames);
            let (mut reader, mut seen, mut at) = (FrameReader::default(), Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                let end = (at + cut).min(bytes.len());
                let (more, result) = read(&mut reader, &bytes[at..end]);
                prop_assert_eq!(result, Ok(()));
                seen.extend(more);
                at = end;
                prop_assert_eq!(reader.is_between_frames(), stream(&seen).len() == at);
                if at == bytes.len() {
                    break;
                }
            }
            prop_assert_eq!(seen, frames);
        }
    }
}
