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

/// The maximum length of a path and of the target of a link (`PATH_MAX`, including the NUL).
pub(super) const PATH_MAX: usize = 4096;

/// A volume with a valid superblock.
#[expect(missing_debug_implementations, reason = "the source need not be printable")]
pub struct Volume<'s> {
    source: &'s dyn Source,
    pub(super) sb: Super,
}

impl<'s> Volume<'s> {
    /// Reads the superblock.
    ///
    /// # Errors
    /// If there is no superblock, or it is damaged, or has features that are not supported.
    pub fn open(source: &'s dyn Source) -> Result<Self, ErofsError> {
        Ok(Self { source, sb: Super::read(source)? })
    }

    /// The length of the volume, in bytes.
    pub fn bytes(&self) -> u64 {
        self.sb.len
    }

    /// The number of inodes, as declared in the superblock.
    pub fn inodes(&self) -> u64 {
        self.sb.inodes
    }

    /// The UUID.
    pub fn uuid(&self) -> [u8; 16] {
        self.sb.uuid
    }

    /// The time in the superblock, in seconds since 1970.
    pub fn epoch(&self) -> i64 {
        self.sb.epoch
    }

    /// The root directory.
    ///
    /// # Errors
    /// If the inode is damaged or not a directory.
    pub fn root(&self) -> Result<Inode, ErofsError> {
        let root = self.inode(self.sb.root)?;
        let place = root.place(Part::Inode, root.at);
        (root.kind == Kind::Directory)
            .then_some(root)
            .ok_or_else(|| place.damaged("the root is not a directory"))
    }

    /// The inode with this number.
    ///
    /// # Errors
    /// If there is no valid inode.
    pub fn inode(&self, nid: u64) -> Result<Inode, ErofsError> {
        inode::read(self, nid)
    }

    /// The extended attributes by their full names.
    ///
    /// # Errors
    /// If the attributes are damaged.
    pub fn xattrs(&self, inode: &Inode) -> Result<Xattrs, ErofsError> {
        xattr::read(self, inode)
    }

    /// The entries of a directory, in order of their names. `.` and `..` must exist, but are not returned.
    ///
    /// # Errors
    /// If the inode is not a directory. Damaged entries are reported by the iterator.
    pub fn entries(&self, directory: &Inode) -> Result<Entries<'_>, ErofsError> {
        Entries::new(self, directory, None)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// If the inode is not a symbolic link, or is damaged.
    pub fn link(&self, inode: &Inode) -> Result<Vec<u8>, ErofsError> {
        if inode.kind != Kind::Symlink {
            return Err(ErofsError::Kind { nid: inode.nid, wanted: "symbolic link" });
        }
        let place = inode.place(Part::Content, 0);
        let len = usize::try_from(inode.size).ok().filter(|len| *len < PATH_MAX);
        let mut target =
            vec![0; len.ok_or_else(|| place.damaged("the target is longer than the maximum path"))?];
        Reader::new(self).read_at(inode, 0, &mut target)?;
        if target.contains(&0) {
            return Err(place.damaged("the target contains a NUL"));
        }
        Ok(target)
    }

    /// The extents of the content, from the extent on that contains the byte at `offset`.
    ///
    /// # Errors
    /// If the inode has no content. Damaged extents are reported by the iterator.
    pub fn extents(&self, inode: &Inode, offset: u64) -> Result<Extents<'_>, ErofsError> {
        Extents::new(self, inode, offset)
    }

    /// Reads bytes of content from `offset` on: the length of `buffer`, or fewer at the end. Returns the number of bytes. For many reads,
    /// use a [`Reader`].
    ///
    /// # Errors
    /// If the inode has no content, or the content is damaged.
    pub fn read_at(&self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, ErofsError> {
        self.reader().read_at(inode, offset, buffer)
    }

    /// A reader of content that keeps the cluster that it decoded last.
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
            return Err(place.damaged("it is past the end of the volume"));
        }
        self.source.read_exact_at(buffer, at).map_err(|source| ErofsError::Read { at, source })
    }

    /// Whether a range of bytes is inside the volume and after the first block, which contains the superblock.
    pub(super) fn contains(&self, at: u64, len: u64) -> bool {
        let first = super::super::format::BLOCK_U64;
        at >= first && at.checked_add(len).is_some_and(|end| end <= self.sb.len)
    }
}
