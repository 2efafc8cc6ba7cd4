//! Where packages come from: never named by the project, always by the host or the caller.
//!
//! Candidates, in this order: command line, environment (`KUBEDOS_DEBIAN_MIRROR`, `KUBEDOS_DEBIAN_SECURITY_MIRROR`), every source of the
//! host's apt configuration, whatever its name, file or suite. What the command line or the environment names is the only candidate of
//! its archive. A candidate becomes a mirror of a suite when the `InRelease` that it serves verifies with a key that the project names for
//! the suite, and names Debian and the suite. Each is asked once, when the first file of the suite is missing in the cache.

pub mod apt;
mod base;
mod candidate;
mod choose;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::failure::Class;
use crate::release::ReleaseError;
use crate::release::keyring::KeyringError;
use crate::resolve::selection::SelectionError;
pub use base::Mirror;
pub use candidate::{Named, Rejection, Why};
pub use choose::{Accepted, Mirrors, Web};

/// The archives that the lock's suites live in; each has its own base URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// Debian itself: `trixie`, `trixie-updates`, `trixie-backports`.
    Debian,
    /// Security updates: `trixie-security`.
    DebianSecurity,
}

impl Archive {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Debian, Self::DebianSecurity];

    /// The command-line option that names its mirror.
    pub const fn option(self) -> &'static str {
        match self {
            Self::Debian => "--mirror",
            Self::DebianSecurity => "--security-mirror",
        }
    }

    /// The environment variable that names its mirror.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Debian => "KUBEDOS_DEBIAN_MIRROR",
            Self::DebianSecurity => "KUBEDOS_DEBIAN_SECURITY_MIRROR",
        }
    }

    /// Whether a `Release` file with this `Origin` and `Label` is of this archive.
    pub(crate) fn is_named_by(self, origin: &str, label: &str) -> bool {
        match self {
            Self::Debian => {
                matches!((origin, label), ("Debian", "Debian") | ("Debian Backports", "Debian Backports"))
            }
            Self::DebianSecurity => (origin, label) == ("Debian", "Debian-Security"),
        }
    }
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debian => "debian",
            Self::DebianSecurity => "debian-security",
        })
    }
}

/// Why there is no mirror.
#[derive(Debug, Error)]
pub enum MirrorError {
    /// No candidate serves the suite.
    #[error("{}", none(suite, apt, rejections))]
    None {
        /// The code name of the suite.
        suite: String,
        /// Its archive.
        archive: Archive,
        /// apt's folder.
        apt: PathBuf,
        /// Every candidate with the reason.
        rejections: Vec<Arc<Rejection>>,
    },
    /// The command line or the environment names no http(s) URL.
    #[error("{url:?}, from {from}, is no mirror: expected http://… or https://…")]
    NotHttp {
        /// The archive that it was named for.
        archive: Archive,
        /// What was given, without user name and password.
        url: String,
        /// By what.
        from: &'static str,
    },
    /// The selection has no keys for the suite.
    #[error("{packages} has no suite {suite}, so no key is known that may sign it")]
    UnknownSuite {
        /// The code name of the suite.
        suite: String,
        /// The selection.
        packages: PathBuf,
    },
    /// The selection, which names the keys, cannot be read.
    #[error(transparent)]
    Selection(SelectionError),
    /// The keys cannot be read.
    #[error(transparent)]
    Keyring(KeyringError),
}

fn none(suite: &str, apt: &std::path::Path, rejections: &[Arc<Rejection>]) -> String {
    if rejections.is_empty() {
        return format!(
            "no mirror of the suite {suite} is known: the apt configuration in {} names none",
            apt.display()
        );
    }
    let lines = rejections.iter().map(|rejection| format!("\n  {rejection}"));
    format!(
        "no mirror of the suite {suite} is usable: no candidate serves its signed index dists/{suite}/InRelease{}",
        lines.collect::<String>()
    )
}

impl MirrorError {
    /// The exit code's class: a signature that does not verify goes before failed requests.
    pub fn class(&self) -> Class {
        match self {
            Self::None { rejections, .. } if rejections.iter().any(|rejection| rejection.is_mismatch()) => {
                Class::Mismatch
            }
            Self::NotHttp { .. } => Class::Usage,
            _ => Class::Failed,
        }
    }

    /// What the reader may do about it.
    pub fn help(&self) -> Option<String> {
        let archive = match self {
            Self::None { archive, rejections, .. } => {
                let has = |test: fn(&ReleaseError) -> bool| {
                    rejections
                        .iter()
                        .any(|rejection| matches!(&rejection.why, Why::Release(error) if test(error)))
                };
                if has(|error| matches!(error, ReleaseError::Expired { .. })) {
                    return Some("the mirror is stale, or this host's clock is ahead; --accept-expired takes it nevertheless".to_owned());
                }
                if has(|error| matches!(error, ReleaseError::Older { .. })) {
                    return Some("the mirror is behind; --accept-older takes it nevertheless".to_owned());
                }
                archive
            }
            Self::NotHttp { archive, .. } => archive,
            Self::UnknownSuite { .. } => {
                return Some("run `kubedos-build lock` to compare lock and selection".to_owned());
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

/// What the command line and the environment name, and where configuration and trust are read when they are needed.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `--mirror`.
    pub debian: Option<String>,
    /// `--security-mirror`.
    pub security: Option<String>,
    /// `KUBEDOS_DEBIAN_MIRROR`.
    pub debian_variable: Option<String>,
    /// `KUBEDOS_DEBIAN_SECURITY_MIRROR`.
    pub security_variable: Option<String>,
    /// apt's folder, `/etc/apt` on a Debian host.
    pub apt: PathBuf,
    /// The selection, which names the keys of each suite.
    pub packages: PathBuf,
    /// The folder of archive keys.
    pub keyrings: PathBuf,
}

impl Wanted {
    /// What the process environment names, with `/etc/apt`, and the selection and keys of a project folder.
    pub fn from_environment(project: &std::path::Path) -> Self {
        let variable =
            |archive: Archive| std::env::var(archive.variable()).ok().filter(|url| !url.is_empty());
        Self {
            debian: None,
            security: None,
            debian_variable: variable(Archive::Debian),
            security_variable: variable(Archive::DebianSecurity),
            apt: PathBuf::from("/etc/apt"),
            packages: project.join("rootfs/packages.toml"),
            keyrings: project.join("rootfs/keyrings"),
        }
    }

    /// What names the only candidate of an archive, and the URL.
    fn explicit(&self, archive: Archive) -> Option<(&'static str, &str)> {
        let (option, variable) = match archive {
            Archive::Debian => (&self.debian, &self.debian_variable),
            Archive::DebianSecurity => (&self.security, &self.security_variable),
        };
        let given = option.as_deref().map(|url| (archive.option(), url));
        given.or_else(|| variable.as_deref().map(|url| (archive.variable(), url)))
    }
}
