//! The sources of the programs of `init/`: their list, and one digest over names and contents.
//!
//! The list is made from folders, not from the files that the compiler read, because it must be known before compiling. Afterwards cargo's
//! own list of compiled files is checked against it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{InitBuildError, file};
use crate::cache_key::{CacheKey, CacheKeyBuilder};

/// The single files in the workspace.
const FILES: [&str; 3] = ["Cargo.lock", "Cargo.toml", TOOLCHAIN];
/// The crates that the programs are compiled from.
const CRATES: [&str; 7] =
    ["image", "init/agent", "init/base", "init/stage1", "init/survey", "init/sys", "spec/wire"];
/// The file that pins the Rust toolchain.
pub(super) const TOOLCHAIN: &str = "rust-toolchain.toml";

/// The files by their path in the workspace, sorted, and their digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    paths: Vec<PathBuf>,
    digest: CacheKey,
}

impl Sources {
    /// Reads all sources.
    pub(super) fn read(workspace: &Path) -> Result<Self, InitBuildError> {
        let mut paths: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
        for name in CRATES {
            let folder = Path::new(name);
            paths.push(folder.join("Cargo.toml"));
            let script = folder.join("build.rs");
            if workspace.join(&script).exists() {
                paths.push(script);
            }
            walk(workspace, &folder.join("src"), &mut paths)?;
        }
        paths.sort();
        let mut digest = CacheKeyBuilder::new("kubedos-init sources", 1);
        for path in &paths {
            let full = workspace.join(path);
            let content = fs::read(&full).map_err(|source| file("read", &full, source))?;
            digest = digest.with("path", path.as_os_str().as_encoded_bytes()).with("content", content);
        }
        Ok(Self { paths, digest: digest.finish() })
    }

    /// The digest.
    pub(super) const fn digest(&self) -> CacheKey {
        self.digest
    }

    /// Checks a list of compiled files, in the format that cargo writes next to a binary: every file of the workspace must be one of the
    /// sources. Files in the target folder are generated from the sources and are accepted.
    pub(super) fn check_covers(
        &self,
        workspace: &Path,
        target_dir: &Path,
        list: &Path,
    ) -> Result<(), InitBuildError> {
        let text = fs::read_to_string(list).map_err(|source| file("read", list, source))?;
        for path in dependencies(&text) {
            let path = workspace.join(path);
            let Ok(inside) = path.strip_prefix(workspace) else { continue };
            let is_known = self.paths.binary_search_by(|known| known.as_path().cmp(inside)).is_ok();
            if !is_known && !path.starts_with(target_dir) {
                return Err(InitBuildError::Uncovered(path));
            }
        }
        Ok(())
    }
}

fn walk(workspace: &Path, folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), InitBuildError> {
    let full = workspace.join(folder);
    let read = |source| file("read", &full, source);
    for entry in fs::read_dir(&full).map_err(read)? {
        let path = folder.join(entry.map_err(read)?.file_name());
        if workspace.join(&path).is_dir() {
            walk(workspace, &path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

/// Parses the right side of `binary: file file …`, in which a space in a name is written as `\ `.
fn dependencies(text: &str) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for (_, list) in text.lines().filter_map(|line| line.split_once(": ")) {
        let mut name = String::new();
        let mut letters = list.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' if letters.next_if_eq(&' ').is_some() => name.push(' '),
                ' ' => paths.push(std::mem::take(&mut name)),
                _ => name.push(letter),
            }
        }
        paths.push(name);
    }
    paths.into_iter().filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in FILES {
            fs::write(folder.path().join(name), name).unwrap();
        }
        for name in CRATES {
            let sources = folder.path().join(name).join("src");
            fs::create_dir_all(sources.join("part")).unwrap();
            fs::write(folder.path().join(name).join("Cargo.toml"), name).unwrap();
            fs::write(sources.join("lib.rs"), "mod part;").unwrap();
            fs::write(sources.join("part/mod.rs"), "").unwrap();
        }
        folder
    }

    fn digest(workspace: &tempfile::TempDir) -> CacheKey {
        Sources::read(workspace.path()).unwrap().digest()
    }

    #[test]
    fn equal_files_have_equal_digests_in_any_folder() {
        assert_eq!(digest(&workspace()), digest(&workspace()));
    }

    #[test]
    fn a_changed_a_renamed_and_a_new_file_each_change_the_digest() {
        let folder = workspace();
        let before = digest(&folder);
        fs::write(folder.path().join("init/sys/src/part/mod.rs"), " ").unwrap();
        let changed = digest(&folder);
        fs::rename(folder.path().join("spec/wire/src/part"), folder.path().join("spec/wire/src/other"))
            .unwrap();
        let renamed = digest(&folder);
        fs::write(folder.path().join("init/agent/build.rs"), "").unwrap();
        let mut all = vec![before, changed, renamed, digest(&folder)];
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn files_that_are_not_compiled_do_not_change_the_digest() {
        let folder = workspace();
        let before = digest(&folder);
        fs::create_dir_all(folder.path().join("init/agent/tests")).unwrap();
        fs::write(folder.path().join("init/agent/tests/power_cut.rs"), "").unwrap();
        fs::write(folder.path().join("README.md"), "").unwrap();
        assert_eq!(digest(&folder), before);
    }

    #[test]
    fn a_compiled_file_that_is_not_a_source_is_refused() {
        let folder = workspace();
        let root = folder.path();
        let (sources, target) = (Sources::read(root).unwrap(), root.join("target/init"));
        let list = root.join("list.d");
        let check = |files: &[PathBuf]| {
            let files: Vec<_> = files.iter().map(|path| path.to_str().unwrap().replace(' ', "\\ ")).collect();
            fs::write(&list, format!("kubedos-init: {}\n", files.join(" "))).unwrap();
            sources.check_covers(root, &target, &list)
        };
        let known = [root.join("init/agent/src/lib.rs"), "spec/wire/src/part/mod.rs".into()];
        let made = [target.join("build/out/made.rs"), "/somewhere/else/lib.rs".into()];
        check(&[known, made].concat()).unwrap();
        for foreign in ["rootfs/ids.toml", "init/agent/src/a b.rs"] {
            let refused = check(&[root.join("init/agent/src/lib.rs"), root.join(foreign)]).unwrap_err();
            assert!(
                matches!(&refused, InitBuildError::Uncovered(path) if *path == root.join(foreign)),
                "{refused}"
            );
        }
    }
}
