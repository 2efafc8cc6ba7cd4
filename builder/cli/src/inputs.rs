//! The arguments for pinned inputs: mirrors, cache, lock and keys. Every command that needs inputs uses the same arguments.
//!
//! No mirror has a default in the project: the command line, the environment or the host names it. No apt configuration is read and
//! no request is sent before a file must be fetched.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use kubedos_debian::cache::{Cache, Place};
use kubedos_debian::failure::{Class, Failure};
use kubedos_debian::fetch::{DEFAULT_JOBS, FetchError, Fetcher};
use kubedos_debian::mirror::{Mirrors, Wanted};
use kubedos_wire::printable::chain;

use super::terminal::say_lines;

/// The arguments for pinned inputs.
#[derive(Debug, Clone, Args)]
pub struct Inputs {
    /// Base URL of a Debian mirror [default: $KUBEDOS_DEBIAN_MIRROR, or the sources of the host's apt configuration]
    #[arg(long, value_name = "URL")]
    pub mirror: Option<String>,

    /// Base URL of a Debian security mirror [default: $KUBEDOS_DEBIAN_SECURITY_MIRROR, or the sources of the host's apt configuration]
    #[arg(long, value_name = "URL")]
    pub security_mirror: Option<String>,

    /// The folder of the host's apt configuration
    #[arg(long, value_name = "DIR", default_value = "/etc/apt")]
    pub apt: PathBuf,

    /// The cache folder [default: $KUBEDOS_CACHE, or kubedos in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,

    /// Number of parallel transfers
    #[arg(long, value_name = "N", default_value_t = DEFAULT_JOBS)]
    pub jobs: usize,

    /// Use only files in the cache, and no network
    #[arg(long)]
    pub offline: bool,

    /// The lock file
    #[arg(long, value_name = "FILE", default_value = "kubedos.lock")]
    pub lock: PathBuf,

    /// The package selection
    #[arg(long, value_name = "FILE", default_value = "rootfs/packages.toml")]
    pub packages: PathBuf,

    /// The folder with the archive keys
    #[arg(long, value_name = "DIR", default_value = "rootfs/keyrings")]
    pub keyrings: PathBuf,
}

impl Inputs {
    /// Opens the cache.
    pub fn open_cache(&self) -> Result<Cache, Failure> {
        Place::from_environment(self.cache.clone()).open().map_err(|error| Failure::new(Class::Failed, error))
    }

    /// The mirrors. They are selected when the first file must be fetched.
    pub fn find_mirrors(&self) -> Mirrors {
        Mirrors::find(Wanted {
            debian: self.mirror.clone(),
            security: self.security_mirror.clone(),
            apt: self.apt.clone(),
            packages: self.packages.clone(),
            keyrings: self.keyrings.clone(),
            ..Wanted::from_environment(Path::new(""))
        })
    }

    /// Creates a fetcher for a cache and mirrors.
    pub fn fetcher<'a>(&self, cache: &'a Cache, mirrors: &'a Mirrors) -> Fetcher<'a> {
        Fetcher { jobs: self.jobs, is_offline: self.offline, ..Fetcher::new(cache, mirrors) }
    }
}

/// Prints every problem and gives the failure that decides the exit code.
pub fn fetch_failure(error: FetchError) -> Failure {
    // All files of a suite without a mirror have the same problem.
    let mut printed = BTreeSet::new();
    for problem in &error.0 {
        let text = chain(problem);
        if printed.insert(text.clone()) {
            say_lines(&format!("error: {text}"));
        }
    }
    error.into()
}
