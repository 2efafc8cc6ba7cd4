//! The private keys of a node on its planes, derived from the birth key in its seed.
//!
//! HKDF-SHA256 (RFC 5869) without salt; `info` is a label with a version, a zero byte, and the plane's name. The birth key is
//! different for every cluster, node and incarnation, so these keys are too. The builder and the agent use this function; it
//! must never change, because they would compute different keys.

use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use crate::hex32::Secret32;
use crate::value::PlaneId;

const LABEL: &[u8] = b"kubedos plane key v1";

/// The key of a plane could not be derived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to derive the key of the plane {0}")]
pub struct PlaneKeyError(PlaneId);

struct Length32;

impl KeyType for Length32 {
    fn len(&self) -> usize {
        32
    }
}

/// The node's X25519 private key on a plane, clamped (RFC 7748 §5), from the birth key of its seed.
pub fn private_key(birth: &Secret32, plane: &PlaneId) -> Result<Secret32, PlaneKeyError> {
    let pseudorandom = Salt::new(HKDF_SHA256, &[]).extract(birth.expose());
    let info = [LABEL, b"\0", plane.as_str().as_bytes()];
    let mut key = Zeroizing::new([0; 32]);
    pseudorandom
        .expand(&info, Length32)
        .and_then(|material| material.fill(key.as_mut()))
        .map_err(|_| PlaneKeyError(plane.clone()))?;
    if let [first, .., last] = key.as_mut() {
        *first &= 0xf8;
        *last = (*last & 0x7f) | 0x40;
    }
    Ok(Secret32::new(*key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(birth: u8, plane: &str) -> [u8; 32] {
        *private_key(&Secret32::new([birth; 32]), &plane.parse().unwrap()).unwrap().expose()
    }

    /// The vectors come from an independent HKDF.
    #[test]
    fn the_derivation_is_pinned() {
        assert_eq!(
            hex::encode(key(5, "wg1")),
            "706f2e5c0e9f6080bf938be7e4e29647f72d3fbedac99f9bbece4acde11e217f"
        );
        assert_eq!(
            hex::encode(key(5, "wg2")),
            "b0a29e66fdb30a4fb59e98143d76c3bb864429061f223d92176436ceece42e77"
        );
    }

    #[test]
    fn every_plane_and_every_birth_key_has_another_key() {
        let all = [key(5, "wg1"), key(5, "wg2"), key(5, "wg11"), key(6, "wg1"), [5; 32], [6; 32]];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(all.iter().take(4).all(|key| key[0] & 7 == 0 && key[31] & 0xc0 == 0x40));
    }
}
