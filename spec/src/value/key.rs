//! Public keys and digests as text. No secret is ever a value of the spec.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::{checked, text};

fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == bytes * 2 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

text! {
    /// The SHA-256 of a certificate in DER.
    Fingerprint, "fingerprint",
    "sha256: followed by 64 hexadecimal digits in lower case",
    "^sha256:[0-9a-f]{64}$",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    |text| text.strip_prefix("sha256:").is_some_and(|digits| is_hex(digits, 32))
}

text! {
    /// A cluster's id: SHA-256 of its first configuration key and its name (ADR 0002).
    ClusterId, "cluster-id",
    "64 hexadecimal digits in lower case",
    "^[0-9a-f]{64}$",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    |text| is_hex(text, 32)
}

/// A WireGuard public key: 32 bytes in base64, as `wg pubkey` prints them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WireguardKey([u8; 32]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl WireguardKey {
    fn read(text: &str) -> Option<Self> {
        let digits = text.strip_suffix('=').filter(|digits| digits.len() == 43)?;
        let (mut key, mut filled) = ([0_u8; 32], 0);
        let (mut bits, mut count) = (0_u32, 0);
        for byte in digits.bytes() {
            let value = ALPHABET.iter().position(|letter| *letter == byte)?;
            bits = (bits << 6) | u32::try_from(value).ok()?;
            count += 6;
            if count >= 8 {
                count -= 8;
                *key.get_mut(filled)? = u8::try_from((bits >> count) & 0xff).ok()?;
                filled += 1;
                bits &= (1 << count) - 1;
            }
        }
        // The two bits left over must be zero: one key, one text.
        (filled == 32 && bits == 0 && key != [0; 32]).then_some(Self(key))
    }

    /// A key from its bytes.
    #[cfg(test)]
    pub(crate) const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Display for WireguardKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for chunk in self.0.chunks(3) {
            let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
            let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
            for at in 0..4_u32 {
                let index = ((bits >> (18 - 6 * at)) & 63) as usize;
                let letter = ALPHABET.get(index).copied().unwrap_or(b'=');
                let shown = if at as usize > chunk.len() { '=' } else { char::from(letter) };
                write!(f, "{shown}")?;
            }
        }
        Ok(())
    }
}

checked!(
    WireguardKey,
    "wireguard-key",
    "a WireGuard public key: 43 digits of base64 and one =, not all zero",
    "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$",
    "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
);

/// An Ed25519 public key as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ed25519Key([u8; 32]);

impl Ed25519Key {
    /// A key from its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    fn read(text: &str) -> Option<Self> {
        if !is_hex(text, 32) {
            return None;
        }
        let mut key = [0_u8; 32];
        for (byte, at) in key.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(key))
    }

    /// The key's bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Display for Ed25519Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

checked!(
    Ed25519Key,
    "ed25519-key",
    "64 hexadecimal digits in lower case",
    "^[0-9a-f]{64}$",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_as_they_were_written() {
        for text in
            ["hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
        {
            assert_eq!(text.parse::<WireguardKey>().unwrap().to_string(), text);
        }
        let hex = Ed25519Key::RULE.example;
        let key: Ed25519Key = hex.parse().unwrap();
        assert_eq!((key.bytes()[0], key.bytes()[31]), (0xd7, 0x1a));
        assert_eq!(key.to_string(), hex);
    }

    #[test]
    fn a_key_has_one_text_only() {
        for bad in [
            "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmp=",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo",
            "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo=",
        ] {
            assert!(bad.parse::<WireguardKey>().is_err(), "{bad}");
        }
        assert!("sha256:REDACTED".parse::<Fingerprint>().is_err());
    }
}
