//! The content-addressed cache, shared by all checkouts of a user: one file per digest, `sha256/ab/cdef…`.
//!
//! A file is written under a temporary name, checked, synced, and then renamed to its final name. It is checked again when a process
//! opens it for the first time, so that damage by the disk or by a person is detected and reported with the file's name. Only this
//! check creates a [`Verified`]. Several processes can use one cache at the same time. The cache deletes damaged files only.

mod place;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

use crate::digest::Sha256;
use crate::stamp::Stamp;
pub use place::{Place, VARIABLE};

/// The expected content of a file: a name for messages, the size and the digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin {
    /// The name in messages, such as `systemd 257.13-1~deb13u1`.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 digest.
    pub sha256: Sha256,
}

/// The difference between received bytes and their pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentMismatch {
    /// The received size in bytes.
    pub size: u64,
    /// The received digest.
    pub sha256: Sha256,
    /// The pinned size in bytes.
    pub expected_size: u64,
    /// The pinned digest.
    pub expected: Sha256,
}

impl ContentMismatch {
    /// Compares a received size and digest with a pin.
    pub fn new(size: u64, sha256: Sha256, pin: &Pin) -> Box<Self> {
        Box::new(Self { size, sha256, expected_size: pin.size, expected: pin.sha256 })
    }
}

impl fmt::Display for ContentMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, sha256, expected_size, expected } = self;
        write!(
            f,
            "has {size} bytes with SHA-256 {sha256}, expected {expected_size} bytes with SHA-256 {expected}"
        )
    }
}

/// A failed operation of the cache.
#[derive(Debug, Error)]
pub enum CacheError {
    /// The file is not in the cache.
    #[error("{name} is not in the cache")]
    Missing {
        /// The pin's name.
        name: String,
    },
    /// The file is in the cache, but its bytes do not match the pin.
    #[error("{name} in the cache is damaged: {path} {mismatch}")]
    Damaged {
        /// The pin's name.
        name: String,
        /// The path.
        path: PathBuf,
        /// The difference from the pin.
        mismatch: Box<ContentMismatch>,
    },
    /// A file system operation failed.
    #[error("failed to {what} {path}")]
    Io {
        /// The failed operation, a verb.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No candidate folder is writable.
    #[error("no cache folder is writable: {tried}")]
    NoPlace {
        /// The candidate folders, each with its error.
        tried: String,
    },
}

/// An open cache.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    /// The files that this process has checked. A file is read again only if its stamp changed.
    checked: Mutex<HashMap<Sha256, Stamp>>,
}

/// A file whose bytes this process has checked against their pin. Other code receives inputs only in this form.
#[derive(Debug)]
pub struct Verified {
    file: File,
    path: PathBuf,
    pin: Pin,
}

impl Verified {
    /// The pin.
    pub const fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Opens a reader at the first byte. Each reader has its own position.
    pub fn reader(&self) -> Result<File, CacheError> {
        // Reopened through the descriptor: this is the checked file, even if the path now refers to a different file.
        let by_descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file));
        File::open(by_descriptor).map_err(|source| CacheError::Io {
            what: "open",
            path: self.path.clone(),
            source,
        })
    }

    /// Reads all bytes.
    pub fn bytes(&self) -> Result<Vec<u8>, CacheError> {
        let mut bytes = Vec::new();
        let read = self.reader()?.read_to_end(&mut bytes);
        read.map_err(|source| CacheError::Io { what: "read", path: self.path.clone(), source })?;
        Ok(bytes)
    }
}

impl Cache {
    /// Opens the cache in a folder and creates the folder if needed.
    pub fn at(root: &Path) -> Result<Self, CacheError> {
        for folder in ["sha256", "partial", "tools"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|source| CacheError::Io { what: "create", path, source })?;
        }
        Ok(Self { root: root.to_owned(), checked: Mutex::new(HashMap::new()) })
    }

    /// The folder of the cache.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder for unpacked tools.
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// The path of an incomplete download.
    pub fn partial(&self, sha256: &Sha256) -> PathBuf {
        self.root.join("partial").join(sha256.to_string())
    }

    /// The final path of a file.
    pub fn path(&self, sha256: &Sha256) -> PathBuf {
        let text = sha256.to_string();
        let (folder, name) = text.split_at(2);
        self.root.join("sha256").join(folder).join(name)
    }

    /// Opens the file of a pin and checks its size and digest.
    pub fn open(&self, pin: &Pin) -> Result<Verified, CacheError> {
        let path = self.path(&pin.sha256);
        let io = |what: &'static str| {
            let path = path.clone();
            move |source| CacheError::Io { what, path, source }
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CacheError::Missing { name: pin.name.clone() });
            }
            Err(error) => return Err(io("open")(error)),
        };
        let stamp = Stamp::of(&file.metadata().map_err(io("open"))?);
        if self.checked_stamp(&pin.sha256) != Some(stamp) || stamp.size() != pin.size {
            let (got, size) = Sha256::of_reader(&mut file).map_err(io("read"))?;
            if got != pin.sha256 || size != pin.size {
                let mismatch = ContentMismatch::new(size, got, pin);
                return Err(CacheError::Damaged { name: pin.name.clone(), path, mismatch });
            }
            file.rewind().map_err(io("read"))?;
            self.record_stamp(pin.sha256, stamp);
        }
        Ok(Verified { file, path, pin: pin.clone() })
    }

    /// Renames a checked file to its final name. `file` must be open at `from` in this cache's `partial` folder, and must match `pin`.
    pub fn adopt(&self, file: &File, from: &Path, pin: &Pin) -> Result<(), CacheError> {
        let path = self.path(&pin.sha256);
        let io = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| CacheError::Io { what, path, source }
        };
        file.set_permissions(fs::Permissions::from_mode(0o444)).map_err(io("close", from))?;
        file.sync_all().map_err(io("sync", from))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io("create", folder))?;
            fs::rename(from, &path).map_err(io("rename", from))?;
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))?;
        }
        let stamp = Stamp::of(&file.metadata().map_err(io("open", &path))?);
        self.record_stamp(pin.sha256, stamp);
        Ok(())
    }

    /// Removes a damaged file, so that it can be fetched again.
    pub fn discard(&self, pin: &Pin) -> Result<(), CacheError> {
        let path = self.path(&pin.sha256);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|source| CacheError::Io { what: "remove", path, source }),
        }
    }

    fn checked_stamp(&self, sha256: &Sha256) -> Option<Stamp> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).get(sha256).copied()
    }

    fn record_stamp(&self, sha256: Sha256, stamp: Stamp) {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256, stamp);
    }
}

#[cfg(test)]
mod tests;
