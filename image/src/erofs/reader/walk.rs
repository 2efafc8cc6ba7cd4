//! Going over the whole tree. Every directory is entered once, whatever the entries say.

use std::collections::BTreeSet;

use super::super::format::DIRENT_LEN;
use super::directory::Entries;
use super::error::ErofsError;
use super::inode::{Inode, Kind};
use super::volume::{PATH_MAX, Volume};

/// A path and what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The path below the root, without a slash in front; empty for the root.
    pub path: Vec<u8>,
    /// What is there. Names of one inode are hard links.
    pub inode: Inode,
}

/// Every path of a volume.
#[expect(missing_debug_implementations, reason = "the volume's source need not be printable")]
pub struct Walk<'v> {
    volume: &'v Volume<'v>,
    state: State<'v>,
    seen: BTreeSet<u64>,
    /// How many entries may still come: each takes some bytes of the volume.
    budget: u64,
}

enum State<'v> {
    Root,
    /// The directories that are being read, each with the length of its path.
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
                    return Err(wrong("it is longer than a path can be"));
                }
                self.budget = self
                    .budget
                    .checked_sub(1)
                    .ok_or_else(|| wrong("there are more entries than the volume has room for"))?;
                let inode = self.volume.inode(entry.nid)?;
                if inode.file_type() != entry.file_type {
                    return Err(wrong("its entry and its inode are of different types"));
                }
                if inode.kind == Kind::Directory {
                    if !self.seen.insert(inode.nid) {
                        return Err(wrong("the directory has another name already"));
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
