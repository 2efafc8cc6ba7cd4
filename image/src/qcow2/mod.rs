//! qcow2 images (QEMU, "docs/interop/qcow2.txt"). [`write`] stores the bytes of the raw image in a qcow2 file that the raw image fully
//! determines: clusters of 64 KiB that contain only zeroes are omitted, and there is no compression, encryption or backing file.
//! [`check`] verifies that a file is such an image.
//!
//! [`Image`] also reads the files of other tools: versions 2 and 3, all cluster sizes, compressed clusters, and images with internal
//! snapshots (only the current disk is read). It refuses other features with a specific error: files that need another file (backing
//! file, external data), a key (encryption), or QEMU itself (extended L2 entries, an image that was not closed or is marked as corrupt).

mod compressed;
mod format;
mod own;
mod reader;
mod writer;

pub use own::check;
pub use reader::Image;
pub use writer::write;

use std::io;

/// The image cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Qcow2Error {
    /// The guest disk is empty, not a whole number of sectors, or larger than 16 TiB.
    #[error("unsupported disk size of {0} bytes")]
    Length(u64),
    /// The file does not have the form that kubedOS writes.
    #[error("not a qcow2 image in the form that kubedOS writes: {0}")]
    Form(&'static str),
    /// The file is not a qcow2 image, or its header contradicts the format.
    #[error("invalid qcow2 header: {0}")]
    Header(&'static str),
    /// The image has a feature that this reader does not support.
    #[error("{0}")]
    Unsupported(Unsupported),
    /// A table or its entry is invalid. The number is an index or an offset.
    #[error("{0} at {1} is invalid")]
    Damaged(&'static str, u64),
    /// The source or the image cannot be read, or the output cannot be written.
    #[error("cannot copy the image")]
    Io(#[from] io::Error),
}

/// A feature of the format that this reader refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Unallocated clusters are in a different file.
    #[error("it has a backing file, which contains a part of the disk")]
    BackingFile,
    /// The data is in a different file.
    #[error("its data is in a different file")]
    ExternalData,
    /// The clusters are encrypted.
    #[error("it is encrypted")]
    Encrypted,
    /// The L2 entries are extended: each cluster has 32 subclusters.
    #[error("it has extended tables (subclusters)")]
    ExtendedTables,
    /// The image was not closed: a virtual machine is using it, or crashed.
    #[error("it is in use or was not closed")]
    Dirty,
    /// QEMU marked the image as corrupt.
    #[error("it is marked as corrupt")]
    Corrupt,
    /// The version is unknown.
    #[error("it is of version {0}")]
    Version(u32),
    /// The compression type is unknown.
    #[error("it has the unknown compression type {0}")]
    Compression(u8),
    /// Incompatible features are unknown.
    #[error("it has unknown features, bits {0:#x}")]
    Features(u64),
}
