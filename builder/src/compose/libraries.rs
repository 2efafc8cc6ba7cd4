//! The shared libraries of the root volume: keeps those that a program needs and removes the others.
//!
//! Needed libraries come from the ELF files of the tree (`DT_NEEDED`) and from `rootfs/closed.toml` for libraries that programs open by
//! name at run time. A needed library that is missing is an error.

use std::collections::{BTreeMap, BTreeSet};

use super::elf::{self, Elf};
use super::tree::{Kind, Tree};

/// The library folder. The loader searches it without a cache (Debian's multiarch default).
pub const FOLDER: &str = "usr/lib/x86_64-linux-gnu";

/// A needed library that is not in the tree.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{wanted_by} needs the library {name}, which is not in the image")]
pub struct MissingLibrary {
    /// The library's name.
    pub name: String,
    /// The program, library or rule file that needs it.
    pub wanted_by: String,
}

/// Returns the path of a library in one of the run paths or in the default folders.
pub fn find(tree: &Tree, name: &str, run_path: &[String]) -> Option<String> {
    let folders = run_path.iter().map(|path| path.trim_start_matches('/')).chain([FOLDER, "usr/lib64"]);
    folders.map(|folder| format!("{folder}/{name}")).find(|path| tree.get(path).is_some())
}

/// Removes the shared libraries that neither a program nor `opened` (names opened at run time) reaches. Returns the number of removed
/// paths.
pub fn prune(tree: &mut Tree, opened: &BTreeMap<String, String>) -> Result<usize, MissingLibrary> {
    let is_library = |path: &str| path.starts_with(FOLDER) && path.contains(".so");
    let mut todo: Vec<(String, String, Elf)> = Vec::new();
    for (path, _) in tree.iter().filter(|(path, _)| !is_library(path)) {
        if let Some(elf) = tree.content(path).and_then(|content| elf::read(content)) {
            todo.extend(elf.needed.iter().map(|name| (name.clone(), format!("/{path}"), elf.clone())));
            if let Some(interpreter) = &elf.interpreter {
                let name = interpreter.rsplit('/').next().unwrap_or(interpreter).to_owned();
                todo.push((name, format!("/{path}"), elf.clone()));
            }
        }
    }
    for name in opened.keys() {
        todo.push((name.clone(), "rootfs/closed.toml".to_owned(), Elf::default()));
    }
    let mut kept: BTreeSet<String> = BTreeSet::new();
    while let Some((name, wanted_by, by)) = todo.pop() {
        let Some(mut path) = find(tree, &name, &by.run_path) else {
            return Err(MissingLibrary { name, wanted_by });
        };
        while kept.insert(path.clone()) {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            match tree.get(&path).map(|node| &node.kind) {
                Some(Kind::Symlink(target)) => path = follow(folder, target),
                _ => break,
            }
        }
        if let Some(elf) = tree.content(&path).and_then(|content| elf::read(content)) {
            // The loader searches the program's run path for the libraries of a library, too.
            let run_path: Vec<String> = elf.run_path.iter().chain(&by.run_path).cloned().collect();
            for needed in &elf.needed {
                if !find(tree, needed, &run_path).is_some_and(|path| kept.contains(&path)) {
                    todo.push((
                        needed.clone(),
                        format!("/{path}"),
                        Elf { run_path: run_path.clone(), ..Elf::default() },
                    ));
                }
            }
        }
    }
    let before = tree.len();
    tree.retain(|path, node| !is_library(path) || node.is_directory() || kept.contains(path));
    Ok(before - tree.len())
}

/// Resolves a link target relative to the link's folder, without following further links.
pub(super) fn follow(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { folder.split('/').collect() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::compose::tree::Node;

    #[test]
    fn links_are_followed_within_the_tree() {
        assert_eq!(follow("usr/sbin", "../bin/kmod"), "usr/bin/kmod");
        assert_eq!(follow("usr/lib", "/etc/x"), "etc/x");
        assert_eq!(follow("", "../../etc"), "etc");
    }

    #[test]
    fn unneeded_libraries_are_removed_and_missing_ones_are_reported() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = elf::read(&program).unwrap();
        let by: Arc<str> = Arc::from("p");
        let mut tree = Tree::new(0);
        tree.add("usr/bin/program", Node::file(program, &by)).unwrap();
        tree.add("usr/lib64/ld-linux-x86-64.so.2", Node::file(*b"", &by)).unwrap();
        for name in elf.needed.iter().filter(|name| !name.starts_with("ld-")) {
            let text = prune(&mut tree.clone(), &BTreeMap::new()).unwrap_err().to_string();
            assert!(text.contains("/usr/bin/program needs the library"), "{text}");
            tree.add(&format!("{FOLDER}/{name}"), Node::symlink(format!("{name}.real"), &by)).unwrap();
            tree.add(&format!("{FOLDER}/{name}.real"), Node::file(*b"", &by)).unwrap();
        }
        tree.add(&format!("{FOLDER}/libidle.so.1"), Node::file(*b"", &by)).unwrap();
        assert_eq!(prune(&mut tree, &BTreeMap::new()).unwrap(), 1);
        assert!(tree.get(&format!("{FOLDER}/libidle.so.1")).is_none());
        assert!(tree.get(&format!("{FOLDER}/libc.so.6.real")).is_some());
        let opened = BTreeMap::from([("libidle.so.1".to_owned(), String::new())]);
        assert_eq!(prune(&mut tree, &opened).unwrap_err().name, "libidle.so.1");
    }
}
