//! Pinned files from mirrors into the cache: in parallel, resumable, retried on passing failures only.
//!
//! Every file is attempted, and every problem is reported: a list of what vanished is worth more than its first entry.
//! Which mirrors are asked is the host's choice ([`crate::mirror`]); what they answer is believed by digest alone. A file has vanished only
//! when every mirror of its suite answers 404 or 410, by hosts that served other files that verified.

mod download;
pub mod http;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;

use crate::cache::{Cache, CacheError, ContentMismatch, Pin};
use crate::failure::{Class, chain};
use crate::mirror::{Accepted, MirrorError, Mirrors, Rejection, Web};
use download::Failure;
pub use download::Retry;
use http::{Cause, Client, Host, HttpError};

/// Something to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What it must be.
    pub pin: Pin,
    /// The suite whose mirrors have it.
    pub suite: String,
    /// Its paths below a mirror's base, the first that answers is taken.
    pub paths: Vec<String>,
}

/// What stands in the way of one file.
#[derive(Debug, Error)]
pub enum Problem {
    /// No mirror has it any more.
    #[error("{name} has vanished from the mirror: {path}: {answers}")]
    Vanished {
        /// The pin's name.
        name: String,
        /// Its path below the mirror's base.
        path: String,
        /// What the mirrors answered.
        answers: Failures,
    },
    /// A mirror has other bytes under its name.
    #[error("{name} does not match the lock: {path} from {host} {mismatch}")]
    Wrong {
        /// The pin's name.
        name: String,
        /// Who served it.
        host: Host,
        /// Its path below the mirror's base.
        path: String,
        /// In what they differ.
        mismatch: Box<ContentMismatch>,
    },
    /// It is not in the cache and may not be fetched.
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
        /// Its path below the mirror's base.
        path: String,
        /// Why, for each mirror that was asked.
        failures: Failures,
    },
    /// The request names no path.
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

/// What each mirror answered, in their order.
#[derive(Debug)]
pub struct Failures(pub Vec<HttpError>);

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(|error| chain(error)).collect();
        f.write_str(&all.join("; "))
    }
}

impl Problem {
    /// The exit code's class.
    pub fn class(&self) -> Class {
        match self {
            Self::Wrong { .. } | Self::Cache(CacheError::Damaged { .. }) => Class::Mismatch,
            Self::Offline { .. } => Class::Offline,
            Self::Mirror(error) => error.class(),
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
    /// A mirror was found for a suite; candidates before it were rejected.
    fn mirror(&self, suite: &str, accepted: &Accepted, rejections: &[Arc<Rejection>]);
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
    fn mirror(&self, _: &str, _: &Accepted, _: &[Arc<Rejection>]) {}
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

    /// How this fetcher uses the network.
    pub const fn web<'w>(&'w self, progress: &'w dyn Progress) -> Web<'w> {
        Web { client: &self.client, retry: self.retry, progress }
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
        let failed = self.in_parallel(missing, |source: &Source| self.fetch_one(source, progress));
        // Only now is it known which hosts served other files.
        failed.into_iter().map(|(at, problem)| (at, self.unless_unproven(problem))).collect()
    }

    /// Asks the mirrors of the source's suite in their order.
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
        let is_gone = failures.iter().all(|error| error.gone().is_some());
        let failures = Failures(failures);
        Err(if is_gone {
            Problem::Vanished { name, path, answers: failures }
        } else {
            Problem::Http { name, path, failures }
        })
    }

    /// A file has not vanished where a host answered that has served nothing that verifies: a login page, a wrong path, a filter.
    fn unless_unproven(&self, problem: Problem) -> Problem {
        match problem {
            Problem::Vanished { name, path, mut answers } => {
                let mut is_proven = true;
                for error in &mut answers.0 {
                    if let Some(status) = error.gone().filter(|_| !self.mirrors.is_proven(&error.route.host))
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
