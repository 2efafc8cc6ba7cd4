//! A file system tree in memory: what a volume holds before it is written.
//!
//! Invariants: paths are relative, without `.`/`..`/empty parts, sorted bytewise; `""` is the root directory; every parent
//! is a directory of the tree ([`Tree::check`]); no path is ever given twice, whatever the order of the givers;
//! times never pass the epoch. Ownership and modes are data: nothing here touches a real file system.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The bytes of a file, shared between trees.
pub type Content = Arc<[u8]>;

/// What a path is.
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
        /// Character device, else block.
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
    /// What it is.
    pub kind: Kind,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970, clamped to the tree's epoch.
    pub mtime: u64,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Who gave it: a package, or a part of the builder. For messages and the bill of materials.
    pub origin: Arc<str>,
}

impl Node {
    /// A node of root's with the usual mode of its kind.
    pub fn new(kind: Kind, origin: &Arc<str>) -> Self {
        let mode = match kind {
            Kind::Directory => 0o755,
            Kind::Symlink(_) => 0o777,
            Kind::File(_) | Kind::Hardlink(_) => 0o644,
            Kind::Device { .. } => 0o600,
        };
        Self { kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new(), origin: Arc::clone(origin) }
    }

    /// A file of root's, mode 0644.
    pub fn file(content: impl Into<Content>, origin: &Arc<str>) -> Self {
        Self::new(Kind::File(content.into()), origin)
    }

    /// A symbolic link.
    pub fn symlink(target: impl Into<String>, origin: &Arc<str>) -> Self {
        Self::new(Kind::Symlink(target.into()), origin)
    }

    /// The same with another mode.
    #[must_use]
    pub fn with_mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// A directory?
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory)
    }
}

/// Why a tree cannot be what was asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    /// Not a clean relative path.
    #[error("{origin} holds a path that leaves its tree or is not clean: {path:?}")]
    UnsafePath {
        /// The path as given.
        path: String,
        /// Who gave it.
        origin: String,
    },
    /// Two givers of one path.
    #[error("/{path} is given twice: as {first} by {first_origin}, as {second} by {second_origin}")]
    Conflict {
        /// The path.
        path: String,
        /// What it is already.
        first: String,
        /// By whom.
        first_origin: String,
        /// What it would become.
        second: String,
        /// By whom.
        second_origin: String,
    },
    /// A file below something that is no directory (a legacy path under a usr-merge link, for one).
    #[error("/{path} of {origin} lies below /{parent}, which is {what}")]
    ParentIsNoDirectory {
        /// The path.
        path: String,
        /// Who gave it.
        origin: String,
        /// The parent.
        parent: String,
        /// What the parent is.
        what: String,
    },
    /// A second name for a file that is not in the tree.
    #[error("/{path} of {origin} is another name of /{target}, which is not a file of the tree")]
    DanglingHardlink {
        /// The path.
        path: String,
        /// Who gave it.
        origin: String,
        /// The missing file.
        target: String,
    },
}

/// A sorted set of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
    epoch: u64,
}

impl Tree {
    /// A tree with only its root directory (0755, as tight as a sealed root needs).
    pub fn new(epoch: u64) -> Self {
        let origin: Arc<str> = Arc::from("kubedos");
        let mut root = Node::new(Kind::Directory, &origin);
        root.mtime = epoch;
        Self { nodes: BTreeMap::from([(String::new(), root)]), epoch }
    }

    /// The time that no file passes.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Adds a path. A directory may be given more than once with the same owner and mode; nothing else may.
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
            // The earliest giver by name owns it, the latest time stays: so the order of packages does not show.
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

    /// Adds a path of the builder's own, with the directories above it.
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

    /// Replaces a path that is there, or adds it.
    pub fn replace(&mut self, path: &str, node: Node) -> Result<(), TreeError> {
        self.nodes.remove(path);
        self.add(path, node)
    }

    /// Removes a path and all below it; says how many nodes went.
    pub fn remove(&mut self, path: &str) -> usize {
        let below = format!("{path}/");
        let gone: Vec<String> = self
            .nodes
            .range(path.to_owned()..)
            .take_while(|(p, _)| p.starts_with(path))
            .filter(|(p, _)| p.as_str() == path || p.starts_with(&below))
            .map(|(p, _)| p.clone())
            .collect();
        gone.iter().filter(|p| self.nodes.remove(*p).is_some()).count()
    }

    /// The node at a path.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The node at a path, to change its attributes.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut Node> {
        self.nodes.get_mut(path)
    }

    /// The bytes of a regular file, through a second name too.
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

    /// Every path in order, the root directory (`""`) first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// The paths below a directory, it excluded.
    pub fn below<'a>(&'a self, directory: &str) -> impl Iterator<Item = (&'a str, &'a Node)> + use<'a> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        self.nodes
            .range(prefix.clone()..)
            .take_while(move |(p, _)| p.starts_with(&prefix))
            .filter(|(p, _)| !p.is_empty())
            .map(|(p, n)| (p.as_str(), n))
    }

    /// Keeps what the function says.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Node) -> bool) {
        self.nodes.retain(|path, node| path.is_empty() || keep(path, node));
    }

    /// How many paths.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Only the root directory?
    pub fn is_empty(&self) -> bool {
        self.nodes.len() <= 1
    }

    /// Every regular file with its content, second names left out.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Content)> {
        self.nodes.iter().filter_map(|(path, node)| match &node.kind {
            Kind::File(content) => Some((path.as_str(), content)),
            _ => None,
        })
    }

    /// Bytes of all regular files, second names not counted.
    pub fn file_bytes(&self) -> u64 {
        self.files().map(|(_, content)| content.len() as u64).sum()
    }

    /// Every parent is a directory and every second name has its file; the first name in order holds the bytes.
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

    #[expect(clippy::expect_used, reason = "the first loop has found every target")]
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

    /// One line a path: type, mode, owner, path, target, extended attributes. The form of the goldens.
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

/// A path of an archive without its leading `./` and trailing `/`; none if it is not clean.
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
    fn a_path_given_twice_names_both_givers_in_either_order() {
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
    fn the_first_name_in_order_holds_the_bytes_of_a_hardlink() {
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
    fn times_are_clamped_and_removal_takes_what_is_below() {
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
