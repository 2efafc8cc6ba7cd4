//! The store of built parts: a folder `<kind>/<key>` per entry, whose existence means that the entry is complete.
//!
//! An entry is written to a temporary folder and renamed. If two builds create the same entry at once, both succeed. Lookups verify each
//! file against its digest, or against the file system's stamps ([`checked`]). A damaged entry is treated as missing, and the next build
//! that creates it replaces it.

mod checked;

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cache_key::CacheKey;
use crate::interrupt::Temporary;
use kubedos_debian::cache::Cache;

/// The prefix of the names of unfinished entries.
const PARTIAL: &str = ".";
/// Lock file: shared while inserting, exclusive while sweeping.
const ENTRIES: &str = ".lock";
/// Lock file: exclusive while naming an entry, so that no valid entry is replaced.
const NAMES: &str = ".names";

/// An operation on an entry failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {doing} the stored {kind} at {}", path.display())]
pub struct StoreError {
    doing: &'static str,
    kind: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A store of built parts.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Uses the folder `root`; the first insertion creates it.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns the store of a cache.
    pub fn of(cache: &Cache) -> Self {
        Self::new(cache.root().join("built"))
    }

    /// Returns the folder of an entry if it exists and is valid.
    pub fn find(&self, kind: &'static str, key: &CacheKey) -> Option<PathBuf> {
        let path = self.place(kind, key);
        is_valid(&path).then_some(path)
    }

    /// Creates an entry: `fill` writes its files into an empty folder, which is then renamed to its final name.
    ///
    /// # Errors
    /// The error of `fill`, or a [`StoreError`].
    pub fn insert<E: From<StoreError>>(
        &self,
        kind: &'static str,
        key: &CacheKey,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let place = self.place(kind, key);
        let error = |doing, source| StoreError { doing, kind, path: place.clone(), source };
        let parent = self.root.join(kind);
        fs::create_dir_all(&parent).map_err(|source| error("make", source))?;
        let _inserting =
            self.lock(ENTRIES, FlockOperation::LockShared).map_err(|source| error("make", source))?;
        let mut made = partial();
        made.permissions(Permissions::from_mode(0o755));
        let made = made.tempdir_in(&parent).map_err(|source| error("make", source))?;
        let partial = Temporary::new(made.keep());
        fill(partial.path())?;
        checked::record(partial.path()).map_err(|source| error("check", source))?;
        let _naming =
            self.lock(NAMES, FlockOperation::LockExclusive).map_err(|source| error("name", source))?;
        if is_valid(&place) {
            // Another build was faster; its entry has the same content.
            return Ok(place);
        }
        remove(&place).map_err(|source| error("replace", source))?;
        partial.finish(|partial| fs::rename(partial, &place)).map_err(|source| error("name", source))?;
        Ok(place)
    }

    /// Removes the unfinished entries of killed builds, unless another build is running.
    ///
    /// # Errors
    /// If a file cannot be read or removed.
    pub fn sweep(&self) -> Result<(), StoreError> {
        let error = |source| StoreError { doing: "sweep", kind: "entries", path: self.root.clone(), source };
        if !self.root.is_dir() {
            return Ok(());
        }
        let Ok(_alone) = self.lock(ENTRIES, FlockOperation::NonBlockingLockExclusive) else { return Ok(()) };
        for kind in fs::read_dir(&self.root).map_err(error)? {
            let kind = kind.map_err(error)?.path();
            if !kind.is_dir() {
                continue;
            }
            for entry in fs::read_dir(kind).map_err(error)? {
                let entry = entry.map_err(error)?;
                if entry.file_name().as_encoded_bytes().starts_with(PARTIAL.as_bytes()) {
                    remove(&entry.path()).map_err(error)?;
                }
            }
        }
        Ok(())
    }

    fn lock(&self, name: &str, how: FlockOperation) -> io::Result<File> {
        let file = File::options().create(true).truncate(false).write(true).open(self.root.join(name))?;
        flock(&file, how)?;
        Ok(file)
    }

    fn place(&self, kind: &str, key: &CacheKey) -> PathBuf {
        self.root.join(kind).join(key.to_string())
    }
}

/// An unreadable entry counts as damaged.
fn is_valid(path: &Path) -> bool {
    checked::is_valid(path).unwrap_or(false)
}

/// Names for unfinished entries. They are random, because processes in different PID namespaces can have the same process id.
fn partial() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PARTIAL);
    builder
}

/// Removes a folder or a file if it exists.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache_key::CacheKeyBuilder;

    fn store() -> (tempfile::TempDir, Store, CacheKey) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("store"));
        (folder, store, CacheKeyBuilder::new("test", 1).finish())
    }

    #[test]
    fn an_entry_exists_only_when_it_is_complete() {
        let (_folder, store, key) = store();
        assert_eq!(store.find("volume", &key), None);
        let failed = store.insert("volume", &key, |path| {
            fs::write(path.join("half"), b"x").unwrap();
            Err(StoreError {
                doing: "test",
                kind: "volume",
                path: path.into(),
                source: io::Error::other("full"),
            })
        });
        failed.unwrap_err();
        assert_eq!(store.find("volume", &key), None);
        let place = store
            .insert::<StoreError>("volume", &key, |path| {
                fs::write(path.join("data"), b"whole").unwrap();
                Ok(())
            })
            .unwrap();
        assert_eq!(store.find("volume", &key), Some(place.clone()));
        assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn unfinished_entries_are_swept_unless_another_build_is_running() {
        let (_folder, store, key) = store();
        store.sweep().unwrap();
        let left = store.root.join("volume").join(format!("{PARTIAL}{key}.1"));
        store
            .insert::<StoreError>("volume", &key, |path| {
                fs::create_dir(&left).unwrap();
                fs::write(left.with_extension("checked.json"), b"{").unwrap();
                store.sweep().unwrap();
                assert!(left.is_dir() && path.is_dir());
                Ok(())
            })
            .unwrap();
        store.sweep().unwrap();
        assert!(!left.exists() && !left.with_extension("checked.json").exists());
        assert!(store.find("volume", &key).is_some());
    }

    /// Concurrent builds find, create, damage and sweep entries: each one finds its entry, in any order of the builds.
    #[test]
    fn concurrent_builds_create_one_entry_that_all_can_read() {
        let (_folder, store, key) = store();
        let work = |number: usize| {
            for round in 0..40 {
                let place = store.find("volume", &key).unwrap_or_else(|| {
                    let fill = |path: &Path| -> Result<(), StoreError> {
                        fs::write(path.join("data"), b"same").unwrap();
                        Ok(())
                    };
                    store.insert("volume", &key, fill).unwrap()
                });
                assert_eq!(fs::read(place.join("data")).unwrap(), b"same");
                store.sweep().unwrap();
                // Copying a file over itself changes its stamps but not its bytes.
                if (round + number).is_multiple_of(7) {
                    let copy = store.root.join(format!("copy-{number}"));
                    fs::write(&copy, b"same").unwrap();
                    fs::rename(copy, place.join("data")).unwrap();
                }
            }
        };
        std::thread::scope(|scope| {
            let work = &work;
            (0..4).for_each(|number| drop(scope.spawn(move || work(number))));
        });
        let names: Vec<_> = fs::read_dir(store.root.join("volume")).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    /// The name of a damage, and a function that applies it to the folder of an entry.
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path));

    #[test]
    fn a_damaged_entry_is_not_found_and_can_be_created_again() {
        let flip = |path: &Path| {
            let mut bytes = fs::read(path).unwrap();
            bytes[0] ^= 1;
            fs::write(path, bytes).unwrap();
        };
        let damages: [Damage<'_>; 6] = [
            ("a flipped bit", &|place| flip(&place.join("data"))),
            ("a flipped bit with the old times", &|place| {
                let path = place.join("data");
                let times = fs::metadata(&path).unwrap();
                flip(&path);
                let file = File::options().write(true).open(path).unwrap();
                file.set_times(fs::FileTimes::new().set_modified(times.modified().unwrap())).unwrap();
            }),
            ("a truncated file", &|place| fs::write(place.join("seal"), b"").unwrap()),
            ("a missing file", &|place| fs::remove_file(place.join("data")).unwrap()),
            ("an additional file", &|place| fs::write(place.join("other"), b"x").unwrap()),
            ("no record", &|place| fs::write(place.join("checked.json"), b"{").unwrap()),
        ];
        for (name, damage) in damages {
            let (_folder, store, key) = store();
            let fill = |path: &Path| -> Result<(), StoreError> {
                fs::write(path.join("data"), b"whole").unwrap();
                fs::write(path.join("seal"), b"sealed").unwrap();
                Ok(())
            };
            let place = store.insert("volume", &key, fill).unwrap();
            assert!(store.find("volume", &key).is_some());
            damage(&place);
            assert_eq!(store.find("volume", &key), None, "{name}");
            store.insert("volume", &key, fill).unwrap();
            assert!(store.find("volume", &key).is_some(), "{name}");
        }
    }

    /// A copy of the store, for example in a different home folder, has other stamps and the same bytes.
    #[test]
    fn a_copied_or_touched_entry_is_verified_once_and_found() {
        let (_folder, store, key) = store();
        let fill = |path: &Path| -> Result<(), StoreError> {
            fs::write(path.join("data"), b"whole").unwrap();
            Ok(())
        };
        let place = store.insert("volume", &key, fill).unwrap();
        let before = fs::read(place.join("checked.json")).unwrap();
        fs::write(place.join("copy"), b"whole").unwrap();
        fs::rename(place.join("copy"), place.join("data")).unwrap();
        assert_eq!(store.find("volume", &key), Some(place.clone()));
        let compared = fs::read(place.join("checked.json")).unwrap();
        assert_ne!(before, compared);
        assert_eq!(store.find("volume", &key), Some(place.clone()));
        assert_eq!(fs::read(place.join("checked.json")).unwrap(), compared);
    }
}
