//! Values of 32 bytes that documents contain as 64 lower-case hex digits: digests, salts, public keys. Each value has
//! exactly one text.
//!
//! [`Secret32`] is the type for secrets of this size: it is zeroized when dropped, and can be neither printed nor
//! compared.

use ring::digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// The text is not 64 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 64 lower-case hex digits")]
pub struct ParseHexError;

/// SHA-256 over the concatenated parts.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(context.finish().as_ref()) {
        *to = *from;
    }
    out
}

fn decode(text: &str) -> Result<Zeroizing<[u8; 32]>, ParseHexError> {
    let mut bytes = Zeroizing::new([0; 32]);
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(ParseHexError);
    }
    hex::decode_to_slice(text, bytes.as_mut()).map_err(|_| ParseHexError)?;
    Ok(bytes)
}

macro_rules! hex32 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Creates a value from its bytes.
            pub const fn new(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = ParseHexError;

            fn from_str(text: &str) -> Result<Self, ParseHexError> {
                decode(text).map(|bytes| Self(*bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

hex32! {
    /// The root hash of a dm-verity volume: SHA-256 of salt and root block.
    RootHash
}
hex32! {
    /// The salt that is hashed before each block of a dm-verity volume.
    Salt
}
hex32! {
    /// An Ed25519 public key.
    PublicKey
}
hex32! {
    /// SHA-256 of the 32 bytes of a [`PublicKey`].
    KeyId
}
hex32! {
    /// SHA-256 of the first configuration key's public key and the cluster's name.
    ClusterId
}
hex32! {
    /// SHA-256 of a record or of the body of a statement; a signed document refers to another one by it.
    Digest
}
hex32! {
    /// Names one life of a cluster, from its genesis on: SHA-256 of the genesis token's digest and all hellos.
    InstanceId
}
hex32! {
    /// A random value that is used once.
    Nonce
}

impl PublicKey {
    /// The id by which statements refer to this key.
    pub fn id(&self) -> KeyId {
        KeyId(sha256(&[&self.0]))
    }
}

impl ClusterId {
    /// The id of the cluster `name` whose first configuration key is `key`.
    pub fn derive(key: &PublicKey, name: &str) -> Self {
        Self(sha256(&[key.as_bytes(), name.as_bytes()]))
    }
}

/// A secret of 32 bytes: zeroized when dropped; no `Debug`, no `Clone`, no comparison.
#[derive(ZeroizeOnDrop)]
#[expect(missing_debug_implementations, reason = "a secret must not be printed")]
pub struct Secret32([u8; 32]);

impl Secret32 {
    /// Takes over the bytes; the caller zeroizes its own copy.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes. A caller that copies them must zeroize the copy.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Serialize for Secret32 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Zeroizing::new(hex::encode(self.0)).as_str())
    }
}

impl<'de> Deserialize<'de> for Secret32 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        decode(&text).map(|bytes| Self(*bytes)).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sha256_of_abc_is_the_value_of_fips_180_4() {
        assert_eq!(
            hex::encode(sha256(&[b"a", b"bc"])),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn a_value_has_exactly_64_lower_case_digits() {
        let good = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(good.parse::<RootHash>().unwrap().to_string(), good);
        for bad in [&good.to_uppercase(), "", &good[1..], &format!("{good}0"), &good.replace('b', "g")] {
            assert_eq!(bad.parse::<RootHash>(), Err(ParseHexError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(bytes: [u8; 32]) {
            let hash = RootHash::new(bytes);
            prop_assert_eq!(hash.to_string().parse::<RootHash>(), Ok(hash));
        }
    }
}
