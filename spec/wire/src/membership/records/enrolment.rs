//! The request of a node to become a member, `kubedos enrol v1`: everything that its roster record will have.
//!
//! The voucher key of the grant and the node key both sign it. It names the keys that it enrols, so whoever relays it can
//! only enrol the node itself (ADR 0065).

use std::num::NonZeroU32;

use super::entry::{MemberKeys, NodeEntry, PlaneEntry, Standing};
use crate::hex32::{ClusterId, Digest, InstanceId};
use crate::membership::codec::{CodecError, Encoded, Reader, Writer};
use crate::membership::fields::{Extension, PlaneMap};
use crate::membership::keys::{PlaneKey, SignerKey};
use crate::membership::signature::Signable;
use crate::node::Role;
use crate::value::{Endpoint, NodeId, NodeName};

/// An enrolment request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentRequest {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The life of the cluster that the node joins.
    pub instance: InstanceId,
    /// The number of the node.
    pub id: NodeId,
    /// Its name.
    pub node: NodeName,
    /// Its incarnation.
    pub incarnation: NonZeroU32,
    /// Its role.
    pub role: Role,
    /// The key that it created for itself.
    pub node_key: SignerKey,
    /// Its keys by plane.
    pub planes: PlaneMap<PlaneKey>,
    /// For later releases.
    pub extension: Extension,
}

impl EnrolmentRequest {
    /// The roster record that the request asks for. The endpoint is that of the node's shard.
    pub fn entry(&self, endpoint: Option<Endpoint>) -> NodeEntry {
        NodeEntry {
            id: self.id,
            node: self.node.clone(),
            role: self.role,
            incarnation: self.incarnation,
            standing: Standing::Member(first_keys(self.node_key, self.digest(), endpoint, &self.planes)),
            extension: Extension::default(),
        }
    }
}

/// The keys with which an incarnation becomes a member.
pub(super) fn first_keys(
    node_key: SignerKey,
    request: Digest,
    endpoint: Option<Endpoint>,
    planes: &PlaneMap<PlaneKey>,
) -> MemberKeys {
    MemberKeys { node_key, request, endpoint, planes: planes.map(|key| PlaneEntry::first(*key)) }
}

impl Signable for EnrolmentRequest {
    const DOMAIN: &'static str = "kubedos enrol v1";
}

impl Encoded for EnrolmentRequest {
    fn write(&self, to: &mut Writer) {
        to.start(self.cluster_id);
        to.raw(self.instance.as_bytes());
        to.u32(self.id.get());
        to.text(self.node.as_str());
        to.u32(self.incarnation.get());
        to.role(self.role);
        to.raw(self.node_key.as_bytes());
        to.planes(&self.planes, |to, key| to.raw(key.as_bytes()));
        to.extension(&self.extension);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            cluster_id: from.start()?,
            instance: from.instance()?,
            id: from.node_id()?,
            node: from.text("node")?,
            incarnation: from.positive("incarnation")?,
            role: from.role()?,
            node_key: from.signer_key("node_key")?,
            planes: from.planes(|from| from.plane_key("key"))?,
            extension: from.extension()?,
        })
    }
}
