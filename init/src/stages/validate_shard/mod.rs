//! ValidateShard: who this node is. The cluster's document and the node's shard come from the signed configuration volume, the
//! node's name and secrets from its seed; all of them must agree, and nothing may be below a floor ([`floors`]). Changes nothing, so it
//! always ends `unchanged`.
//!
//! Without a usable seed the node waits, and shows the fingerprint of a key that it made for this boot: media may be changed meanwhile.

mod documents;
pub mod floors;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use kubedos_image::DocumentError;
use kubedos_image::accept;
use kubedos_image::hex32::{PublicKey, sha256};
use kubedos_image::release::Release;
use kubedos_image::statement::{Floors, Seed};
use kubedos_spec::node::{self, ClusterDocument, Shard};
use ring::agreement::{EphemeralPrivateKey, X25519};
use ring::rand::SystemRandom;

use self::floors::{Booted, Claimed, FloorError};
use crate::agent::walk::{Class, Classified, Step};
use crate::handover::Handover;
use crate::seed::{self, Skipped, Trust, TwoSeeds, media};

/// Everything that later stages know about the node.
#[expect(missing_debug_implementations, reason = "holds the seed's secrets")]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterDocument,
    /// This node's part of it.
    pub shard: Shard,
    /// Its secrets.
    pub seed: Seed,
    /// The release that runs.
    pub release: Release,
    /// What the node must not go below from now on: what it runs, and what its seed and its configuration demand.
    pub floors: Floors,
}

/// Why the node does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// A document cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The boot manifest that stage 1 left cannot be used.
    #[error("the boot manifest cannot be used")]
    Manifest(#[source] DocumentError),
    /// The configuration that stage 1 opened is not one that this image accepts.
    #[error("the configuration is not accepted")]
    NotAccepted(#[from] accept::Refusal),
    /// A document is not what it should be.
    #[error("{path} cannot be used")]
    Document {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: node::DocumentError,
    },
    /// What is in the volume is not what its signature says.
    #[error("the configuration volume says {field} {inside}, its signed statement says {outside}")]
    Disagrees {
        /// What differs.
        field: &'static str,
        /// In the volume.
        inside: String,
        /// In the statement.
        outside: String,
    },
    /// The configuration knows no such node.
    #[error("the seed is of node {node}, of which the configuration (generation {generation}) has no shard")]
    NoShard {
        /// In the seed.
        node: String,
        /// Of the configuration.
        generation: u64,
    },
    /// Two seeds are there.
    #[error(transparent)]
    Seeds(#[from] TwoSeeds),
    /// Something is below a floor.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// Devices cannot be looked at.
    #[error("failed to look for a seed")]
    Look(#[source] io::Error),
    /// No randomness.
    #[error("failed to make a key")]
    Key,
}

impl Classified for ShardError {
    fn class(&self) -> Class {
        match self {
            Self::Look(_) | Self::Key => Class::Retry,
            Self::Read { .. }
            | Self::Document { .. }
            | Self::Disagrees { .. }
            | Self::Manifest(_)
            | Self::NotAccepted(_)
            | Self::NoShard { .. }
            | Self::Seeds(_)
            | Self::Floor(_) => Class::Halt,
        }
    }
}

/// Where things are.
#[derive(Debug, Clone)]
pub struct Places {
    /// The root of `sys` and `dev`.
    pub root: PathBuf,
    /// The configuration volume.
    pub configuration: PathBuf,
    /// The boot manifest and the configuration's statement, as stage 1 left them.
    pub handed_over: HandedOver,
}

/// Files that stage 1 left for the agent.
#[derive(Debug, Clone)]
pub struct HandedOver {
    /// The boot manifest of the initrd.
    pub manifest: PathBuf,
    /// The statement of the configuration that was opened.
    pub statement: PathBuf,
}

/// The key of a node without a seed, for this boot.
#[derive(Debug)]
pub struct Stranger {
    _key: EphemeralPrivateKey,
    fingerprint: String,
}

impl Stranger {
    /// Makes a key.
    pub fn new() -> Result<Self, ShardError> {
        let key =
            EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| ShardError::Key)?;
        let public = key.compute_public_key().map_err(|_| ShardError::Key)?;
        Ok(Self { fingerprint: hex::encode(sha256(&[public.as_ref()])), _key: key })
    }

    /// SHA-256 of the public key, hexadecimal.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// One attempt to find out who this node is.
pub fn attempt(
    places: &Places,
    handover: &Handover,
    stranger: &Stranger,
) -> Result<Step<Identity>, ShardError> {
    let (release, statement) = documents::accepted(&places.handed_over, handover)?;
    let cluster = documents::cluster(&places.configuration, &statement)?;
    let trust = Trust {
        keys: cluster.seed_keys.iter().map(|key| PublicKey::new(*key.bytes())).collect(),
        cluster_id: statement.cluster_id,
    };
    let candidates = media::find(&places.root, &handover.boot_device).map_err(ShardError::Look)?;
    let seed::Judged { found, skipped } = seed::judge(candidates, &trust)?;
    let Some(seed::Found { device, seed }) = found else {
        let nothing = if skipped.is_empty() { "no seed on any device" } else { "no usable seed" };
        let note = format!(
            "{nothing}; attach one, or approve this node by its key {}{}",
            stranger.fingerprint(),
            listed(&skipped)
        );
        return Ok(Step::Waiting { on: "seed".into(), note: Some(note) });
    };
    let shard = documents::shard(&places.configuration, &cluster, &seed.node)?;
    let booted = Booted { release, generation: statement.generation };
    let newer = floors::judge(&booted, &Claimed::of(&seed), shard.incarnation)?;
    let demo = if cluster.demo_keys { "DEMO KEYS, published secrets, not for real use; " } else { "" };
    let newer = newer.map(|newer| format!(", {newer}")).unwrap_or_default();
    let incarnation = seed.incarnation;
    let note = format!("{demo}seed on {device}, incarnation {incarnation}{newer}{}", listed(&skipped));
    let floors = floors::accepted(&booted, &seed, statement.minimum_release.as_ref());
    let identity = Identity { cluster, shard, seed, release: booted.release, floors };
    Ok(Step::Unchanged { output: identity, note: Some(note) })
}

/// How many skipped candidates a record names, so that it is not cut.
const NAMED: usize = 3;

fn listed(skipped: &[Skipped]) -> String {
    let mut text = String::new();
    for (at, candidate) in skipped.iter().take(NAMED).enumerate() {
        // Writing to a String does not fail.
        let _written = write!(text, "{}{candidate}", if at == 0 { "; skipped: " } else { "; " });
    }
    if skipped.len() > NAMED {
        let _written = write!(text, "; and {} more", skipped.len() - NAMED);
    }
    text
}

#[cfg(test)]
mod tests;
