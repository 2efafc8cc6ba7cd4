//! Builds the programs of `init/`: stage 1 (`/init` of the initrd) and the agent of the root volume. Both are static and small, and their
//! bytes do not depend on the folder of the build (requirement A4).
//!
//! The store contains them under the digest of all inputs: the sources, the lock's compiler and C library, and the build flags. cargo runs
//! only if there is no entry. The build is an ordinary cargo build of this workspace in the profile `init`, without everything that differs
//! between hosts ([`cargo`]); the lock's clang compiles C, and rust-lld links with the lock's C library ([`compiler`]). Build scripts and
//! procedural macros are compiled by the host's toolchain and run on the host; only the text that they generate reaches the programs.

mod cargo;
pub mod compiler;
mod sources;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;

use crate::cache_key::{CacheKey, CacheKeyBuilder, Inputs};
use crate::store::{Store, StoreError};
use crate::toolbox::{Toolbox, ToolboxError};
use kubedos_debian::lock::LockedPackage;
use sources::Sources;

/// The set of the lock that contains compiler and C library.
pub const SET: &str = "toolchain";

/// Increment when the same sources result in other programs.
const RECIPE: u32 = 2;
/// The kind of the store's entries.
const KIND: &str = "init";

/// The built programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The `/init` of the initrd.
    pub stage1: Arc<[u8]>,
    /// The first service of systemd.
    pub agent: Arc<[u8]>,
}

/// The names of the packages, which are also the names of their binaries.
const STAGE1: &str = "kubedos-stage1";
const AGENT: &str = "kubedos-agent";

/// The inputs of the programs, read once.
#[derive(Debug)]
pub struct Recipe {
    workspace: PathBuf,
    sources: Sources,
    /// The digest of compilers, C library and flags.
    compiler: CacheKey,
    /// All inputs.
    inputs: Inputs,
}

/// The means of the build. They must not influence the bytes of the programs.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// cargo's target folder for this build.
    pub target_dir: &'a Path,
    /// Whether the network must not be used.
    pub offline: bool,
    /// The unpacked [`SET`].
    pub toolchain: &'a Toolbox,
    /// The path of `kubedos-build`, which cargo starts as a compiler.
    pub program: &'a Path,
}

/// The errors of the build.
#[derive(Debug, thiserror::Error)]
pub enum InitBuildError {
    /// A program cannot be started.
    #[error("failed to run {0}")]
    Run(&'static str, #[source] io::Error),
    /// cargo failed; it printed the cause on stderr.
    #[error("failed to build {STAGE1} and {AGENT}: cargo ended with {0}")]
    Cargo(ExitStatus),
    /// A file cannot be read or written.
    #[error("failed to {doing} {}", path.display())]
    File {
        /// The operation.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// `rust-toolchain.toml` does not name a channel.
    #[error("{} names no toolchain", .0.display())]
    NoChannel(PathBuf),
    /// The installed compiler is not the pinned one.
    #[error("rustc is {found}, but rust-toolchain.toml pins {pinned}")]
    Rustc {
        /// The version that `rustc` reports.
        found: String,
        /// The pinned channel.
        pinned: String,
    },
    /// A compiled file is not covered by the digest.
    #[error("{} is compiled into {STAGE1} or {AGENT} but is not covered by the digest of their sources", .0.display())]
    Uncovered(PathBuf),
    /// The sources changed during the build.
    #[error("the sources of {STAGE1} and {AGENT} changed while they were compiled")]
    Changed,
    /// The location of a folder is unknown, so the programs cannot be searched for its path.
    #[error("neither HOME nor {0} is set, so the programs cannot be searched for paths of this host")]
    NoHome(&'static str),
    /// A program contains a path of this host.
    #[error("{program} contains the path {} of this host", path.display())]
    Leak {
        /// The program's name.
        program: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// The compiler or the C library is not available.
    #[error(transparent)]
    Toolbox(#[from] ToolboxError),
    /// The build store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Recipe {
    /// Reads the sources of a workspace. `toolchain` are the lock's packages of [`SET`].
    pub fn read(workspace: &Path, toolchain: &[&LockedPackage]) -> Result<Self, InitBuildError> {
        let sources = Sources::read(workspace)?;
        let nowhere = compiler::Folder::nowhere();
        let fixed = cargo::RUST_FLAGS.map(OsString::from).to_vec();
        let flags = [fixed, nowhere.rust_flags(), compiler::c_flags(&nowhere.tree())].concat();
        let mut compiler = CacheKeyBuilder::new("kubedos-init compiler", RECIPE);
        for flag in flags {
            compiler = compiler.with("flag", flag.as_encoded_bytes());
        }
        for pin in toolchain.iter().map(|package| package.pin()) {
            compiler = compiler.with(&pin.name, pin.sha256.to_string());
        }
        let compiler = compiler.with("linker script", compiler::NO_UNWIND_TABLES).finish();
        let inputs = Inputs::new(KIND, RECIPE)
            .with("its sources", sources.digest())
            .with("its compiler and C library", compiler);
        Ok(Self { workspace: workspace.to_owned(), sources, compiler, inputs })
    }

    /// The inputs of the programs.
    pub const fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Returns the programs if the store contains them.
    pub fn kept(&self, store: &Store) -> Result<Option<Programs>, InitBuildError> {
        let Some(folder) = store.find(KIND, &self.inputs.key()) else { return Ok(None) };
        let program = |name| {
            let path = folder.join(name);
            fs::read(&path).map(Arc::from).map_err(|source| file("read", &path, source))
        };
        Ok(Some(Programs { stage1: program(STAGE1)?, agent: program(AGENT)? }))
    }

    /// Builds the programs and stores them.
    pub fn build(&self, store: &Store, means: &Means<'_>) -> Result<Programs, InitBuildError> {
        let compiler = compiler::Folder::make(means, &self.compiler)?;
        cargo::check_rustc(&self.workspace)?;
        cargo::build(&self.workspace, means, &compiler, &self.compiler)?;
        let program = |name| self.program(name, means);
        let programs = Programs { stage1: program(STAGE1)?, agent: program(AGENT)? };
        if Sources::read(&self.workspace)?.digest() != self.sources.digest() {
            return Err(InitBuildError::Changed);
        }
        store.insert(KIND, &self.inputs.key(), |folder| {
            [(STAGE1, &programs.stage1), (AGENT, &programs.agent)].into_iter().try_for_each(
                |(name, bytes)| {
                    let path = folder.join(name);
                    fs::write(&path, bytes).map_err(|source| file("write", &path, source))
                },
            )
        })?;
        Ok(programs)
    }

    /// Reads a built program and checks that it was compiled from the known sources and contains no path of this host.
    fn program(&self, program: &'static str, means: &Means<'_>) -> Result<Arc<[u8]>, InitBuildError> {
        let built = cargo::built(means, program);
        self.sources.check_covers(&self.workspace, means.target_dir, &built.dependencies)?;
        let bytes = fs::read(&built.binary).map_err(|source| file("read", &built.binary, source))?;
        let folders = cargo::folders_of_the_host(&self.workspace, means)?;
        match folders.into_iter().find(|folder| contains_path(&bytes, folder)) {
            Some(path) => Err(InitBuildError::Leak { program, path }),
            None => Ok(bytes.into()),
        }
    }
}

/// Whether the bytes contain the path of a folder. Paths with a single component, such as `/src`, are ignored, because they also occur as
/// parts of other names.
fn contains_path(bytes: &[u8], folder: &Path) -> bool {
    let name = folder.as_os_str().as_encoded_bytes();
    folder.components().count() > 2 && bytes.windows(name.len()).any(|window| window == name)
}

fn file(doing: &'static str, path: &Path, source: io::Error) -> InitBuildError {
    InitBuildError::File { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
