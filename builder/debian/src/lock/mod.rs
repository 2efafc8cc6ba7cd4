//! `kubedos.lock`: every package by version, size, digest, suite and pool path; and beside it the proof of where that came from.
//!
//! The lock is data for people and reviews: TOML, sorted, one form. It names no mirror. [`Proof`] holds the signed indices' texts
//! and the packages' stanzas; [`verify`] walks from signature to package. Both files are written together, and the lock names the
//! digest of the proof, so that one cannot be exchanged without the other.

mod difference;
mod proof;
mod relock;
mod update;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cache::Pin;
use crate::digest::Sha256;
use crate::fetch::Source;
use crate::index::version::Version;
use crate::index::{Index, IndexError, Package, is_path_inside};
use crate::mirror::Archive;
use crate::release::Release;
use crate::release::date::Moment;
use crate::release::keyring::Fingerprint;
use crate::resolve::selection::Selection;
use crate::resolve::{Resolution, ResolveError, resolve};
pub use difference::{Change, Difference};
pub use proof::{Proof, ProofError};
pub use relock::relock_missing;
pub use update::{Update, UpdateError};
pub use verify::{Link, VerifyError, verify};

/// The version of the lock's form.
const VERSION: u32 = 1;

const HEAD: &str = "# Made by `kubedos-build lock --update` from rootfs/packages.toml. Not edited by hand; docs/lock.md says what it means.\n\n";

/// Why a lock cannot be used.
#[derive(Debug, Error)]
pub enum LockError {
    /// It cannot be read or written.
    #[error("failed to {what} {path}")]
    Io {
        /// The failed operation, a verb.
        what: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It is not of the lock's form.
    #[error("the lock is malformed")]
    Parse(#[source] Box<toml::de::Error>),
    /// It cannot be written as TOML.
    #[error("the lock cannot be written as TOML")]
    Form(#[source] Box<toml::ser::Error>),
    /// A version that is not understood.
    #[error("the lock is of version {0}; version {VERSION} is understood")]
    Version(u32),
    /// It was edited by hand.
    #[error("the lock was changed by hand: {0}")]
    Edited(String),
    /// The proof cannot be used.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The proof is another lock's.
    #[error("the proof beside the lock is not the one that the lock was written with")]
    OtherProof,
    /// A stanza of the proof cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The selection has no closure over what is locked.
    #[error("the lock does not fit the selection")]
    Resolve(#[from] ResolveError),
    /// A set that is not in the lock.
    #[error("the lock has no set {0}")]
    UnknownSet(String),
}

/// The lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Version of the form: 1.
    pub version: u32,
    /// The architecture of every package.
    pub architecture: String,
    /// Digest of the proof's file.
    pub proof: Sha256,
    /// The signed indices, by suite.
    #[serde(rename = "archive")]
    pub archives: Vec<LockedArchive>,
    /// The packages, by name.
    #[serde(rename = "package", default)]
    pub packages: Vec<LockedPackage>,
}

/// A signed index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedArchive {
    /// The suite.
    pub suite: String,
    /// The archive whose mirrors have it.
    pub mirror: Archive,
    /// When the index was made.
    pub date: Moment,
    /// Digest of the `InRelease` file.
    pub inrelease: Sha256,
    /// Primary fingerprint of the key that signed it.
    pub signer: Fingerprint,
    /// The package indices that were read.
    pub indices: Vec<LockedIndex>,
}

/// A `Packages` file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedIndex {
    /// Its path below `dists/<suite>/`.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 digest.
    pub sha256: Sha256,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// `amd64` or `all`.
    pub architecture: String,
    /// The sets that it is in.
    pub sets: Vec<String>,
    /// The suite that offers it.
    pub suite: String,
    /// The component of the suite.
    pub component: String,
    /// The path below the mirror's base.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 digest.
    pub sha256: Sha256,
    /// Name of the source package.
    pub source: String,
    /// Version of the source package.
    pub source_version: Version,
}

impl LockedPackage {
    fn new(package: &Package, sets: Vec<String>) -> Self {
        Self {
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: package.architecture.clone(),
            sets,
            suite: package.suite.to_string(),
            component: package.component.to_string(),
            path: package.path.clone(),
            size: package.size,
            sha256: package.sha256,
            source: package.source.clone(),
            source_version: package.source_version.clone(),
        }
    }

    /// What its bytes must be.
    pub fn pin(&self) -> Pin {
        Pin { name: format!("{} {}", self.name, self.version), size: self.size, sha256: self.sha256 }
    }
}

impl Lock {
    /// Makes the pair from an answer of the resolver and the releases that it was read from.
    pub fn new(
        selection: &Selection,
        releases: &[Release],
        resolution: &Resolution,
    ) -> Result<(Self, Proof), LockError> {
        let mut archives = Vec::new();
        for suite in &selection.archives {
            let Some(release) = releases.iter().find(|release| release.suite == suite.suite) else {
                continue;
            };
            let indices = suite.components.iter().filter_map(|component| {
                let path = index_path(component, &selection.architecture);
                release.indices.get(&path).map(|(sha256, size)| LockedIndex {
                    path,
                    size: *size,
                    sha256: *sha256,
                })
            });
            archives.push(LockedArchive {
                suite: suite.suite.clone(),
                mirror: suite.mirror,
                date: release.date,
                inrelease: release.sha256,
                signer: release.signer.clone(),
                indices: indices.collect(),
            });
        }
        archives.sort_by(|one, other| one.suite.cmp(&other.suite));
        let packages = resolution.values();
        let packages = packages
            .map(|resolved| LockedPackage::new(&resolved.package, resolved.sets.keys().cloned().collect()));
        let proof = Proof {
            version: proof::VERSION,
            releases: releases.iter().map(|release| (release.suite.clone(), release.text.clone())).collect(),
            stanzas: resolution
                .values()
                .map(|resolved| (resolved.package.name.clone(), resolved.package.stanza.clone()))
                .collect(),
        };
        let lock = Self {
            version: VERSION,
            architecture: selection.architecture.clone(),
            proof: Sha256::of(&proof.encode()?),
            archives,
            packages: packages.collect(),
        };
        Ok((lock, proof))
    }

    /// The lock's text.
    pub fn encode(&self) -> Result<String, LockError> {
        let text = toml::to_string(self).map_err(|source| LockError::Form(Box::new(source)))?;
        Ok(format!("{HEAD}{text}"))
    }

    /// Reads a lock's text, and refuses what its writer never writes.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        /// Read first, so that another version is called that.
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = toml::from_str(text).map_err(|source| LockError::Parse(Box::new(source)))?;
        if head.version != VERSION {
            return Err(LockError::Version(head.version));
        }
        let lock: Self = toml::from_str(text).map_err(|source| LockError::Parse(Box::new(source)))?;
        lock.check()?;
        Ok(lock)
    }

    fn check(&self) -> Result<(), LockError> {
        let edited = |what: String| Err(LockError::Edited(what));
        let is_sorted = |names: Vec<&str>| names.is_sorted_by(|one, other| one < other);
        if !is_sorted(self.packages.iter().map(|package| package.name.as_str()).collect()) {
            return edited("its packages are not sorted, or one stands twice".to_owned());
        }
        if !is_sorted(self.archives.iter().map(|archive| archive.suite.as_str()).collect()) {
            return edited("its archives are not sorted, or one stands twice".to_owned());
        }
        for archive in &self.archives {
            if let Some(index) = archive.indices.iter().find(|index| !is_path_inside(&index.path)) {
                return edited(format!("{:?} is no path of an index", index.path));
            }
        }
        for package in &self.packages {
            if !is_path_inside(&package.path) {
                return edited(format!("{:?} is no path inside an archive", package.path));
            }
            if self.archive(&package.suite).is_none() {
                return edited(format!(
                    "{} is of the suite {}, which has no archive",
                    package.name, package.suite
                ));
            }
            if package.sets.is_empty() || !is_sorted(package.sets.iter().map(String::as_str).collect()) {
                return edited(format!("the sets of {} are not sorted, or there is none", package.name));
            }
        }
        Ok(())
    }

    /// Reads a lock and the proof beside it.
    pub fn read(path: &Path) -> Result<(Self, Proof), LockError> {
        let lock = Self::read_alone(path)?;
        let beside = proof_path(path);
        let bytes =
            std::fs::read(&beside).map_err(|source| LockError::Io { what: "read", path: beside, source })?;
        if Sha256::of(&bytes) != lock.proof {
            return Err(LockError::OtherProof);
        }
        Ok((lock, Proof::decode(&bytes)?))
    }

    /// Reads a lock that says of every package what the proof beside it says: what an image is built by.
    pub fn read_proven(path: &Path) -> Result<Self, LockError> {
        let (lock, proof) = Self::read(path)?;
        lock.locked_packages(&proof)?;
        Ok(lock)
    }

    /// Reads a lock without its proof: enough to fetch.
    pub fn read_alone(path: &Path) -> Result<Self, LockError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| LockError::Io { what: "read", path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Writes both files, the proof first: a lock names only a proof that is there. Each appears whole or not at all.
    pub fn write(&self, proof: &Proof, path: &Path) -> Result<(), LockError> {
        write_whole(&proof_path(path), &proof.encode()?)?;
        write_whole(path, self.encode()?.as_bytes())
    }

    /// A signed index by its suite.
    pub fn archive(&self, suite: &str) -> Option<&LockedArchive> {
        self.archives.iter().find(|archive| archive.suite == suite)
    }

    /// A package by its name.
    pub fn package(&self, name: &str) -> Option<&LockedPackage> {
        let at = self.packages.binary_search_by(|package| package.name.as_str().cmp(name)).ok()?;
        self.packages.get(at)
    }

    /// The names of all sets.
    pub fn sets(&self) -> BTreeSet<&str> {
        self.packages.iter().flat_map(|package| &package.sets).map(String::as_str).collect()
    }

    /// The packages of a set, by name.
    pub fn set(&self, set: &str) -> Result<Vec<&LockedPackage>, LockError> {
        let of_set = self.packages.iter().filter(|package| package.sets.iter().any(|name| name == set));
        let packages: Vec<_> = of_set.collect();
        if packages.is_empty() { Err(LockError::UnknownSet(set.to_owned())) } else { Ok(packages) }
    }

    /// What to fetch for some sets, or for all.
    pub fn sources(&self, sets: &[String]) -> Result<Vec<Source>, LockError> {
        let known = self.sets();
        if let Some(unknown) = sets.iter().find(|set| !known.contains(set.as_str())) {
            return Err(LockError::UnknownSet(unknown.clone()));
        }
        let wanted = self
            .packages
            .iter()
            .filter(|package| sets.is_empty() || package.sets.iter().any(|set| sets.contains(set)));
        Ok(wanted
            .map(|package| {
                let (suite, paths) = (package.suite.clone(), vec![package.path.clone()]);
                Source { pin: package.pin(), suite, paths }
            })
            .collect())
    }

    /// The date of the newest signed index: the floor of a node's clock.
    pub fn epoch(&self) -> Moment {
        self.archives.iter().map(|archive| archive.date).max().unwrap_or(Moment::from_unix(0))
    }

    /// Resolves the selection over what is locked alone, and gives what would have to change. Empty means: the lock fits.
    pub fn check_against(&self, proof: &Proof, selection: &Selection) -> Result<Difference, LockError> {
        let mut index = Index::default();
        for package in self.locked_packages(proof)?.values() {
            index.add_stanza(package)?;
        }
        let resolution = resolve(selection, &index)?;
        let fresh = resolution.values();
        let fresh = fresh
            .map(|resolved| LockedPackage::new(&resolved.package, resolved.sets.keys().cloned().collect()));
        Ok(Difference::between(&self.packages, &fresh.collect::<Vec<_>>()))
    }

    /// Every package with its stanza read again; refuses a lock that says something else than its proof.
    fn locked_packages(&self, proof: &Proof) -> Result<BTreeMap<String, Package>, LockError> {
        let mut packages = BTreeMap::new();
        for locked in &self.packages {
            let missing = || LockError::Edited(format!("{} has no stanza in the proof", locked.name));
            let stanza = proof.stanzas.get(&locked.name).ok_or_else(missing)?;
            let (suite, component): (Arc<str>, Arc<str>) =
                (locked.suite.as_str().into(), locked.component.as_str().into());
            let package = Package::parse(stanza, &suite, &component)?;
            let said = LockedPackage::new(&package, locked.sets.clone());
            // Versions that are equal in the order may still differ in writing.
            if said != *locked || said.version.as_str() != locked.version.as_str() {
                return Err(LockError::Edited(format!("{} is not what its stanza says", locked.name)));
            }
            packages.insert(locked.name.clone(), package);
        }
        Ok(packages)
    }
}

/// The path of a component's index below `dists/<suite>/`.
fn index_path(component: &str, architecture: &str) -> String {
    format!("{component}/binary-{architecture}/Packages.xz")
}

/// The side file of a lock.
pub fn proof_path(lock: &Path) -> PathBuf {
    let mut name = lock.as_os_str().to_owned();
    name.push(".proof");
    PathBuf::from(name)
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LockError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = PathBuf::from(name);
    let write = || {
        let mut file = std::fs::File::create(&beside)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    write().map_err(|source| {
        // What is left of a failed write is of no use; the failure is what is reported.
        drop(std::fs::remove_file(&beside));
        LockError::Io { what: "write", path: path.to_owned(), source }
    })
}
