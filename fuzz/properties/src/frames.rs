//! The frames that a virtual machine sends to the lab's switch.

use kubedos_lab::switch::{FrameReader, Framed, FramingError, MAX_FRAME, MAX_LENGTH, append_framed};

use crate::frugal::{Most, frugal};
use crate::{Seed, Target};

pub(crate) const TARGETS: [Target; 1] =
    [Target { name: "frame_stream", property: frame_stream, seeds: frame_stream_seeds, mutants: 20_000 }];

/// The frames of a stream and its error. An oversized frame is its length.
type Read = (Vec<Result<Vec<u8>, usize>>, Result<(), FramingError>);

/// A stream, after one byte with the length of its pieces. The frames do not depend on the pieces, and written again they are the stream.
fn frame_stream(input: &[u8]) {
    let Some((piece, stream)) = input.split_first() else { return };
    let whole = read([stream].into_iter());
    assert_eq!(read(stream.chunks(usize::from(*piece) + 1)), whole);
    let result = frugal(Most { factor: 4, constant: 4 << 10 }, stream.len(), || {
        let mut reader = FrameReader::default();
        stream.chunks(usize::from(*piece) + 1).try_for_each(|piece| reader.push(piece, |_| {}))
    });
    assert_eq!(result, whole.1);
    let (frames, result) = whole;
    let mut position = 0;
    for frame in frames {
        let mut written = Vec::new();
        match frame {
            Ok(frame) => {
                assert!(frame.len() <= MAX_FRAME);
                append_framed(&mut written, &frame);
                assert!(stream[position..].starts_with(&written));
                position += written.len();
            }
            Err(length) => {
                assert!((MAX_FRAME + 1..=MAX_LENGTH).contains(&length));
                position += 4 + length;
            }
        }
    }
    match result {
        Ok(()) => assert!(position <= stream.len()),
        Err(FramingError(length)) => assert!(stream[position..].starts_with(&length.to_be_bytes())),
    }
}

fn read<'a>(mut pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
    let result = pieces.try_for_each(|piece| {
        reader.push(piece, |framed| {
            frames.push(match framed {
                Framed::Frame(frame) => Ok(frame.to_vec()),
                Framed::Oversized(length) => Err(length),
            });
        })
    });
    (frames, result)
}

fn frame_stream_seeds() -> Vec<Seed> {
    let stream = |piece: u8, frames: &[&[u8]]| {
        let mut bytes = vec![piece];
        frames.iter().for_each(|frame| append_framed(&mut bytes, frame));
        bytes
    };
    let mut oversized = stream(6, &[&[1; 20]]);
    oversized.extend_from_slice(&69_633_u32.to_be_bytes());
    let mut cut = stream(255, &[&[2; 60], &[3; 60]]);
    cut.truncate(100);
    vec![
        ("three-frames", stream(6, &[&[1; 14], &[], &[2; 60]])),
        ("impossible-length", oversized),
        ("cut", cut),
    ]
}
