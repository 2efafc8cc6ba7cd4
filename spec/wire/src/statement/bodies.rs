//! The bodies of the two kinds of statement (ADR 0002). They are parsed only from a [`Verified`] body.

use super::{Domain, Verified};
use crate::document::{self, DocumentError};
use crate::hex32::{ClusterId, RootHash, Salt, Secret32};
use crate::release::Release;
use crate::seal::Seal;
use crate::seal::Volume;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The version of both bodies that this release writes. A body of version 1 has no floors; it is still read, because
/// nodes and their seeds are used longer than a release. An older release refuses version 2, because it would ignore the floors.
pub(super) const VERSION: u64 = 2;

/// The content of the statement that signs a configuration volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationStatement {
    version: u64,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// Increases with each change; a generation below the recorded floor is refused.
    pub generation: u64,
    /// The lowest release that may use this configuration; `None` only in version 1, which requires no release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_release: Option<Release>,
    /// The volume's root hash.
    pub root_hash: RootHash,
    /// The volume's salt.
    pub salt: Salt,
    /// The number of data blocks of the volume.
    pub data_blocks: u64,
}

impl ConfigurationStatement {
    /// Creates a statement of the version that this release writes.
    pub fn new(
        cluster: String,
        cluster_id: ClusterId,
        generation: u64,
        minimum_release: Release,
        seal: Seal,
    ) -> Result<Self, DocumentError> {
        let Seal { root_hash, salt, data_blocks } = seal;
        let (version, minimum_release) = (VERSION, Some(minimum_release));
        let statement =
            Self { version, cluster, cluster_id, generation, minimum_release, root_hash, salt, data_blocks };
        statement.check()?;
        Ok(statement)
    }

    /// Parses a verified body.
    pub fn parse(verified: &Verified<'_>) -> Result<Self, DocumentError> {
        if verified.domain() != Domain::Configuration {
            return Err(DocumentError::Value("domain"));
        }
        Self::parse_body(verified.body())
    }

    pub(super) fn parse_body(body: &str) -> Result<Self, DocumentError> {
        let mut statement: Self = document::parse(body.as_bytes(), VERSION)?;
        match statement.version {
            1 => statement.minimum_release = None, // an unknown field in version 1, so it is ignored (ADR 0003)
            _ if statement.minimum_release.is_none() => {
                return Err(DocumentError::Missing("minimum_release"));
            }
            _ => {}
        }
        statement.check()?;
        Ok(statement)
    }

    /// Serializes the body to sign.
    pub fn emit(&self) -> Result<String, DocumentError> {
        Ok(toml::to_string(self)?)
    }

    /// The parameters for opening the volume.
    pub fn seal(&self) -> Seal {
        Seal { root_hash: self.root_hash, salt: self.salt, data_blocks: self.data_blocks }
    }

    fn check(&self) -> Result<(), DocumentError> {
        for (field, is_valid) in [
            ("cluster", document::is_name(&self.cluster)),
            ("generation", i64::try_from(self.generation).is_ok()),
            ("data_blocks", self.seal().fits(Volume::Configuration)),
        ] {
            if !is_valid {
                return Err(DocumentError::Value(field));
            }
        }
        Ok(())
    }
}

/// The lowest generation and release that the node of a seed may boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floors {
    /// The lowest generation of the configuration.
    pub generation: u64,
    /// The lowest release of kubedOS.
    pub release: Release,
}

impl Floors {
    /// The floors of a body of `version` with these fields: `None` in version 1, which has none.
    pub(super) fn read(
        version: u64,
        generation: Option<u64>,
        release: Option<Release>,
    ) -> Result<Option<Self>, DocumentError> {
        if version == 1 {
            return Ok(None);
        }
        let generation = generation.ok_or(DocumentError::Missing("generation_floor"))?;
        let release = release.ok_or(DocumentError::Missing("minimum_release"))?;
        Ok(Some(Self { generation, release }))
    }
}

/// The secrets of one node and one incarnation. No `Debug`; zeroized when dropped.
#[expect(missing_debug_implementations, reason = "secrets must not be printed")]
pub struct Seed {
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The node's name.
    pub node: String,
    /// The incarnation, from 1; a replaced node has the next one.
    pub incarnation: u32,
    /// The lowest generation and release that the node may boot; `None` in a seed of version 1, which has no floors.
    pub floors: Option<Floors>,
    /// The key that opens STATE and DATA.
    pub disk_key: Secret32,
    /// The X25519 private key of the node's birth address.
    pub birth_key: Secret32,
    /// The one-time right to enrol.
    pub voucher: Option<Zeroizing<String>>,
}

/// The fields of a seed, for parsing.
#[derive(Deserialize)]
struct SeedText {
    version: u64,
    cluster: String,
    cluster_id: ClusterId,
    node: String,
    incarnation: u32,
    generation_floor: Option<u64>,
    minimum_release: Option<Release>,
    disk_key: Secret32,
    birth_key: Secret32,
    voucher: Option<Zeroizing<String>>,
}

/// The fields of a seed, borrowed for serializing, so that no secret is copied.
#[derive(Serialize)]
struct SeedBody<'a> {
    version: u64,
    cluster: &'a str,
    cluster_id: ClusterId,
    node: &'a str,
    incarnation: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation_floor: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum_release: Option<&'a Release>,
    disk_key: &'a Secret32,
    birth_key: &'a Secret32,
    #[serde(skip_serializing_if = "Option::is_none")]
    voucher: Option<&'a str>,
}

impl Seed {
    /// Parses a verified body.
    pub fn parse(verified: &Verified<'_>) -> Result<Self, DocumentError> {
        if verified.domain() != Domain::Seed {
            return Err(DocumentError::Value("domain"));
        }
        let text: SeedText =
            document::parse(verified.body().as_bytes(), VERSION).map_err(document::without_content)?;
        let SeedText { cluster, cluster_id, node, incarnation, disk_key, birth_key, voucher, .. } = text;
        let floors = Floors::read(text.version, text.generation_floor, text.minimum_release)?;
        let seed = Self { cluster, cluster_id, node, incarnation, floors, disk_key, birth_key, voucher };
        seed.check()?;
        Ok(seed)
    }

    /// Serializes the body to sign, in the lowest version that can contain it; zeroized when dropped.
    pub fn emit(&self) -> Result<Zeroizing<String>, DocumentError> {
        self.check()?;
        let body = SeedBody {
            version: if self.floors.is_some() { VERSION } else { 1 },
            cluster: &self.cluster,
            cluster_id: self.cluster_id,
            node: &self.node,
            incarnation: self.incarnation,
            generation_floor: self.floors.as_ref().map(|floors| floors.generation),
            minimum_release: self.floors.as_ref().map(|floors| &floors.release),
            disk_key: &self.disk_key,
            birth_key: &self.birth_key,
            voucher: self.voucher.as_ref().map(|voucher| voucher.as_str()),
        };
        Ok(Zeroizing::new(toml::to_string(&body)?))
    }

    fn check(&self) -> Result<(), DocumentError> {
        let generation = self.floors.as_ref().map_or(0, |floors| floors.generation);
        for (field, is_valid) in [
            ("cluster", document::is_name(&self.cluster)),
            ("node", document::is_name(&self.node)),
            ("incarnation", self.incarnation > 0),
            ("generation_floor", i64::try_from(generation).is_ok()),
            ("voucher", self.voucher.as_ref().is_none_or(|voucher| (1..=4096).contains(&voucher.len()))),
        ] {
            if !is_valid {
                return Err(DocumentError::Value(field));
            }
        }
        Ok(())
    }
}
