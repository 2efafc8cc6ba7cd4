//! The walk over the whole tree. Every directory is entered at most once, even in a hostile volume.

use std::collections::BTreeSet;

use super::super::format::DIRENT_LEN;
use super::directory::Entries;
use super::error::ErofsError;
use super::inode::{Inode, Kind};
use super::volume::{PATH_MAX, Volume};

/// A path and its inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The path relative to the root, without a leading slash; empty for the root.
    pub path: Vec<u8>,
    /// The inode. Paths with the same inode are hard links.
    pub inode: Inode,
}

/// Every path of a volume.
#[expect(missing_debug_implementations, reason = "the volume's source need not be printable")]
pub struct Walk<'v> {
    volume: &'v Volume<'v>,
    state: State<'v>,
    seen: BTreeSet<u64>,
    /// The number of entries that may still follow. Each entry takes some bytes of the volume.
    budget: u64,
}

enum State<'v> {
    Root,
    /// The open directories, each with the length of its path.
    Within {
        stack: Vec<(Entries<'v>, Inode, usize)>,
        path: Vec<u8>,
    },
    Done,
}

impl<'v> Walk<'v> {
    pub(super) fn new(volume: &'v Volume<'v>) -> Self {
        let budget = volume.bytes() / (DIRENT_LEN as u64 + 1);
        Self { volume, state: State::Root, seen: BTreeSet::new(), budget }
    }

    fn advance(&mut self) -> Result<Option<Found>, ErofsError> {
        match &mut self.state {
            State::Done => Ok(None),
            State::Root => {
                let root = self.volume.root()?;
                self.seen.insert(root.nid);
                let entries = Entries::new(self.volume, &root, Some(root.nid))?;
                self.state = State::Within { stack: vec![(entries, root.clone(), 0)], path: Vec::new() };
                Ok(Some(Found { path: Vec::new(), inode: root }))
            }
            State::Within { stack, path } => {
                let (entry, parent) = loop {
                    let Some((entries, directory, len)) = stack.last_mut() else { return Ok(None) };
                    path.truncate(*len);
                    match entries.next().transpose()? {
                        Some(entry) => break (entry, directory.nid),
                        None => drop(stack.pop()),
                    }
                };
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&entry.name);
                let wrong = |what| ErofsError::Tree { path: path.escape_ascii().to_string(), what };
                if path.len() >= PATH_MAX {
                    return Err(wrong("it is longer than the maximum path"));
                }
                self.budget = self
                    .budget
                    .checked_sub(1)
                    .ok_or_else(|| wrong("the number of entries is too large for the volume"))?;
                let inode = self.volume.inode(entry.nid)?;
                if inode.file_type() != entry.file_type {
                    return Err(wrong("its entry and its inode have different types"));
                }
                if inode.kind == Kind::Directory {
                    if !self.seen.insert(inode.nid) {
                        return Err(wrong("the directory already has another name"));
                    }
                    let entries = Entries::new(self.volume, &inode, Some(parent))?;
                    stack.push((entries, inode.clone(), path.len()));
                }
                Ok(Some(Found { path: path.clone(), inode }))
            }
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Found, ErofsError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.state = State::Done;
        }
        next
    }
}
