//! The hand-over from stage 1 to the agent (ADR 0002): what was booted, from where, and where the count of records stands.
//!
//! Stage 1 writes it before it enters the root volume, the agent reads it; both are of one release, but unknown fields are
//! ignored all the same (ADR 0003).

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where the hand-over lies.
pub const PATH: &str = "/run/kubedos/handover.toml";

/// Where stage 1 leaves a copy of the initrd's boot manifest: the agent judges configurations by it.
pub const MANIFEST: &str = "/run/kubedos/verity.toml";

/// Where stage 1 leaves the signed statement of the configuration that it opened.
pub const STATEMENT: &str = "/run/kubedos/configuration.kst";

/// Where the agent keeps the count of records over its own restarts.
pub const RECORD_COUNTER: &str = "/run/kubedos/records";

/// Where the payload volume is mounted.
pub const PAYLOAD: &str = "/usr/lib/kubedos/payload";

/// Where the configuration volume is mounted.
pub const CONFIGURATION: &str = "/usr/lib/kubedos/configuration";

/// The version that this release writes and understands.
pub const VERSION: u32 = 1;

/// What the node was booted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// A disk, a stick among them.
    Disk,
    /// An optical drive, read through a loop device.
    Cd,
}

/// What stage 1 tells the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// [`VERSION`].
    pub version: u32,
    /// kubedOS's release.
    pub release: String,
    /// Kernel name of the whole device that holds the volumes (`vda`, `sr0`).
    pub boot_device: String,
    /// UUID of the partition that firmware loaded the UKI from; absent where firmware did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_partuuid: Option<String>,
    /// Disk or CD.
    pub medium: Medium,
    /// Root hash of the root volume, hexadecimal.
    pub root_hash: String,
    /// Root hash of the payload volume.
    pub payload_hash: String,
    /// Root hash of the configuration volume.
    pub configuration_hash: String,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id (ADR 0002), hexadecimal.
    pub cluster_id: String,
    /// The configuration's generation.
    pub generation: u64,
    /// The `n` of the next console record.
    pub record_count: u64,
    /// The floor of the clock, seconds since 1970.
    pub epoch: u64,
}

/// Why there is no hand-over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The file cannot be read or written.
    #[error("failed to access the hand-over of stage 1")]
    Access(#[source] io::Error),
    /// It is not what stage 1 writes.
    #[error("failed to read the hand-over of stage 1")]
    Parse(#[source] toml::de::Error),
    /// It could not be turned into text.
    #[error("failed to write the hand-over of stage 1")]
    Write(#[source] toml::ser::Error),
    /// Another version wrote it.
    #[error("hand-over of stage 1 has version {0}, only version 1 is understood")]
    Version(u32),
}

impl Handover {
    /// Reads a hand-over.
    pub fn read(path: &Path) -> Result<Self, HandoverError> {
        Self::parse(&fs::read_to_string(path).map_err(HandoverError::Access)?)
    }

    /// Writes a hand-over, and the folders above it.
    pub fn write(&self, path: &Path) -> Result<(), HandoverError> {
        let text = self.emit()?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(HandoverError::Access)?;
        }
        fs::write(path, text).map_err(HandoverError::Access)
    }

    /// A hand-over as text.
    pub fn emit(&self) -> Result<String, HandoverError> {
        toml::to_string(self).map_err(HandoverError::Write)
    }

    /// Parses a hand-over.
    pub fn parse(text: &str) -> Result<Self, HandoverError> {
        let handover: Self = toml::from_str(text).map_err(HandoverError::Parse)?;
        if handover.version == VERSION { Ok(handover) } else { Err(HandoverError::Version(handover.version)) }
    }
}

/// Writes a file beside the hand-over.
///
/// # Errors
/// [`HandoverError::Access`].
pub fn keep(path: &Path, bytes: &[u8]) -> Result<(), HandoverError> {
    fs::write(path, bytes).map_err(HandoverError::Access)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stage_1_writes_the_agent_reads_and_unknown_fields_are_ignored() {
        let handover = Handover {
            version: VERSION,
            release: "0.1.0".into(),
            boot_device: "vda".into(),
            boot_partuuid: None,
            medium: Medium::Disk,
            root_hash: "00".repeat(32),
            payload_hash: "11".repeat(32),
            configuration_hash: "22".repeat(32),
            cluster: "lab".into(),
            cluster_id: "33".repeat(32),
            generation: 4,
            record_count: 13,
            epoch: 1_763_300_000,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubedos/handover.toml");
        handover.write(&path).unwrap();
        assert_eq!(Handover::read(&path).unwrap(), handover);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(Handover::parse(&format!("later = 1\n{text}")).unwrap(), handover);
        let newer = text.replace("version = 1", "version = 2");
        assert!(matches!(Handover::parse(&newer), Err(HandoverError::Version(2))));
    }
}
