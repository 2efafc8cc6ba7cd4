//! Verifies a lock: checks each link of the chain from the archive signature to the package entry.
//!
//! The signatures and stanzas come from the proof; the complete package indices come from the cache or a mirror.

use serde::Serialize;
use thiserror::Error;

use super::update::{index_source, unpack};
use super::{Lock, LockError, Proof};
use crate::cache::Pin;
use crate::control::paragraphs;
use crate::fetch::{Fetcher, Problem, Progress};
use crate::release::date::Moment;
use crate::release::keyring::Keyring;
use crate::release::{Release, ReleaseError};
use crate::resolve::selection::Selection;

/// A link of the chain does not verify.
#[derive(Debug, Error)]
pub enum VerifyError {
    /// The lock and its proof do not belong together.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A signature does not verify.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// The lock differs from the proof.
    #[error("{what} in the lock differs from the proof")]
    Mismatch {
        /// The part of the lock.
        what: String,
    },
    /// The selection does not contain a suite of the lock.
    #[error("the suite {0} of the lock is not in the selection")]
    UnknownSuite(String),
    /// A stanza of the proof is not in the index of its suite.
    #[error("the stanza of {package} is not in the index of {suite} that the signature covers")]
    NotInIndex {
        /// The package's name.
        package: String,
        /// The code name of the suite.
        suite: String,
    },
    /// An index does not have the signed digest, or cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] crate::fetch::FetchError),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] crate::cache::CacheError),
    /// An index cannot be unpacked.
    #[error("failed to unpack the package index of {suite}")]
    Unpack {
        /// The code name of the suite.
        suite: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// The verified chain of one suite.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The suite.
    pub suite: String,
    /// Primary fingerprint of the key that signed the index.
    pub signer: String,
    /// The date of the index.
    pub date: Moment,
    /// The number of locked packages from this suite.
    pub packages: usize,
    /// `Ok` if the indices are available and contain all stanzas; otherwise why they are not available.
    pub stanzas_in_index: Result<(), String>,
}

/// Checks every link. An index that is neither in the cache nor on a mirror is not an error; it is reported in [`Link::stanzas_in_index`].
pub fn verify(
    lock: &Lock,
    proof: &Proof,
    selection: &Selection,
    keyring: &Keyring,
    fetcher: &Fetcher<'_>,
    now: Moment,
    progress: &dyn Progress,
) -> Result<Vec<Link>, VerifyError> {
    let packages = lock.locked_packages(proof)?;
    if packages.len() != proof.stanzas.len() {
        return Err(VerifyError::Mismatch { what: "the list of packages".to_owned() });
    }
    let mut links = Vec::new();
    for archive in &lock.archives {
        let name = &archive.suite;
        let suite = selection.archives.iter().find(|suite| suite.suite == *name);
        let suite = suite.ok_or_else(|| VerifyError::UnknownSuite(name.clone()))?;
        let mismatch = |what: &str| VerifyError::Mismatch { what: format!("{what} of {name}") };
        let text = proof.releases.get(name).ok_or_else(|| mismatch("the signed index"))?;
        let release = Release::verify(text, name, keyring, &suite.keys, now)?;
        if (release.sha256, release.date, &release.signer)
            != (archive.inrelease, archive.date, &archive.signer)
        {
            return Err(mismatch("the signed index"));
        }
        let mut indices = Ok(String::new());
        for index in &archive.indices {
            if release.indices.get(&index.path) != Some(&(index.sha256, index.size)) {
                return Err(mismatch(&format!("the index {}", index.path)));
            }
            let pin =
                Pin { name: format!("index {name} {}", index.path), size: index.size, sha256: index.sha256 };
            let source = index_source(pin, suite, &index.path);
            match fetcher.fetch(std::slice::from_ref(&source), progress) {
                Ok(_) => {
                    let packed = fetcher.cache.open(&source.pin)?.bytes()?;
                    let text = unpack(&packed)
                        .map_err(|source| VerifyError::Unpack { suite: name.clone(), source })?;
                    indices = indices.map(|all| all + &text + "\n\n");
                }
                Err(error) => match error.0.first() {
                    Some(why @ (Problem::Vanished { .. } | Problem::Offline { .. })) => {
                        indices = Err(why.to_string())
                    }
                    _ => return Err(error.into()),
                },
            }
        }
        let locked: Vec<_> = packages.values().filter(|package| *package.suite == *archive.suite).collect();
        if let Ok(text) = &indices {
            let wanted: std::collections::BTreeSet<_> =
                locked.iter().map(|package| package.stanza.trim_end()).collect();
            let found: std::collections::BTreeSet<_> =
                paragraphs(text).map(str::trim_end).filter(|stanza| wanted.contains(stanza)).collect();
            if let Some(package) = locked.iter().find(|package| !found.contains(package.stanza.trim_end())) {
                return Err(VerifyError::NotInIndex { package: package.name.clone(), suite: name.clone() });
            }
        }
        links.push(Link {
            suite: name.clone(),
            signer: archive.signer.to_string(),
            date: archive.date,
            packages: locked.len(),
            stanzas_in_index: indices.map(drop),
        });
    }
    Ok(links)
}
