//! The two `keys.toml`: which secrets there are, and what their public halves are. Unknown fields and versions are refused (ADR 0003).

use std::path::Path;

use kubedos_wire::hex32::PublicKey;
use serde::{Deserialize, Serialize};

use super::{KeyError, PublicKeys, files};

/// What this release writes and reads.
pub(super) const VERSION: u32 = 1;

/// `keys.toml` of the directory: file names of the secrets in use.
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

/// `public/keys.toml`. In lists, the newest is last and signs; the others are still accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PublicIndex {
    pub(super) version: u32,
    pub(super) cluster: String,
    /// The committed demo keys, which protect nothing.
    pub(super) demo: bool,
    /// The first configuration key there ever was: the cluster's id is made of it (ADR 0002), and outlives it.
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
    /// Seconds since 1970 that the enrolment files are stamped with; each rotation has a later one.
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
            return refuse("it is of another cluster than the public half");
        }
        if names.into_iter().any(|name| !files::is_plain(name)) {
            return refuse("it names a file elsewhere");
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
            return refuse("a kind of key has no key");
        }
        let single = [&self.root_ca, &self.secure_boot.pk, &self.secure_boot.kek];
        let mut names = single.into_iter().chain(&self.intermediate_ca).chain(&self.secure_boot.db);
        if names.any(|name| !files::is_plain(name)) {
            return refuse("it names a file elsewhere");
        }
        Ok(())
    }
}
