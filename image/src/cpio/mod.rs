//! cpio archives of the "newc" kind, which is what the kernel unpacks as initrd (kernel documentation, "initramfs buffer format").
//!
//! An [`Archive`] is a sorted tree: written twice it gives the same bytes. Owner, group and times are zero unless set; no device numbers
//! of the builder, no inode numbers but the entry's place. Hard links are not written, and refused when read.

mod format;
mod reader;
mod writer;

pub use reader::{Entry, entries};
pub use writer::{Archive, Node};

/// Why an archive was not written or cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// A path is empty, absolute, not normalised, or the trailer's name.
    #[error("`{0}` is not a path that an archive may hold")]
    Path(String),
    /// A path's directory is not in the archive, or not a directory.
    #[error("`{0}` lies in no directory of the archive")]
    NoParent(String),
    /// A path occurs twice.
    #[error("`{0}` is in the archive twice")]
    Twice(String),
    /// A size does not fit into the format's 32 bits.
    #[error("`{0}` is too large for a cpio archive")]
    TooLarge(String),
    /// A time does not fit into the format's 32 bits.
    #[error("a time of {0} seconds since 1970 is too late for a cpio archive")]
    Time(u64),
    /// The bytes end in the middle of something.
    #[error("the archive is cut off at byte {0}")]
    Truncated(usize),
    /// A header is not one of newc.
    #[error("no newc header at byte {0}")]
    Header(usize),
    /// An entry of a kind that kubedOS does not write: a hard link, socket, pipe or checksum.
    #[error("entry at byte {0} is of a kind that is not read here")]
    Kind(usize),
    /// Padding that is not zero.
    #[error("padding at byte {0} is not zero")]
    Padding(usize),
}
