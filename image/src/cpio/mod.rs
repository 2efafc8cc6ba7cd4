//! cpio archives in the "newc" format, which the kernel unpacks as initrd (kernel documentation, "initramfs buffer format").
//!
//! An [`Archive`] is a sorted tree, so the same tree always gives the same bytes. Owner and group are zero, all entries have the same
//! time, the device numbers of the build machine are not stored, and the inode number is the position of the entry. Hard links are not
//! written, and refused when read.

mod format;
mod reader;
mod writer;

pub use reader::{Entry, entries};
pub use writer::{Archive, Node};

/// The archive cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// A path is empty, absolute, not normalised, too long, or the name of the trailer.
    #[error("`{0}` is not a valid path in an archive")]
    Path(String),
    /// The parent of a path is not in the archive, or not a directory.
    #[error("the parent of `{0}` is not a directory of the archive")]
    NoParent(String),
    /// A path occurs twice.
    #[error("`{0}` is in the archive twice")]
    Twice(String),
    /// A size does not fit into the 32 bits of the format.
    #[error("`{0}` is too large for a cpio archive")]
    TooLarge(String),
    /// A time does not fit into the 32 bits of the format.
    #[error("a time of {0} seconds since 1970 is too late for a cpio archive")]
    Time(u64),
    /// The bytes end inside an entry.
    #[error("the archive is cut off at byte {0}")]
    Truncated(usize),
    /// The header or the name of an entry is invalid.
    #[error("no newc header at byte {0}")]
    Header(usize),
    /// An entry that kubedOS does not write: a hard link, a socket, a pipe, or an entry with a checksum.
    #[error("the entry at byte {0} has an unsupported kind")]
    Kind(usize),
    /// Padding is not zero.
    #[error("the padding at byte {0} is not zero")]
    Padding(usize),
}
