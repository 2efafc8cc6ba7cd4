//! The differences between the packages of two locks, as lines for people and as JSON.
//!
//! Packages are compared by name. A change of version, of content under the same version, or of sets is a separate [`Change`]. The signed
//! indices are not compared.

use std::collections::BTreeMap;
use std::fmt;

use kubedos_wire::printable::Row;
use serde::Serialize;

use super::LockedPackage;

/// One package that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    /// The package is new.
    Added {
        /// The package's name.
        package: String,
        /// The version.
        version: String,
        /// The sets.
        sets: Vec<String>,
    },
    /// The package was removed.
    Removed {
        /// The package's name.
        package: String,
        /// The previous version.
        version: String,
    },
    /// The version changed.
    Version {
        /// The package's name.
        package: String,
        /// The old value.
        from: String,
        /// The new value.
        to: String,
    },
    /// The version is the same, but the digest, size or path differs.
    Content {
        /// The package's name.
        package: String,
        /// The version.
        version: String,
    },
    /// The sets changed.
    Sets {
        /// The package's name.
        package: String,
        /// The old value.
        from: Vec<String>,
        /// The new value.
        to: Vec<String>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { package, version, sets } => {
                write!(f, "+ {package} {version} ({})", sets.join(", "))
            }
            Self::Removed { package, version } => write!(f, "- {package} {version}"),
            Self::Version { package, from, to } => write!(f, "~ {package} {from} -> {to}"),
            Self::Content { package, version } => {
                write!(f, "! {package} {version}: same version, different content")
            }
            Self::Sets { package, from, to } => {
                write!(f, "~ {package}: in {} -> {}", from.join(", "), to.join(", "))
            }
        }
    }
}

/// All differences, by package.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Difference(pub Vec<Change>);

impl Difference {
    /// Compares two lists of packages.
    pub fn between(before: &[LockedPackage], after: &[LockedPackage]) -> Self {
        let by_name = |packages| -> BTreeMap<&str, &LockedPackage> {
            let packages: &[LockedPackage] = packages;
            packages.iter().map(|package| (package.name.as_str(), package)).collect()
        };
        let (before, after) = (by_name(before), by_name(after));
        let mut changes = Vec::new();
        for (name, old) in &before {
            let package = (*name).to_owned();
            let Some(new) = after.get(name) else {
                changes.push(Change::Removed { package, version: old.version.to_string() });
                continue;
            };
            let (from, to) = (old.version.to_string(), new.version.to_string());
            if from != to {
                changes.push(Change::Version { package: package.clone(), from, to });
            } else if (old.sha256, old.size, &old.path) != (new.sha256, new.size, &new.path) {
                changes.push(Change::Content { package: package.clone(), version: to });
            }
            if old.sets != new.sets {
                changes.push(Change::Sets { package, from: old.sets.clone(), to: new.sets.clone() });
            }
        }
        for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
            let (version, sets) = (new.version.to_string(), new.sets.clone());
            changes.push(Change::Added { package: (*name).to_owned(), version, sets });
        }
        Self(changes)
    }

    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|change| writeln!(f, "{}", Row(format_args!("{change}"))))
    }
}
