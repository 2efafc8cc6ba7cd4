//! Runs pinned programs from the cache. A set of packages is unpacked into `tools/<digest of the set>/`; programs are started with the
//! tree's own loader and libraries, so they run on any Linux host.
//!
//! No script runs, no package is installed on the host, and no privilege is needed; set-user-id bits and owners are dropped. Invariant: a
//! tree gets its final name only when it is complete, and the name is the digest of its inputs, so an existing tree is valid.

mod unpack;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubedos_image::ordered::{ordered, threads};
use object::read::elf::{FileHeader, ProgramHeader};
use thiserror::Error;

use crate::interrupt::Temporary;
use kubedos_debian::cache::{Cache, CacheError};
use kubedos_debian::deb::{Deb, DebError};
use kubedos_debian::digest::Hasher;
use kubedos_debian::lock::{Lock, LockError, LockedPackage};
pub use unpack::UnpackError;

/// Change this text when the trees of the same packages change.
const LAYOUT: &str = "kubedos toolbox 1";
/// The dynamic loader. It starts every program that is not static.
const LOADER: &str = "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
/// The library folders. All but the first are private to some packages, whose programs refer to them by absolute path.
const LIBRARIES: [&str; 3] =
    ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd", "usr/lib/llvm-19/lib"];
/// The folders where the emulator finds its firmware and option ROMs.
const FIRMWARE: [&str; 3] = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"];
/// Environment variables that replace absolute paths in programs.
const VARIABLES: [(&str, &str); 4] = [
    ("QEMU_MODULE_DIR", "usr/lib/x86_64-linux-gnu/qemu"),
    ("GCONV_PATH", "usr/lib/x86_64-linux-gnu/gconv"),
    ("OPENSSL_MODULES", "usr/lib/x86_64-linux-gnu/ossl-modules"),
    ("OPENSSL_CONF", "usr/lib/ssl/openssl.cnf"),
];

/// The errors of a toolbox.
#[derive(Debug, Error)]
pub enum ToolboxError {
    /// The lock does not contain the set.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A package is missing from the cache or damaged.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A package cannot be read.
    #[error("failed to read {package}")]
    Deb {
        /// The package's name.
        package: String,
        /// The cause.
        #[source]
        source: DebError,
    },
    /// A package cannot be unpacked.
    #[error("failed to unpack {package}")]
    Unpack {
        /// The package's name.
        package: String,
        /// The cause.
        #[source]
        source: UnpackError,
    },
    /// A file operation failed.
    #[error("failed to {what} {path}")]
    Io {
        /// The operation.
        what: &'static str,
        /// Its object.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The tree has no file of that name.
    #[error("the set {set} does not contain {path}")]
    NotThere {
        /// The set.
        set: String,
        /// The requested path.
        path: String,
    },
    /// The file is not an ELF program for this machine.
    #[error("{path} of the set {set} is not a program for this machine")]
    NotAProgram {
        /// The set.
        set: String,
        /// The requested path.
        path: String,
    },
}

/// An unpacked set.
#[derive(Debug, Clone)]
pub struct Toolbox {
    root: PathBuf,
    set: String,
}

impl Toolbox {
    /// Opens the tree of a set and unpacks it first if it does not exist. The packages must be in the cache.
    pub fn open(cache: &Cache, lock: &Lock, set: &str) -> Result<Self, ToolboxError> {
        let packages = lock.set(set)?;
        let root = cache.tools().join(name_of(&packages));
        if !root.is_dir() {
            make(cache, &packages, &root)?;
        }
        Ok(Self { root, set: set.to_owned() })
    }

    /// Opens a tree that already exists.
    pub fn unpacked(root: &Path, set: &str) -> Self {
        Self { root: root.to_owned(), set: set.to_owned() }
    }

    /// The root folder of the tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a file or folder of the tree by its path in the packages.
    pub fn path(&self, path: &str) -> Result<PathBuf, ToolboxError> {
        let full = self.root.join(path);
        if full.exists() { Ok(full) } else { Err(self.not_there(path)) }
    }

    /// Returns a command that starts a program with the loader, libraries and data of the tree instead of the host's.
    pub fn command(&self, program: &str) -> Result<Command, ToolboxError> {
        self.command_as(program, self.root.join(program).as_os_str())
    }

    /// Like [`Self::command`], with `name` as `argv[0]`: a name by which the program can start itself again.
    pub fn command_as(&self, program: &str, name: &OsStr) -> Result<Command, ToolboxError> {
        let (first, leading) = self.invocation_as(program, name)?;
        let mut command = Command::new(first);
        command.args(leading).envs(self.variables());
        for foreign in ["LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT"] {
            command.env_remove(foreign);
        }
        Ok(command)
    }

    /// Like [`Self::command`], as a program and its leading arguments. The caller must also set [`Self::variables`].
    pub fn invocation(&self, program: &str) -> Result<(OsString, Vec<OsString>), ToolboxError> {
        self.invocation_as(program, self.root.join(program).as_os_str())
    }

    fn invocation_as(&self, program: &str, name: &OsStr) -> Result<(OsString, Vec<OsString>), ToolboxError> {
        let path = self.path(program)?;
        let refused = || ToolboxError::NotAProgram { set: self.set.clone(), path: program.to_owned() };
        if !is_dynamic(&path).ok_or_else(refused)? {
            return Ok((path.into(), Vec::new()));
        }
        let loader = self.path(LOADER)?;
        let leading = [
            OsStr::new("--inhibit-cache").to_owned(),
            "--library-path".into(),
            self.library_path(),
            "--argv0".into(),
            name.to_owned(),
            path.into(),
        ];
        Ok((loader.into(), leading.into()))
    }

    /// The environment variables that make programs use the tree instead of the host.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let there = VARIABLES.into_iter().map(|(name, path)| (name, self.root.join(path)));
        there.filter(|(_, path)| path.exists()).map(|(name, path)| (name, path.into())).collect()
    }

    /// The arguments `-L FOLDER …` that tell the emulator where its firmware is.
    pub fn firmware_arguments(&self) -> Vec<OsString> {
        let folders = FIRMWARE.into_iter().map(|path| self.root.join(path)).filter(|path| path.is_dir());
        folders.flat_map(|path| [OsString::from("-L"), path.into()]).collect()
    }

    fn library_path(&self) -> OsString {
        let folders = LIBRARIES.into_iter().map(|path| self.root.join(path)).filter(|path| path.is_dir());
        let folders: Vec<_> = folders.map(PathBuf::into_os_string).collect();
        folders.join(OsStr::new(":"))
    }

    fn not_there(&self, path: &str) -> ToolboxError {
        ToolboxError::NotThere { set: self.set.clone(), path: path.to_owned() }
    }
}

/// The name of a tree: the digest of its layout version and packages.
fn name_of(packages: &[&LockedPackage]) -> String {
    let mut hasher = Hasher::new();
    hasher.update(format!("{LAYOUT}\n").as_bytes());
    for package in packages {
        hasher.update(format!("{} {} {}\n", package.name, package.version, package.sha256).as_bytes());
    }
    hasher.finish().0.to_string()
}

/// Unpacks into a temporary folder, syncs and renames it. If another process was faster, its tree is used and this one is removed.
fn make(cache: &Cache, packages: &[&LockedPackage], root: &Path) -> Result<(), ToolboxError> {
    let io = |what: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| ToolboxError::Io { what, path, source }
    };
    let tools = cache.tools();
    let unfinished =
        tempfile::Builder::new().prefix(".new-").tempdir_in(&tools).map_err(io("write", &tools))?;
    let unfinished = Temporary::new(unfinished.keep());
    unpack_all(cache, packages, unfinished.path())?;
    let folder = fs::File::open(unfinished.path()).map_err(io("open", unfinished.path()))?;
    rustix::fs::syncfs(&folder).map_err(|error| io("sync", unfinished.path())(error.into()))?;
    let path = unfinished.path().to_owned();
    match unfinished.finish(|unfinished| fs::rename(unfinished, root)) {
        Err(error) if !root.is_dir() => Err(io("rename", &path)(error)),
        _ => Ok(()),
    }
}

fn unpack_all(cache: &Cache, packages: &[&LockedPackage], root: &Path) -> Result<(), ToolboxError> {
    let unpack = |package: &&LockedPackage| unpack_one(cache, package, root);
    ordered(threads(), packages, unpack, |_, unpacked| unpacked)
}

fn unpack_one(cache: &Cache, package: &LockedPackage, root: &Path) -> Result<(), ToolboxError> {
    let pin = package.pin();
    let reader = io::BufReader::new(cache.open(&pin)?.reader()?);
    let mut deb =
        Deb::open(reader).map_err(|source| ToolboxError::Deb { package: pin.name.clone(), source })?;
    unpack::unpack(&mut deb, root).map_err(|source| ToolboxError::Unpack { package: pin.name, source })
}

/// Whether an ELF program needs the dynamic loader; `None` if the file is not a program for this machine.
fn is_dynamic(path: &Path) -> Option<bool> {
    use object::elf::{EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, PT_INTERP};
    let bytes = fs::read(path).ok()?;
    let header = FileHeader64::<object::Endianness>::parse(bytes.as_slice()).ok()?;
    let endian = header.endian().ok()?;
    let is_ours = header.e_machine(endian) == EM_X86_64 && matches!(header.e_type(endian), ET_EXEC | ET_DYN);
    let segments = header.program_headers(endian, bytes.as_slice()).ok().filter(|_| is_ours)?;
    Some(segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP))
}

#[cfg(test)]
mod tests;
