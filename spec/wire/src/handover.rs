//! The hand-over from stage 1 to the agent (ADR 0002): the booted volumes, their device, and the count of records.
//!
//! Stage 1 writes it before it enters the root volume, and the agent of the same release reads it. Unknown fields are
//! ignored (ADR 0003).

use serde::{Deserialize, Serialize};

/// Path of the hand-over.
pub const PATH: &str = "/run/kubedos/handover.toml";

/// Path of the copy of the initrd's boot manifest that stage 1 writes: the agent checks configurations with it.
pub const MANIFEST: &str = "/run/kubedos/verity.toml";

/// Path of the signed statement of the opened configuration, which stage 1 writes.
pub const STATEMENT: &str = "/run/kubedos/configuration.kst";

/// Path of the file in which the agent keeps the count of records across its own restarts.
pub const RECORD_COUNTER: &str = "/run/kubedos/records";

/// Mount point of the payload volume.
pub const PAYLOAD: &str = "/usr/lib/kubedos/payload";

/// Mount point of the configuration volume.
pub const CONFIGURATION: &str = "/usr/lib/kubedos/configuration";

/// The version that this release writes and supports.
pub const VERSION: u32 = 1;

/// The medium that the node booted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// A disk or a USB stick.
    Disk,
    /// An optical drive, read through a loop device.
    Cd,
}

/// The facts that stage 1 hands over to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// [`VERSION`].
    pub version: u32,
    /// The release of kubedOS.
    pub release: String,
    /// Kernel name of the whole device that contains the volumes (`vda`, `sr0`).
    pub boot_device: String,
    /// UUID of the partition from which firmware loaded the UKI; absent if firmware did not report it.
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

/// Why a hand-over cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The text is not a hand-over.
    #[error("failed to read the hand-over of stage 1")]
    Parse(#[source] toml::de::Error),
    /// The hand-over cannot be serialized.
    #[error("failed to write the hand-over of stage 1")]
    Write(#[source] toml::ser::Error),
    /// Its version is not supported.
    #[error("hand-over of stage 1 has version {0}, only version 1 is supported")]
    Version(u32),
}

impl Handover {
    /// Serializes a hand-over.
    pub fn emit(&self) -> Result<String, HandoverError> {
        toml::to_string(self).map_err(HandoverError::Write)
    }

    /// Parses a hand-over.
    pub fn parse(text: &str) -> Result<Self, HandoverError> {
        let handover: Self = toml::from_str(text).map_err(HandoverError::Parse)?;
        if handover.version == VERSION { Ok(handover) } else { Err(HandoverError::Version(handover.version)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handover_round_trips_and_unknown_fields_are_ignored() {
        let handover = crate::sample::handover();
        let text = handover.emit().unwrap();
        assert_eq!(Handover::parse(&text).unwrap(), handover);
        assert_eq!(Handover::parse(&format!("later = 1\n{text}")).unwrap(), handover);
        let newer = text.replace("version = 1", "version = 2");
        assert!(matches!(Handover::parse(&newer), Err(HandoverError::Version(2))));
    }
}
