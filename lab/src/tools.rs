//! The emulator and its firmware, in a folder of unpacked Debian packages.
//!
//! The programs run with the loader and libraries of the folder, so that they work on any host. QEMU's modules and
//! firmware are passed explicitly, because QEMU would otherwise use those of the host. This module does not unpack
//! packages.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian puts the libraries of amd64.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// A folder of unpacked packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tools {
    root: PathBuf,
}

/// Why the tools cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ToolsError {
    /// A file that the lab needs is not in the folder.
    #[error("{} is missing from the unpacked tools", .0.display())]
    Missing(PathBuf),
    /// The folder does not exist or has no absolute path.
    #[error("the folder of unpacked tools {} cannot be used", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl Tools {
    /// Uses the tools in `root`, which must contain the loader.
    ///
    /// # Errors
    /// If the folder or the loader is missing.
    pub fn new(root: &Path) -> Result<Self, ToolsError> {
        let root =
            root.canonicalize().map_err(|source| ToolsError::Folder { path: root.to_owned(), source })?;
        let tools = Self { root };
        tools.file(&format!("{LIBRARIES}/ld-linux-x86-64.so.2"))?;
        Ok(tools)
    }

    /// A file of the folder, given by its path in the packages.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn file(&self, path: &str) -> Result<PathBuf, ToolsError> {
        let full = self.root.join(path);
        if full.exists() { Ok(full) } else { Err(ToolsError::Missing(full)) }
    }

    /// A program of the folder, given by its path in the packages (`usr/bin/qemu-img`), to be run with the folder's own
    /// loader.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn command(&self, program: &str) -> Result<Command, ToolsError> {
        let mut words = self.words(program)?.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env("QEMU_MODULE_DIR", self.root.join(LIBRARIES).join("qemu"));
        Ok(command)
    }

    /// The arguments that start a program: loader, library path, program.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn words(&self, program: &str) -> Result<Vec<OsString>, ToolsError> {
        let loader = self.file(&format!("{LIBRARIES}/ld-linux-x86-64.so.2"))?;
        let mut libraries = self.root.join(LIBRARIES).into_os_string();
        for folder in ["usr/lib/x86_64-linux-gnu/systemd", "usr/lib"] {
            libraries.push(":");
            libraries.push(self.root.join(folder));
        }
        Ok(vec![loader.into(), "--library-path".into(), libraries, self.file(program)?.into()])
    }
}
