//! Public keys and digests as text. A spec contains no secrets.

use std::fmt::{self, Display, Formatter};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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

/// A WireGuard public key: 32 bytes in base64, as `wg pubkey` prints them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WireguardKey([u8; 32]);

impl WireguardKey {
    fn read(text: &str) -> Option<Self> {
        // The base64 engine refuses missing padding and superfluous bits, so each key has one text.
        let mut key = [0; 32];
        let length = STANDARD.decode_slice(text, &mut key).ok()?;
        (length == 32 && key != [0; 32]).then_some(Self(key))
    }

    /// Creates a key from its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key without bit 255, which X25519 ignores (RFC 7748 §5): two keys that differ in this bit only are the same
    /// point.
    pub fn canonical(&self) -> [u8; 32] {
        let mut bytes = self.0;
        if let Some(last) = bytes.last_mut() {
            *last &= 0x7f;
        }
        bytes
    }
}

impl Display for WireguardKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

checked!(
    WireguardKey,
    "wireguard-key",
    "a WireGuard public key: 43 digits of base64 and one =, not all zero",
    "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$",
    "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip() {
        for text in
            ["hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]
        {
            assert_eq!(text.parse::<WireguardKey>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_key_has_exactly_one_text() {
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
