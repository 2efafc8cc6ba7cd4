//! The exit class of each error of this library, and the hint for the user.
//!
//! The matches are exhaustive, so the code compiles only if each new variant has an exit class. A wrapping error has the class and the
//! hint of its cause.

#![deny(clippy::wildcard_enum_match_arm)]

use std::io::ErrorKind;

use super::cache::CacheError;
use super::failure::{Class, Classify};
use super::fetch::{FetchError, Problem};
use super::lock::{LockError, UpdateError, VerifyError};
use super::mirror::{MirrorError, Rejection, Why};
use super::release::ReleaseError;
use super::resolve::ResolveError;

impl Classify for CacheError {
    fn classify(&self) -> (Class, Option<String>) {
        let class = match self {
            Self::Damaged { .. } => Class::Mismatch,
            Self::Missing { .. } => Class::Offline,
            Self::Io { .. } | Self::NoPlace { .. } => Class::Failed,
        };
        (class, None)
    }
}

impl Classify for ResolveError {
    fn classify(&self) -> (Class, Option<String>) {
        let help = match self {
            Self::Ambiguous { .. } => {
                Some("add one of them to the roots of the set, or cut the dependency with a reason")
            }
            Self::Unmet { .. } => {
                Some("add an archive that contains it, or cut the dependency with a reason")
            }
            Self::Index(_) | Self::UnknownRoot { .. } | Self::Conflict { .. } | Self::IdleCut { .. } => None,
        };
        (Class::Failed, help.map(str::to_owned))
    }
}

impl Classify for LockError {
    fn classify(&self) -> (Class, Option<String>) {
        let (class, help) = match self {
            Self::Resolve(error) => {
                let help = error.help().or(Some("run `kubedos-build lock --update`".to_owned()));
                return (Class::Mismatch, help);
            }
            Self::Edited(_) | Self::OtherProof => {
                (Class::Mismatch, Some("restore both files, or run `kubedos-build lock --update`"))
            }
            Self::Proof(_) => (Class::Mismatch, None),
            Self::UnknownSet(_) => (Class::Usage, None),
            Self::Io { source, what: "read", .. } if source.kind() == ErrorKind::NotFound => {
                (Class::Failed, Some("run `kubedos-build lock --update` to make it"))
            }
            Self::Io { .. } | Self::Parse(_) | Self::Form(_) | Self::Version(_) | Self::Index(_) => {
                (Class::Failed, None)
            }
        };
        (class, help.map(str::to_owned))
    }
}

impl Classify for UpdateError {
    fn classify(&self) -> (Class, Option<String>) {
        match self {
            Self::Mirror(error) => error.classify(),
            Self::Fetch(error) => error.classify(),
            Self::Lock(error) => error.classify(),
            Self::Resolve(error) => error.classify(),
            Self::Cache(error) => error.classify(),
            Self::Unlisted { .. } | Self::Unpack { .. } | Self::Stanza(_) => (Class::Failed, None),
        }
    }
}

impl Classify for VerifyError {
    fn classify(&self) -> (Class, Option<String>) {
        match self {
            Self::Release(_) | Self::Mismatch { .. } | Self::NotInIndex { .. } | Self::UnknownSuite(_) => {
                (Class::Mismatch, None)
            }
            Self::Lock(error) => error.classify(),
            Self::Fetch(error) => error.classify(),
            Self::Cache(error) => error.classify(),
            Self::Unpack { .. } => (Class::Failed, None),
        }
    }
}

impl Classify for Problem {
    fn classify(&self) -> (Class, Option<String>) {
        let (class, help) = match self {
            Self::Wrong { .. } => (
                Class::Mismatch,
                "the mirror, or a proxy on the way to it, changed the file; it was discarded",
            ),
            Self::Cache(error @ CacheError::Damaged { .. }) => {
                (error.class(), "run without --offline to fetch it again")
            }
            Self::Vanished { .. } => (
                Class::Failed,
                "the mirror no longer has this version: `--relock-missing` resolves only the vanished packages again, `lock --update` all packages",
            ),
            Self::Offline { .. } => (Class::Offline, "run `kubedos-build fetch` without --offline first"),
            Self::Mirror(error) => return error.classify(),
            Self::Cache(
                error @ (CacheError::Missing { .. } | CacheError::Io { .. } | CacheError::NoPlace { .. }),
            ) => return error.classify(),
            Self::Http { .. } | Self::NoPath { .. } => return (Class::Failed, None),
        };
        (class, Some(help.to_owned()))
    }
}

impl Classify for FetchError {
    /// The most serious class, in this order: mismatch, wrong usage, offline, any other failure. The hint of the most serious problem.
    fn classify(&self) -> (Class, Option<String>) {
        let has = |class| self.0.iter().any(|problem| problem.class() == class);
        let order = [Class::Mismatch, Class::Usage, Class::Offline];
        let class = order.into_iter().find(|class| has(*class)).unwrap_or(Class::Failed);
        let rank = |problem: &Problem| match problem {
            Problem::Wrong { .. } => 0,
            Problem::Cache(_) => 1,
            Problem::Vanished { .. } => 2,
            Problem::Offline { .. } => 3,
            Problem::Mirror(_) | Problem::Http { .. } | Problem::NoPath { .. } => 4,
        };
        let mut problems: Vec<_> = self.0.iter().collect();
        problems.sort_by_key(|problem| rank(problem));
        (class, problems.into_iter().find_map(Classify::help))
    }
}

impl Classify for MirrorError {
    /// A signature that does not verify has priority over failed requests.
    fn classify(&self) -> (Class, Option<String>) {
        let (class, archive) = match self {
            Self::None { archive, rejections, .. } => {
                let mismatch = rejections.iter().any(|rejection| rejection.is_mismatch());
                let class = if mismatch { Class::Mismatch } else { Class::Failed };
                let has = |test: fn(&ReleaseError) -> bool| {
                    let release =
                        |rejection: &Rejection| matches!(&rejection.why, Why::Release(error) if test(error));
                    rejections.iter().any(|rejection| release(rejection))
                };
                if has(|error| matches!(error, ReleaseError::Expired { .. })) {
                    let help = "the mirror is outdated or this host's clock is ahead; --accept-expired accepts the index";
                    return (class, Some(help.to_owned()));
                }
                if has(|error| matches!(error, ReleaseError::Older { .. })) {
                    return (
                        class,
                        Some("the mirror is outdated; --accept-older accepts the index".to_owned()),
                    );
                }
                (class, archive)
            }
            Self::NotHttp { archive, .. } => (Class::Usage, archive),
            Self::UnknownSuite { .. } => {
                let help = "run `kubedos-build lock` to compare the lock with the selection";
                return (Class::Failed, Some(help.to_owned()));
            }
            Self::Selection(_) | Self::Keyring(_) => return (Class::Failed, None),
        };
        let (option, variable) = (archive.option(), archive.variable());
        (class, Some(format!("name a mirror with {option} URL or the environment variable {variable}")))
    }
}
