//! The proof of a control plane that a root is its newest one, `kubedos fresh v1`. It answers the nonce of one node.

use std::num::NonZeroU32;

use super::root::Epoch;
use crate::hex32::{ClusterId, Digest, InstanceId, Nonce};
use crate::membership::codec::{CodecError, Encoded, Reader, Writer};
use crate::membership::fields::Extension;
use crate::membership::signature::Signable;
use crate::value::NodeId;

/// A freshness proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreshnessProof {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The life of the cluster.
    pub instance: InstanceId,
    /// The newest epoch that the control plane has accepted.
    pub epoch: Epoch,
    /// The node that asked.
    pub id: NodeId,
    /// Its incarnation.
    pub incarnation: NonZeroU32,
    /// The random value that it sent.
    pub nonce: Nonce,
    /// The number of the newest authority set that the control plane has.
    pub authority: NonZeroU32,
    /// The digest of the root.
    pub root: Digest,
    /// The control plane's clock, in seconds since 1970.
    pub time: u64,
    /// For later releases.
    pub extension: Extension,
}

impl Signable for FreshnessProof {
    const DOMAIN: &'static str = "kubedos fresh v1";
}

impl Encoded for FreshnessProof {
    fn write(&self, to: &mut Writer) {
        to.start(self.cluster_id);
        to.raw(self.instance.as_bytes());
        to.u32(self.epoch.lineage.get());
        to.u32(self.id.get());
        to.u32(self.incarnation.get());
        to.raw(self.nonce.as_bytes());
        to.u32(self.authority.get());
        to.u64(self.epoch.n);
        to.raw(self.root.as_bytes());
        to.u64(self.time);
        to.extension(&self.extension);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        let (cluster_id, instance, lineage) = (from.start()?, from.instance()?, from.positive("lineage")?);
        let (id, incarnation) = (from.node_id()?, from.positive("incarnation")?);
        let nonce = Nonce::new(from.array("nonce")?);
        let (authority, n) = (from.positive("authority")?, from.u64("n")?);
        let (root, time, extension) = (from.digest("root")?, from.u64("time")?, from.extension()?);
        let epoch = Epoch { lineage, n };
        Ok(Self { cluster_id, instance, epoch, id, incarnation, nonce, authority, root, time, extension })
    }
}
