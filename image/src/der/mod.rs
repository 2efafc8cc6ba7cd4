//! The few lines of DER (ITU-T X.690) that signatures need: definite lengths in their shortest form, tags of one byte.
//!
//! The writer joins encoded parts, the [`Reader`] takes elements off the front of a slice. Neither knows a schema, neither recurses;
//! what is read are views into the input. Why not a crate: `docs/adr/0010-signatures.md`.

/// BOOLEAN … as used here.
pub mod tag {
    /// INTEGER.
    pub const INTEGER: u8 = 0x02;
    /// BIT STRING.
    pub const BIT_STRING: u8 = 0x03;
    /// OCTET STRING.
    pub const OCTET_STRING: u8 = 0x04;
    /// OBJECT IDENTIFIER.
    pub const OID: u8 = 0x06;
    /// SEQUENCE.
    pub const SEQUENCE: u8 = 0x30;
    /// SET.
    pub const SET: u8 = 0x31;
    /// `[n]`, primitive.
    pub const fn context(number: u8) -> u8 {
        0x80 | number
    }
    /// `[n]`, constructed.
    pub const fn constructed(number: u8) -> u8 {
        0xa0 | number
    }
}

/// NULL, encoded.
pub const NULL: &[u8] = &[0x05, 0x00];

/// Why an encoding was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DerError {
    /// The bytes end inside an element.
    #[error("the encoding ends inside an element")]
    Truncated,
    /// A length that is indefinite, longer than needed, or of more than four bytes.
    #[error("a length is not in its shortest form")]
    Length,
    /// A tag number above 30.
    #[error("a tag of more than one byte")]
    Tag,
    /// Another element than the schema has here.
    #[error("found tag {found:#04x}, expected {expected:#04x}")]
    Unexpected {
        /// The tag there.
        found: u8,
        /// The tag of the schema.
        expected: u8,
    },
    /// Elements behind the last one of the schema.
    #[error("bytes after the last element")]
    Trailing,
}

/// Encodes an element.
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    let bytes = length.to_be_bytes();
    let significant = bytes.iter().skip_while(|byte| **byte == 0).copied();
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            // The number of bytes, of which a `usize` has eight.
            out.push(significant.clone().fold(0x80, |head, _| head + 1));
            out.extend(significant);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// Encodes a SEQUENCE.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(tag::SEQUENCE, parts)
}

/// Encodes a SET OF: DER wants its elements in ascending order of their encodings.
pub fn set_of(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.sort();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    element(tag::SET, &parts)
}

/// One element of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// Its tag.
    pub tag: u8,
    /// What is inside.
    pub content: &'a [u8],
    /// All of it: tag, length and content.
    pub encoded: &'a [u8],
}

/// Takes elements off the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Over the content of an element, or over a whole encoding.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Is everything taken?
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is not taken yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The tag of the next element.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next element, whatever it is.
    pub fn any(&mut self) -> Result<Element<'a>, DerError> {
        let (&tag, rest) = self.rest.split_first().ok_or(DerError::Truncated)?;
        if tag & 0x1f == 0x1f {
            return Err(DerError::Tag);
        }
        let (&first, mut rest) = rest.split_first().ok_or(DerError::Truncated)?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let width = usize::from(first & 0x7f);
            if !(1..=4).contains(&width) {
                return Err(DerError::Length);
            }
            let (bytes, after) = rest.split_at_checked(width).ok_or(DerError::Truncated)?;
            length = bytes.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
            if length < 0x80 || bytes.first() == Some(&0) {
                return Err(DerError::Length);
            }
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length).ok_or(DerError::Truncated)?;
        let (encoded, _) = self.rest.split_at(self.rest.len() - after.len());
        self.rest = after;
        Ok(Element { tag, content, encoded })
    }

    /// The next element, which must have that tag.
    pub fn expect(&mut self, expected: u8) -> Result<Element<'a>, DerError> {
        match self.peek() {
            Some(found) if found == expected => self.any(),
            Some(found) => Err(DerError::Unexpected { found, expected }),
            None => Err(DerError::Truncated),
        }
    }

    /// The next element if it has that tag.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerError> {
        if self.peek() == Some(tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// A reader over the content of the next element, which must have that tag.
    pub fn enter(&mut self, tag: u8) -> Result<Self, DerError> {
        self.expect(tag).map(|element| Self::new(element.content))
    }

    /// Nothing may be left.
    pub fn finish(self) -> Result<(), DerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DerError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_have_their_shortest_form() {
        for (length, head) in [
            (0, vec![4, 0]),
            (127, vec![4, 127]),
            (128, vec![4, 0x81, 128]),
            (255, vec![4, 0x81, 255]),
            (256, vec![4, 0x82, 1, 0]),
            (65_536, vec![4, 0x83, 1, 0, 0]),
        ] {
            let encoded = element(tag::OCTET_STRING, &[&vec![9; length]]);
            assert_eq!(encoded[..head.len()], head);
            let mut reader = Reader::new(&encoded);
            let read = reader.expect(tag::OCTET_STRING).unwrap();
            assert_eq!((read.content.len(), read.encoded), (length, encoded.as_slice()));
            reader.finish().unwrap();
        }
    }

    #[test]
    fn what_is_not_der_is_refused() {
        for (bytes, error) in [
            (&[][..], DerError::Truncated),
            (&[0x30], DerError::Truncated),
            (&[0x30, 1], DerError::Truncated),
            (&[0x30, 0x80, 0, 0], DerError::Length),
            (&[0x30, 0x81, 0x7f], DerError::Length),
            (&[0x30, 0x82, 0, 0x80], DerError::Length),
            (&[0x30, 0x85, 1, 1, 1, 1, 1], DerError::Length),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], DerError::Truncated),
            (&[0x1f, 1, 0], DerError::Tag),
        ] {
            assert_eq!(Reader::new(bytes).any().unwrap_err(), error, "{bytes:?}");
        }
        let unexpected = DerError::Unexpected { found: 0x30, expected: 0x31 };
        assert_eq!(Reader::new(&[0x30, 0]).expect(0x31).unwrap_err(), unexpected);
        assert_eq!(Reader::new(&[0]).finish().unwrap_err(), DerError::Trailing);
    }

    #[test]
    fn a_set_is_sorted() {
        assert_eq!(set_of(vec![vec![5, 0], vec![2, 1, 7]]), [0x31, 5, 2, 1, 7, 5, 0]);
    }

    proptest! {
        /// Whatever the reader takes, the writer would have written so: there is one encoding of a value.
        #[test]
        fn what_is_read_is_written_alike(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = Reader::new(&bytes);
            while let Ok(read) = reader.any() {
                prop_assert_eq!(element(read.tag, &[read.content]), read.encoded);
            }
        }
    }
}
