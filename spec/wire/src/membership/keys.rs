//! Public keys that the membership protocol accepts: each point has exactly one encoding, and points of small order are
//! refused.
//!
//! For a key of small order, an attacker who knows no private key can compute Ed25519 signatures and X25519 shared
//! secrets (RFC 8032 §5.1.7 without a check of the order, RFC 7748 §6.1). A key with two encodings could occur twice where
//! it may occur once. Whether 32 bytes are a point of the curve is not checked here: a signature of such a key never
//! verifies, and X25519 accepts every u coordinate.

use std::fmt::{self, Display, Formatter};

use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::hex32::{KeyId, PublicKey};
use crate::value::WireguardKey;

/// Why a public key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the public key has a small order or is not in its canonical encoding")]
pub struct WeakKey;

/// The y coordinates of the points of small order on edwards25519, little-endian: 0, 1, -1, and the two of order 8.
const SMALL_Y: [[u8; 32]; 5] = [
    [0; 32],
    ONE,
    MINUS_ONE,
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// The u coordinates of the points of small order on curve25519 and its twist: 0, 1, -1, and the two of order 8.
const SMALL_U: [[u8; 32]; 5] = [
    [0; 32],
    ONE,
    MINUS_ONE,
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
];

const ONE: [u8; 32] =
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// 2^255 - 20, which is -1 modulo 2^255 - 19.
const MINUS_ONE: [u8; 32] = [
    0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
];

/// Whether the number, without bit 255, is below 2^255 - 19.
fn is_reduced(coordinate: &[u8; 32]) -> bool {
    let [first, middle @ .., last] = coordinate;
    *first < 0xed || last & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

/// The coordinate without bit 255.
fn coordinate(key: &[u8; 32]) -> [u8; 32] {
    let mut bytes = *key;
    if let Some(last) = bytes.last_mut() {
        *last &= 0x7f;
    }
    bytes
}

/// An Ed25519 public key whose signatures may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "PublicKey", into = "PublicKey")]
pub struct SignerKey(PublicKey);

impl SignerKey {
    /// Checks a key.
    pub fn new(key: PublicKey) -> Result<Self, WeakKey> {
        let y = coordinate(key.as_bytes());
        if !is_reduced(&y) || SMALL_Y.contains(&y) { Err(WeakKey) } else { Ok(Self(key)) }
    }

    /// The key.
    pub const fn public(&self) -> &PublicKey {
        &self.0
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The id by which signatures refer to the key.
    pub fn id(&self) -> KeyId {
        self.0.id()
    }

    /// Whether this key has signed the message (RFC 8032, pure Ed25519).
    pub fn has_signed(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.as_bytes()).verify(message, signature).is_ok()
    }
}

impl TryFrom<PublicKey> for SignerKey {
    type Error = WeakKey;

    fn try_from(key: PublicKey) -> Result<Self, WeakKey> {
        Self::new(key)
    }
}

impl From<SignerKey> for PublicKey {
    fn from(key: SignerKey) -> Self {
        key.0
    }
}

impl Display for SignerKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An X25519 public key that a member may have on a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "WireguardKey", into = "WireguardKey")]
pub struct PlaneKey(WireguardKey);

impl PlaneKey {
    /// Checks a key.
    pub fn new(key: WireguardKey) -> Result<Self, WeakKey> {
        let u = coordinate(key.bytes());
        if u != *key.bytes() || !is_reduced(&u) || SMALL_U.contains(&u) {
            Err(WeakKey)
        } else {
            Ok(Self(key))
        }
    }

    /// The key.
    pub const fn wireguard(&self) -> &WireguardKey {
        &self.0
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.bytes()
    }
}

impl TryFrom<WireguardKey> for PlaneKey {
    type Error = WeakKey;

    fn try_from(key: WireguardKey) -> Result<Self, WeakKey> {
        Self::new(key)
    }
}

impl From<PlaneKey> for WireguardKey {
    fn from(key: PlaneKey) -> Self {
        key.0
    }
}

impl Display for PlaneKey {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
