//! An encoding of large sparse sources as short inputs: the length (8 bytes), then pieces. A piece has an offset (8 bytes), a length (2
//! bytes) and its bytes. All numbers are little-endian. Any bytes are a valid input: a piece that does not fit is truncated or skipped.

use kubedos_image::source::Source;
use kubedos_image::sparse::{Runs, for_data};

/// The length of a decoded source is less than this.
const LONGEST: u64 = 1 << 44;
/// The size of the aligned blocks of zeroes that are omitted from an encoded source.
const GRAIN: u64 = 16;

/// Decodes an input to a source.
pub(crate) fn decode(input: &[u8]) -> Runs<'_> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |all, byte| all << 8 | u64::from(*byte));
    let (head, mut rest) = input.split_at(input.len().min(8));
    let mut runs = Runs::new(number(head) % LONGEST);
    while let Some((head, after)) = rest.split_at_checked(10) {
        let (position, length) = head.split_at(8);
        let (bytes, after) = after.split_at((number(length) as usize).min(after.len()));
        // A piece that overlaps another piece or exceeds the source is skipped.
        let _left_out = runs.add_bytes(number(position), bytes).is_err();
        rest = after;
    }
    runs
}

/// Encodes a source as an input.
pub(crate) fn encode(source: &dyn Source) -> Vec<u8> {
    let mut out = source.len().to_le_bytes().to_vec();
    for_data(source, GRAIN, |at, bytes| {
        for (number, piece) in (0u64..).zip(bytes.chunks(usize::from(u16::MAX / 2))) {
            out.extend_from_slice(&(at + number * u64::from(u16::MAX / 2)).to_le_bytes());
            out.extend_from_slice(&(piece.len() as u16).to_le_bytes());
            out.extend_from_slice(piece);
        }
        Ok(())
    })
    .unwrap();
    out
}

/// Reads a range of a source.
pub(crate) fn stretch(source: &dyn Source, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    source.read_exact_at(&mut bytes, at).unwrap();
    bytes
}

/// Whether both sources have the same bytes.
pub(crate) fn same(one: &dyn Source, other: &dyn Source) -> bool {
    one.len() == other.len()
        && [(one, other), (other, one)].into_iter().all(|(one, other)| {
            let mut equal = true;
            for_data(one, GRAIN, |at, bytes| {
                equal &= stretch(other, at, bytes.len()) == bytes;
                Ok(())
            })
            .unwrap();
            equal
        })
}
