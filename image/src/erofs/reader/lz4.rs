//! The decoder of lz4 blocks (`doc/lz4_Block_format.md` of lz4), which fills exactly the given buffer.
//!
//! The safe interface of the C library decodes only whole blocks. But several files may refer to prefixes of different lengths of the same
//! cluster, so a cluster must also be decoded in part.

/// A block does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::erofs) enum Lz4Error {
    #[error("the lz4 data ends early")]
    Short,
    #[error("the lz4 data is longer than the extent")]
    Long,
    #[error("the lz4 data refers to bytes before its start")]
    Before,
    #[error("the lz4 data ends with a match")]
    End,
}

/// The minimum length of a match. It is added to the encoded length.
pub(in crate::erofs) const MATCH_MIN: usize = 4;
/// The last bytes of a whole block are literals.
const LAST_LITERALS: usize = 5;

/// Fills `out`. A `whole` block must end at the end of `out`; another block may be longer.
pub(super) fn decode(mut input: &[u8], out: &mut [u8], whole: bool) -> Result<(), Lz4Error> {
    let mut at = 0;
    loop {
        let token = byte(&mut input)?;
        let literals = length(token >> 4, &mut input)?;
        let room = out.len() - at;
        if literals > room && whole {
            return Err(Lz4Error::Long);
        }
        let count = literals.min(room);
        let (bytes, rest) = input.split_at_checked(count).ok_or(Lz4Error::Short)?;
        out.get_mut(at..at + count).ok_or(Lz4Error::Long)?.copy_from_slice(bytes);
        (at, input) = (at + count, rest);
        if at == out.len() {
            return if whole && !input.is_empty() { Err(Lz4Error::Long) } else { Ok(()) };
        }
        let distance = usize::from(u16::from_le_bytes([byte(&mut input)?, byte(&mut input)?]));
        if distance == 0 || distance > at {
            return Err(Lz4Error::Before);
        }
        let count = length(token & 15, &mut input)?.saturating_add(MATCH_MIN);
        let room = out.len() - at;
        if whole && count > room.saturating_sub(LAST_LITERALS) {
            return Err(if count > room { Lz4Error::Long } else { Lz4Error::End });
        }
        let count = count.min(room);
        repeat(out, at, distance, count);
        at += count;
        if at == out.len() {
            return Ok(());
        }
    }
}

pub(in crate::erofs) fn byte(input: &mut &[u8]) -> Result<u8, Lz4Error> {
    let (first, rest) = input.split_first().ok_or(Lz4Error::Short)?;
    *input = rest;
    Ok(*first)
}

/// Decodes a length: four bits, and if these are 15, further bytes, which are added up to the first byte that is not 255.
pub(in crate::erofs) fn length(bits: u8, input: &mut &[u8]) -> Result<usize, Lz4Error> {
    let mut length = usize::from(bits);
    if bits == 15 {
        loop {
            let more = byte(input)?;
            length = length.saturating_add(more.into());
            if more != u8::MAX {
                break;
            }
        }
    }
    Ok(length)
}

/// Copies `count` bytes from `distance` before `at` to `at`. Both are inside `out`, and the two ranges may overlap.
fn repeat(out: &mut [u8], at: usize, distance: usize, count: usize) {
    let from = at - distance;
    let mut done = 0;
    while done < count {
        // The bytes from `from` on are periodic, so that all of them can be copied in one step.
        let step = (distance + done).min(count - done);
        out.copy_within(from..from + step, at + done);
        done += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lz4::block::{CompressionMode, compress};
    use proptest::prelude::*;

    fn decoded(input: &[u8], len: usize, whole: bool) -> Result<Vec<u8>, Lz4Error> {
        let mut out = vec![0xee; len];
        decode(input, &mut out, whole).map(|()| out)
    }

    #[test]
    fn invalid_blocks_are_refused() {
        // A literal, then a match of four bytes with distance 1, then five literals.
        let valid = [0x10, b'a', 1, 0, 0x50, b'1', b'2', b'3', b'4', b'5'];
        assert_eq!(decoded(&valid, 10, true).unwrap(), b"aaaaa12345");
        let cases: &[(&str, &[u8], usize, Lz4Error)] = &[
            ("nothing", &[], 1, Lz4Error::Short),
            ("a distance of zero", &[0x10, b'a', 0, 0, 0x50, 1, 2, 3, 4, 5], 10, Lz4Error::Before),
            ("a distance past the beginning", &[0x10, b'a', 2, 0, 0x50, 1, 2, 3, 4, 5], 10, Lz4Error::Before),
            ("less room", &valid, 9, Lz4Error::End),
            ("more room", &valid, 11, Lz4Error::Short),
            ("cut off in literals", &valid[..8], 10, Lz4Error::Short),
            ("cut off in a distance", &valid[..3], 10, Lz4Error::Short),
            ("a match at the end", &[0x10, b'a', 1, 0], 5, Lz4Error::End),
            ("a length without an end", &[0xf0, 255, 255], 1 << 20, Lz4Error::Short),
            ("bytes after the end", &[0x10, b'a', 7], 1, Lz4Error::Long),
            ("too many literals", &[0x20, b'a', b'b'], 1, Lz4Error::Long),
        ];
        for (name, input, len, error) in cases {
            assert_eq!(decoded(input, *len, true), Err(*error), "{name}");
        }
    }

    proptest! {
        /// A block of the C library decodes as a whole, and in part to any prefix.
        #[test]
        fn blocks_of_the_library_and_all_their_prefixes_decode(
            words in proptest::collection::vec((0_u8..6, 1_usize..300), 0..60), high in any::<bool>(), cut in any::<prop::sample::Index>(),
        ) {
            let content: Vec<u8> = words.iter().flat_map(|(word, count)| {
                (0..*count).map(move |at| word.wrapping_mul(17).wrapping_add(u8::try_from(at % (usize::from(*word) + 1)).unwrap()))
            }).collect();
            prop_assume!(!content.is_empty());
            let mode = if high { CompressionMode::HIGHCOMPRESSION(9) } else { CompressionMode::DEFAULT };
            let packed = compress(&content, Some(mode), false).unwrap();
            prop_assert_eq!(decoded(&packed, content.len(), true), Ok(content.clone()));
            let cut = cut.index(content.len());
            prop_assert_eq!(decoded(&packed, cut, false), Ok(content[..cut].to_vec()));
            prop_assert!(cut == content.len() || decoded(&packed, cut, true).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..200), len in 0_usize..5000, whole in any::<bool>()) {
            drop(decoded(&input, len, whole));
        }
    }
}
