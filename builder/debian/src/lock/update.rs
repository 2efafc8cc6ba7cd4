//! Creates a new lock from mirrors: verifies the signed indices, reads the package indices that they list, and resolves the selection.
//!
//! A signed index that has expired, or that is older than the one in the previous lock, is refused unless the caller accepts it. Package
//! indices are trusted by the digest in the signed index. This module writes no lock file.

use std::sync::Arc;

use thiserror::Error;

use super::{Lock, LockError, Proof, index_path};
use crate::cache::{CacheError, Pin};
use crate::decompress;
use crate::fetch::{FetchError, Fetcher, Progress, Source};
use crate::index::{Index, IndexError};
use crate::mirror::MirrorError;
use crate::release::Release;
use crate::release::date::Moment;
use crate::resolve::selection::{Selection, Suite};
use crate::resolve::{ResolveError, resolve};

/// A new lock cannot be created.
#[derive(Debug, Error)]
pub enum UpdateError {
    /// No mirror is usable.
    #[error("{0}")]
    Mirror(Arc<MirrorError>),
    /// A signed index does not list the package index of a component.
    #[error("the signed index of {suite} does not list {path}")]
    Unlisted {
        /// The code name of the suite.
        suite: String,
        /// The index path below `dists/<suite>/`.
        path: String,
    },
    /// An index cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The cache failed.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// An index cannot be unpacked.
    #[error("failed to unpack the package index of {suite}")]
    Unpack {
        /// The code name of the suite.
        suite: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A stanza of an index cannot be parsed.
    #[error(transparent)]
    Stanza(#[from] IndexError),
    /// The selection cannot be resolved.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The lock or its proof cannot be encoded.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// The inputs of an update.
#[derive(Debug)]
pub struct Update<'a> {
    /// The selection to resolve.
    pub selection: &'a Selection,
    /// Fetches the indices. Its mirrors verify the signatures.
    pub fetcher: &'a Fetcher<'a>,
    /// The previous lock. A signed index that is older than the one in this lock is refused.
    pub previous: Option<&'a Lock>,
    /// Whether a signed index is accepted after its `Valid-Until`.
    pub is_expired_accepted: bool,
    /// The current time.
    pub now: Moment,
}

impl Update<'_> {
    /// Creates the new lock and its proof.
    pub fn run(&self, progress: &dyn Progress) -> Result<(Lock, Proof), UpdateError> {
        let releases = self.releases(progress)?;
        let index = self.index(&releases, progress)?;
        let resolution = resolve(self.selection, &index)?;
        Ok(Lock::new(self.selection, &releases, &resolution)?)
    }

    /// Fetches and verifies the signed index of every suite.
    pub(super) fn releases(&self, progress: &dyn Progress) -> Result<Vec<Release>, UpdateError> {
        self.selection.archives.iter().map(|suite| self.release(suite, progress)).collect()
    }

    fn release(&self, suite: &Suite, progress: &dyn Progress) -> Result<Release, UpdateError> {
        let known = self.previous.and_then(|lock| lock.archive(&suite.suite));
        let is_fresh = |release: &Release| {
            if !self.is_expired_accepted {
                release.check_validity(self.now)?;
            }
            known.map_or(Ok(()), |known| release.check_not_before(known.date))
        };
        let accepted = self.fetcher.mirrors.first(&suite.suite, &self.fetcher.web(progress), is_fresh);
        Ok(accepted.map_err(UpdateError::Mirror)?.release.clone())
    }

    /// Fetches and reads the package indices that the releases list.
    pub(super) fn index(&self, releases: &[Release], progress: &dyn Progress) -> Result<Index, UpdateError> {
        let mut wanted = Vec::new();
        for (suite, release) in self.selection.archives.iter().zip(releases) {
            for component in &suite.components {
                let path = index_path(component, &self.selection.architecture);
                let listed = release.indices.get(&path);
                let (sha256, size) = listed.ok_or_else(|| UpdateError::Unlisted {
                    suite: suite.suite.clone(),
                    path: path.clone(),
                })?;
                let pin = Pin { name: format!("index {} {path}", suite.suite), size: *size, sha256: *sha256 };
                wanted.push((suite, component, index_source(pin, suite, &path)));
            }
        }
        let sources: Vec<_> = wanted.iter().map(|(_, _, source)| source.clone()).collect();
        self.fetcher.fetch(&sources, progress)?;
        let mut index = Index::default();
        for (suite, component, source) in wanted {
            let packed = self.fetcher.cache.open(&source.pin)?.bytes()?;
            let text = unpack(&packed)
                .map_err(|error| UpdateError::Unpack { suite: suite.suite.clone(), source: error })?;
            index.add(&text, &suite.suite, component, suite.only.as_deref())?;
        }
        Ok(index)
    }
}

/// The source of a package index. The by-hash path comes first, because it does not change when the mirror is updated.
pub(super) fn index_source(pin: Pin, suite: &Suite, path: &str) -> Source {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let base = format!("dists/{}", suite.suite);
    let paths = vec![format!("{base}/{folder}/by-hash/SHA256/{}", pin.sha256), format!("{base}/{path}")];
    Source { pin, suite: suite.suite.clone(), paths }
}

/// The maximum unpacked size of an index. The index of main in trixie has about 60 MB.
const MAX_INDEX_BYTES: u64 = 1 << 30;

pub(super) fn unpack(packed: &[u8]) -> std::io::Result<String> {
    let bytes = decompress::whole(decompress::xz(packed)?, MAX_INDEX_BYTES)?;
    String::from_utf8(bytes).map_err(std::io::Error::other)
}
