//! The two `keys.toml`: the list of the secrets, and their public halves. Unknown fields and versions are rejected (ADR 0003).

use std::path::Path;

use kubedos_wire::hex32::PublicKey;
use serde::{Deserialize, Serialize};

use super::{KeyError, PublicKeys};
use crate::output::is_plain;

/// The version that this release reads and writes.
pub(super) const VERSION: u32 = 1;

/// `keys.toml` of the key directory: the file names of the secrets in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PrivateIndex {
    pub(super) version: u32,
    pub(super) cluster: String,
    pub(super) root_ca: String,
    pub(super) intermediate_ca: String,
    pub(super) configuration: String,
    pub(super) seed: String,
    pub(super) node_master: String,
    pub(super) pk: String,
    pub(super) kek: String,
    pub(super) db: String,
}

/// `public/keys.toml`. The last element of a list is the newest and is used for signing; the others are still accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublicIndex {
    pub(super) version: u32,
    pub(super) cluster: String,
    /// Whether these are the committed demo keys. They are published, so they do not protect anything.
    pub(super) demo: bool,
    /// The cluster identity key: the first configuration key. The cluster's id is derived from it (ADR 0002), also after the key is
    /// dropped.
    pub(super) identity: PublicKey,
    pub(super) configuration: Vec<PublicKey>,
    pub(super) seed: Vec<PublicKey>,
    pub(super) root_ca: String,
    pub(super) intermediate_ca: Vec<String>,
    pub(super) secure_boot: SecureBootIndex,
}

/// The Secure Boot part of the public half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecureBootIndex {
    /// The time stamp of the enrolment files in seconds since 1970; each rotation increases it.
    pub(super) time: u64,
    pub(super) pk: String,
    pub(super) kek: String,
    pub(super) db: Vec<String>,
}

impl PrivateIndex {
    pub(super) fn check(&self, path: &Path, public: &PublicKeys) -> Result<(), KeyError> {
        let names = [
            &self.root_ca,
            &self.intermediate_ca,
            &self.configuration,
            &self.seed,
            &self.node_master,
            &self.pk,
            &self.kek,
            &self.db,
        ];
        let refuse = |rule| Err(KeyError::Rule { path: path.to_owned(), rule });
        if self.version != VERSION {
            return refuse("its version is not 1");
        }
        if self.cluster != public.cluster {
            return refuse("its cluster differs from that of the public half");
        }
        if names.into_iter().any(|name| !is_plain(name)) {
            return refuse("it refers to a file outside its folder");
        }
        Ok(())
    }
}

impl PublicIndex {
    pub(super) fn check(&self, path: &Path) -> Result<(), KeyError> {
        let refuse = |rule| Err(KeyError::Rule { path: path.to_owned(), rule });
        if self.version != VERSION {
            return refuse("its version is not 1");
        }
        if self.configuration.is_empty()
            || self.seed.is_empty()
            || self.intermediate_ca.is_empty()
            || self.secure_boot.db.is_empty()
        {
            return refuse("a list of keys is empty");
        }
        let single = [&self.root_ca, &self.secure_boot.pk, &self.secure_boot.kek];
        let mut names = single.into_iter().chain(&self.intermediate_ca).chain(&self.secure_boot.db);
        if names.any(|name| !is_plain(name)) {
            return refuse("it refers to a file outside its folder");
        }
        Ok(())
    }
}
