//! Writes the files of a package to disk, below one folder and never outside it, even if the package contains hostile links.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use thiserror::Error;

use kubedos_debian::deb::{Deb, DebError, Entry, Kind};

/// The errors of unpacking.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// The package is damaged.
    #[error(transparent)]
    Deb(#[from] DebError),
    /// A file cannot be written.
    #[error("failed to write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A component of the path is not a folder, for example a link out of the tree.
    #[error("{path} has a parent that is not a folder")]
    Through {
        /// The path in the package.
        path: String,
    },
    /// A file type that a tool tree does not support.
    #[error("{path} is a device or a pipe")]
    Special {
        /// The path in the package.
        path: String,
    },
}

/// Writes all entries. Modes become those of a normal user's files; owners and times are dropped.
pub(super) fn unpack<R: Read + Seek>(deb: &mut Deb<R>, root: &Path) -> Result<(), UnpackError> {
    let mut tree = Tree { root, known: HashSet::from([PathBuf::new()]) };
    deb.visit(|entry, content| tree.write(entry, content))
}

struct Tree<'a> {
    root: &'a Path,
    /// Folders that are known to be folders.
    known: HashSet<PathBuf>,
}

impl Tree<'_> {
    fn write(&mut self, entry: &Entry, content: &mut dyn Read) -> Result<(), UnpackError> {
        let path = self.root.join(&entry.path);
        let io = |source| UnpackError::Io { path: path.clone(), source };
        if entry.kind == Kind::Directory {
            return self.folder(Path::new(&entry.path), &entry.path);
        }
        self.folder(Path::new(&entry.path).parent().unwrap_or(Path::new("")), &entry.path)?;
        match &entry.kind {
            Kind::File { size } => {
                let mut file = File::create_new(&path).map_err(io)?;
                if io::copy(content, &mut file).map_err(io)? != *size {
                    return Err(io(io::ErrorKind::UnexpectedEof.into()));
                }
                let mode = 0o644 | (entry.mode & 0o111);
                file.set_permissions(fs::Permissions::from_mode(mode)).map_err(io)
            }
            Kind::Symlink { target } => symlink(inside(&entry.path, target), &path).map_err(io),
            Kind::Hardlink { target } => {
                let parent = Path::new(target).parent().unwrap_or(Path::new(""));
                self.folder(parent, &entry.path)?;
                fs::hard_link(self.root.join(target), &path).map_err(io)
            }
            Kind::Directory => Ok(()),
            Kind::CharacterDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => {
                Err(UnpackError::Special { path: entry.path.clone() })
            }
        }
    }

    /// Creates a folder and its parents. Another thread may create the same folders for another package.
    fn folder(&mut self, folder: &Path, entry: &str) -> Result<(), UnpackError> {
        if self.known.contains(folder) {
            return Ok(());
        }
        self.folder(folder.parent().unwrap_or(Path::new("")), entry)?;
        let path = self.root.join(folder);
        match fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let is_folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
                if !is_folder {
                    return Err(UnpackError::Through { path: entry.to_owned() });
                }
            }
            Err(source) => return Err(UnpackError::Io { path, source }),
        }
        self.known.insert(folder.to_owned());
        Ok(())
    }
}

/// Returns a link's target inside the tree: an absolute target becomes relative to the link's folder.
fn inside(link: &str, target: &str) -> PathBuf {
    match target.strip_prefix('/') {
        None => PathBuf::from(target),
        Some(absolute) => {
            let up = "../".repeat(link.matches('/').count());
            PathBuf::from(format!("{up}{absolute}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn absolute_links_become_relative() {
        let shown = |link, target| inside(link, target).display().to_string();
        assert_eq!(shown("usr/bin/awk", "/etc/alternatives/awk"), "../../etc/alternatives/awk");
        assert_eq!(shown("awk", "/etc/x"), "etc/x");
        assert_eq!(shown("usr/bin/awk", "mawk"), "mawk");
    }
}
