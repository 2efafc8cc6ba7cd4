//! The writer: a sorted map of paths, in which every parent comes before its children.

use super::CpioError;
use super::format::{ALIGN, BLOCK, Header, KIND_CHARACTER, KIND_DIRECTORY, KIND_FILE, KIND_LINK, TRAILER};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The object at a path. Modes are permission bits, such as `0o755`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node<'a> {
    /// A directory.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// The content.
        content: Cow<'a, [u8]>,
    },
    /// A symbolic link with this target.
    Link(String),
    /// A character device.
    Character {
        /// Permission bits.
        mode: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// The tree of an initrd. Root owns all entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive<'a> {
    mtime: u32,
    nodes: BTreeMap<String, Node<'a>>,
}

impl<'a> Archive<'a> {
    /// Creates an empty tree. `mtime` is the time of every entry, in seconds since 1970.
    pub fn new(mtime: u32) -> Self {
        Self { mtime, nodes: BTreeMap::new() }
    }

    /// Adds a node at a path, which is relative and normalised (`usr/lib`, no leading `/`). Its parent directory must already exist.
    pub fn add(&mut self, path: &str, node: Node<'a>) -> Result<(), CpioError> {
        check_path(path)?;
        if let Some((parent, _)) = path.rsplit_once('/')
            && !matches!(self.nodes.get(parent), Some(Node::Directory { .. }))
        {
            return Err(CpioError::NoParent(path.to_owned()));
        }
        if self.nodes.contains_key(path) {
            return Err(CpioError::Twice(path.to_owned()));
        }
        self.nodes.insert(path.to_owned(), node);
        Ok(())
    }

    /// Adds a file at a path, and its missing parent directories with mode 0755.
    pub fn add_file(
        &mut self,
        path: &str,
        mode: u32,
        content: impl Into<Cow<'a, [u8]>>,
    ) -> Result<(), CpioError> {
        self.add_parents(path)?;
        self.add(path, Node::File { mode, content: content.into() })
    }

    /// Adds the missing parent directories of a path, with mode 0755.
    pub fn add_parents(&mut self, path: &str) -> Result<(), CpioError> {
        for (at, _) in path.match_indices('/') {
            let (parent, _) = path.split_at(at);
            if !self.nodes.contains_key(parent) {
                self.add(parent, Node::Directory { mode: 0o755 })?;
            }
        }
        Ok(())
    }

    /// The bytes of the archive: the entries in order of path, each directory before its children, then the trailer and zeroes up to a
    /// multiple of 512.
    pub fn write(&self) -> Result<Vec<u8>, CpioError> {
        let mut out = Vec::new();
        // Comparing part by part sorts `/` before every other byte, so that children follow their directory directly.
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_by(|a, b| a.0.split('/').cmp(b.0.split('/')));
        for (inode, (path, node)) in (1..).zip(nodes) {
            let (mode, links, device, content): (u32, u32, (u32, u32), &[u8]) = match node {
                Node::Directory { mode } => (KIND_DIRECTORY | mode, 2, (0, 0), &[]),
                Node::File { mode, content } => (KIND_FILE | mode, 1, (0, 0), content),
                Node::Link(target) => (KIND_LINK | 0o777, 1, (0, 0), target.as_bytes()),
                Node::Character { mode, major, minor } => (KIND_CHARACTER | mode, 1, (*major, *minor), &[]),
            };
            let (device_major, device_minor) = device;
            let header = Header {
                inode,
                mode,
                links,
                mtime: self.mtime,
                device_major,
                device_minor,
                ..Header::default()
            };
            push(&mut out, header, path, content)?;
        }
        push(&mut out, Header { links: 1, ..Header::default() }, TRAILER, &[])?;
        pad(&mut out, BLOCK);
        Ok(out)
    }
}

pub(super) fn check_path(path: &str) -> Result<(), CpioError> {
    let bad = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    if path.split('/').any(bad) || path == TRAILER || path.len() >= 4096 {
        return Err(CpioError::Path(path.to_owned()));
    }
    Ok(())
}

fn push(out: &mut Vec<u8>, header: Header, name: &str, content: &[u8]) -> Result<(), CpioError> {
    let size = u32::try_from(content.len()).map_err(|_| CpioError::TooLarge(name.to_owned()))?;
    let name_len = u32::try_from(name.len() + 1).map_err(|_| CpioError::TooLarge(name.to_owned()))?;
    out.extend_from_slice(&Header { size, name_len, ..header }.encode());
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out, ALIGN);
    out.extend_from_slice(content);
    pad(out, ALIGN);
    Ok(())
}

fn pad(out: &mut Vec<u8>, align: usize) {
    out.resize(out.len().next_multiple_of(align), 0);
}
