//! `kubedos.lock`, which pins every package by version, size, digest, suite and pool path, and its proof file `kubedos.lock.proof`.
//!
//! People review the lock, so it is sorted TOML in one canonical form. It names no mirror. [`Proof`] contains the texts of the
//! signed indices and the stanzas of the packages; [`verify`] checks the chain from the signature to each package. Both files are
//! written together, and the lock contains the digest of the proof, so that neither can be replaced alone.

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

/// The format version of the lock.
const VERSION: u32 = 1;

/// The first line of a lock, before and after the name of the selection.
const HEAD: [&str; 2] = [
    "# Made by `kubedos-build lock --update` from ",
    ". Not edited by hand; docs/lock.md says what it means.\n\n",
];

/// The selection of the product.
const PRODUCT: &str = "rootfs/packages.toml";

/// A lock that cannot be used.
#[derive(Debug, Error)]
pub enum LockError {
    /// The lock or its proof cannot be read or written.
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
    /// The text does not follow the format of the lock.
    #[error("the lock is malformed")]
    Parse(#[source] Box<toml::de::Error>),
    /// The lock does not serialize as TOML.
    #[error("failed to serialize the lock as TOML")]
    Form(#[source] Box<toml::ser::Error>),
    /// The format version is not supported.
    #[error("the lock has version {0}, but only version {VERSION} is supported")]
    Version(u32),
    /// The lock does not have the canonical form, or does not match its proof: it was edited by hand.
    #[error("the lock was changed by hand: {0}")]
    Edited(String),
    /// The proof cannot be decoded.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The lock contains the digest of a different proof.
    #[error("the lock contains the digest of a different proof file")]
    OtherProof,
    /// A stanza of the proof cannot be parsed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The selection cannot be resolved with the locked packages.
    #[error("the lock does not fit the selection")]
    Resolve(#[from] ResolveError),
    /// The lock has no set of this name.
    #[error("the lock has no set {0}")]
    UnknownSet(String),
}

/// The content of `kubedos.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The selection that it was made from, relative to the folder of the lock; for the first line of the file only.
    #[serde(skip)]
    pub selection: String,
    /// The format version, 1.
    pub version: u32,
    /// The architecture of every package.
    pub architecture: String,
    /// SHA-256 digest of the proof file.
    pub proof: Sha256,
    /// The signed indices, sorted by suite.
    #[serde(rename = "archive")]
    pub archives: Vec<LockedArchive>,
    /// The packages, sorted by name.
    #[serde(rename = "package", default)]
    pub packages: Vec<LockedPackage>,
}

/// The signed index (`InRelease`) of a suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedArchive {
    /// The suite.
    pub suite: String,
    /// The archive that contains the suite.
    pub mirror: Archive,
    /// The date of the index.
    pub date: Moment,
    /// SHA-256 digest of the `InRelease` file.
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
    /// The path below `dists/<suite>/`.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 digest.
    pub sha256: Sha256,
}

/// A locked package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    /// The name.
    pub name: String,
    /// The version.
    pub version: Version,
    /// `amd64` or `all`.
    pub architecture: String,
    /// The sets that contain the package, sorted.
    pub sets: Vec<String>,
    /// The suite that contains the package.
    pub suite: String,
    /// The component of the suite.
    pub component: String,
    /// The path below the mirror's base URL.
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

    /// The pin of the `.deb` file.
    pub fn pin(&self) -> Pin {
        Pin { name: format!("{} {}", self.name, self.version), size: self.size, sha256: self.sha256 }
    }
}

/// The selection in the first line of a lock, if it has one.
fn named_selection(text: &str) -> Option<&str> {
    let [before, after] = HEAD;
    let name = text.lines().next()?.strip_prefix(before)?.strip_suffix(after.trim_end())?;
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    (!name.is_empty() && is_plain).then_some(name)
}

impl Lock {
    /// Builds a lock and its proof from a resolution and the releases that the packages were read from.
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
            selection: PRODUCT.to_owned(),
            version: VERSION,
            architecture: selection.architecture.clone(),
            proof: Sha256::of(&proof.encode()?),
            archives,
            packages: packages.collect(),
        };
        Ok((lock, proof))
    }

    /// The text of the file.
    pub fn encode(&self) -> Result<String, LockError> {
        let text = toml::to_string(self).map_err(|source| LockError::Form(Box::new(source)))?;
        let [before, after] = HEAD;
        Ok(format!("{before}{}{after}{text}", self.selection))
    }

    /// Parses the text of a lock. A text that [`Lock::encode`] cannot produce is an error.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        /// Parsed first, so that a lock with a different version gives a version error.
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let head: Head = toml::from_str(text).map_err(|source| LockError::Parse(Box::new(source)))?;
        if head.version != VERSION {
            return Err(LockError::Version(head.version));
        }
        let mut lock: Self = toml::from_str(text).map_err(|source| LockError::Parse(Box::new(source)))?;
        lock.selection = named_selection(text).unwrap_or(PRODUCT).to_owned();
        lock.check()?;
        Ok(lock)
    }

    fn check(&self) -> Result<(), LockError> {
        let edited = |what: String| Err(LockError::Edited(what));
        let is_sorted = |names: Vec<&str>| names.is_sorted_by(|one, other| one < other);
        if !is_sorted(self.packages.iter().map(|package| package.name.as_str()).collect()) {
            return edited("the packages are not sorted, or one is listed twice".to_owned());
        }
        if !is_sorted(self.archives.iter().map(|archive| archive.suite.as_str()).collect()) {
            return edited("the archives are not sorted, or one is listed twice".to_owned());
        }
        for archive in &self.archives {
            if let Some(index) = archive.indices.iter().find(|index| !is_path_inside(&index.path)) {
                return edited(format!("{:?} is not the path of an index", index.path));
            }
        }
        for package in &self.packages {
            if !is_path_inside(&package.path) {
                return edited(format!("{:?} is not a path inside an archive", package.path));
            }
            if self.archive(&package.suite).is_none() {
                return edited(format!(
                    "{} is in the suite {}, which has no archive entry",
                    package.name, package.suite
                ));
            }
            if package.sets.is_empty() || !is_sorted(package.sets.iter().map(String::as_str).collect()) {
                return edited(format!("the sets of {} are empty or not sorted", package.name));
            }
        }
        Ok(())
    }

    /// Reads a lock and its proof file. Fails if the digest of the proof differs from the one in the lock.
    pub fn read(path: &Path) -> Result<(Self, Proof), LockError> {
        let lock = Self::read_alone(path)?;
        let proof = proof_path(path);
        let bytes =
            std::fs::read(&proof).map_err(|source| LockError::Io { what: "read", path: proof, source })?;
        if Sha256::of(&bytes) != lock.proof {
            return Err(LockError::OtherProof);
        }
        Ok((lock, Proof::decode(&bytes)?))
    }

    /// Reads a lock and checks every package against its stanza in the proof. Images are built from such a lock only.
    pub fn read_proven(path: &Path) -> Result<Self, LockError> {
        let (lock, proof) = Self::read(path)?;
        lock.locked_packages(&proof)?;
        Ok(lock)
    }

    /// Reads a lock without its proof, which is sufficient to fetch packages.
    pub fn read_alone(path: &Path) -> Result<Self, LockError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| LockError::Io { what: "read", path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Writes both files, each atomically. The proof is written first, so that the digest in a lock always belongs to an existing file.
    pub fn write(&self, proof: &Proof, path: &Path) -> Result<(), LockError> {
        write_whole(&proof_path(path), &proof.encode()?)?;
        write_whole(path, self.encode()?.as_bytes())
    }

    /// Finds a signed index by its suite.
    pub fn archive(&self, suite: &str) -> Option<&LockedArchive> {
        self.archives.iter().find(|archive| archive.suite == suite)
    }

    /// Finds a package by its name.
    pub fn package(&self, name: &str) -> Option<&LockedPackage> {
        let at = self.packages.binary_search_by(|package| package.name.as_str().cmp(name)).ok()?;
        self.packages.get(at)
    }

    /// The names of all sets.
    pub fn sets(&self) -> BTreeSet<&str> {
        self.packages.iter().flat_map(|package| &package.sets).map(String::as_str).collect()
    }

    /// The packages of a set, sorted by name.
    pub fn set(&self, set: &str) -> Result<Vec<&LockedPackage>, LockError> {
        let of_set = self.packages.iter().filter(|package| package.sets.iter().any(|name| name == set));
        let packages: Vec<_> = of_set.collect();
        if packages.is_empty() { Err(LockError::UnknownSet(set.to_owned())) } else { Ok(packages) }
    }

    /// The sources to fetch for some sets; an empty list means all sets.
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

    /// The date of the newest signed index. It is the floor of a node's clock.
    pub fn epoch(&self) -> Moment {
        self.archives.iter().map(|archive| archive.date).max().unwrap_or(Moment::from_unix(0))
    }

    /// Resolves the selection with the locked packages only and returns the required changes. If there are none, the lock is up to date.
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

    /// Parses the stanza of every package from the proof. Fails if a lock entry differs from its stanza.
    fn locked_packages(&self, proof: &Proof) -> Result<BTreeMap<String, Package>, LockError> {
        let mut packages = BTreeMap::new();
        for locked in &self.packages {
            let missing = || LockError::Edited(format!("{} has no stanza in the proof", locked.name));
            let stanza = proof.stanzas.get(&locked.name).ok_or_else(missing)?;
            let (suite, component): (Arc<str>, Arc<str>) =
                (locked.suite.as_str().into(), locked.component.as_str().into());
            let package = Package::parse(stanza, &suite, &component)?;
            let proven = LockedPackage::new(&package, locked.sets.clone());
            // `Version` compares by Debian's order, so equal versions can have different texts.
            if proven != *locked || proven.version.as_str() != locked.version.as_str() {
                return Err(LockError::Edited(format!(
                    "{} differs from its stanza in the proof",
                    locked.name
                )));
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

/// The path of the proof file of a lock.
pub fn proof_path(lock: &Path) -> PathBuf {
    let mut name = lock.as_os_str().to_owned();
    name.push(".proof");
    PathBuf::from(name)
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LockError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // Best effort: only the failure of the write is reported.
        drop(std::fs::remove_file(&temporary));
        LockError::Io { what: "write", path: path.to_owned(), source }
    })
}
