//! Pinned files from mirrors into the cache: in parallel, resumable, retried on passing failures only.
//!
//! Every file is attempted, and every problem is reported: a list of what vanished is worth more than its first entry.
//! Which mirror is asked is the host's choice ([`crate::mirror`]); what it answers is believed by digest alone.

mod download;
pub mod http;

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;

use crate::cache::{Cache, CacheError, Pin, Unlike};
use crate::failure::Class;
use crate::mirror::{Archive, MirrorError, Mirrors};
pub use download::Retry;
use http::{Client, HttpError};

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it must be.
    pub pin: Pin,
    /// The archive whose mirror has it.
    pub archive: Archive,
    /// Its paths below the mirror's base, the first that answers is taken.
    pub paths: Vec<String>,
}

/// What stands in the way of one file.
#[derive(Debug, Error)]
pub enum Problem {
    /// The mirror does not have it any more.
    #[error("{name} has vanished from the mirror: {path} answers {status}")]
    Vanished {
        /// Which pin.
        name: String,
        /// Its path below the mirror's base.
        path: String,
        /// The status.
        status: u16,
    },
    /// The mirror has other bytes under its name.
    #[error("{name} does not match the lock: {path} {unlike}")]
    Wrong {
        /// Which pin.
        name: String,
        /// Its path below the mirror's base.
        path: String,
        /// In what they differ.
        unlike: Box<Unlike>,
    },
    /// It is not in the cache and may not be fetched.
    #[error("{name} is not in the cache")]
    Offline {
        /// Which pin.
        name: String,
    },
    /// The transfer failed.
    #[error("failed to fetch {name} ({path})")]
    Http {
        /// Which pin.
        name: String,
        /// Its path below the mirror's base.
        path: String,
        /// Why.
        #[source]
        source: HttpError,
    },
    /// The cache failed.
    #[error(transparent)]
    Cache(CacheError),
    /// No mirror is known.
    #[error(transparent)]
    Mirror(MirrorError),
}

impl Problem {
    /// The exit code's class.
    pub const fn class(&self) -> Class {
        match self {
            Self::Wrong { .. } | Self::Cache(CacheError::Damaged { .. }) => Class::Mismatch,
            Self::Offline { .. } => Class::Offline,
            Self::Mirror(MirrorError::NotHttp { .. }) => Class::Usage,
            _ => Class::Failed,
        }
    }
}

/// Everything that stands in the way, in the order of the request.
#[derive(Debug, Error)]
#[error("{} of the pinned files cannot be had", .0.len())]
pub struct FetchError(pub Vec<Problem>);

impl FetchError {
    /// The most serious class: a mismatch before wrong usage, that before the network, that before the rest.
    pub fn class(&self) -> Class {
        let has = |class| self.0.iter().any(|problem| problem.class() == class);
        [Class::Mismatch, Class::Usage, Class::Offline]
            .into_iter()
            .find(|class| has(*class))
            .unwrap_or(Class::Failed)
    }
}

/// What a fetch did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that were in the cache and held.
    pub reused: usize,
    /// Files that were fetched.
    pub fetched: usize,
    /// Bytes of those that were fetched.
    pub fetched_bytes: u64,
    /// Files in the cache that were damaged and fetched again.
    pub mended: usize,
}

/// Hears how a fetch goes on; called from several threads.
pub trait Progress: Sync {
    /// It begins: so many files and bytes are to come.
    fn start(&self, files: usize, bytes: u64);
    /// A file stands at so many bytes.
    fn advance(&self, name: &str, bytes: u64);
    /// A file is there.
    fn done(&self, pin: &Pin);
    /// A passing failure is tried again after a wait.
    fn retry(&self, name: &str, error: &HttpError, wait: Duration);
    /// A file in the cache was damaged and will be fetched again.
    fn damaged(&self, error: &CacheError);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: usize, _: u64) {}
    fn advance(&self, _: &str, _: u64) {}
    fn done(&self, _: &Pin) {}
    fn retry(&self, _: &str, _: &HttpError, _: Duration) {}
    fn damaged(&self, _: &CacheError) {}
}

/// How to fetch.
#[derive(Debug)]
pub struct Fetcher<'a> {
    /// Into where.
    pub cache: &'a Cache,
    /// From where.
    pub mirrors: &'a Mirrors,
    /// By what.
    pub client: Client,
    /// How many files at a time.
    pub jobs: usize,
    /// How stubbornly.
    pub retry: Retry,
    /// Nothing may be asked from the network.
    pub is_offline: bool,
}

/// How many files are fetched at a time unless somebody says otherwise.
pub const DEFAULT_JOBS: usize = 6;

impl<'a> Fetcher<'a> {
    /// With the usual settings.
    pub fn new(cache: &'a Cache, mirrors: &'a Mirrors) -> Self {
        Self {
            cache,
            mirrors,
            client: Client::new(),
            jobs: DEFAULT_JOBS,
            retry: Retry::default(),
            is_offline: false,
        }
    }

    /// Sees to it that every source is in the cache and holds. All are attempted; all problems are reported.
    pub fn fetch(&self, sources: &[Source], progress: &dyn Progress) -> Result<Summary, FetchError> {
        let (missing, mut summary, mut problems) = self.survey(sources, progress);
        if self.is_offline {
            let offline =
                |(at, source): (usize, &Source)| (at, Problem::Offline { name: source.pin.name.clone() });
            problems.extend(missing.into_iter().map(offline));
        } else if !missing.is_empty() {
            let bytes = missing.iter().map(|(_, source)| source.pin.size).sum();
            progress.start(missing.len(), bytes);
            let count = missing.len();
            let failed = self.fetch_all(missing, progress);
            summary.fetched = count - failed.len();
            summary.fetched_bytes = bytes
                - failed.keys().filter_map(|at| sources.get(*at)).map(|source| source.pin.size).sum::<u64>();
            problems.extend(failed);
        }
        if problems.is_empty() { Ok(summary) } else { Err(FetchError(problems.into_values().collect())) }
    }

    /// Fetches something that no digest is known of yet, up to a limit; the caller must find another way to believe it.
    pub fn text(&self, url: &str, limit: u64) -> Result<Vec<u8>, HttpError> {
        let mut wait = self.retry.wait;
        let mut attempt = 1;
        loop {
            let error = match self.client.get(url, 0).and_then(|answer| read_up_to(answer.body, limit)) {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            if !error.is_transient() || attempt >= self.retry.attempts {
                return Err(error);
            }
            std::thread::sleep(wait);
            wait *= 2;
            attempt += 1;
        }
    }

    /// What is missing; everything that is there is checked.
    fn survey<'s>(
        &self,
        sources: &'s [Source],
        progress: &dyn Progress,
    ) -> (VecDeque<(usize, &'s Source)>, Summary, BTreeMap<usize, Problem>) {
        let checks = self.in_parallel(sources.iter().enumerate().collect(), |source: &Source| {
            self.cache.open(&source.pin).map(drop)
        });
        let (mut missing, mut summary, mut problems) = (VecDeque::new(), Summary::default(), BTreeMap::new());
        for (at, source) in sources.iter().enumerate() {
            match checks.get(&at) {
                None => summary.reused += 1,
                Some(CacheError::Missing { .. }) => missing.push_back((at, source)),
                Some(damaged @ CacheError::Damaged { .. }) if !self.is_offline => {
                    progress.damaged(damaged);
                    match self.cache.discard(&source.pin) {
                        Ok(()) => missing.push_back((at, source)),
                        Err(error) => {
                            problems.insert(at, Problem::Cache(error));
                        }
                    }
                    summary.mended += 1;
                }
                Some(_) => {}
            }
        }
        for (at, error) in checks {
            let is_final = match error {
                CacheError::Io { .. } | CacheError::NoPlace { .. } => true,
                // What cannot be fetched again is left where it is.
                CacheError::Damaged { .. } => self.is_offline,
                CacheError::Missing { .. } => false,
            };
            if is_final {
                problems.insert(at, Problem::Cache(error));
            }
        }
        (missing, summary, problems)
    }

    fn fetch_all(
        &self,
        missing: VecDeque<(usize, &Source)>,
        progress: &dyn Progress,
    ) -> BTreeMap<usize, Problem> {
        self.in_parallel(missing, |source: &Source| {
            let mirror = self.mirrors.of(source.archive).map_err(Problem::Mirror)?;
            let urls: Vec<_> = source.paths.iter().map(|path| mirror.url(path)).collect();
            download::download(source, &urls, self.cache, &self.client, self.retry, progress)?;
            progress.done(&source.pin);
            Ok(())
        })
    }

    /// Runs work over a queue on the fetcher's threads; gives the failures by index.
    fn in_parallel<'s, E: Send>(
        &self,
        queue: VecDeque<(usize, &'s Source)>,
        work: impl Fn(&'s Source) -> Result<(), E> + Sync,
    ) -> BTreeMap<usize, E> {
        let threads = self.jobs.clamp(1, queue.len().max(1));
        let (queue, failures) = (Mutex::new(queue), Mutex::new(BTreeMap::new()));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                        let Some((at, source)) = next else { return };
                        if let Err(error) = work(source) {
                            failures.lock().unwrap_or_else(PoisonError::into_inner).insert(at, error);
                        }
                    }
                });
            }
        });
        failures.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_up_to(body: impl Read, limit: u64) -> Result<Vec<u8>, HttpError> {
    let mut bytes = Vec::new();
    body.take(limit).read_to_end(&mut bytes).map_err(HttpError::Broken)?;
    Ok(bytes)
}
