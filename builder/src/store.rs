//! What was built before, under the key of its inputs: a folder `<kind>/<key>` whose existence means that it is complete.
//!
//! An entry is written beside its place and renamed into it; two builds that make the same entry at once both succeed. What is read
//! back is still checked by its user: a sealed volume by its root hash, a file by the digest that stands beside it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::key::Key;

/// Why the store failed: an operation and the entry.
#[derive(Debug, thiserror::Error)]
#[error("failed to {doing} the stored {kind} at {}", path.display())]
pub struct StoreError {
    doing: &'static str,
    kind: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A folder of built things.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// A store below `root`, which is made when the first entry is.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder of an entry, if it is there.
    pub fn find(&self, kind: &'static str, key: &Key) -> Option<PathBuf> {
        let path = self.place(kind, key);
        path.is_dir().then_some(path)
    }

    /// Makes an entry: `fill` writes its files into an empty folder, which then gets its name.
    ///
    /// # Errors
    /// What `fill` returns, or a [`StoreError`].
    pub fn insert<E: From<StoreError>>(
        &self,
        kind: &'static str,
        key: &Key,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let place = self.place(kind, key);
        let error = |doing, source| StoreError { doing, kind, path: place.clone(), source };
        let parent = place.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(|source| error("make", source))?;
        let partial = parent.join(format!(".{key}.{}", std::process::id()));
        remove(&partial).map_err(|source| error("make", source))?;
        fs::create_dir(&partial).map_err(|source| error("make", source))?;
        if let Err(failed) = fill(&partial) {
            remove(&partial).map_err(|source| error("clean up", source))?;
            return Err(failed);
        }
        match fs::rename(&partial, &place) {
            Ok(()) => {}
            // Another build was first: its entry has the same content.
            Err(_) if place.is_dir() => remove(&partial).map_err(|source| error("clean up", source))?,
            Err(source) => return Err(error("name", source).into()),
        }
        Ok(place)
    }

    /// Removes an entry that did not verify.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self, kind: &'static str, key: &Key) -> Result<(), StoreError> {
        let path = self.place(kind, key);
        remove(&path).map_err(|source| StoreError { doing: "discard", kind, path, source })
    }

    fn place(&self, kind: &str, key: &Key) -> PathBuf {
        self.root.join(kind).join(key.to_string())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyBuilder;

    fn store() -> (tempfile::TempDir, Store, Key) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("store"));
        (folder, store, KeyBuilder::new("test", 1).finish())
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
    fn the_second_of_two_builds_keeps_the_first_ones_entry() {
        let (_folder, store, key) = store();
        let fill = |path: &Path| -> Result<(), StoreError> {
            fs::write(path.join("data"), b"same").unwrap();
            Ok(())
        };
        let first = store.insert("volume", &key, fill).unwrap();
        let second = store.insert("volume", &key, fill).unwrap();
        assert_eq!(first, second);
        store.discard("volume", &key).unwrap();
        assert_eq!(store.find("volume", &key), None);
        store.discard("volume", &key).unwrap();
    }
}
