//! Which folder the cache is: said, or found.

use std::path::PathBuf;

use super::{Cache, CacheError};

/// The environment variable that names the cache folder.
pub const VARIABLE: &str = "KUBEDOS_CACHE";

/// What the command line and the environment say about the cache folder.
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
    /// Where to go when home cannot be written: `target/kubedos-cache` of the checkout.
    pub fallback: PathBuf,
}

impl Place {
    /// The option given, with the process environment.
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

    /// Opens the cache. A folder that was said must work; one that was found gives way to the fallback.
    pub fn open(&self) -> Result<Cache, CacheError> {
        if let Some(said) = self.option.as_ref().or(self.variable.as_ref()) {
            return Cache::at(said);
        }
        let found = self.xdg.clone().or_else(|| self.home.as_ref().map(|home| home.join(".cache")));
        let mut tried = Vec::new();
        for folder in found.map(|found| found.join("kubedos")).iter().chain([&self.fallback]) {
            match Cache::at(folder).and_then(|cache| cache.probe().map(|()| cache)) {
                Ok(cache) => return Ok(cache),
                Err(error) => tried.push(format!("{}: {}", folder.display(), root_cause(&error))),
            }
        }
        Err(CacheError::NoPlace { tried: tried.join("; ") })
    }
}

impl Cache {
    /// Whether it can be written: a folder may exist on a file system that is read-only.
    fn probe(&self) -> Result<(), CacheError> {
        let path = self.root().join("partial");
        // A name of its own: several threads may look at once.
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
