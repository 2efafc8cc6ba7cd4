//! The content-addressed cache, shared by every checkout of a user: `sha256/ab/cdef…`, one file a digest.
//!
//! A file has its final name only when its bytes were checked: written beside, synced, renamed. It is checked again whenever a
//! process opens it for the first time, so a damaged disk or a curious hand is noticed and named; [`Verified`] cannot be had in
//! any other way. Several processes may use one cache at the same time. Nothing is ever deleted here but what is damaged.

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

/// What bytes are asked for: a name for people, and what the bytes must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin {
    /// What an error calls it, such as `systemd 257.13-1~deb13u1`.
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 digest.
    pub sha256: Sha256,
}

/// Bytes that are not those of their pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlike {
    /// How many there are.
    pub size: u64,
    /// Their digest.
    pub sha256: Sha256,
    /// The pinned size.
    pub expected_size: u64,
    /// The pinned digest.
    pub expected: Sha256,
}

impl Unlike {
    /// What was found, against what is pinned.
    pub fn new(size: u64, sha256: Sha256, pin: &Pin) -> Box<Self> {
        Box::new(Self { size, sha256, expected_size: pin.size, expected: pin.sha256 })
    }
}

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { size, sha256, expected_size, expected } = self;
        write!(f, "has {size} bytes of digest {sha256}, expected {expected_size} of {expected}")
    }
}

/// Why the cache does not give what was asked for.
#[derive(Debug, Error)]
pub enum CacheError {
    /// It is not there.
    #[error("{name} is not in the cache")]
    Missing {
        /// The pin's name.
        name: String,
    },
    /// It is there, and is not what it should be.
    #[error("{name} in the cache is damaged: {path} {unlike}")]
    Damaged {
        /// The pin's name.
        name: String,
        /// The path.
        path: PathBuf,
        /// In what it differs.
        unlike: Box<Unlike>,
    },
    /// The file system refused.
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
    /// No folder can be written.
    #[error("no cache folder can be written: {tried}")]
    NoPlace {
        /// What was tried.
        tried: String,
    },
}

/// The cache in its folder.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    /// What is not read again in this process, while it looks the same.
    checked: Mutex<HashMap<Sha256, Stamp>>,
}

/// Bytes that were held against their pin in this process: the only form in which inputs go on.
#[derive(Debug)]
pub struct Verified {
    file: File,
    path: PathBuf,
    pin: Pin,
}

impl Verified {
    /// What they were held against.
    pub const fn pin(&self) -> &Pin {
        &self.pin
    }

    /// A reader at the first byte, with a position of its own.
    pub fn reader(&self) -> Result<File, CacheError> {
        // Opened anew by descriptor, so that it is the file that was checked, whatever the name stands for now.
        let by_descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&self.file));
        File::open(by_descriptor).map_err(|source| CacheError::Io {
            what: "open",
            path: self.path.clone(),
            source,
        })
    }

    /// All of them.
    pub fn bytes(&self) -> Result<Vec<u8>, CacheError> {
        let mut bytes = Vec::new();
        let read = self.reader()?.read_to_end(&mut bytes);
        read.map_err(|source| CacheError::Io { what: "read", path: self.path.clone(), source })?;
        Ok(bytes)
    }
}

impl Cache {
    /// The cache in a folder, which is made if needed.
    pub fn at(root: &Path) -> Result<Self, CacheError> {
        for folder in ["sha256", "partial", "tools"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(|source| CacheError::Io { what: "make", path, source })?;
        }
        Ok(Self { root: root.to_owned(), checked: Mutex::new(HashMap::new()) })
    }

    /// Its folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where unpacked tools live.
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// Where a download of a digest grows.
    pub fn partial(&self, sha256: &Sha256) -> PathBuf {
        self.root.join("partial").join(sha256.to_string())
    }

    /// The final name of a digest.
    pub fn path(&self, sha256: &Sha256) -> PathBuf {
        let text = sha256.to_string();
        let (folder, name) = text.split_at(2);
        self.root.join("sha256").join(folder).join(name)
    }

    /// Opens and checks what a pin asks for.
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
        if self.remembered(&pin.sha256) != Some(stamp) || stamp.size() != pin.size {
            let (got, size) = Sha256::of_reader(&mut file).map_err(io("read"))?;
            if got != pin.sha256 || size != pin.size {
                let unlike = Unlike::new(size, got, pin);
                return Err(CacheError::Damaged { name: pin.name.clone(), path, unlike });
            }
            file.rewind().map_err(io("read"))?;
            self.remember(pin.sha256, stamp);
        }
        Ok(Verified { file, path, pin: pin.clone() })
    }

    /// Gives checked bytes their final name. `file` is at `from`, in this cache's `partial` folder, and fits `pin`.
    pub fn adopt(&self, file: &File, from: &Path, pin: &Pin) -> Result<(), CacheError> {
        let path = self.path(&pin.sha256);
        let io = |what: &'static str, path: &Path| {
            let path = path.to_owned();
            move |source| CacheError::Io { what, path, source }
        };
        file.set_permissions(fs::Permissions::from_mode(0o444)).map_err(io("close", from))?;
        file.sync_all().map_err(io("sync", from))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io("make", folder))?;
            fs::rename(from, &path).map_err(io("rename", from))?;
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io("sync", folder))?;
        }
        let stamp = Stamp::of(&file.metadata().map_err(io("open", &path))?);
        self.remember(pin.sha256, stamp);
        Ok(())
    }

    /// Takes a damaged file away, so that it can be fetched again.
    pub fn discard(&self, pin: &Pin) -> Result<(), CacheError> {
        let path = self.path(&pin.sha256);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|source| CacheError::Io { what: "remove", path, source }),
        }
    }

    fn remembered(&self, sha256: &Sha256) -> Option<Stamp> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).get(sha256).copied()
    }

    fn remember(&self, sha256: Sha256, stamp: Stamp) {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).insert(sha256, stamp);
    }
}

#[cfg(test)]
mod tests;
