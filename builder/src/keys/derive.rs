//! Derives the secrets of a node from the master secret. The same seed can be minted again at any time, and no list of keys is needed.
//!
//! HKDF-SHA256 (RFC 5869) with the master secret as key material. `info` consists of a label, the cluster's id, the node's name and the
//! incarnation, so different clusters, nodes and incarnations share no secret.

use kubedos_wire::hex32::{ClusterId, Secret32};
use kubedos_wire::planes;
use kubedos_wire::value::{PlaneId, WireguardKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroizing;

use super::KeyError;

const SALT: &[u8] = b"kubedos node keys v1";
const DISK: &[u8] = b"disk";
const BIRTH: &[u8] = b"birth";

/// The secrets of one incarnation of a node.
#[expect(missing_debug_implementations, reason = "secrets must not be printed")]
pub struct NodeSecrets {
    /// The secret that opens STATE and DATA.
    pub disk: Secret32,
    /// The X25519 birth key, clamped (RFC 7748, section 5).
    pub birth: Secret32,
}

impl NodeSecrets {
    /// The node's public key on a plane: the private key that the node derives from its seed, times the base point.
    ///
    /// # Errors
    /// If the private key cannot be derived.
    pub fn plane_key(&self, plane: &PlaneId) -> Result<WireguardKey, KeyError> {
        let private = planes::private_key(&self.birth, plane).map_err(|_| KeyError::Generate("plane"))?;
        Ok(WireguardKey::new(public(private.expose())))
    }
}

/// The X25519 public key of a private key (RFC 7748 §6.1).
fn public(private: &[u8; 32]) -> [u8; 32] {
    x25519_dalek::x25519(*private, x25519_dalek::X25519_BASEPOINT_BYTES)
}

struct Length32;

impl KeyType for Length32 {
    fn len(&self) -> usize {
        32
    }
}

pub(super) fn node_secrets(
    master: &Secret32,
    cluster: ClusterId,
    node: &str,
    incarnation: u32,
) -> Result<NodeSecrets, KeyError> {
    let derive = |label: &[u8]| -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let key = Salt::new(HKDF_SHA256, SALT).extract(master.expose());
        // Parts of fixed length come first, and the name is terminated: different nodes have different texts.
        let info = [label, b"\0", cluster.as_bytes(), &incarnation.to_be_bytes(), node.as_bytes(), b"\0"];
        let mut out = Zeroizing::new([0; 32]);
        key.expand(&info, Length32)
            .and_then(|okm| okm.fill(out.as_mut()))
            .map_err(|_| KeyError::Generate("node"))?;
        Ok(out)
    };
    let mut birth = derive(BIRTH)?;
    if let [first, .., last] = birth.as_mut() {
        *first &= 0xf8;
        *last = (*last & 0x7f) | 0x40;
    }
    Ok(NodeSecrets { disk: Secret32::new(*derive(DISK)?), birth: Secret32::new(*birth) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key pairs of RFC 7748 §6.1.
    #[test]
    fn public_keys_are_those_of_the_rfc() {
        for (private, expected) in [
            (
                "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
                "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
            ),
            (
                "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
                "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
            ),
        ] {
            let mut bytes = [0; 32];
            hex::decode_to_slice(private, &mut bytes).unwrap();
            assert_eq!(hex::encode(public(&bytes)), expected);
        }
    }

    /// The planes of one node, and other incarnations of it, have other keys; none is the birth key's.
    #[test]
    fn planes_and_incarnations_have_different_keys() {
        let master = Secret32::new([1; 32]);
        let mut keys = std::collections::BTreeSet::new();
        for (node, incarnation) in [("cp-1", 1), ("cp-1", 2), ("cp-2", 1)] {
            let secrets = node_secrets(&master, ClusterId::new([2; 32]), node, incarnation).unwrap();
            keys.insert(WireguardKey::new(public(secrets.birth.expose())));
            for plane in ["wg1", "wg2", "wg3"] {
                let key = secrets.plane_key(&plane.parse().unwrap()).unwrap();
                assert_eq!(secrets.plane_key(&plane.parse().unwrap()).unwrap(), key);
                keys.insert(key);
            }
        }
        assert_eq!(keys.len(), 12);
    }
}
