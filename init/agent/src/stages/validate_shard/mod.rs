//! The ValidateShard stage determines the identity of the node. The cluster document and the node's shard come from the
//! signed configuration volume; the node's name and secrets come from its seed. All of them must agree, and no value may
//! be below a floor ([`floors`]). The stage makes no change, so its outcome is always `unchanged`.
//!
//! Without a usable seed the node waits, and shows the fingerprint of a key that it generated for this boot. The
//! attached media are examined again in every attempt.

mod documents;
pub mod floors;

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use kubedos_wire::accept;
use kubedos_wire::document::DocumentError;
use kubedos_wire::hex32::sha256;
use kubedos_wire::node::{ClusterDocument, Roster, Shard};
use kubedos_wire::release::Release;
use kubedos_wire::statement::{Floors, Seed};
use ring::agreement::{EphemeralPrivateKey, X25519};
use ring::rand::SystemRandom;

use self::floors::{Booted, Claimed, FloorError};
use crate::seed::{self, Skipped, Trust, TwoSeeds, media};
use kubedos_base::outcome::{Class, Classified, Step};
use kubedos_wire::handover::Handover;

/// The identity of the node, for later stages.
#[expect(missing_debug_implementations, reason = "contains the seed's secrets")]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterDocument,
    /// The node's shard.
    pub shard: Shard,
    /// The nodes with their keys on the planes; only in a lab with the demo keys.
    pub roster: Option<Roster>,
    /// The node's secrets.
    pub seed: Seed,
    /// The disk or partition with the seed.
    pub seed_device: String,
    /// The running release.
    pub release: Release,
    /// The floors for later boots: the generation of the running configuration, and the floors of the seed and of the
    /// configuration.
    pub floors: Floors,
}

/// Why the identity of the node could not be determined.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// A document cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The boot manifest from stage 1 cannot be used.
    #[error("the boot manifest cannot be used")]
    Manifest(#[source] DocumentError),
    /// This image does not accept the configuration that stage 1 opened.
    #[error("the configuration is not accepted")]
    NotAccepted(#[from] accept::Refusal),
    /// A document is not valid.
    #[error("{path} cannot be used")]
    Document {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: DocumentError,
    },
    /// Two documents of the boot have different values in a field that must be equal.
    #[error("{field} is {inside} in {place}, but {outside} in {reference}")]
    Disagrees {
        /// The field that differs.
        field: &'static str,
        /// The document that is checked.
        place: &'static str,
        /// The field's value in `place`.
        inside: String,
        /// The document that was checked before.
        reference: &'static str,
        /// The field's value in `reference`.
        outside: String,
    },
    /// The configuration has no shard for the node.
    #[error(
        "the seed is for node {node}, but the configuration (generation {generation}) has no shard for this node"
    )]
    NoShard {
        /// The node's name in the seed.
        node: String,
        /// The generation of the configuration.
        generation: u64,
    },
    /// Two different seeds are attached.
    #[error(transparent)]
    Seeds(#[from] TwoSeeds),
    /// The boot is below a floor.
    #[error(transparent)]
    Floor(#[from] FloorError),
    /// The devices cannot be listed.
    #[error("failed to search for a seed")]
    Look(#[source] io::Error),
    /// The kernel provided no randomness.
    #[error("failed to generate a key")]
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

/// The paths that the stage reads.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folder that contains `sys` and `dev`.
    pub root: PathBuf,
    /// The configuration volume.
    pub configuration: PathBuf,
    /// The boot manifest and the statement of the configuration, from stage 1.
    pub handed_over: HandedOver,
}

/// Files that stage 1 handed over to the agent.
#[derive(Debug, Clone)]
pub struct HandedOver {
    /// The boot manifest of the initrd.
    pub manifest: PathBuf,
    /// The statement of the configuration that was opened.
    pub statement: PathBuf,
}

/// The key of a node without a seed; it lasts for this boot.
#[derive(Debug)]
pub struct UnenrolledKey {
    _key: EphemeralPrivateKey,
    fingerprint: String,
}

impl UnenrolledKey {
    /// Generates a key.
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

/// One attempt to determine the identity of the node.
pub fn attempt(
    places: &Places,
    handover: &Handover,
    unenrolled_key: &UnenrolledKey,
) -> Result<Step<Identity>, ShardError> {
    let (release, statement) = documents::accepted(&places.handed_over, handover)?;
    let cluster = documents::cluster(&places.configuration, &statement)?;
    let roster = documents::roster(&places.configuration, &cluster)?;
    let trust = Trust { keys: cluster.seed_keys.clone(), cluster_id: statement.cluster_id };
    let candidates = media::find(&places.root, &handover.boot_device).map_err(ShardError::Look)?;
    let seed::Judged { found, skipped } = seed::judge(candidates, &trust)?;
    let Some(seed::Found { device, seed }) = found else {
        let missing = if skipped.is_empty() { "no seed on any device" } else { "no usable seed" };
        let note = format!(
            "{missing}; attach a seed from `kubedos-build seed` (fingerprint of the key of this node: {}){}",
            unenrolled_key.fingerprint(),
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
    let release = booted.release;
    let identity = Identity { cluster, shard, roster, seed, seed_device: device, release, floors };
    Ok(Step::Unchanged { output: identity, note: Some(note) })
}

/// Maximum number of skipped candidates that a record lists, so that the record is not truncated.
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
