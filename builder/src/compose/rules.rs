//! The removal rules: folders in which only listed entries stay, and patterns of paths to remove.
//!
//! The rules are data with a reason each (`rootfs/closed.toml`, `rootfs/remove.toml`). A rule without a match is an error, so the
//! lists always correspond to the packages.

use std::collections::BTreeSet;

use super::data::{Closed, Removals};
use super::tree::Tree;

/// A rule without a match.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuleError {
    /// A kept entry that does not exist.
    #[error("rootfs/closed.toml keeps {name:?} in /{folder}, which contains no such entry")]
    NothingKept {
        /// The folder.
        folder: String,
        /// The entry.
        name: String,
    },
    /// A pattern without a match.
    #[error("rootfs/remove.toml removes {0:?}, but no path matches it")]
    NothingRemoved(String),
}

/// Applies the closed folders in their order.
pub fn close(tree: &mut Tree, closed: &Closed) -> Result<(), RuleError> {
    for folder in &closed.folder {
        let names: BTreeSet<&str> = folder.keep.keys().map(String::as_str).collect();
        keep_only(tree, &folder.path, &names)
            .map_err(|name| RuleError::NothingKept { folder: folder.path.clone(), name })?;
    }
    Ok(())
}

/// Keeps only the listed entries of a folder. The error is a name that matches no entry.
pub fn keep_only(tree: &mut Tree, folder: &str, names: &BTreeSet<&str>) -> Result<(), String> {
    let depth = if folder.is_empty() { 0 } else { folder.len() + 1 };
    let entry = |path: &str| -> Option<String> {
        let rest = path.get(depth..)?;
        Some(rest.split('/').next().unwrap_or(rest).to_owned())
    };
    let mut missing = names.clone();
    let mut removed = Vec::new();
    for (path, _) in tree.below(folder) {
        let Some(entry) = entry(path) else { continue };
        let mut kept = false;
        for name in names.iter().filter(|name| matches(name, &entry)) {
            missing.remove(name);
            kept = true;
        }
        if !kept {
            removed.push(path.to_owned());
        }
    }
    if let Some(name) = missing.first() {
        return Err((*name).to_owned());
    }
    for path in removed {
        tree.remove(&path);
    }
    Ok(())
}

/// Removes the paths that match the patterns.
pub fn remove(tree: &mut Tree, removals: &Removals) -> Result<(), RuleError> {
    for removal in &removals.remove {
        let removed: Vec<String> = tree
            .iter()
            .filter(|(path, _)| path_matches(&removal.path, path))
            .filter(|(path, _)| {
                let name = path.rsplit('/').next().unwrap_or(path);
                !removal.except.iter().any(|except| except == name)
            })
            .map(|(path, _)| path.to_owned())
            .collect();
        if removed.is_empty() && !removal.optional {
            return Err(RuleError::NothingRemoved(removal.path.clone()));
        }
        for path in removed {
            tree.remove(&path);
        }
    }
    Ok(())
}

fn path_matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) if matches(pattern, part) => {}
            _ => return false,
        }
    }
}

/// Matches a text against a pattern; `*` stands for any sequence of characters.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| matches(tail, rest)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::compose::data::{ClosedFolder, Removal};
    use crate::compose::tree::Node;

    fn tree() -> Tree {
        let mut tree = Tree::new(0);
        for path in [
            "usr/bin/sh",
            "usr/bin/mount",
            "usr/bin/mount.d/x",
            "usr/lib/sh",
            "usr/share/doc/a/copyright",
            "usr/share/doc/a/README",
        ] {
            tree.add(path, Node::file(*b"", &Arc::from("p"))).unwrap();
        }
        tree
    }

    fn closing(path: &str, keep: &[&str]) -> Closed {
        let keep = keep.iter().map(|name| ((*name).to_owned(), "because".to_owned())).collect();
        let folder = vec![ClosedFolder { path: path.into(), why: String::new(), keep }];
        Closed { version: 1, folder, dlopen: BTreeMap::new(), capabilities: BTreeMap::new() }
    }

    #[test]
    fn a_closed_folder_keeps_the_listed_entries_and_does_not_affect_other_folders() {
        let mut tree = tree();
        close(&mut tree, &closing("usr/bin", &["mount", "mount.*"])).unwrap();
        let left: Vec<_> = tree.below("usr").map(|(path, _)| path).filter(|p| !p.contains("share")).collect();
        assert_eq!(
            left,
            ["usr/bin", "usr/bin/mount", "usr/bin/mount.d", "usr/bin/mount.d/x", "usr/lib", "usr/lib/sh"]
        );
    }

    #[test]
    fn a_rule_without_a_match_is_an_error() {
        let error = close(&mut tree(), &closing("usr/bin", &["bash"])).unwrap_err();
        assert_eq!(error, RuleError::NothingKept { folder: "usr/bin".into(), name: "bash".into() });
        let removal = |path: &str| Removals {
            version: 1,
            remove: vec![Removal {
                path: path.into(),
                except: vec!["copyright".into()],
                optional: false,
                why: String::new(),
            }],
        };
        assert!(remove(&mut tree(), &removal("usr/share/man")).is_err());
        let mut left = tree();
        remove(&mut left, &removal("usr/share/doc/*/*")).unwrap();
        assert!(
            left.get("usr/share/doc/a/copyright").is_some() && left.get("usr/share/doc/a/README").is_none()
        );
    }

    #[test]
    fn a_star_stays_within_its_component() {
        assert!(
            path_matches("a/*/c", "a/b/c") && !path_matches("a/*", "a/b/c") && path_matches("a/*b*", "a/xby")
        );
    }
}
