//! Derives the secrets of a node from the master secret. The same seed can be minted again at any time, and no list of keys is needed.
//!
//! HKDF-SHA256 (RFC 5869) with the master secret as key material. `info` consists of a label, the cluster's id, the node's name and the
//! incarnation, so different clusters, nodes and incarnations share no secret.

use kubedos_wire::hex32::{ClusterId, Secret32};
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
