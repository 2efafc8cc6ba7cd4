//! `rootfs/packages.toml`: the trusted archives, the root packages of each set, and the dependencies that are cut.
//!
//! Unknown fields are errors. Every cut needs a reason, every set needs a root, and a cut names only sets of the file. That a cut has an
//! effect is checked by the resolver.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::mirror::Archive;
use crate::release::keyring::Fingerprint;

/// A selection that cannot be used.
#[derive(Debug, Error)]
pub enum SelectionError {
    /// The file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The text is not a selection.
    #[error("{path} is malformed")]
    Parse {
        /// The path of the file.
        path: PathBuf,
        /// The cause, with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The format version is not supported.
    #[error("{path} has version {version}, but only version 1 is supported")]
    Version {
        /// The path of the file.
        path: PathBuf,
        /// The version in the file.
        version: u32,
    },
    /// A cut names an unknown set.
    #[error("{path}: the cut of {package} names the unknown set {set}")]
    UnknownSet {
        /// The path of the file.
        path: PathBuf,
        /// The cut's package.
        package: String,
        /// The set.
        set: String,
    },
    /// A cut without a reason, or a set without roots.
    #[error("{path}: {what} is empty")]
    Empty {
        /// The path of the file.
        path: PathBuf,
        /// The empty part.
        what: String,
    },
}

/// The content of the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// The format version, 1.
    pub version: u32,
    /// The architecture of the locked packages.
    pub architecture: String,
    /// The suites. Of equal versions, the one from the first suite in the list is used.
    #[serde(rename = "archive")]
    pub archives: Vec<Suite>,
    /// The sets by name.
    #[serde(rename = "set")]
    pub sets: BTreeMap<String, Set>,
    /// Dependencies that are not followed.
    #[serde(rename = "cut", default)]
    pub cuts: Vec<Cut>,
}

/// A suite and the keys that may sign it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The code name, as in the `Codename` field of its `Release` file.
    pub suite: String,
    /// The archive that contains the suite.
    pub mirror: Archive,
    /// Its components.
    pub components: Vec<String>,
    /// Primary fingerprints of the keys that may sign it; their certificates are in `rootfs/keyrings/`.
    pub keys: Vec<Fingerprint>,
    /// If set, only packages with these names are used from this suite.
    #[serde(default)]
    pub only: Option<Vec<String>>,
}

/// A named group of packages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// The purpose of the set.
    pub about: String,
    /// The names of the root packages.
    pub roots: Vec<String>,
}

/// A dependency that the resolver does not follow.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// The name of the package that is left out.
    pub package: String,
    /// The sets to which the cut applies; all sets if absent.
    #[serde(default)]
    pub sets: Option<Vec<String>>,
    /// Why no program of the set needs the package.
    pub reason: String,
}

impl Selection {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, SelectionError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| SelectionError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Parses the text of the file. `path` is used in errors only.
    pub fn parse(text: &str, path: &Path) -> Result<Self, SelectionError> {
        let path = || path.to_owned();
        let selection: Self = toml::from_str(text)
            .map_err(|source| SelectionError::Parse { path: path(), source: Box::new(source) })?;
        if selection.version != 1 {
            return Err(SelectionError::Version { path: path(), version: selection.version });
        }
        for (name, set) in &selection.sets {
            if set.roots.is_empty() {
                return Err(SelectionError::Empty { path: path(), what: format!("set.{name}.roots") });
            }
        }
        for cut in &selection.cuts {
            if cut.reason.trim().is_empty() {
                return Err(SelectionError::Empty {
                    path: path(),
                    what: format!("the reason to cut {}", cut.package),
                });
            }
            let unknown = cut.sets.iter().flatten().find(|set| !selection.sets.contains_key(*set));
            if let Some(set) = unknown {
                let (package, set) = (cut.package.clone(), set.clone());
                return Err(SelectionError::UnknownSet { path: path(), package, set });
            }
        }
        Ok(selection)
    }
}

impl Cut {
    /// Whether the cut applies to a set.
    pub fn holds_in(&self, set: &str) -> bool {
        self.sets.as_ref().is_none_or(|sets| sets.iter().any(|name| name == set))
    }
}
