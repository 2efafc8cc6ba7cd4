//! qcow2 images (QEMU, "docs/interop/qcow2.txt"). [`write`] makes a wrapper around the very bytes of the raw image, with nothing in it that
//! the raw image does not determine: clusters of 64 KiB that hold only zeroes are left out; nothing is compressed, encrypted or backed.
//! [`check`] tells whether a file is such a wrapper.
//!
//! [`Image`] reads what other tools make as well: versions 2 and 3, clusters of any size, compressed ones, internal snapshots beside the
//! guest's disk. What it does not read is refused by name: another file is needed (backing file, external data), a key (encryption), or
//! a tool of QEMU (extended tables, an image that was not closed or is marked as corrupt).

mod compressed;
mod format;
mod own;
mod reader;
mod writer;

pub use own::check;
pub use reader::Image;
pub use writer::write;

use std::io;

/// Why no image was written, or none can be read.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// The guest's disk is empty, not a whole number of sectors, or larger than 16 TiB.
    #[error("a disk of {0} bytes cannot be wrapped")]
    Length(u64),
    /// Not a qcow2 image of the one form that is written here.
    #[error("not the form in which kubedOS writes qcow2: {0}")]
    Form(&'static str),
    /// Not a qcow2 image, or its header contradicts the format.
    #[error("the header is not one of qcow2: {0}")]
    Header(&'static str),
    /// The image needs something that this reader does not have.
    #[error("{0}")]
    Unsupported(Unsupported),
    /// A table points to where it must not.
    #[error("{0} at {1} is wrong")]
    Damaged(&'static str, u64),
    /// Reading the source or the image failed, or writing did.
    #[error("cannot copy the image")]
    Io(#[from] io::Error),
}

/// A feature of the format that this reader refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Unallocated clusters are in another file.
    #[error("it has a backing file, in which a part of the disk is")]
    BackingFile,
    /// The data is in another file.
    #[error("its data is in another file")]
    ExternalData,
    /// The clusters are encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// Each cluster has 32 subclusters.
    #[error("it has extended tables (subclusters)")]
    ExtendedTables,
    /// It was not closed: a machine is using it, or has crashed.
    #[error("it is in use or was not closed")]
    Dirty,
    /// A tool of QEMU found it damaged.
    #[error("it is marked as corrupt")]
    Corrupt,
    /// A version that this reader does not know.
    #[error("it is of version {0}")]
    Version(u32),
    /// A way of compression that this reader does not know.
    #[error("it is compressed in an unknown way, number {0}")]
    Compression(u8),
    /// Features that this reader does not know.
    #[error("it has unknown features, bits {0:#x}")]
    Features(u64),
}
