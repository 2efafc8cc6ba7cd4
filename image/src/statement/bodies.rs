//! What the two kinds of statement say (ADR 0002). Both are parsed from a [`Verified`] body only.

use super::{Domain, Verified};
use crate::boot::Seal;
use crate::document::{self, DocumentError};
use crate::hex32::{ClusterId, RootHash, Salt, Secret32};
use crate::layout::Volume;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What a configuration volume's signature covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationStatement {
    /// Always 1.
    version: u64,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// Counts up with each change; one below the remembered floor is refused.
    pub generation: u64,
    /// The volume's root hash.
    pub root_hash: RootHash,
    /// The volume's salt.
    pub salt: Salt,
    /// The volume's data blocks.
    pub data_blocks: u64,
}

impl ConfigurationStatement {
    /// A statement of the version that this release writes.
    pub fn new(
        cluster: String,
        cluster_id: ClusterId,
        generation: u64,
        seal: Seal,
    ) -> Result<Self, DocumentError> {
        let Seal { root_hash, salt, data_blocks } = seal;
        let statement = Self { version: 1, cluster, cluster_id, generation, root_hash, salt, data_blocks };
        statement.check()?;
        Ok(statement)
    }

    /// Reads a verified body.
    pub fn parse(verified: &Verified<'_>) -> Result<Self, DocumentError> {
        if verified.domain() != Domain::Configuration {
            return Err(DocumentError::Value("domain"));
        }
        Self::parse_body(verified.body())
    }

    pub(super) fn parse_body(body: &str) -> Result<Self, DocumentError> {
        let statement: Self = document::parse(body.as_bytes())?;
        statement.check()?;
        Ok(statement)
    }

    /// The body to sign.
    pub fn emit(&self) -> Result<String, DocumentError> {
        toml::to_string(self).map_err(|error| DocumentError::Form(error.to_string()))
    }

    /// How to open the volume.
    pub fn seal(&self) -> Seal {
        Seal { root_hash: self.root_hash, salt: self.salt, data_blocks: self.data_blocks }
    }

    fn check(&self) -> Result<(), DocumentError> {
        for (field, holds) in [
            ("cluster", document::is_name(&self.cluster)),
            ("generation", i64::try_from(self.generation).is_ok()),
            ("data_blocks", self.seal().fits(Volume::Configuration)),
        ] {
            if !holds {
                return Err(DocumentError::Value(field));
            }
        }
        Ok(())
    }
}

/// The secrets of one node and one incarnation. No `Debug`; wiped when dropped.
#[derive(Serialize, Deserialize)]
#[expect(missing_debug_implementations, reason = "secrets must not be printed")]
pub struct Seed {
    /// Always 1.
    version: u64,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The node's name.
    pub node: String,
    /// From 1; a replaced node has the next one.
    pub incarnation: u32,
    /// Opens STATE and DATA.
    pub disk_key: Secret32,
    /// The X25519 private key of the node's birth address.
    pub birth_key: Secret32,
    /// The one-time right to enrol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voucher: Option<Zeroizing<String>>,
}

/// What a seed says about whose it is, and its secrets.
#[expect(missing_debug_implementations, reason = "secrets must not be printed")]
pub struct SeedParts {
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The node's name.
    pub node: String,
    /// From 1.
    pub incarnation: u32,
    /// Opens STATE and DATA.
    pub disk_key: Secret32,
    /// The X25519 private key of the birth address.
    pub birth_key: Secret32,
    /// The one-time right to enrol.
    pub voucher: Option<Zeroizing<String>>,
}

impl Seed {
    /// A seed of the version that this release writes.
    pub fn new(parts: SeedParts) -> Result<Self, DocumentError> {
        let SeedParts { cluster, cluster_id, node, incarnation, disk_key, birth_key, voucher } = parts;
        let seed = Self { version: 1, cluster, cluster_id, node, incarnation, disk_key, birth_key, voucher };
        seed.check()?;
        Ok(seed)
    }

    /// Reads a verified body.
    pub fn parse(verified: &Verified<'_>) -> Result<Self, DocumentError> {
        if verified.domain() != Domain::Seed {
            return Err(DocumentError::Value("domain"));
        }
        let seed: Self = document::parse(verified.body().as_bytes()).map_err(document::without_content)?;
        seed.check()?;
        Ok(seed)
    }

    /// The body to sign; wiped when dropped.
    pub fn emit(&self) -> Result<Zeroizing<String>, DocumentError> {
        toml::to_string(self).map(Zeroizing::new).map_err(|error| DocumentError::Form(error.to_string()))
    }

    fn check(&self) -> Result<(), DocumentError> {
        for (field, holds) in [
            ("cluster", document::is_name(&self.cluster)),
            ("node", document::is_name(&self.node)),
            ("incarnation", self.incarnation > 0),
            ("voucher", self.voucher.as_ref().is_none_or(|voucher| (1..=4096).contains(&voucher.len()))),
        ] {
            if !holds {
                return Err(DocumentError::Value(field));
            }
        }
        Ok(())
    }
}
