//! Directories: blocks of entries, each followed by its names. The names are sorted over all blocks.

use zerocopy::FromBytes;

use super::super::format::{BLOCK_U64, DIRENT_LEN, Dirent, MODE_DIRECTORY, NAME_MAX, file_type};
use super::content::Reader;
use super::error::{ErofsError, Part, Place};
use super::inode::{Inode, Kind};
use super::volume::Volume;
use crate::width::to_usize;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// The number of its inode.
    pub nid: u64,
    pub(super) file_type: u8,
}

/// The entries of a directory.
#[expect(missing_debug_implementations, reason = "the volume's source need not be printable")]
pub struct Entries<'v> {
    reader: Reader<'v>,
    directory: Inode,
    /// The expected inode of `..`, if it is known.
    parent: Option<u64>,
    block: Vec<u8>,
    /// The offset of the block in the directory.
    at: u64,
    /// The number of entries of the block, and the index of the next entry.
    count: usize,
    next: usize,
    last: Option<Vec<u8>>,
    dots: usize,
    failed: bool,
}

impl<'v> Entries<'v> {
    pub(super) fn new(
        volume: &'v Volume<'v>,
        directory: &Inode,
        parent: Option<u64>,
    ) -> Result<Self, ErofsError> {
        if directory.kind != Kind::Directory {
            return Err(ErofsError::Kind { nid: directory.nid, wanted: "directory" });
        }
        // No writer creates compressed directories, and each level of a tree could need megabytes of memory.
        if directory.is_compressed() {
            return Err(ErofsError::Unsupported("compressed directories".into()));
        }
        Ok(Self {
            reader: Reader::new(volume),
            directory: directory.clone(),
            parent,
            block: Vec::new(),
            at: 0,
            count: 0,
            next: 0,
            last: None,
            dots: 0,
            failed: false,
        })
    }

    fn place(&self) -> Place {
        self.directory.place(Part::Entry, self.at + (self.next * DIRENT_LEN) as u64)
    }

    /// The next entry, including `.` and `..`.
    fn advance(&mut self) -> Result<Option<Entry>, ErofsError> {
        if self.next == self.count {
            self.at += self.block.len() as u64;
            if self.at >= self.directory.size {
                return Ok(None);
            }
            self.load()?;
        }
        let place = self.place();
        let entry = self.dirent(self.next).ok_or_else(|| place.damaged("its block ends inside it"))?;
        let name = self.name(&entry, place)?;
        if self.last.as_ref().is_some_and(|last| *last >= name) {
            return Err(place.damaged("its name does not follow the previous name"));
        }
        self.last = Some(name.clone());
        self.next += 1;
        Ok(Some(Entry { name, nid: entry.nid.get(), file_type: entry.file_type }))
    }

    fn load(&mut self) -> Result<(), ErofsError> {
        let len = to_usize((self.directory.size - self.at).min(BLOCK_U64));
        self.block.clear();
        self.block.resize(len, 0);
        self.next = 0;
        self.reader.read_at(&self.directory, self.at, &mut self.block)?;
        let place = self.place();
        let first = self.dirent(0).ok_or_else(|| place.damaged("its block is too short"))?;
        let names = usize::from(first.name_offset.get());
        if names == 0 || names % DIRENT_LEN != 0 || names >= len {
            return Err(place.damaged(format!("the names of its block begin at {names}")));
        }
        self.count = names / DIRENT_LEN;
        Ok(())
    }

    fn dirent(&self, number: usize) -> Option<Dirent> {
        let bytes = self.block.get(number * DIRENT_LEN..)?;
        Some(Dirent::read_from_prefix(bytes).ok()?.0)
    }

    /// A name ends at the start of the next name. The last name ends at a NUL or at the end of the block.
    fn name(&self, entry: &Dirent, place: Place) -> Result<Vec<u8>, ErofsError> {
        let start = usize::from(entry.name_offset.get());
        let is_last = self.next + 1 == self.count;
        let end = match self.dirent(self.next + 1) {
            Some(next) if !is_last => usize::from(next.name_offset.get()),
            _ => self.block.len(),
        };
        let name = self.block.get(start..end).filter(|_| start >= self.count * DIRENT_LEN);
        let name = name.ok_or_else(|| place.damaged("its name is not after the entries"))?;
        let name = match name.iter().position(|byte| *byte == 0) {
            Some(len) if is_last => name.split_at(len).0,
            Some(_) => return Err(place.damaged("its name contains a NUL")),
            None => name,
        };
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(place.damaged(format!("its name has {} bytes", name.len())));
        }
        if name.contains(&b'/') {
            return Err(place.damaged("its name contains a slash"));
        }
        Ok(name.to_vec())
    }

    /// Checks `.` or `..`, which are sorted with the other names.
    fn check_dot(&mut self, entry: &Entry) -> Result<(), ErofsError> {
        let place = self.place();
        let expected = if entry.name == b"." { Some(self.directory.nid) } else { self.parent };
        if expected.is_some_and(|nid| nid != entry.nid) || entry.file_type != file_type(MODE_DIRECTORY) {
            let name = if entry.name == b"." { "." } else { ".." };
            return Err(place.damaged(format!("{name} is inode {}", entry.nid)));
        }
        self.dots += 1;
        Ok(())
    }

    fn next_child(&mut self) -> Result<Option<Entry>, ErofsError> {
        while let Some(entry) = self.advance()? {
            if entry.name != b"." && entry.name != b".." {
                return Ok(Some(entry));
            }
            self.check_dot(&entry)?;
        }
        if self.dots != 2 {
            return Err(self.place().damaged("the directory has no . or no .."));
        }
        Ok(None)
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, ErofsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_child().transpose();
        self.failed = !matches!(next, Some(Ok(_)));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::super::test::{FILE, volume};
    use super::*;
    use zerocopy::IntoBytes;

    /// A block of entries, followed by their names.
    fn block(entries: &[(&[u8], u64, u8)]) -> Vec<u8> {
        let mut offset = entries.len() * DIRENT_LEN;
        let mut bytes = Vec::new();
        for (name, nid, file_type) in entries {
            let name_offset = u16::try_from(offset).unwrap().into();
            bytes.extend_from_slice(
                Dirent { nid: (*nid).into(), name_offset, file_type: *file_type, reserved: 0 }.as_bytes(),
            );
            offset += name.len();
        }
        entries.iter().for_each(|(name, ..)| bytes.extend_from_slice(name));
        bytes
    }

    fn message(content: &[u8]) -> String {
        let bytes = FILE.directory(content);
        let volume = volume(&bytes);
        let names: Result<Vec<Entry>, _> =
            volume.entries(&volume.inode(FILE.nid()).unwrap()).unwrap().collect();
        match names {
            Ok(entries) => entries
                .iter()
                .map(|entry| entry.name.escape_ascii().to_string())
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn invalid_directories_are_refused() {
        let (own, parent) = ((b".".as_slice(), FILE.nid(), 2), (b"..".as_slice(), 3, 2));
        assert_eq!(message(&block(&[(b"!", 9, 1), own, parent, (b"a\xff", 7, 1)])), "! a\\xff");
        // The last name ends at a NUL.
        assert_eq!(message(&[block(&[own, parent, (b"a", 7, 1)]).as_slice(), &[0; 9]].concat()), "a");
        let long = [b'x'; 256];
        type Entries<'c> = &'c [(&'c [u8], u64, u8)];
        let cases: &[(Entries<'_>, &str)] = &[
            (&[own], "no . or no .."),
            (&[parent], "no . or no .."),
            (&[(b".", 1, 2), parent], ". is inode 1"),
            (&[own, (b"..", 3, 1)], ".. is inode 3"),
            (&[parent, own], "does not follow"),
            (&[own, parent, (b"b", 7, 1), (b"a", 7, 1)], "does not follow"),
            (&[own, parent, (b"a", 7, 1), (b"a", 8, 1)], "does not follow"),
            (&[own, parent, (b"a/b", 7, 1)], "contains a slash"),
            (&[own, parent, (b"a\0b", 7, 1), (b"c", 7, 1)], "contains a NUL"),
            (&[own, parent, (b"", 7, 1), (b"c", 7, 1)], "its name has 0 bytes"),
            (&[own, parent, (&long, 7, 1)], "its name has 256 bytes"),
        ];
        for (entries, expected) in cases {
            let message = message(&block(entries));
            assert!(message.contains(expected), "{expected}: {message}");
        }
        let valid = block(&[own, parent, (b"a", 7, 1)]);
        for (position, byte, expected) in [
            (8, 0, "the names of its block begin at 0"),
            (8, 13, "the names of its block begin at 13"),
            (9, 0xff, "begin at"),
            (8 + 12, 30, "is not after the entries"),
            (8 + 24, 200, "is not after the entries"),
        ] {
            let mut bytes = valid.clone();
            bytes[position] = byte;
            let message = message(&bytes);
            assert!(message.contains(expected), "{expected}: {message}");
        }
        assert!(message(&valid[..11]).contains("its block is too short"));
    }
}
