//! The root of a roster, `kubedos root v1`: one epoch, the authority set whose members sign it, and the Merkle root of all
//! records.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::entry::MAX_GENERATION;
use crate::hex32::{ClusterId, Digest, InstanceId};
use crate::membership::codec::{CodecError, Encoded, Reader, Writer};
use crate::membership::fields::Extension;
use crate::membership::signature::{Signable, Signatures};

/// A state of the roster: it increases with every change, in the order of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// The lineage; each genesis token has a higher one.
    pub lineage: NonZeroU32,
    /// The number of the root; it increases, also from one lineage to the next, but may skip numbers.
    pub n: u64,
}

/// Refers to an authority set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorityRef {
    /// Its number.
    pub number: NonZeroU32,
    /// The digest of its statement's body.
    #[serde(rename = "sha256")]
    pub digest: Digest,
}

/// The root of a roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterRoot {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The life of the cluster.
    pub instance: InstanceId,
    /// The epoch.
    pub epoch: Epoch,
    /// The authority set whose members sign.
    pub authority: AuthorityRef,
    /// The number of records.
    pub count: u32,
    /// The Merkle root of the encoded records (RFC 9162 §2.1.1).
    pub merkle: Digest,
    /// The lowest generation of the configuration that a node may have to become a member; at most [`MAX_GENERATION`].
    pub generation_floor: u64,
    /// For later releases.
    pub extension: Extension,
}

/// A root with its signatures, which are not verified: as it is stored and sent. The share of a control plane in a genesis
/// has one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedRoot {
    /// The root.
    pub root: RosterRoot,
    /// The signatures.
    pub signatures: Signatures,
}

impl Signable for RosterRoot {
    const DOMAIN: &'static str = "kubedos root v1";
}

impl Encoded for Epoch {
    fn write(&self, to: &mut Writer) {
        to.u32(self.lineage.get());
        to.u64(self.n);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { lineage: from.positive("lineage")?, n: from.u64("n")? })
    }
}

impl Encoded for RosterRoot {
    fn write(&self, to: &mut Writer) {
        to.start(self.cluster_id);
        to.raw(self.instance.as_bytes());
        self.epoch.write(to);
        to.u32(self.authority.number.get());
        to.raw(self.authority.digest.as_bytes());
        to.u32(self.count);
        to.raw(self.merkle.as_bytes());
        to.u64(self.generation_floor);
        to.extension(&self.extension);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            cluster_id: from.start()?,
            instance: from.instance()?,
            epoch: Epoch::read(from)?,
            authority: AuthorityRef {
                number: from.positive("authority")?,
                digest: from.digest("authority_digest")?,
            },
            count: from.u32("count")?,
            merkle: from.digest("merkle")?,
            generation_floor: generation(from)?,
            extension: from.extension()?,
        })
    }
}

fn generation(from: &mut Reader<'_>) -> Result<u64, CodecError> {
    let at = from.offset();
    let floor = from.u64("generation_floor")?;
    from.valid("generation_floor", at, (floor <= MAX_GENERATION).then_some(floor))
}

impl Encoded for SignedRoot {
    fn write(&self, to: &mut Writer) {
        self.root.write(to);
        self.signatures.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self { root: RosterRoot::read(from)?, signatures: Signatures::read(from)? })
    }
}
