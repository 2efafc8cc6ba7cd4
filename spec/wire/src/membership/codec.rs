//! The binary form of records: fixed order, little-endian integers, lengths and counts in front of texts and lists.
//!
//! Each value has exactly one encoding. A [`Reader`] refuses what a [`Writer`] would not write: lengths above the maximum,
//! lists that are not sorted or have an item twice, values outside of their type, and bytes after the end. Errors name the
//! field and its offset. Reading allocates no more than the input contains: no length is trusted before its bytes are there.
//!
//! The form of each record is in `records/`; the typed fields are in `fields.rs`. `docs/protocol.md` defines it, ADR 0067
//! explains it.

use std::collections::BTreeMap;

use crate::hex32::{Digest, sha256};

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes end before the end of the field.
    #[error("the record ends before its end")]
    Truncated,
    /// It has another length, or another number of items, than its kind allows.
    #[error("its length is {found}, but the limits are {least} and {most}")]
    Length {
        /// The length, or the number of items.
        found: usize,
        /// The smallest length.
        least: usize,
        /// The largest length.
        most: usize,
    },
    /// The items of the list are not in their order, or one occurs twice.
    #[error("its items are not sorted, or one occurs twice")]
    Unsorted,
    /// The bytes are not a value of its type.
    #[error("its value is not allowed")]
    Value,
    /// The version of the record is not supported.
    #[error("version {0} is not supported")]
    Version(u8),
    /// Bytes follow the end of the record.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
}

/// Why bytes are not a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid record: field `{field}` at byte {offset}: {problem}")]
pub struct CodecError {
    /// The field.
    pub field: &'static str,
    /// The offset of the field in the record.
    pub offset: usize,
    /// What is wrong with it.
    pub problem: Problem,
}

/// A value with exactly one encoding.
pub trait Encoded: Sized {
    /// Appends the encoding.
    fn write(&self, to: &mut Writer);

    /// Reads the value; bytes may follow it.
    ///
    /// # Errors
    /// If the bytes are not an encoding of this type.
    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError>;

    /// The encoding.
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        self.write(&mut writer);
        writer.finish()
    }

    /// Reads the value from its whole encoding.
    ///
    /// # Errors
    /// If the bytes are not exactly one encoding of this type.
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let value = Self::read(&mut reader)?;
        reader.end()?;
        Ok(value)
    }

    /// SHA-256 of the encoding.
    fn digest(&self) -> Digest {
        Digest::new(sha256(&[&self.encode()]))
    }
}

/// Reads fields one after another.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// The number of bytes that were read.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The error of a field that starts at `offset`.
    pub fn error(field: &'static str, offset: usize, problem: Problem) -> CodecError {
        CodecError { field, offset, problem }
    }

    /// Checks that nothing follows.
    ///
    /// # Errors
    /// If bytes follow.
    pub fn end(&self) -> Result<(), CodecError> {
        match self.bytes.len().saturating_sub(self.offset) {
            0 => Ok(()),
            more => Err(Self::error("end", self.offset, Problem::Trailing(more))),
        }
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], CodecError> {
        let end = self.offset.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.offset..end));
        let taken = taken.ok_or(Self::error(field, self.offset, Problem::Truncated))?;
        self.offset += length;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], CodecError> {
        let at = self.offset;
        let taken = self.take(field, N)?;
        taken.try_into().map_err(|_| Self::error(field, at, Problem::Truncated))
    }

    /// An integer of 8 bits.
    ///
    /// # Errors
    /// If the record ends.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, CodecError> {
        self.array(field).map(u8::from_le_bytes)
    }

    /// An integer of 16 bits.
    ///
    /// # Errors
    /// If the record ends.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, CodecError> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// An integer of 32 bits.
    ///
    /// # Errors
    /// If the record ends.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, CodecError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// An integer of 64 bits.
    ///
    /// # Errors
    /// If the record ends.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, CodecError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A length in front of a field: 16 bits, at most `most`.
    ///
    /// # Errors
    /// If the record ends, or the length is outside of the limits.
    pub fn length(&mut self, field: &'static str, least: usize, most: usize) -> Result<usize, CodecError> {
        let at = self.offset;
        let found = usize::from(self.u16(field)?);
        if (least..=most).contains(&found) {
            return Ok(found);
        }
        Err(Self::error(field, at, Problem::Length { found, least, most }))
    }

    /// Bytes after their length of 16 bits.
    ///
    /// # Errors
    /// If the record ends, or the length is above `most`.
    pub fn bytes(&mut self, field: &'static str, most: usize) -> Result<&'a [u8], CodecError> {
        let length = self.length(field, 0, most)?;
        self.take(field, length)
    }

    /// A text after its length of 8 bits, as a value of `T`, whose constructor refuses what is not allowed.
    ///
    /// # Errors
    /// If the record ends, or the text is not a value of `T`.
    pub fn text<T: std::str::FromStr>(&mut self, field: &'static str) -> Result<T, CodecError> {
        let at = self.offset;
        let length = usize::from(self.u8(field)?);
        let text = std::str::from_utf8(self.take(field, length)?).ok().filter(|text| text.is_ascii());
        self.valid(field, at, text.and_then(|text| text.parse().ok()))
    }

    /// The value, or an error about the field that starts at `at`.
    ///
    /// # Errors
    /// If there is no value.
    pub fn valid<T>(&self, field: &'static str, at: usize, value: Option<T>) -> Result<T, CodecError> {
        value.ok_or(Self::error(field, at, Problem::Value))
    }

    /// A value that may be absent: a list of 0 or 1.
    ///
    /// # Errors
    /// If the record ends, or the value is invalid.
    pub fn option<T>(
        &mut self,
        field: &'static str,
        item: impl FnOnce(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Option<T>, CodecError> {
        match self.length(field, 0, 1)? {
            0 => Ok(None),
            _ => item(self).map(Some),
        }
    }

    /// A sorted list without duplicates.
    ///
    /// # Errors
    /// If the record ends, the number of items is outside of the limits, they are not sorted, or one is invalid.
    pub fn map<K: Ord, V>(
        &mut self,
        field: &'static str,
        (least, most): (usize, usize),
        mut item: impl FnMut(&mut Self) -> Result<(K, V), CodecError>,
    ) -> Result<BTreeMap<K, V>, CodecError> {
        let mut map = BTreeMap::new();
        for _ in 0..self.length(field, least, most)? {
            let at = self.offset;
            let (key, value) = item(self)?;
            if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
                return Err(Self::error(field, at, Problem::Unsorted));
            }
            map.insert(key, value);
        }
        Ok(map)
    }
}

/// Writes fields one after another. The types of the values have the limits of the form, so writing does not fail.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Bytes without a length.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// An integer of 8 bits.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// An integer of 16 bits.
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    /// An integer of 32 bits.
    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    /// An integer of 64 bits.
    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// A length or a number of items.
    pub fn length(&mut self, length: usize) {
        self.u16(u16::try_from(length).unwrap_or(u16::MAX));
    }

    /// Bytes after their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }

    /// A text after its length.
    pub fn text(&mut self, text: &str) {
        self.u8(u8::try_from(text.len()).unwrap_or(u8::MAX));
        self.raw(text.as_bytes());
    }

    /// A value that may be absent.
    pub fn option<T>(&mut self, value: Option<T>, item: impl FnOnce(&mut Self, T)) {
        self.length(usize::from(value.is_some()));
        if let Some(value) = value {
            item(self, value);
        }
    }

    /// A list in the order of its keys.
    pub fn map<K, V>(&mut self, map: &BTreeMap<K, V>, item: impl Fn(&mut Self, &K, &V)) {
        self.length(map.len());
        map.iter().for_each(|(key, value)| item(self, key, value));
    }
}
