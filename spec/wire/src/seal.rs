//! The identity of a sealed volume: the parameters of dm-verity that are not fixed (ADR 0002).

use serde::{Deserialize, Serialize};

use crate::hex32::{RootHash, Salt};

/// The block size of all dm-verity volumes, in bytes.
pub const BLOCK: u64 = 4096;

const MIB: u64 = 1 << 20;

/// A sealed volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Volume {
    /// The operating system.
    Root,
    /// The cluster's public configuration.
    Configuration,
    /// Workload binaries and images.
    Payload,
}

impl Volume {
    /// The volume's name, as used in partitions and console records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Configuration => "configuration",
            Self::Payload => "payload",
        }
    }

    /// Maximum size of the data in bytes: the size of the volume's data partition on an adopted disk (ADR 0001).
    pub const fn max_data_bytes(self) -> u64 {
        match self {
            Self::Root => 512 * MIB,
            Self::Configuration => 32 * MIB,
            Self::Payload => 3072 * MIB,
        }
    }
}

/// The parameters of one dm-verity volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// SHA-256 over salt and root block.
    pub root_hash: RootHash,
    /// The salt that is hashed before each block.
    pub salt: Salt,
    /// The number of data blocks of [`BLOCK`] bytes.
    pub data_blocks: u64,
}

impl Seal {
    /// The length of the data, in bytes.
    pub fn data_bytes(&self) -> u64 {
        self.data_blocks.saturating_mul(BLOCK)
    }

    /// Whether the data is not empty and fits into the volume's data partition.
    pub fn fits(&self, volume: Volume) -> bool {
        (1..=volume.max_data_bytes() / BLOCK).contains(&self.data_blocks)
    }
}
