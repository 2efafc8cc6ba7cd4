//! An open volume.

use super::content::Reader;
use super::directory::Entries;
use super::error::{ErofsError, Part, Place};
use super::inode::{self, Inode, Kind};
use super::map::Extents;
use super::superblock::Super;
use super::walk::Walk;
use super::xattr::{self, Xattrs};
use crate::source::Source;

/// The longest path, and with it the longest target of a link (`PATH_MAX`, its null included).
pub(super) const PATH_MAX: usize = 4096;

/// A volume of which the superblock is sound.
#[expect(missing_debug_implementations, reason = "the source need not be printable")]
pub struct Volume<'s> {
    source: &'s dyn Source,
    pub(super) sb: Super,
}

impl<'s> Volume<'s> {
    /// Reads the superblock.
    ///
    /// # Errors
    /// When it is none, is damaged, or names features that are not supported.
    pub fn open(source: &'s dyn Source) -> Result<Self, ErofsError> {
        Ok(Self { source, sb: Super::read(source)? })
    }

    /// Bytes of the volume.
    pub fn bytes(&self) -> u64 {
        self.sb.len
    }

    /// How many inodes it says that it has.
    pub fn inodes(&self) -> u64 {
        self.sb.inodes
    }

    /// Its UUID.
    pub fn uuid(&self) -> [u8; 16] {
        self.sb.uuid
    }

    /// The time that it was made at, seconds since 1970.
    pub fn epoch(&self) -> i64 {
        self.sb.epoch
    }

    /// The root directory.
    ///
    /// # Errors
    /// When it is none.
    pub fn root(&self) -> Result<Inode, ErofsError> {
        let root = self.inode(self.sb.root)?;
        let place = root.place(Part::Inode, root.at);
        (root.kind == Kind::Directory)
            .then_some(root)
            .ok_or_else(|| place.damaged("the root is no directory"))
    }

    /// The inode of a number.
    ///
    /// # Errors
    /// When there is none.
    pub fn inode(&self, nid: u64) -> Result<Inode, ErofsError> {
        inode::read(self, nid)
    }

    /// The extended attributes by their full names.
    ///
    /// # Errors
    /// When they are damaged.
    pub fn xattrs(&self, inode: &Inode) -> Result<Xattrs, ErofsError> {
        xattr::read(self, inode)
    }

    /// The entries of a directory in order of their names, without `.` and `..`, which have to be there.
    ///
    /// # Errors
    /// When it is none; damage is found on the way.
    pub fn entries(&self, directory: &Inode) -> Result<Entries<'_>, ErofsError> {
        Entries::new(self, directory, None)
    }

    /// Where a symbolic link points.
    ///
    /// # Errors
    /// When it is none, or damaged.
    pub fn link(&self, inode: &Inode) -> Result<Vec<u8>, ErofsError> {
        if inode.kind != Kind::Symlink {
            return Err(ErofsError::Kind { nid: inode.nid, wanted: "symbolic link" });
        }
        let place = inode.place(Part::Content, 0);
        let len = usize::try_from(inode.size).ok().filter(|len| *len < PATH_MAX);
        let mut target =
            vec![0; len.ok_or_else(|| place.damaged("the target is longer than a path can be"))?];
        Reader::new(self).read_at(inode, 0, &mut target)?;
        if target.contains(&0) {
            return Err(place.damaged("there is a null in the target"));
        }
        Ok(target)
    }

    /// Where the content lies, from the extent on that holds the byte at `offset`.
    ///
    /// # Errors
    /// When the inode has no content; damage is found on the way.
    pub fn extents(&self, inode: &Inode, offset: u64) -> Result<Extents<'_>, ErofsError> {
        Extents::new(self, inode, offset)
    }

    /// Bytes of content from `offset` on: as many as `buffer` has, or fewer at the end. Who reads much uses a [`Reader`].
    ///
    /// # Errors
    /// When the inode has no content, or it is damaged.
    pub fn read_at(&self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, ErofsError> {
        self.reader().read_at(inode, offset, buffer)
    }

    /// What reads content and keeps what it decoded last.
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(self)
    }

    /// Every path and its inode, parents first, in order of names.
    pub fn walk(&self) -> Walk<'_> {
        Walk::new(self)
    }

    /// Fills `buffer` from a byte of the volume on.
    pub(super) fn fill(&self, buffer: &mut [u8], at: u64, place: Place) -> Result<(), ErofsError> {
        if at.checked_add(buffer.len() as u64).is_none_or(|end| end > self.sb.len) {
            return Err(place.damaged("it lies past the end of the volume"));
        }
        self.source.read_exact_at(buffer, at).map_err(|source| ErofsError::Read { at, source })
    }

    /// Says whether so many bytes from there on are in the volume, and not where the superblock is.
    pub(super) fn holds(&self, at: u64, len: u64) -> bool {
        let first = super::super::format::BLOCK_U64;
        at >= first && at.checked_add(len).is_some_and(|end| end <= self.sb.len)
    }
}
