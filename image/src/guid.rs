//! GUIDs of GPT and UEFI: sixteen bytes. The text form is `8-4-4-4-12` hex digits. On disk, the first three groups are
//! little-endian (UEFI specification 2.10, appendix A; RFC 9562 section 4 for the text). The `uuid` crate converts both.
//!
//! A [`Guid`] stores the bytes in the order of its text, so that the first 128 bits of a digest look the same as GUID and as digest.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// A GUID, in the byte order of its text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Guid(Uuid);

/// The text is not a GUID of the form `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a GUID of the form 8-4-4-4-12 hex digits")]
pub struct ParseGuidError;

impl Guid {
    /// All zeroes: the type of an unused partition entry, and the UUID of a partition whose content is free.
    pub const ZERO: Self = Self(Uuid::nil());

    /// Converts a number whose hex digits are the digits of the text.
    pub const fn from_u128(value: u128) -> Self {
        Self(Uuid::from_u128(value))
    }

    /// Converts sixteen bytes in the order of the text.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns the sixteen bytes in the order of the text.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// Converts sixteen bytes in the order on disk: the first three groups are little-endian.
    pub const fn from_disk(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes_le(bytes))
    }

    /// Returns the sixteen bytes in the order on disk.
    pub const fn to_disk(self) -> [u8; 16] {
        self.0.to_bytes_le()
    }

    /// The first 128 bits of a digest. Version and variant bits are not set: such a GUID is a name, not an RFC 9562 value.
    pub const fn from_digest_head(digest: &[u8; 32]) -> Self {
        Self::from_bytes(halves(digest).0)
    }

    /// Takes the last 128 bits of a digest, without setting version and variant bits.
    pub const fn from_digest_tail(digest: &[u8; 32]) -> Self {
        Self::from_bytes(halves(digest).1)
    }

    /// Creates a version 4 UUID from sixteen random bytes (RFC 9562 section 5.4).
    pub const fn from_random(random: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(random).into_uuid())
    }
}

const fn halves(digest: &[u8; 32]) -> ([u8; 16], [u8; 16]) {
    match (digest.first_chunk::<16>(), digest.last_chunk::<16>()) {
        (Some(head), Some(tail)) => (*head, *tail),
        _ => unreachable!(),
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Guid {
    type Err = ParseGuidError;

    fn from_str(text: &str) -> Result<Self, ParseGuidError> {
        text.parse().map(|text: Hyphenated| Self(text.into_uuid())).map_err(|_| ParseGuidError)
    }
}

impl Serialize for Guid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Guid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_esp_type_has_the_byte_order_of_the_uefi_specification() {
        let esp: Guid = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B".parse().unwrap();
        assert_eq!(hex::encode(esp.to_disk()), "28732ac11ff8d211ba4b00a0c93ec93b");
        assert_eq!(esp.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }

    #[test]
    fn digest_halves_have_the_hex_digits_of_the_digest() {
        let mut digest = [0u8; 32];
        for (value, byte) in (0u8..).zip(digest.iter_mut()) {
            *byte = value;
        }
        assert_eq!(Guid::from_digest_head(&digest).to_string(), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(Guid::from_digest_tail(&digest).to_string(), "10111213-1415-1617-1819-1a1b1c1d1e1f");
    }

    #[test]
    fn random_guids_are_version_4() {
        assert_eq!(Guid::from_random([0xff; 16]).to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(Guid::from_random([0; 16]).to_string(), "00000000-0000-4000-8000-000000000000");
    }

    #[test]
    fn text_that_is_not_a_guid_is_refused() {
        for bad in [
            "",
            "c12a7328f81f11d2ba4b00a0c93ec93b",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93",
            "c12a7328-f81f-11d2-ba4b-00a0c93ec93bb",
            "g12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "c12a7328+f81f-11d2-ba4b-00a0c93ec93b",
            "+12a7328-f81f-11d2-ba4b-00a0c93ec93b",
            "{12a7328-f81f-11d2-ba4b-00a0c93ec93}",
        ] {
            assert_eq!(bad.parse::<Guid>(), Err(ParseGuidError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_and_disk_order_round_trip(bytes: [u8; 16]) {
            let guid = Guid::from_bytes(bytes);
            prop_assert_eq!(guid.to_string().parse::<Guid>(), Ok(guid));
            prop_assert_eq!(Guid::from_disk(guid.to_disk()), guid);
        }
    }
}
