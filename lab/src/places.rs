//! Limits the number of machines that run at once, over all threads and processes that share a folder.
//!
//! A place is a locked file (`flock`); the kernel releases the lock when the process that locked it ends.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The places of one folder.
#[derive(Debug, Clone)]
pub struct Places {
    folder: PathBuf,
    count: usize,
}

/// A place; dropping it releases it.
#[derive(Debug)]
pub struct Place {
    _file: File,
}

impl Places {
    /// Creates `folder` with `count` places.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn new(folder: &Path, count: usize) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), count: count.max(1) })
    }

    /// Waits for a place. Waiting threads are not served in order.
    ///
    /// # Errors
    /// If a lock file cannot be created or locked.
    pub fn take(&self) -> io::Result<Place> {
        loop {
            if let Some(place) = self.try_take()? {
                return Ok(place);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Takes a place if one is free.
    ///
    /// # Errors
    /// If a lock file cannot be created or locked.
    pub fn try_take(&self) -> io::Result<Option<Place>> {
        for number in 0..self.count {
            let path = self.folder.join(format!("place-{number}"));
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            match file.try_lock() {
                Ok(()) => return Ok(Some(Place { _file: file })),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_places_are_taken_than_exist() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::new(folder.path(), 2).unwrap();
        let first = places.take().unwrap();
        let second = places.take().unwrap();
        assert!(places.try_take().unwrap().is_none());
        drop(first);
        let third = places.try_take().unwrap();
        assert!(third.is_some());
        assert!(places.try_take().unwrap().is_none());
        drop((second, third));
    }
}
