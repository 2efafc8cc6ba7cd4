//! The package mirrors. The host or the caller names them; the project contains no name of a mirror.
//!
//! The candidates are, in this order: the command line, the environment (`KUBEDOS_DEBIAN_MIRROR`, `KUBEDOS_DEBIAN_SECURITY_MIRROR`), and
//! every source of the host's apt configuration, independent of its name, file or suite. A mirror from the command line or the environment
//! is the only candidate for its archive. A candidate becomes a mirror of a suite if its `InRelease` verifies with a key that the project
//! names for the suite, and names Debian and the suite. Candidates are tried when the first file of the suite is missing in the cache.

pub mod apt;
mod base;
mod candidate;
mod choose;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::release::keyring::KeyringError;
use crate::resolve::selection::SelectionError;
pub use base::Mirror;
pub use candidate::{Named, Rejection, Why};
pub use choose::{Accepted, Mirrors, Web};

/// An archive of Debian. Each has its own base URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// Debian itself: `trixie`, `trixie-updates`, `trixie-backports`.
    Debian,
    /// Security updates: `trixie-security`.
    DebianSecurity,
}

impl Archive {
    /// Both archives.
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

    /// Whether a `Release` file with this `Origin` and `Label` belongs to this archive.
    pub(crate) fn has_origin_and_label(self, origin: &str, label: &str) -> bool {
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

/// No mirror can be used.
#[derive(Debug, Error)]
pub enum MirrorError {
    /// No candidate serves the suite.
    #[error("{}", none(suite, apt, rejections))]
    None {
        /// The code name of the suite.
        suite: String,
        /// The archive of the suite.
        archive: Archive,
        /// The folder of the apt configuration.
        apt: PathBuf,
        /// The rejected candidates.
        rejections: Vec<Arc<Rejection>>,
    },
    /// The value from the command line or the environment is not an http(s) URL.
    #[error("{url:?} from {from} is not the URL of a mirror: expected http://… or https://…")]
    NotHttp {
        /// The archive.
        archive: Archive,
        /// The value, without user name and password.
        url: String,
        /// The option or environment variable.
        from: &'static str,
    },
    /// The selection does not contain the suite.
    #[error("{packages} has no suite {suite}, so there is no key to verify it")]
    UnknownSuite {
        /// The code name of the suite.
        suite: String,
        /// The path of the selection file.
        packages: PathBuf,
    },
    /// The selection file cannot be used.
    #[error(transparent)]
    Selection(SelectionError),
    /// The keyring cannot be used.
    #[error(transparent)]
    Keyring(KeyringError),
}

fn none(suite: &str, apt: &std::path::Path, rejections: &[Arc<Rejection>]) -> String {
    if rejections.is_empty() {
        return format!(
            "no mirror of the suite {suite} is known: the apt configuration in {} contains no source",
            apt.display()
        );
    }
    let lines = rejections.iter().map(|rejection| format!("\n  {rejection}"));
    format!(
        "no mirror of the suite {suite} is usable: no candidate serves its signed index dists/{suite}/InRelease{}",
        lines.collect::<String>()
    )
}

/// The mirrors from the command line and the environment, and the paths of the apt configuration, the selection and the keys.
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
    /// The folder of the apt configuration, `/etc/apt` on a Debian host.
    pub apt: PathBuf,
    /// The selection file, which names the keys of each suite.
    pub packages: PathBuf,
    /// The folder with the archive keys.
    pub keyrings: PathBuf,
}

impl Wanted {
    /// Reads the environment variables, and uses `/etc/apt` and the selection and keys of a project folder.
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

    /// The option or variable that names the only candidate of an archive, and its URL.
    fn explicit(&self, archive: Archive) -> Option<(&'static str, &str)> {
        let (option, variable) = match archive {
            Archive::Debian => (&self.debian, &self.debian_variable),
            Archive::DebianSecurity => (&self.security, &self.security_variable),
        };
        let given = option.as_deref().map(|url| (archive.option(), url));
        given.or_else(|| variable.as_deref().map(|url| (archive.variable(), url)))
    }
}
