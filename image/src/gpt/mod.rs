//! GUID partition tables (UEFI specification 2.10, section 5.3): a [`Table`] in memory, a writer with an order that survives a power
//! cut, and a reader of the two copies on a disk.
//!
//! Invariants of a [`Table`]: 128 entries of 128 bytes, numbered from 1; every partition is inside the usable area, and no two partitions
//! overlap. The standard allows other numbers and sizes of entries; the reader refuses them with a specific error, because no kubedOS disk
//! has them. This module generates no GUIDs: the caller passes them.

mod format;
mod reader;
mod table;
mod writer;

pub use reader::{Copy, Found, OtherCopy, read, read_from};
pub use table::{Partition, SectorSize, Table, TableError};
pub use writer::{Extent, Step};

/// The number of bytes that [`read`] needs from the start and from the end of the disk. They contain both copies for either sector size.
pub const EDGE_BYTES: usize = 32 * 1024;

/// The maximum number of bytes that [`read_from`] reads from the end of the disk. `sgdisk -e` places the entries of the backup copy at this
/// distance from its header on a disk with sectors of 4096 bytes.
pub const LONGEST_TAIL: usize = (8 << 20) + EDGE_BYTES;

/// The bytes contain no usable partition table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The header of the copy does not start with `EFI PART`.
    #[error("no partition table found")]
    Absent,
    /// The bytes end inside the copy.
    #[error("the partition table is truncated")]
    Truncated,
    /// The checksum of the header is wrong.
    #[error("wrong checksum of the header")]
    HeaderChecksum,
    /// The checksum of the entries is wrong.
    #[error("wrong checksum of the entries")]
    EntriesChecksum,
    /// A field has a value that the standard may allow but kubedOS never writes.
    #[error("unsupported partition table: {0} is {1}")]
    Unsupported(&'static str, u64),
    /// The sector number in the header is not the number of its sector.
    #[error("the header of sector {stated} was read from sector {actual}")]
    Misplaced {
        /// The sector number in the header.
        stated: u64,
        /// The sector from which the header was read.
        actual: u64,
    },
    /// The area is not inside the disk, or overlaps the usable area.
    #[error("{0} is outside the disk")]
    OutOfBounds(&'static str),
    /// Both checksums are correct, but an entry is invalid or overlaps another entry.
    #[error("invalid entries")]
    Table(#[from] TableError),
    /// The name of an entry is not valid UTF-16.
    #[error("the name of partition {0} is not UTF-16")]
    Name(u8),
    /// The disk cannot be read at this sector.
    #[error("cannot read sector {0}")]
    Io(u64),
    /// Neither copy can be used.
    #[error("neither copy can be used: primary: {primary}; backup: {backup}")]
    NoCopy {
        /// The error of the copy at the start of the disk.
        primary: Box<ReadError>,
        /// The error of the copy at the end of the disk.
        backup: Box<ReadError>,
    },
}

#[cfg(test)]
mod tests;
