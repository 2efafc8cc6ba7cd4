//! A file system tree in memory: the content of a volume before it is written.
//!
//! Invariants: paths are relative, contain no `.`, `..` or empty components, and are sorted bytewise; `""` is the root directory; every
//! parent is a directory of the tree ([`Tree::check`]); a path is added only once, and the order in which packages add paths has no effect;
//! times do not exceed the epoch. Ownership and modes are data: this module does not access a real file system.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The bytes of a file, shared between trees.
pub type Content = Arc<[u8]>;

/// The type of a path, with its content.
#[derive(Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, as written.
    Symlink(String),
    /// Another name of a regular file of the tree.
    Hardlink(String),
    /// A character (`true`) or block device.
    Device {
        /// True for a character device, false for a block device.
        character: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory => write!(f, "Directory"),
            Self::File(content) => write!(f, "File({} bytes)", content.len()),
            Self::Symlink(target) => write!(f, "Symlink({target})"),
            Self::Hardlink(target) => write!(f, "Hardlink({target})"),
            Self::Device { character, major, minor } => {
                write!(f, "Device({} {major}:{minor})", if *character { 'c' } else { 'b' })
            }
        }
    }
}

/// One path with its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The type and the content.
    pub kind: Kind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// The user id of the owner.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// Seconds since 1970, clamped to the tree's epoch.
    pub mtime: u64,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The package or the part of the builder that added the path. It is used in messages and in the bill of materials.
    pub origin: Arc<str>,
}

impl Node {
    /// Creates a node owned by root with the usual mode of its kind.
    pub fn new(kind: Kind, origin: &Arc<str>) -> Self {
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            Kind::File(_) | Kind::Hardlink(_) => 0o644,
            Kind::Device { .. } => 0o600,
        };
        Self { kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new(), origin: Arc::clone(origin) }
    }

    /// Creates a file owned by root with mode 0644.
    pub fn file(content: impl Into<Content>, origin: &Arc<str>) -> Self {
        Self::new(Kind::File(content.into()), origin)
    }

    /// Creates a symbolic link.
    pub fn symlink(target: impl Into<String>, origin: &Arc<str>) -> Self {
        Self::new(Kind::Symlink(target.into()), origin)
    }

    /// Returns the node with a different mode.
    #[must_use]
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Whether the node is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }
}

/// The errors of tree operations.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    /// The path is not a normalized relative path.
    #[error("{origin} contains a path that leaves the tree or is not normalized: {path:?}")]
    UnsafePath {
        /// The path as it was passed.
        path: String,
        /// The package or part of the builder that added it.
        origin: String,
    },
    /// Two packages add the same path.
    #[error("/{path} is added twice: as {first} by {first_origin}, as {second} by {second_origin}")]
    Conflict {
        /// The path.
        path: String,
        /// The description of the existing node.
        first: String,
        /// The origin of the existing node.
        first_origin: String,
        /// The description of the second node.
        second: String,
        /// The origin of the second node.
        second_origin: String,
    },
    /// The parent of a file is not a directory, for example of a legacy path under a usr-merge link.
    #[error("/{path} of {origin} is below /{parent}, which is {what}")]
    ParentIsNoDirectory {
        /// The path.
        path: String,
        /// The origin of the path.
        origin: String,
        /// The parent's path.
        parent: String,
        /// The parent's type.
        what: String,
    },
    /// The target of a hard link is not in the tree.
    #[error("/{path} of {origin} is a hard link to /{target}, which is not a file of the tree")]
    DanglingHardlink {
        /// The path.
        path: String,
        /// The origin of the path.
        origin: String,
        /// The missing file.
        target: String,
    },
}

/// A file system tree: nodes sorted by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
    epoch: u64,
}

impl Tree {
    /// Creates a tree with only the root directory (mode 0755).
    pub fn new(epoch: u64) -> Self {
        let origin: Arc<str> = Arc::from("kubedos");
        let mut root = Node::new(Kind::Directory, &origin);
        root.mtime = epoch;
        Self { nodes: BTreeMap::from([(String::new(), root)]), epoch }
    }

    /// Returns the upper bound of all times, in seconds since 1970.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Adds a path. A directory can be added several times with the same owner and mode; any other repeated path is an error.
    pub fn insert(&mut self, path: &str, mut node: Node) -> Result<(), TreeError> {
        let path = clean(path).ok_or_else(|| TreeError::UnsafePath {
            path: path.to_owned(),
            origin: node.origin.to_string(),
        })?;
        node.mtime = node.mtime.min(self.epoch);
        node.mode &= 0o7777;
        if path.is_empty() && node.is_directory() {
            return Ok(());
        }
        let Some(have) = self.nodes.get_mut(&path) else {
            self.nodes.insert(path, node);
            return Ok(());
        };
        let same = (have.mode, have.uid, have.gid) == (node.mode, node.uid, node.gid);
        if have.is_directory() && node.is_directory() && same {
            // The origin that sorts first and the latest time are kept, so the result does not depend on the order of packages.
            have.mtime = have.mtime.max(node.mtime);
            if node.origin < have.origin {
                have.origin = node.origin;
            }
            return Ok(());
        }
        let describe = |n: &Node| format!("{:?} {:04o} {}:{}", n.kind, n.mode, n.uid, n.gid);
        Err(TreeError::Conflict {
            path,
            first: describe(have),
            first_origin: have.origin.to_string(),
            second: describe(&node),
            second_origin: node.origin.to_string(),
        })
    }

    /// Adds a path on behalf of the builder, and the missing directories above it.
    pub fn add(&mut self, path: &str, mut node: Node) -> Result<(), TreeError> {
        node.mtime = self.epoch;
        for (at, _) in path.match_indices('/') {
            let (parent, _) = path.split_at(at);
            if !parent.is_empty() && !self.nodes.contains_key(parent) {
                let mut directory = Node::new(Kind::Directory, &node.origin);
                directory.mtime = self.epoch;
                self.insert(parent, directory)?;
            }
        }
        self.insert(path, node)
    }

    /// Replaces a path, or adds it if it does not exist.
    pub fn replace(&mut self, path: &str, node: Node) -> Result<(), TreeError> {
        self.nodes.remove(path);
        self.add(path, node)
    }

    /// Removes a path and everything below it. Returns the number of removed nodes.
    pub fn remove(&mut self, path: &str) -> usize {
        let below = format!("{path}/");
        let removed: Vec<String> = self
            .nodes
            .range(path.to_owned()..)
            .take_while(|(p, _)| p.starts_with(path))
            .filter(|(p, _)| p.as_str() == path || p.starts_with(&below))
            .map(|(p, _)| p.clone())
            .collect();
        removed.iter().filter(|p| self.nodes.remove(*p).is_some()).count()
    }

    /// The node at a path.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The node at a path, mutable.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// The bytes of a regular file. Hard links are resolved.
    pub fn content(&self, path: &str) -> Option<&Content> {
        match &self.nodes.get(path)?.kind {
            Kind::File(content) => Some(content),
            Kind::Hardlink(target) => match &self.nodes.get(target)?.kind {
                Kind::File(content) => Some(content),
                _ => None,
            },
            _ => None,
        }
    }

    /// All paths in order, starting with the root directory (`""`).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// The paths below a directory, without the directory itself.
    pub fn below<'a>(&'a self, directory: &str) -> impl Iterator<Item = (&'a str, &'a Node)> + use<'a> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        self.nodes
            .range(prefix.clone()..)
            .take_while(move |(p, _)| p.starts_with(&prefix))
            .filter(|(p, _)| !p.is_empty())
            .map(|(p, n)| (p.as_str(), n))
    }

    /// Removes all paths for which the function returns false. The root directory always stays.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Node) -> bool) {
        self.nodes.retain(|path, node| path.is_empty() || keep(path, node));
    }

    /// The number of paths.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the tree contains only the root directory.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    /// All regular files with their content, without hard links.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Content)> {
        self.nodes.iter().filter_map(|(path, node)| match &node.kind {
            Kind::File(content) => Some((path.as_str(), content)),
            _ => None,
        })
    }

    /// The total size of all regular files in bytes, without hard links.
    pub fn file_bytes(&self) -> u64 {
        self.files().map(|(_, content)| content.len() as u64).sum()
    }

    /// Checks that every parent is a directory and that every hard link has a target. Of the names of one file, the first in order becomes
    /// the regular file.
    pub fn check(&mut self) -> Result<(), TreeError> {
        self.settle_hardlinks()?;
        for (path, node) in self.nodes.iter().filter(|(p, _)| !p.is_empty()) {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            let what = match self.nodes.get(parent) {
                Some(n) if n.is_directory() => continue,
                Some(n) => format!("{:?} of {}", n.kind, n.origin),
                None => "not in the tree".to_owned(),
            };
            return Err(TreeError::ParentIsNoDirectory {
                path: path.clone(),
                origin: node.origin.to_string(),
                parent: parent.to_owned(),
                what,
            });
        }
        Ok(())
    }

    #[expect(clippy::expect_used, reason = "the first loop checked that every target exists")]
    fn settle_hardlinks(&mut self) -> Result<(), TreeError> {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, node) in &self.nodes {
            if let Kind::Hardlink(target) = &node.kind {
                if !matches!(self.nodes.get(target).map(|n| &n.kind), Some(Kind::File(_))) {
                    return Err(TreeError::DanglingHardlink {
                        path: path.clone(),
                        origin: node.origin.to_string(),
                        target: target.clone(),
                    });
                }
                names.entry(target.clone()).or_default().push(path.clone());
            }
        }
        for (target, others) in names {
            let file = self.nodes.get(&target).cloned().expect("the target is a file of the tree");
            let first = others.iter().fold(&target, Ord::min).clone();
            for name in others.iter().chain([&target]) {
                let kind = if *name == first { file.kind.clone() } else { Kind::Hardlink(first.clone()) };
                self.nodes.insert(name.clone(), Node { kind, ..file.clone() });
            }
        }
        Ok(())
    }

    /// One line per path: type, mode, owner, path, target, extended attributes. The goldens have this format.
    pub fn listing(&self) -> String {
        let mut out = String::new();
        for (path, node) in self.iter() {
            let (letter, tail) = match &node.kind {
                Kind::Directory => ('d', String::new()),
                Kind::File(_) => ('-', String::new()),
                Kind::Symlink(target) => ('l', format!(" -> {target}")),
                Kind::Hardlink(target) => ('h', format!(" = /{target}")),
                Kind::Device { character, major, minor } => {
                    (if *character { 'c' } else { 'b' }, format!(" {major}:{minor}"))
                }
            };
            out.push_str(&format!("{letter}{:04o} {}:{} /{path}{tail}", node.mode, node.uid, node.gid));
            for (name, value) in &node.xattrs {
                out.push_str(&format!(" {name}={}", hex::encode(value)));
            }
            out.push('\n');
        }
        out
    }
}

/// Normalizes a path of an archive: removes the leading `./` and the trailing `/`. Returns `None` if the rest is not normalized.
fn clean(path: &str) -> Option<String> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() || path == "." {
        return Some(String::new());
    }
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    (!path.split('/').any(bad)).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[test]
    fn a_path_added_twice_is_reported_with_both_origins_in_either_order() {
        let a = Node::file(*b"a", &by("one"));
        let b = Node::file(*b"a", &by("two"));
        for (x, y) in [(&a, &b), (&b, &a)] {
            let mut tree = Tree::new(0);
            tree.insert("etc", Node::new(Kind::Directory, &by("one"))).unwrap();
            tree.insert("etc/f", x.clone()).unwrap();
            let text = tree.insert("etc/f", y.clone()).unwrap_err().to_string();
            assert!(text.contains("one") && text.contains("two") && text.contains("/etc/f"), "{text}");
        }
    }

    #[test]
    fn a_directory_over_a_symlink_is_refused() {
        let mut tree = Tree::new(0);
        tree.insert("lib", Node::symlink("usr/lib", &by("base-files"))).unwrap();
        assert!(tree.insert("lib", Node::new(Kind::Directory, &by("stray"))).is_err());
        tree.insert("lib/x", Node::file(*b"", &by("stray"))).unwrap();
        let text = tree.check().unwrap_err().to_string();
        assert!(
            text.contains("/lib/x of stray") && text.contains("Symlink(usr/lib) of base-files"),
            "{text}"
        );
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        let mut tree = Tree::new(0);
        for path in ["../etc/shadow", "/etc", "a//b", "a/../b", "a/.", "a\0b", "./../x"] {
            let error = tree.insert(path, Node::file(*b"", &by("evil"))).unwrap_err();
            assert!(matches!(error, TreeError::UnsafePath { .. }), "{path:?}");
        }
    }

    #[test]
    fn the_first_name_in_order_is_the_regular_file_of_a_hardlink() {
        let mut tree = Tree::new(0);
        tree.insert("b", Node::file(*b"x", &by("p"))).unwrap();
        tree.insert("a", Node::new(Kind::Hardlink("b".into()), &by("p"))).unwrap();
        tree.insert("c", Node::new(Kind::Hardlink("b".into()), &by("p"))).unwrap();
        tree.check().unwrap();
        assert_eq!(tree.listing(), "d0755 0:0 /\n-0644 0:0 /a\nh0644 0:0 /b = /a\nh0644 0:0 /c = /a\n");
        tree.insert("d", Node::new(Kind::Hardlink("gone".into()), &by("p"))).unwrap();
        assert!(matches!(tree.check(), Err(TreeError::DanglingHardlink { .. })));
    }

    #[test]
    fn times_are_clamped_and_removal_includes_the_paths_below() {
        let mut tree = Tree::new(100);
        let mut late = Node::file(*b"", &by("p"));
        late.mtime = 500;
        tree.add("usr/share/doc/x", late.clone()).unwrap();
        late.mtime = 7;
        tree.insert("usr/share/document", late).unwrap();
        assert_eq!(tree.get("usr/share/doc/x").unwrap().mtime, 100);
        assert_eq!(tree.get("usr/share/document").unwrap().mtime, 7);
        assert_eq!(tree.remove("usr/share/doc"), 2);
        assert_eq!(tree.below("usr/share").map(|(p, _)| p).collect::<Vec<_>>(), ["usr/share/document"]);
    }
}
