//! Attributes of netlink messages (`struct nlattr`): a length of 16 bits, a type of 16 bits, the value, and padding to
//! four bytes. Two bits of the type are flags, which do not belong to the number.

use std::ffi::CStr;
use std::net::IpAddr;

const HEADER: usize = 4;
const NESTED: u16 = 1 << 15;
const NUMBER: u16 = 0x3fff;

/// The kernel's answer does not have the documented layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed {} in an answer of the kernel", self.0)
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for std::io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, malformed)
    }
}

/// A length rounded up to the next multiple of four.
pub(super) const fn padded(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// Encodes attributes.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    /// Starts with the fixed part of a message.
    pub(super) fn after(fixed: &[u8]) -> Self {
        Self(fixed.to_vec())
    }

    pub(super) fn bytes(&mut self, number: u16, value: &[u8]) -> &mut Self {
        let length = u16::try_from(HEADER + value.len()).unwrap_or(u16::MAX); // requests are shorter: `LONGEST_REQUEST`
        self.0.extend(length.to_ne_bytes());
        self.0.extend(number.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(padded(self.0.len()), 0);
        self
    }

    pub(super) fn u8(&mut self, number: u16, value: u8) -> &mut Self {
        self.bytes(number, &[value])
    }

    pub(super) fn u16(&mut self, number: u16, value: u16) -> &mut Self {
        self.bytes(number, &value.to_ne_bytes())
    }

    pub(super) fn u32(&mut self, number: u16, value: u32) -> &mut Self {
        self.bytes(number, &value.to_ne_bytes())
    }

    /// A number in network byte order, as nf_tables has all of them.
    pub(super) fn be32(&mut self, number: u16, value: u32) -> &mut Self {
        self.bytes(number, &value.to_be_bytes())
    }

    pub(super) fn be64(&mut self, number: u16, value: u64) -> &mut Self {
        self.bytes(number, &value.to_be_bytes())
    }

    /// A text with its terminating zero.
    pub(super) fn text(&mut self, number: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(number, &bytes)
    }

    pub(super) fn address(&mut self, number: u16, value: IpAddr) -> &mut Self {
        match value {
            IpAddr::V4(address) => self.bytes(number, &address.octets()),
            IpAddr::V6(address) => self.bytes(number, &address.octets()),
        }
    }

    /// An attribute that contains the attributes that `fill` writes.
    pub(super) fn nest(&mut self, number: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.bytes(NESTED | number, &[]);
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        if let Some(field) = self.0.get_mut(start..start + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self
    }
}

/// One attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its number, without flags.
    pub number: u16,
    /// Its value.
    pub value: &'a [u8],
}

/// The attributes in a value; an attribute that does not fit gives an error, and ends the iteration.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let split = || {
            let (header, _) = self.0.split_at_checked(HEADER)?;
            let length = usize::from(u16::from_ne_bytes(*header.first_chunk()?));
            let number = u16::from_ne_bytes(*header.last_chunk()?) & NUMBER;
            let value = self.0.get(HEADER..length)?;
            Some((Attribute { number, value }, self.0.get(padded(length)..).unwrap_or_default()))
        };
        let split = split();
        self.0 = split.as_ref().map_or(&[], |(_, rest)| rest);
        Some(split.map(|(attribute, _)| attribute).ok_or(Malformed("attribute")))
    }
}

impl<'a> Attribute<'a> {
    fn array<const N: usize>(&self) -> Result<[u8; N], Malformed> {
        self.value.try_into().map_err(|_| Malformed("length of an attribute"))
    }

    pub(super) fn u8(&self) -> Result<u8, Malformed> {
        self.array().map(u8::from_ne_bytes)
    }

    pub(super) fn u16(&self) -> Result<u16, Malformed> {
        self.array().map(u16::from_ne_bytes)
    }

    pub(super) fn u32(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(super) fn u64(&self) -> Result<u64, Malformed> {
        self.array().map(u64::from_ne_bytes)
    }

    pub(super) fn be32(&self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn be64(&self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn key(&self) -> Result<[u8; 32], Malformed> {
        self.array()
    }

    /// A text up to its terminating zero.
    pub(super) fn text(&self) -> Result<&'a str, Malformed> {
        let text = CStr::from_bytes_until_nul(self.value).map_err(|_| Malformed("text"))?;
        text.to_str().map_err(|_| Malformed("text"))
    }

    pub(super) fn address(&self) -> Result<IpAddr, Malformed> {
        match self.value.len() {
            4 => self.array::<4>().map(IpAddr::from),
            16 => self.array::<16>().map(IpAddr::from),
            _ => Err(Malformed("address")),
        }
    }

    pub(super) const fn nested(&self) -> Attributes<'a> {
        Attributes(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut writer = Writer::default();
        writer.u8(1, 7).text(2, "wg1").nest(3, |inner| {
            inner.u32(4, 5).address(5, [10, 0, 0, 1].into());
        });
        let all: Vec<_> = Attributes(&writer.0).collect::<Result<_, _>>().unwrap();
        assert_eq!(all.iter().map(|one| one.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!((all[0].u8(), all[1].text()), (Ok(7), Ok("wg1")));
        let inner: Vec<_> = all[2].nested().collect::<Result<_, _>>().unwrap();
        assert_eq!((inner[0].u32(), inner[1].address()), (Ok(5), Ok([10, 0, 0, 1].into())));
    }

    /// Each cut of a list is either complete or an error: it never looks like a shorter list with the same last element.
    #[test]
    fn a_cut_attribute_is_an_error() {
        let mut writer = Writer::default();
        writer.u32(1, 1).bytes(2, &[1, 2, 3, 4, 5]);
        for length in 1..writer.0.len() - 3 {
            let read: Result<Vec<_>, _> = Attributes(&writer.0[..length]).collect();
            assert_eq!(read.is_ok(), length == 8, "{length}");
        }
        for length in [0_u16, 1, 3, 9, 100] {
            let mut bytes = vec![0; 8];
            bytes[..2].copy_from_slice(&length.to_ne_bytes());
            assert!(Attributes(&bytes).next().unwrap().is_err(), "{length}");
        }
    }

    #[test]
    fn a_value_of_another_length_is_an_error() {
        let attribute = Attribute { number: 1, value: &[1, 2, 3] };
        assert!(attribute.u8().is_err() && attribute.u16().is_err() && attribute.u32().is_err());
        assert!(attribute.key().is_err() && attribute.address().is_err() && attribute.text().is_err());
    }
}
