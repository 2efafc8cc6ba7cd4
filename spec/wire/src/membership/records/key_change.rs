//! A step in the change of a plane's key, `kubedos keys v1`, which the node key signs.
//!
//! `announce` adds the next key, `retire` makes the next key the only one, `abort` removes the next key (ADR 0068). Each
//! step has the next sequence of the plane, so a replayed step changes nothing.

use std::num::NonZeroU32;

use crate::hex32::{ClusterId, InstanceId};
use crate::membership::codec::{CodecError, Encoded, Reader, Writer};
use crate::membership::fields::Extension;
use crate::membership::keys::PlaneKey;
use crate::membership::signature::Signable;
use crate::value::{NodeId, PlaneId};

/// One step for one plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaneKeyChange {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The life of the cluster.
    pub instance: InstanceId,
    /// The number of the node.
    pub id: NodeId,
    /// Its incarnation.
    pub incarnation: NonZeroU32,
    /// The plane.
    pub plane: PlaneId,
    /// The sequence of the plane after the step.
    pub sequence: u32,
    /// The step.
    pub step: KeyStep,
    /// For later releases.
    pub extension: Extension,
}

/// A step in the change of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStep {
    /// This key will replace the present one.
    Announce(PlaneKey),
    /// The announced key is the only one from now on.
    Retire,
    /// The announced key is not used.
    Abort,
}

impl Signable for PlaneKeyChange {
    const DOMAIN: &'static str = "kubedos keys v1";
}

impl Encoded for PlaneKeyChange {
    fn write(&self, to: &mut Writer) {
        to.start(self.cluster_id);
        to.raw(self.instance.as_bytes());
        to.u32(self.id.get());
        to.u32(self.incarnation.get());
        to.text(self.plane.as_str());
        to.u32(self.sequence);
        match self.step {
            KeyStep::Announce(next) => {
                to.u8(1);
                to.raw(next.as_bytes());
            }
            KeyStep::Retire => to.u8(2),
            KeyStep::Abort => to.u8(3),
        }
        to.extension(&self.extension);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            cluster_id: from.start()?,
            instance: from.instance()?,
            id: from.node_id()?,
            incarnation: from.positive("incarnation")?,
            plane: from.text("plane")?,
            sequence: from.u32("sequence")?,
            step: step(from)?,
            extension: from.extension()?,
        })
    }
}

fn step(from: &mut Reader<'_>) -> Result<KeyStep, CodecError> {
    let at = from.offset();
    match from.u8("step")? {
        1 => from.plane_key("next").map(KeyStep::Announce),
        2 => Ok(KeyStep::Retire),
        3 => Ok(KeyStep::Abort),
        _ => from.valid("step", at, None),
    }
}
