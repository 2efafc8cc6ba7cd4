//! GUID partition tables (UEFI specification 2.10, section 5.3): a [`Table`] in memory, its writing in an order that survives a power
//! cut, and its reading from the two copies that a disk holds.
//!
//! Invariants of a [`Table`]: 128 entries of 128 bytes, numbered from 1; every partition lies inside the usable area, none overlaps
//! another. Other shapes of table are legal elsewhere; the reader refuses them by name, since no disk of ours has them.
//! Nothing here draws a GUID: whoever makes a table brings them.

mod format;
mod reader;
mod table;
mod writer;

pub use reader::{Copy, Found, OtherCopy, read, read_from};
pub use table::{Partition, SectorSize, Table, TableError};
pub use writer::{Extent, Step};

/// How many bytes of the disk's start, and of its end, [`read`] needs: both copies of the table with either sector size.
pub const EDGE_BYTES: usize = 32 * 1024;

/// How many bytes of the disk's end [`read_from`] reads at most: where the entries of the second copy are as far from its header as
/// `sgdisk -e` puts them on a disk with sectors of 4096 bytes.
pub const LONGEST_TAIL: usize = (8 << 20) + EDGE_BYTES;

/// Why the bytes hold no partition table that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The copy's header does not start with `EFI PART`.
    #[error("no partition table here")]
    Absent,
    /// Fewer bytes than the copy has.
    #[error("the bytes end before the table does")]
    Truncated,
    /// The header's own checksum does not hold.
    #[error("checksum of the header does not hold")]
    HeaderChecksum,
    /// The checksum over the entries does not hold.
    #[error("checksum of the entries does not hold")]
    EntriesChecksum,
    /// A table of another shape than ours.
    #[error("table of an unknown shape: {0} is {1}")]
    Unsupported(&'static str, u64),
    /// The header says that it lies elsewhere.
    #[error("the header says that it lies in sector {says}, but it was read from sector {is}")]
    Misplaced {
        /// Where the header says that it is.
        says: u64,
        /// Where it was read from.
        is: u64,
    },
    /// A bound lies outside the disk or the table's own usable area.
    #[error("{0} lies outside of the disk")]
    OutOfBounds(&'static str),
    /// Both checksums hold, but the entries contradict each other.
    #[error("the entries are wrong")]
    Table(#[from] TableError),
    /// An entry's name is not UTF-16.
    #[error("the name of partition {0} is not UTF-16")]
    Name(u8),
    /// The disk could not be read.
    #[error("cannot read sector {0}")]
    Io(u64),
    /// Neither copy can be used.
    #[error("neither copy can be used: primary: {primary}; backup: {backup}")]
    NoCopy {
        /// What is wrong with the copy at the disk's start.
        primary: Box<ReadError>,
        /// What is wrong with the copy at the disk's end.
        backup: Box<ReadError>,
    },
}

#[cfg(test)]
mod tests;
