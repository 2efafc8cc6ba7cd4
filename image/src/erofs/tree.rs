//! What a volume is written from: inodes and the names that lead to them. Nothing here reads a file system; owners, modes and times are data.
//!
//! Invariants: the first inode is the root directory; every other one has at least one name, a directory exactly one; names are sorted
//! bytewise within their directory, and none of them is `.`, `..`, empty, longer than 255 bytes, or holds `/` or NUL.

use std::collections::BTreeMap;

use super::format::{
    MODE_BLOCK, MODE_CHARACTER, MODE_DIRECTORY, MODE_FIFO, MODE_FILE, MODE_SOCKET, MODE_SYMLINK, NAME_MAX,
    XATTR_PREFIXES,
};
use crate::source::Source;

/// Longest target of a symbolic link, in bytes: what the kernel can return (`PATH_MAX` less its NUL).
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

/// What an inode has beside its kind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Permission bits, `0o7777` at most.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was changed last.
    pub mtime: Time,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What an inode is, directories excepted: those are made by [`Tree::add_directory`].
#[expect(missing_debug_implementations, reason = "a source need not be printable")]
pub enum Kind<'a> {
    /// A regular file.
    File(Box<dyn Source + 'a>),
    /// A symbolic link and its target, as written.
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

/// A device's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Less than 4096.
    pub major: u32,
    /// Less than 2²⁰.
    pub minor: u32,
}

impl Device {
    /// As the kernel's `new_encode_dev` has it.
    pub(super) const fn encode(self) -> u32 {
        (self.minor & 0xff) | self.major << 8 | (self.minor & !0xff) << 12
    }
}

/// Why a tree cannot be what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A rule of names is broken.
    #[error("{0:?} cannot be the name of a file")]
    Name(String),
    /// A directory has two entries of one name.
    #[error("{0:?} is in its directory already")]
    Twice(String),
    /// What is to hold an entry is no directory.
    #[error("{0:?} would lie in something that is no directory")]
    NoDirectory(String),
    /// Directories have one name.
    #[error("{0:?} would be a second name of a directory")]
    DirectoryLink(String),
    /// A target is empty, longer than [`LINK_MAX`], or holds NUL.
    #[error("{0:?} cannot be the target of a symbolic link")]
    Target(String),
    /// A device number that the kernel has no room for.
    #[error("device {0}:{1} does not exist: the largest is 4095:1048575")]
    Device(u32, u32),
    /// More than 10⁹ nanoseconds, or mode bits beside those of permissions.
    #[error("mode {0:o} or {1} nanoseconds are out of their range")]
    Attributes(u16, u32),
    /// Seconds that the kernel, which counts them with a sign, would take for a time before 1970.
    #[error("{0} seconds are more than a time can have")]
    Seconds(u64),
    /// The attribute's name has no prefix that EROFS knows, or is too long, or its value is.
    #[error("extended attribute {0:?} cannot be written")]
    Xattr(String),
}

pub(super) struct Inode<'a> {
    pub(super) attributes: Attributes,
    pub(super) node: Node<'a>,
    /// Names of a file; for a directory its own, its `.`, and the `..` of each directory in it.
    pub(super) links: u32,
}

pub(super) enum Node<'a> {
    Directory { parent: InodeId, entries: BTreeMap<Vec<u8>, InodeId> },
    Other(Kind<'a>),
}

impl Inode<'_> {
    /// Type and permissions, as in `st_mode`.
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

/// The tree.
#[expect(missing_debug_implementations, reason = "a source need not be printable")]
pub struct Tree<'a> {
    inodes: Vec<Inode<'a>>,
}

impl<'a> Tree<'a> {
    /// A tree of a root directory with these attributes.
    pub fn new(attributes: Attributes) -> Result<Self, TreeError> {
        check_attributes(&attributes)?;
        let node = Node::Directory { parent: InodeId::ROOT, entries: BTreeMap::new() };
        Ok(Self { inodes: vec![Inode { attributes, node, links: 2 }] })
    }

    /// A directory in another.
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

    /// Anything else in a directory.
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

    /// One more name of an inode that is no directory.
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

    /// Puts a name into a directory: of the inode that is added next, or of one that is there.
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

    /// Every inode, directories before what is in them, in the order of a breadth-first walk by name: neighbours in a directory are
    /// neighbours here. Each once, whatever it is called.
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

    /// The inode of an id that came from this tree's directories.
    #[expect(clippy::indexing_slicing, reason = "directories hold the ids of inodes that were added")]
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

/// The kernel's own limits (`XATTR_NAME_MAX`, `XATTR_SIZE_MAX` less what the field cannot say).
fn writable(name: &[u8], value: &[u8]) -> bool {
    name.len() <= 255
        && value.len() <= usize::from(u16::MAX)
        && !name.contains(&0)
        && split_xattr(name).is_some()
}

/// The number of a name's prefix, and what follows it.
pub(super) fn split_xattr(name: &[u8]) -> Option<(u8, &[u8])> {
    XATTR_PREFIXES.iter().find_map(|&(number, prefix)| {
        let rest = name.strip_prefix(prefix)?;
        // What ends with a dot needs something behind it; what does not is a whole name.
        (prefix.ends_with(b".") != rest.is_empty()).then_some((number, rest))
    })
}
