//! The input of the writer: inodes and their names. This module reads no file system; the caller passes owners, modes and times.
//!
//! Invariants: the first inode is the root directory; every other inode has at least one name, a directory exactly one; names are sorted
//! bytewise within their directory; no name is `.`, `..`, empty, longer than 255 bytes, or contains `/` or NUL.

use std::collections::BTreeMap;

use super::format::{
    MODE_BLOCK, MODE_CHARACTER, MODE_DIRECTORY, MODE_FIFO, MODE_FILE, MODE_SOCKET, MODE_SYMLINK, NAME_MAX,
    XATTR_PREFIXES,
};
use crate::source::Source;

/// The maximum length of the target of a symbolic link, in bytes: `PATH_MAX` of the kernel without the NUL.
pub const LINK_MAX: usize = 4095;

/// Seconds and nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds.
    pub seconds: u64,
    /// Nanoseconds, less than 10⁹.
    pub nanos: u32,
}

/// An inode of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InodeId(usize);

impl InodeId {
    /// The root directory.
    pub const ROOT: Self = Self(0);
}

/// The attributes of an inode that all kinds have.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permission bits, at most `0o7777`.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of the last modification.
    pub mtime: Time,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The kind of an inode that is not a directory. [`Tree::add_directory`] adds directories.
#[expect(missing_debug_implementations, reason = "a source need not be printable")]
pub enum Kind<'a> {
    /// A regular file.
    File(Box<dyn Source + 'a>),
    /// A symbolic link and its target.
    Symlink(Vec<u8>),
    /// A character device.
    Character(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// The number of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// The major number, less than 4096.
    pub major: u32,
    /// The minor number, less than 2²⁰.
    pub minor: u32,
}

impl Device {
    /// Encodes the number like `new_encode_dev` of the kernel.
    pub(super) const fn encode(self) -> u32 {
        (self.minor & 0xff) | self.major << 8 | (self.minor & !0xff) << 12
    }
}

/// The tree cannot contain the requested inode or name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The name violates a rule.
    #[error("{0:?} cannot be the name of a file")]
    Name(String),
    /// The directory already has an entry with this name.
    #[error("{0:?} already exists in its directory")]
    Twice(String),
    /// The parent is not a directory.
    #[error("the parent of {0:?} is not a directory")]
    NoDirectory(String),
    /// A directory can have only one name.
    #[error("{0:?} would be a second name of a directory")]
    DirectoryLink(String),
    /// The target is empty, longer than [`LINK_MAX`], or contains a NUL.
    #[error("{0:?} cannot be the target of a symbolic link")]
    Target(String),
    /// The kernel has no such device number.
    #[error("device {0}:{1} does not exist: the largest is 4095:1048575")]
    Device(u32, u32),
    /// The nanoseconds are 10⁹ or more, or the mode has bits other than permission bits.
    #[error("mode {0:o} or {1} nanoseconds are out of range")]
    Attributes(u16, u32),
    /// The kernel uses signed seconds, and would read this as a time before 1970.
    #[error("a time of {0} seconds since 1970 is out of range")]
    Seconds(u64),
    /// The name of the attribute has no prefix that EROFS supports, or the name or the value is too long.
    #[error("extended attribute {0:?} cannot be written")]
    Xattr(String),
}

pub(super) struct Inode<'a> {
    pub(super) attributes: Attributes,
    pub(super) node: Node<'a>,
    /// The number of names of a file. A directory has its name, its `.`, and the `..` of each directory in it.
    pub(super) links: u32,
}

pub(super) enum Node<'a> {
    Directory { parent: InodeId, entries: BTreeMap<Vec<u8>, InodeId> },
    Other(Kind<'a>),
}

impl Inode<'_> {
    /// The type and the permissions, as in `st_mode`.
    pub(super) fn mode(&self) -> u16 {
        let kind = match &self.node {
            Node::Directory { .. } => MODE_DIRECTORY,
            Node::Other(Kind::File(_)) => MODE_FILE,
            Node::Other(Kind::Symlink(_)) => MODE_SYMLINK,
            Node::Other(Kind::Character(_)) => MODE_CHARACTER,
            Node::Other(Kind::Block(_)) => MODE_BLOCK,
            Node::Other(Kind::Fifo) => MODE_FIFO,
            Node::Other(Kind::Socket) => MODE_SOCKET,
        };
        kind | self.attributes.mode
    }
}

/// The inodes of a volume and their names.
#[expect(missing_debug_implementations, reason = "a source need not be printable")]
pub struct Tree<'a> {
    inodes: Vec<Inode<'a>>,
}

impl<'a> Tree<'a> {
    /// Creates a tree that consists of a root directory with these attributes.
    pub fn new(attributes: Attributes) -> Result<Self, TreeError> {
        check_attributes(&attributes)?;
        let node = Node::Directory { parent: InodeId::ROOT, entries: BTreeMap::new() };
        Ok(Self { inodes: vec![Inode { attributes, node, links: 2 }] })
    }

    /// Adds a directory to another directory.
    pub fn add_directory(
        &mut self,
        parent: InodeId,
        name: &[u8],
        attributes: Attributes,
    ) -> Result<InodeId, TreeError> {
        check_attributes(&attributes)?;
        let node = Node::Directory { parent, entries: BTreeMap::new() };
        let id = self.enter(parent, name, None)?;
        self.inodes.push(Inode { attributes, node, links: 2 });
        if let Some(parent) = self.inodes.get_mut(parent.0) {
            parent.links += 1;
        }
        Ok(id)
    }

    /// Adds an inode that is not a directory to a directory.
    pub fn add(
        &mut self,
        parent: InodeId,
        name: &[u8],
        kind: Kind<'a>,
        attributes: Attributes,
    ) -> Result<InodeId, TreeError> {
        check_attributes(&attributes)?;
        check_kind(&kind)?;
        let id = self.enter(parent, name, None)?;
        self.inodes.push(Inode { attributes, node: Node::Other(kind), links: 1 });
        Ok(id)
    }

    /// Adds a name (hard link) for an inode that is not a directory.
    pub fn link(&mut self, parent: InodeId, name: &[u8], target: InodeId) -> Result<(), TreeError> {
        if !matches!(self.inodes.get(target.0), Some(Inode { node: Node::Other(_), .. })) {
            return Err(TreeError::DirectoryLink(lossy(name)));
        }
        self.enter(parent, name, Some(target))?;
        if let Some(target) = self.inodes.get_mut(target.0) {
            target.links += 1;
        }
        Ok(())
    }

    /// Adds a name to a directory: of the existing inode `id`, or of the inode that is added next (`None`).
    fn enter(&mut self, parent: InodeId, name: &[u8], id: Option<InodeId>) -> Result<InodeId, TreeError> {
        check_name(name)?;
        let id = id.unwrap_or(InodeId(self.inodes.len()));
        let Some(Inode { node: Node::Directory { entries, .. }, .. }) = self.inodes.get_mut(parent.0) else {
            return Err(TreeError::NoDirectory(lossy(name)));
        };
        if entries.contains_key(name) {
            return Err(TreeError::Twice(lossy(name)));
        }
        entries.insert(name.to_vec(), id);
        Ok(id)
    }

    /// Every inode once, in the order of a breadth-first walk by name. A directory comes before its content, and the inodes of a
    /// directory are next to each other.
    pub(super) fn in_order(&self) -> Vec<InodeId> {
        let mut seen = vec![false; self.inodes.len()];
        let mut order = vec![InodeId::ROOT];
        let mut at = 0;
        while let Some(&id) = order.get(at) {
            at += 1;
            let Some(Inode { node: Node::Directory { entries, .. }, .. }) = self.inodes.get(id.0) else {
                continue;
            };
            for &child in entries.values() {
                if let Some(seen @ false) = seen.get_mut(child.0) {
                    *seen = true;
                    order.push(child);
                }
            }
        }
        order
    }

    /// The inode with an id of this tree.
    #[expect(clippy::indexing_slicing, reason = "directories contain only ids of inodes that were added")]
    pub(super) fn inode(&self, id: InodeId) -> &Inode<'a> {
        &self.inodes[id.0]
    }
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn check_name(name: &[u8]) -> Result<(), TreeError> {
    let bad = name.is_empty()
        || name.len() > NAME_MAX
        || name == b"."
        || name == b".."
        || name.iter().any(|byte| matches!(byte, b'/' | 0));
    if bad { Err(TreeError::Name(lossy(name))) } else { Ok(()) }
}

fn check_kind(kind: &Kind<'_>) -> Result<(), TreeError> {
    match kind {
        Kind::Symlink(target) if target.is_empty() || target.len() > LINK_MAX || target.contains(&0) => {
            Err(TreeError::Target(lossy(target)))
        }
        Kind::Character(device) | Kind::Block(device)
            if device.major >= 1 << 12 || device.minor >= 1 << 20 =>
        {
            Err(TreeError::Device(device.major, device.minor))
        }
        _ => Ok(()),
    }
}

fn check_attributes(attributes: &Attributes) -> Result<(), TreeError> {
    if attributes.mode > 0o7777 || attributes.mtime.nanos >= 1_000_000_000 {
        return Err(TreeError::Attributes(attributes.mode, attributes.mtime.nanos));
    }
    if i64::try_from(attributes.mtime.seconds).is_err() {
        return Err(TreeError::Seconds(attributes.mtime.seconds));
    }
    match attributes.xattrs.iter().find(|(name, value)| !writable(name, value)) {
        Some((name, _)) => Err(TreeError::Xattr(lossy(name))),
        None => Ok(()),
    }
}

/// Whether an extended attribute can be written. The limits are `XATTR_NAME_MAX` of the kernel, and 65535 bytes for the value, because its
/// length field has 16 bits.
fn writable(name: &[u8], value: &[u8]) -> bool {
    name.len() <= 255
        && value.len() <= usize::from(u16::MAX)
        && !name.contains(&0)
        && split_xattr(name).is_some()
}

/// The number of the prefix of a name, and the rest of the name.
pub(super) fn split_xattr(name: &[u8]) -> Option<(u8, &[u8])> {
    XATTR_PREFIXES.iter().find_map(|&(number, prefix)| {
        let rest = name.strip_prefix(prefix)?;
        // A prefix that ends with a dot must be followed by a name; a prefix without a dot is a whole name.
        (prefix.ends_with(b".") != rest.is_empty()).then_some((number, rest))
    })
}
