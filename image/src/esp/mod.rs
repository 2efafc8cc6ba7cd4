//! The EFI system partition: FAT32 over 256 MiB (Microsoft, "FAT32 File System Specification" 1.03), in the one geometry that kubedOS ships.
//!
//! A [`Tree`] of files becomes a sparse file system: directories first, then every file in one piece, in sorted order, all with the same
//! fixed time. The same tree and volume id give the same bytes. The reader takes what other systems (firmware, boot loader, Linux, Windows,
//! macOS) have made of such a file system since: other labels, more files, any names. It knows no other geometry.

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

/// Why no file system was made, or none can be read.
#[derive(Debug, thiserror::Error)]
pub enum EspError {
    /// A path is not one that FAT, and every firmware, takes: parts of 1 to 64 of `[A-Za-z0-9._+~-]`, not ending in a dot.
    #[error("`{0}` is not a path for an EFI system partition")]
    Path(String),
    /// Two paths differ in case only, which FAT does not tell apart, or one is the directory of the other.
    #[error("`{0}` and `{1}` are the same to FAT")]
    Clash(String, String),
    /// A directory has more names than there are short names to go with them.
    #[error("no short name is left for `{0}` in its directory")]
    ShortName(String),
    /// The files do not fit.
    #[error("{0} bytes of files and directories do not fit into the partition")]
    Full(u64),
    /// Pieces of the file system overlap: a fault of the writer.
    #[error("cannot compose the file system")]
    Compose(#[from] RunsError),
    /// The boot sector is not that of a file system of ours.
    #[error("not an EFI system partition of kubedOS")]
    NotOurs,
    /// A directory, a chain of clusters or a name contradicts the format.
    #[error("the file system is damaged: {0}")]
    Damaged(&'static str),
    /// It could not be read.
    #[error("cannot read the file system")]
    Io(#[source] io::Error),
}
