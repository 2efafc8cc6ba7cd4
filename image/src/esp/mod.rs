//! The EFI system partition: FAT32 over 256 MiB (Microsoft, "FAT32 File System Specification" 1.03), in the one geometry that kubedOS
//! ships.
//!
//! The writer creates a sparse file system from a [`Tree`] of files: directories first, then every file in one piece, in sorted order, all
//! with the same fixed time. The same tree and volume id give the same bytes. The reader also accepts such a file system after other
//! systems (firmware, boot loader, Linux, Windows, macOS) changed it: other labels, more files, any names. It accepts no other geometry.

mod format;
mod listing;
mod names;
mod reader;
mod writer;

pub use listing::{Fault, Listed, Listing};
pub use reader::read;
pub use writer::Tree;

use crate::sparse::RunsError;
use std::io;

/// The size of the partition (ADR 0001).
pub const ESP_BYTES: u64 = 256 << 20;

/// The file system cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// FAT or some firmware may not accept the path. Allowed are parts of 1 to 64 characters of `[A-Za-z0-9._+~-]` that do not end in a
    /// dot.
    #[error("`{0}` is not a path for an EFI system partition")]
    Path(String),
    /// Two paths differ in case only, which FAT ignores, or one path is a directory of the other.
    #[error("`{0}` and `{1}` cannot both exist in a FAT file system")]
    Clash(String, String),
    /// A directory has more long names than available short names.
    #[error("no short name is left for `{0}` in its directory")]
    ShortName(String),
    /// The files do not fit.
    #[error("{0} bytes of files and directories do not fit into the partition")]
    Full(u64),
    /// Pieces of the file system overlap. This is an internal error of the writer.
    #[error("cannot compose the file system")]
    Compose(#[from] RunsError),
    /// The boot sector does not have the geometry that kubedOS writes.
    #[error("not an EFI system partition of kubedOS")]
    NotOurs,
    /// A directory, a chain of clusters or a name contradicts the format.
    #[error("the file system is damaged: {0}")]
    Damaged(&'static str),
    /// The source cannot be read.
    #[error("cannot read the file system")]
    Io(#[source] io::Error),
}
