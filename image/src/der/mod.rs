//! The part of DER (ITU-T X.690) that signatures need: definite lengths in their shortest form, tags of one byte.
//!
//! The writer joins encoded parts; the [`Reader`] takes elements from the start of a slice. Both are independent of any schema, and neither
//! recurses. Elements are views into the input. `docs/adr/0010-signatures.md` explains why this is not a crate.

/// The tags that signatures use.
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

/// An encoding was refused.
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
    /// The element is not the one that the schema requires.
    #[error("found tag {found:#04x}, expected {expected:#04x}")]
    Unexpected {
        /// The tag in the encoding.
        found: u8,
        /// The tag of the schema.
        expected: u8,
    },
    /// Bytes follow the last element of the schema.
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
            // The number of length bytes, at most eight.
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

/// Encodes a SET OF. DER requires its elements in ascending order of their encodings.
pub fn set_of(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.sort();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    element(tag::SET, &parts)
}

/// One element of an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// The tag.
    pub tag: u8,
    /// The content.
    pub content: &'a [u8],
    /// The whole element: tag, length and content.
    pub encoded: &'a [u8],
}

/// Takes elements from the start of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Creates a reader of the content of an element, or of a whole encoding.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all elements were taken.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The bytes that were not taken yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The tag of the next element.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes the next element, with any tag.
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

    /// Takes the next element, which must have this tag.
    pub fn expect(&mut self, expected: u8) -> Result<Element<'a>, DerError> {
        match self.peek() {
            Some(found) if found == expected => self.any(),
            Some(found) => Err(DerError::Unexpected { found, expected }),
            None => Err(DerError::Truncated),
        }
    }

    /// Takes the next element if it has this tag.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerError> {
        if self.peek() == Some(tag) { self.any().map(Some) } else { Ok(None) }
    }

    /// Takes the next element, which must have this tag, and returns a reader of its content.
    pub fn enter(&mut self, tag: u8) -> Result<Self, DerError> {
        self.expect(tag).map(|element| Self::new(element.content))
    }

    /// Checks that no bytes are left.
    pub fn finish(self) -> Result<(), DerError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DerError::Trailing) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_encoded_in_their_shortest_form() {
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
    fn invalid_der_is_refused() {
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
}
