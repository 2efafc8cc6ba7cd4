//! `rootfs/packages.toml`: which archives are trusted, which packages are asked for, and which of their dependencies are not followed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use crate::mirror::Archive;
use crate::release::keyring::Fingerprint;

/// Why the selection cannot be used.
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
    /// It is no selection.
    #[error("{path} is malformed")]
    Parse {
        /// The path of the file.
        path: PathBuf,
        /// Why, with line and column.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A version that is not understood.
    #[error("{path} is of version {version}; version 1 is understood")]
    Version {
        /// The path of the file.
        path: PathBuf,
        /// What it says.
        version: u32,
    },
    /// A cut names a set that is not there.
    #[error("{path}: the cut of {package} names the set {set}, which is not there")]
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
        /// What is empty.
        what: String,
    },
}

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Version of the form: 1.
    pub version: u32,
    /// The architecture that is locked.
    pub architecture: String,
    /// The suites, the more preferred first where versions are equal.
    #[serde(rename = "archive")]
    pub archives: Vec<Suite>,
    /// The sets by name.
    #[serde(rename = "set")]
    pub sets: BTreeMap<String, Set>,
    /// Dependencies that are not followed.
    #[serde(rename = "cut", default)]
    pub cuts: Vec<Cut>,
}

/// A suite and who may sign it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its code name, as its `Release` file says.
    pub suite: String,
    /// The archive whose mirror has it.
    pub mirror: Archive,
    /// Its components.
    pub components: Vec<String>,
    /// Primary fingerprints of the keys that may sign it; their certificates are in `rootfs/keyrings/`.
    pub keys: Vec<Fingerprint>,
    /// Where given, only packages of these names are taken from it.
    #[serde(default)]
    pub only: Option<Vec<String>>,
}

/// Packages that are asked for together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// What it is for.
    pub about: String,
    /// The packages that are asked for by name.
    pub roots: Vec<String>,
}

/// A dependency that is not followed, wherever it is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// The package that would be taken in.
    pub package: String,
    /// The sets that it is cut from; all, where it is not given.
    #[serde(default)]
    pub sets: Option<Vec<String>>,
    /// Why nothing that we run needs it.
    pub reason: String,
}

impl Selection {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, SelectionError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| SelectionError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path)
    }

    /// Reads its text; `path` is for errors.
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
    /// Whether it holds in a set.
    pub fn holds_in(&self, set: &str) -> bool {
        self.sets.as_ref().is_none_or(|sets| sets.iter().any(|name| name == set))
    }
}
