//! Selects the folder of the cache: an explicit one, or the first writable default.
//!
//! The order is `--cache`, `KUBEDOS_CACHE`, `kubedos` in `XDG_CACHE_HOME` or `~/.cache`, and `target/kubedos-cache` of the checkout. An
//! explicit folder has no fallback, so that files never go to an unexpected place.

use std::path::PathBuf;

use super::{Cache, CacheError};

/// The environment variable that names the cache folder.
pub const VARIABLE: &str = "KUBEDOS_CACHE";

/// The candidates for the cache folder from the command line and the environment.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// `--cache`.
    pub option: Option<PathBuf>,
    /// `KUBEDOS_CACHE`.
    pub variable: Option<PathBuf>,
    /// `XDG_CACHE_HOME`.
    pub xdg: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// The folder to use if the home folder is not writable: `target/kubedos-cache` of the checkout.
    pub fallback: PathBuf,
}

impl Place {
    /// Combines a value of `--cache` with the process environment.
    pub fn from_environment(option: Option<PathBuf>) -> Self {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            option,
            variable: variable(VARIABLE),
            xdg: variable("XDG_CACHE_HOME").filter(|path| path.is_absolute()),
            home: variable("HOME"),
            fallback: PathBuf::from("target/kubedos-cache"),
        }
    }

    /// Opens the cache. An explicit folder (`option` or `variable`) has no fallback. A default folder that is not writable is replaced by
    /// the fallback.
    pub fn open(&self) -> Result<Cache, CacheError> {
        if let Some(explicit) = self.option.as_ref().or(self.variable.as_ref()) {
            return Cache::at(explicit);
        }
        let default = self.xdg.clone().or_else(|| self.home.as_ref().map(|home| home.join(".cache")));
        let mut tried = Vec::new();
        for folder in default.map(|default| default.join("kubedos")).iter().chain([&self.fallback]) {
            match Cache::at(folder).and_then(|cache| cache.probe().map(|()| cache)) {
                Ok(cache) => return Ok(cache),
                Err(error) => tried.push(format!("{}: {}", folder.display(), root_cause(&error))),
            }
        }
        Err(CacheError::NoPlace { tried: tried.join("; ") })
    }
}

impl Cache {
    /// Checks that the cache is writable. The folder can exist on a read-only file system.
    fn probe(&self) -> Result<(), CacheError> {
        let path = self.root().join("partial");
        // A unique name, because several threads can probe at the same time.
        let probe = tempfile::Builder::new().prefix("probe-").tempfile_in(&path);
        probe.and_then(tempfile::NamedTempFile::close).map_err(|source| CacheError::Io {
            what: "write",
            path,
            source,
        })
    }
}

fn root_cause(error: &CacheError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
