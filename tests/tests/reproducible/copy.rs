//! A copy of the checkout, and builds in it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::surroundings::{Surroundings, link_or_copy, make_folder};
use kubedos_tests::{Pins, project, succeeds};

/// The sets of the lock that the default example is built from and with.
const SETS: [&str; 5] = ["root", "kernel-cloud", "boot", "tools", "toolchain"];

/// The copy.
pub struct Copy {
    folder: PathBuf,
    sources: PathBuf,
    surroundings: Surroundings,
    /// Removes the sources at the end if they are not in `folder`.
    _shelf: Option<TempDir>,
}

impl Copy {
    /// Copies the files that git tracks or would track and the lock of the tests, in the order that `surroundings` determines.
    pub fn make(folder: &Path, surroundings: Surroundings) -> Self {
        let shelf = surroundings.shelf.map(|shelf| tempfile::tempdir_in(shelf).unwrap());
        let sources = shelf.as_ref().map_or(folder, TempDir::path).join("check out");
        for made in shelf.iter().map(TempDir::path).chain([folder]) {
            make_folder(made, surroundings.user);
        }
        let mut files = tracked();
        files.sort();
        if surroundings.is_reversed {
            files.reverse();
        }
        for file in files {
            let to = sources.join(&file);
            let folders: Vec<_> =
                to.ancestors().skip(1).take_while(|path| path.starts_with(&sources)).collect();
            for folder in folders.into_iter().rev() {
                make_folder(folder, surroundings.user);
            }
            let from = project().join(&file);
            let from = if file == "kubedos.lock" { Pins::get().lock_file() } else { from.as_path() };
            fs::copy(from, &to).unwrap();
            if let Some(user) = surroundings.user {
                chown(&to, Some(user), Some(user)).unwrap();
            }
        }
        Self { folder: folder.to_owned(), sources, surroundings, _shelf: shelf }
    }

    /// The folder of the copied files.
    pub fn sources(&self) -> &Path {
        &self.sources
    }

    /// A new cache that contains only the pinned packages.
    pub fn cache(&self, name: &str) -> PathBuf {
        let (cache, pins) = (self.folder.join(name), Pins::get());
        for set in SETS {
            for package in pins.lock().set(set).unwrap() {
                let from = pins.cache().path(&package.sha256);
                let to = cache.join(from.strip_prefix(pins.cache().root()).unwrap());
                for folder in [&cache, &cache.join("sha256"), to.parent().unwrap()] {
                    make_folder(folder, self.surroundings.user);
                }
                if !to.exists() {
                    link_or_copy(&from, &to);
                }
            }
        }
        cache
    }

    /// A new cache with the packages, the unpacked tools and every program of `init/` in the user's own cache, but no volume.
    pub fn cache_with_init(&self, name: &str) -> PathBuf {
        let (cache, own) = (self.cache(name), Pins::get().cache());
        symlink(own.tools(), cache.join("tools")).unwrap();
        fs::create_dir(cache.join("built")).unwrap();
        symlink(own.root().join("built/init"), cache.join("built/init")).unwrap();
        cache
    }

    /// Builds the image of a spec of the copy; returns the folder of the outputs.
    pub fn image(&self, spec: &str, cache: &Path, out: &str) -> PathBuf {
        let lock = self.sources.join("kubedos.lock");
        let out = self.folder.join(out);
        let target = self.folder.join("its target");
        let arguments: [&OsStr; 12] = [
            "image".as_ref(),
            "--offline".as_ref(),
            "--spec".as_ref(),
            spec.as_ref(),
            "--lock".as_ref(),
            lock.as_ref(),
            "--cache".as_ref(),
            cache.as_ref(),
            "--init-target".as_ref(),
            target.as_ref(),
            "--out".as_ref(),
            out.as_ref(),
        ];
        self.surroundings.run(&self.sources, &arguments);
        out
    }
}

/// The files that git tracks, and new files that it does not ignore.
fn tracked() -> Vec<String> {
    let mut git = Command::new("git");
    git.current_dir(project()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let text = succeeds(&mut git);
    let files = text.split_terminator('\0').map(str::to_owned);
    // git still lists a removed file until the removal is committed.
    files.filter(|file| project().join(file).exists()).collect()
}
