//! The offer of a control plane to take part in a genesis, `kubedos hello v1`, which its roster key signs.
//!
//! All hellos together name the new life of the cluster. The nonce is drawn once for each STATE, so a control plane that
//! lost its disk says another hello (ADR 0066).

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::enrolment::first_keys;
use super::entry::{NodeEntry, Standing};
use crate::hex32::{ClusterId, Digest, InstanceId, Nonce, sha256};
use crate::membership::codec::{CodecError, Encoded, Reader, Writer};
use crate::membership::fields::{Extension, PlaneMap};
use crate::membership::keys::{PlaneKey, SignerKey};
use crate::membership::signature::Signable;
use crate::node::Role;
use crate::value::{Endpoint, NodeId, NodeName};

/// A hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenesisHello {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The digest of the token's body.
    pub token: Digest,
    /// The number of the node.
    pub id: NodeId,
    /// Its name.
    pub node: NodeName,
    /// Its incarnation.
    pub incarnation: NonZeroU32,
    /// The nonce of its STATE.
    pub nonce: Nonce,
    /// The key that it created for itself.
    pub node_key: SignerKey,
    /// Its keys by plane.
    pub planes: PlaneMap<PlaneKey>,
    /// For later releases.
    pub extension: Extension,
}

impl GenesisHello {
    /// The roster record of this control plane in the first root. The endpoint is that of the node's shard.
    pub fn entry(&self, endpoint: Option<Endpoint>) -> NodeEntry {
        NodeEntry {
            id: self.id,
            node: self.node.clone(),
            role: Role::ControlPlane,
            incarnation: self.incarnation,
            standing: Standing::Member(first_keys(self.node_key, self.digest(), endpoint, &self.planes)),
            extension: Extension::default(),
        }
    }
}

/// The life of the cluster that begins with these hellos: SHA-256 of the token's digest and all hellos in the order of their
/// ids.
pub fn instance(token: &Digest, hellos: &BTreeMap<NodeId, GenesisHello>) -> InstanceId {
    let hellos: Vec<u8> = hellos.values().flat_map(GenesisHello::encode).collect();
    InstanceId::new(sha256(&[token.as_bytes(), &hellos]))
}

impl Signable for GenesisHello {
    const DOMAIN: &'static str = "kubedos hello v1";
}

impl Encoded for GenesisHello {
    fn write(&self, to: &mut Writer) {
        to.start(self.cluster_id);
        to.raw(self.token.as_bytes());
        to.u32(self.id.get());
        to.text(self.node.as_str());
        to.u32(self.incarnation.get());
        to.raw(self.nonce.as_bytes());
        to.raw(self.node_key.as_bytes());
        to.planes(&self.planes, |to, key| to.raw(key.as_bytes()));
        to.extension(&self.extension);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            cluster_id: from.start()?,
            token: from.digest("token")?,
            id: from.node_id()?,
            node: from.text("node")?,
            incarnation: from.positive("incarnation")?,
            nonce: Nonce::new(from.array("nonce")?),
            node_key: from.signer_key("node_key")?,
            planes: from.planes(|from| from.plane_key("key"))?,
            extension: from.extension()?,
        })
    }
}
