//! The exit class of each error of this library, and the help that goes with it.
//!
//! The matches are exhaustive, so the code compiles only if each new variant has an exit class. A wrapping error has the class of its
//! cause.

#![deny(clippy::wildcard_enum_match_arm)]

use std::io::ErrorKind;

use super::cache::CacheError;
use super::failure::{Class, Classify};
use super::fetch::{FetchError, Problem};
use super::lock::{LockError, UpdateError, VerifyError};
use super::mirror::{MirrorError, Why};
use super::release::ReleaseError;
use super::resolve::ResolveError;

impl Classify for CacheError {
    fn class(&self) -> Class {
        match self {
            Self::Damaged { .. } => Class::Mismatch,
            Self::Missing { .. } => Class::Offline,
            Self::Io { .. } | Self::NoPlace { .. } => Class::Failed,
        }
    }
}

impl Classify for ResolveError {
    fn class(&self) -> Class {
        match self {
            Self::Index(_)
            | Self::UnknownRoot { .. }
            | Self::Unmet { .. }
            | Self::Ambiguous { .. }
            | Self::Conflict { .. }
            | Self::IdleCut { .. } => Class::Failed,
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::Ambiguous { .. } => {
                "add one of them to the roots of the set, or cut the dependency with a reason"
            }
            Self::Unmet { .. } => "add an archive that contains it, or cut the dependency with a reason",
            Self::Index(_) | Self::UnknownRoot { .. } | Self::Conflict { .. } | Self::IdleCut { .. } => {
                return None;
            }
        };
        Some(help.to_owned())
    }
}

impl Classify for LockError {
    fn class(&self) -> Class {
        match self {
            Self::Edited(_) | Self::OtherProof | Self::Proof(_) | Self::Resolve(_) => Class::Mismatch,
            Self::UnknownSet(_) => Class::Usage,
            Self::Io { .. } | Self::Parse(_) | Self::Form(_) | Self::Version(_) | Self::Index(_) => {
                Class::Failed
            }
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::Resolve(error) => {
                return error.help().or(Some("run `kubedos-build lock --update`".to_owned()));
            }
            Self::Io { source, what: "read", .. } if source.kind() == ErrorKind::NotFound => {
                "run `kubedos-build lock --update` to create it"
            }
            Self::Edited(_) | Self::OtherProof => "restore both files, or run `kubedos-build lock --update`",
            Self::Io { .. }
            | Self::Parse(_)
            | Self::Form(_)
            | Self::Version(_)
            | Self::Proof(_)
            | Self::Index(_)
            | Self::UnknownSet(_) => return None,
        };
        Some(help.to_owned())
    }
}

impl Classify for UpdateError {
    fn class(&self) -> Class {
        match self {
            Self::Mirror(error) => error.class(),
            Self::Fetch(error) => error.class(),
            Self::Lock(error) => error.class(),
            Self::Resolve(error) => error.class(),
            Self::Cache(error) => error.class(),
            Self::Unlisted { .. } | Self::Unpack { .. } | Self::Stanza(_) => Class::Failed,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Mirror(error) => error.help(),
            Self::Fetch(error) => error.help(),
            Self::Lock(error) => error.help(),
            Self::Resolve(error) => error.help(),
            Self::Cache(error) => error.help(),
            Self::Unlisted { .. } | Self::Unpack { .. } | Self::Stanza(_) => None,
        }
    }
}

impl Classify for VerifyError {
    fn class(&self) -> Class {
        match self {
            Self::Release(_) | Self::Mismatch { .. } | Self::NotInIndex { .. } | Self::UnknownSuite(_) => {
                Class::Mismatch
            }
            Self::Lock(error) => error.class(),
            Self::Fetch(error) => error.class(),
            Self::Cache(error) => error.class(),
            Self::Unpack { .. } => Class::Failed,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Lock(error) => error.help(),
            Self::Fetch(error) => error.help(),
            Self::Cache(error) => error.help(),
            Self::Release(_)
            | Self::Mismatch { .. }
            | Self::NotInIndex { .. }
            | Self::UnknownSuite(_)
            | Self::Unpack { .. } => None,
        }
    }
}

impl Classify for Problem {
    fn class(&self) -> Class {
        match self {
            Self::Wrong { .. } => Class::Mismatch,
            Self::Offline { .. } => Class::Offline,
            Self::Cache(error) => error.class(),
            Self::Mirror(error) => error.class(),
            Self::Vanished { .. } | Self::Http { .. } | Self::NoPath { .. } => Class::Failed,
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::Wrong { .. } => {
                "the mirror, or a proxy on the way to it, changed the file; it was discarded"
            }
            Self::Cache(CacheError::Damaged { .. }) => "run without --offline to fetch it again",
            Self::Vanished { .. } => {
                "the mirror no longer has this version: `--relock-missing` resolves only the vanished packages again, `lock --update` all packages"
            }
            Self::Offline { .. } => "run `kubedos-build fetch` without --offline first",
            Self::Mirror(error) => return error.help(),
            Self::Cache(CacheError::Missing { .. } | CacheError::Io { .. } | CacheError::NoPlace { .. })
            | Self::Http { .. }
            | Self::NoPath { .. } => return None,
        };
        Some(help.to_owned())
    }
}

impl Classify for FetchError {
    /// The most serious class, in this order: mismatch, wrong usage, offline, any other failure.
    fn class(&self) -> Class {
        let has = |class| self.0.iter().any(|problem| problem.class() == class);
        [Class::Mismatch, Class::Usage, Class::Offline]
            .into_iter()
            .find(|class| has(*class))
            .unwrap_or(Class::Failed)
    }

    /// The help of the most serious problem.
    fn help(&self) -> Option<String> {
        let rank = |problem: &Problem| match problem {
            Problem::Wrong { .. } => 0,
            Problem::Cache(_) => 1,
            Problem::Vanished { .. } => 2,
            Problem::Offline { .. } => 3,
            Problem::Mirror(_) | Problem::Http { .. } | Problem::NoPath { .. } => 4,
        };
        let mut problems: Vec<_> = self.0.iter().collect();
        problems.sort_by_key(|problem| rank(problem));
        problems.into_iter().find_map(Classify::help)
    }
}

impl Classify for MirrorError {
    /// A signature that does not verify has priority over failed requests.
    fn class(&self) -> Class {
        match self {
            Self::None { rejections, .. } if rejections.iter().any(|rejection| rejection.is_mismatch()) => {
                Class::Mismatch
            }
            Self::NotHttp { .. } => Class::Usage,
            Self::None { .. } | Self::UnknownSuite { .. } | Self::Selection(_) | Self::Keyring(_) => {
                Class::Failed
            }
        }
    }

    fn help(&self) -> Option<String> {
        let archive = match self {
            Self::None { archive, rejections, .. } => {
                let has = |test: fn(&ReleaseError) -> bool| {
                    rejections
                        .iter()
                        .any(|rejection| matches!(&rejection.why, Why::Release(error) if test(error)))
                };
                if has(|error| matches!(error, ReleaseError::Expired { .. })) {
                    return Some("the mirror is outdated or this host's clock is ahead; --accept-expired accepts the index".to_owned());
                }
                if has(|error| matches!(error, ReleaseError::Older { .. })) {
                    return Some("the mirror is outdated; --accept-older accepts the index".to_owned());
                }
                archive
            }
            Self::NotHttp { archive, .. } => archive,
            Self::UnknownSuite { .. } => {
                return Some("run `kubedos-build lock` to compare the lock with the selection".to_owned());
            }
            Self::Selection(_) | Self::Keyring(_) => return None,
        };
        Some(format!(
            "name a mirror with {} URL or the environment variable {}",
            archive.option(),
            archive.variable()
        ))
    }
}
