//! Builds the programs of `init/`: stage 1, which is `/init` of the initrd, and the agent of the root volume. Both are static, small, and
//! have the same bytes from any folder (requirement A4).
//!
//! They are kept under the digest of everything that goes into them: the sources, the lock's compiler and C library, and the way of
//! building. cargo is started only when nothing stands under that digest. It is then an ordinary cargo build of this workspace in
//! the profile `init`, from which is taken away what could tell one host from another ([`cargo`]); C is compiled by the lock's
//! clang, and rust-lld links against the lock's C library ([`compiler`]). Build scripts and procedural macros run on the host and are
//! made by its own toolchain: nothing of them but their text gets into the binary.

mod cargo;
pub mod compiler;
mod sources;

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

/// The set of the lock that has compiler and C library.
pub const SET: &str = "toolchain";

/// Raised whenever the same sources would give other programs.
const RECIPE: u32 = 2;
/// The kind of the store's entries.
const KIND: &str = "init";

/// The programs, as the image holds them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// `/init` of the initrd.
    pub stage1: Arc<[u8]>,
    /// The first service of systemd.
    pub agent: Arc<[u8]>,
}

/// The names of the packages and of their binaries.
const STAGE1: &str = "kubedos-stage1";
const AGENT: &str = "kubedos-agent";

/// What the programs are made of, read once.
#[derive(Debug)]
pub struct Recipe {
    workspace: PathBuf,
    sources: Sources,
    /// Compilers, C library and flags.
    compiler: CacheKey,
    /// All of it.
    inputs: Inputs,
}

/// By what it is made: nothing of this may reach its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Means<'a> {
    /// cargo's target folder for this build.
    pub target_dir: &'a Path,
    /// No network.
    pub offline: bool,
    /// The unpacked [`SET`].
    pub toolchain: &'a Toolbox,
    /// `kubedos-build`, which cargo will start as compiler.
    pub program: &'a Path,
}

/// Why there are no programs.
#[derive(Debug, thiserror::Error)]
pub enum InitBuildError {
    /// A program did not start.
    #[error("failed to run {0}")]
    Run(&'static str, #[source] io::Error),
    /// cargo said why on stderr.
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
    /// `rust-toolchain.toml` names no channel.
    #[error("{} names no toolchain", .0.display())]
    NoChannel(PathBuf),
    /// Another compiler than the pinned one.
    #[error("rustc is {found}, and rust-toolchain.toml pins {pinned}")]
    Rustc {
        /// What `rustc` says of itself.
        found: String,
        /// The channel.
        pinned: String,
    },
    /// A file is compiled in that the digest does not cover.
    #[error("{} is compiled into {STAGE1} or {AGENT} and is not among the sources that name them", .0.display())]
    Uncovered(PathBuf),
    /// The sources are not those that were read.
    #[error("the sources of {STAGE1} and {AGENT} changed while they were compiled")]
    Changed,
    /// A folder of this host is unknown, so that its path cannot be looked for in the programs.
    #[error("neither HOME nor {0} is set, so the programs cannot be searched for paths of this host")]
    NoHome(&'static str),
    /// A path of this host got in.
    #[error("{program} holds the path {} of this host", path.display())]
    Leak {
        /// The program.
        program: &'static str,
        /// The path.
        path: PathBuf,
    },
    /// The compiler or the C library is not there.
    #[error(transparent)]
    Toolbox(#[from] ToolboxError),
    /// The store of built things failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Recipe {
    /// Reads the sources of a workspace. `toolchain` are the lock's packages of [`SET`].
    pub fn read(workspace: &Path, toolchain: &[&LockedPackage]) -> Result<Self, InitBuildError> {
        let sources = Sources::read(workspace)?;
        let nowhere = compiler::Folder::nowhere();
        let flags = [cargo::rust_flags(&nowhere), compiler::c_flags(&nowhere.tree())].concat();
        let mut compiler = CacheKeyBuilder::new("kubedos-init compiler", RECIPE);
        for flag in flags {
            compiler = compiler.with("flag", flag.as_encoded_bytes());
        }
        for pin in toolchain.iter().map(|package| package.pin()) {
            compiler = compiler.with(&pin.name, pin.sha256.to_string());
        }
        let compiler = compiler.finish();
        let inputs = Inputs::new(KIND, RECIPE)
            .with("its sources", sources.digest())
            .with("its compiler and C library", compiler);
        Ok(Self { workspace: workspace.to_owned(), sources, compiler, inputs })
    }

    /// What the programs are made from.
    pub const fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// The programs, if they were built before.
    pub fn kept(&self, store: &Store) -> Result<Option<Programs>, InitBuildError> {
        let Some(folder) = store.find(KIND, &self.inputs.key()) else { return Ok(None) };
        let program = |name| {
            let path = folder.join(name);
            fs::read(&path).map(Arc::from).map_err(|source| file("read", &path, source))
        };
        Ok(Some(Programs { stage1: program(STAGE1)?, agent: program(AGENT)? }))
    }

    /// Builds the programs and keeps them.
    pub fn build(&self, store: &Store, means: &Means<'_>) -> Result<Programs, InitBuildError> {
        let compiler = compiler::Folder::make(means, &self.compiler)?;
        cargo::check_rustc(&self.workspace)?;
        cargo::build(&self.workspace, means, &compiler)?;
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

    /// A program that cargo built: made of the known sources, and without a path of this host.
    fn program(&self, program: &'static str, means: &Means<'_>) -> Result<Arc<[u8]>, InitBuildError> {
        let built = cargo::built(means, program);
        self.sources.check_covers(&self.workspace, means.target_dir, &built.dependencies)?;
        let bytes = fs::read(&built.binary).map_err(|source| file("read", &built.binary, source))?;
        let folders = cargo::folders_of_the_host(&self.workspace, means)?;
        match folders.into_iter().find(|folder| holds(&bytes, folder)) {
            Some(path) => Err(InitBuildError::Leak { program, path }),
            None => Ok(bytes.into()),
        }
    }
}

/// Whether the bytes hold the name of a folder. One of a single component, such as `/src`, also stands within names that are no one's.
fn holds(bytes: &[u8], folder: &Path) -> bool {
    let name = folder.as_os_str().as_encoded_bytes();
    folder.components().count() > 2 && bytes.windows(name.len()).any(|window| window == name)
}

fn file(doing: &'static str, path: &Path, source: io::Error) -> InitBuildError {
    InitBuildError::File { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
