//! Fetches pinned files from mirrors into the cache: in parallel, resumable, with retries after temporary failures only.
//!
//! Every file is attempted and every problem is reported, so that the user sees all vanished packages at once. The host or the caller
//! selects the mirrors ([`crate::mirror`]); their answers are trusted by digest only. A file has vanished only if every mirror of its
//! suite answers 404 or 410, and each of these answers comes from a host that served another verified file.

mod download;
pub mod http;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kubedos_wire::printable::chain;
use thiserror::Error;

use crate::cache::{Cache, CacheError, ContentMismatch, Pin};
use crate::mirror::{Accepted, MirrorError, Mirrors, Rejection, Web};
use download::Failure;
pub use download::Retry;
use http::{Cause, Client, Host, HttpError};

/// A file to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The expected content.
    pub pin: Pin,
    /// The suite whose mirrors have the file.
    pub suite: String,
    /// The paths below a mirror's base URL. The first that exists is used.
    pub paths: Vec<String>,
}

/// Why a file was not fetched.
#[derive(Debug, Error)]
pub enum Problem {
    /// No mirror has the file any more.
    #[error("{name} has vanished from the mirror: {path}: {answers}")]
    Vanished {
        /// The pin's name.
        name: String,
        /// The path below the mirror's base URL.
        path: String,
        /// The answers of the mirrors.
        answers: Failures,
    },
    /// A mirror has a file with other bytes at this path.
    #[error("{name} does not match the lock: {path} from {host} {mismatch}")]
    Wrong {
        /// The pin's name.
        name: String,
        /// The host that served the file.
        host: Host,
        /// The path below the mirror's base URL.
        path: String,
        /// The difference from the pin.
        mismatch: Box<ContentMismatch>,
    },
    /// The file is not in the cache, and `--offline` is set.
    #[error("{name} is not in the cache")]
    Offline {
        /// The pin's name.
        name: String,
    },
    /// The transfer failed.
    #[error("failed to fetch {name} ({path}): {failures}")]
    Http {
        /// The pin's name.
        name: String,
        /// The path below the mirror's base URL.
        path: String,
        /// The failure of each mirror that was tried.
        failures: Failures,
    },
    /// The source has no path.
    #[error("{name} has no path on a mirror")]
    NoPath {
        /// The pin's name.
        name: String,
    },
    /// The cache failed.
    #[error(transparent)]
    Cache(CacheError),
    /// No mirror is usable.
    #[error("{0}")]
    Mirror(Arc<MirrorError>),
}

/// The failure of each mirror, in the order of the mirrors.
#[derive(Debug)]
pub struct Failures(pub Vec<HttpError>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(|error| chain(error)).collect();
        f.write_str(&all.join("; "))
    }
}

/// All problems, in the order of the sources.
#[derive(Debug, Error)]
#[error("failed to fetch {} of the pinned files", .0.len())]
pub struct FetchError(pub Vec<Problem>);

/// The result of a fetch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Files that were in the cache and matched their pins.
    pub reused: usize,
    /// Files that were fetched.
    pub fetched: usize,
    /// Size of the fetched files in bytes.
    pub fetched_bytes: u64,
    /// Files in the cache that were damaged and fetched again.
    pub mended: usize,
}

/// Receives the progress of a fetch. The methods are called from several threads.
pub trait Progress: Sync {
    /// The fetch starts; `files` and `bytes` are the totals.
    fn start(&self, files: usize, bytes: u64);
    /// `bytes` of a file are present.
    fn advance(&self, name: &str, bytes: u64);
    /// A file is complete.
    fn done(&self, pin: &Pin);
    /// A temporary failure is retried after a delay.
    fn retry(&self, name: &str, error: &HttpError, wait: Duration);
    /// A mirror was accepted for a suite; `rejections` are candidates before it.
    fn mirror(&self, suite: &str, accepted: &Accepted, rejections: &[Arc<Rejection>]);
    /// A file in the cache was damaged and will be fetched again.
    fn damaged(&self, error: &CacheError);
}

/// Ignores all progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn start(&self, _: usize, _: u64) {}
    fn advance(&self, _: &str, _: u64) {}
    fn done(&self, _: &Pin) {}
    fn retry(&self, _: &str, _: &HttpError, _: Duration) {}
    fn mirror(&self, _: &str, _: &Accepted, _: &[Arc<Rejection>]) {}
    fn damaged(&self, _: &CacheError) {}
}

/// Fetches files into the cache.
#[derive(Debug)]
pub struct Fetcher<'a> {
    /// The destination.
    pub cache: &'a Cache,
    /// The mirrors.
    pub mirrors: &'a Mirrors,
    /// The HTTP client.
    pub client: Client,
    /// The number of parallel transfers.
    pub jobs: usize,
    /// The retry policy.
    pub retry: Retry,
    /// Whether the network must not be used.
    pub is_offline: bool,
}

/// The default number of parallel transfers.
pub const DEFAULT_JOBS: usize = 6;

impl<'a> Fetcher<'a> {
    /// Creates a fetcher with the default settings.
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

    /// Ensures that every source is in the cache and matches its pin. Attempts all sources and reports all problems.
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

    /// The network settings of this fetcher.
    pub const fn web<'w>(&'w self, progress: &'w dyn Progress) -> Web<'w> {
        Web { client: &self.client, retry: self.retry, progress }
    }

    /// Checks all files in the cache, and returns the missing ones. Damaged files are discarded and count as missing, unless offline.
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
                // Offline, a damaged file cannot be replaced, so it stays in the cache.
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
        let failed = self.in_parallel(missing, |source: &Source| self.fetch_one(source, progress));
        // Only after all transfers it is known which hosts served verified files.
        failed.into_iter().map(|(at, problem)| (at, self.unless_unproven(problem))).collect()
    }

    /// Tries the mirrors of the source's suite in order.
    fn fetch_one(&self, source: &Source, progress: &dyn Progress) -> Result<(), Problem> {
        let web = self.web(progress);
        let mut failures = Vec::new();
        let mut failed_path = None;
        for n in 0.. {
            let accepted = self.mirrors.nth(&source.suite, n, &web).map_err(Problem::Mirror)?;
            let Some(accepted) = accepted else { break };
            let mirror = &accepted.mirror;
            match download::download(source, mirror, self.cache, &self.client, self.retry, progress) {
                Ok(host) => {
                    if let Some(host) = host {
                        self.mirrors.prove(&host);
                    }
                    progress.done(&source.pin);
                    return Ok(());
                }
                Err(Failure::Http { path, error }) => {
                    failures.push(error);
                    failed_path = failed_path.or(Some(path));
                }
                Err(Failure::Final(problem)) => return Err(problem),
            }
        }
        let (name, path) = (source.pin.name.clone(), failed_path.unwrap_or_default());
        let is_absent = failures.iter().all(|error| error.absent().is_some());
        let failures = Failures(failures);
        Err(if is_absent {
            Problem::Vanished { name, path, answers: failures }
        } else {
            Problem::Http { name, path, failures }
        })
    }

    /// Changes [`Problem::Vanished`] to [`Problem::Http`] if an answer is from a host that served no verified file in this run. Such a host
    /// may be a login page, a wrong path or a filter.
    fn unless_unproven(&self, problem: Problem) -> Problem {
        match problem {
            Problem::Vanished { name, path, mut answers } => {
                let mut is_proven = true;
                for error in &mut answers.0 {
                    if let Some(status) =
                        error.absent().filter(|_| !self.mirrors.is_proven(&error.route.host))
                    {
                        error.cause = Cause::Unproven(status);
                        is_proven = false;
                    }
                }
                if is_proven {
                    Problem::Vanished { name, path, answers }
                } else {
                    Problem::Http { name, path, failures: answers }
                }
            }
            problem => problem,
        }
    }

    /// Runs `work` for each entry of a queue on `jobs` threads, and returns the failures by index.
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
