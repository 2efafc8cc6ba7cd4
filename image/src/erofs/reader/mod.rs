//! The reader of untrusted volumes.
//!
//! Every number is checked where it is used. The memory of a reader is limited by the size of the volume, or by the maximum decoded size
//! of one cluster. Every loop is limited by data that must be in the volume, or ends with an error.

mod cluster;
mod content;
mod decode;
mod directory;
mod entry;
mod error;
mod inode;
pub(super) mod lz4;
mod map;
mod superblock;
#[cfg(test)]
mod test;
mod volume;
mod walk;
mod xattr;

pub use content::{Piece, Reader};
pub use directory::{Entries, Entry};
pub use error::{ErofsError, Part};
pub use inode::{Inode, Kind};
pub use map::{Cluster, Extent, Extents, Stored};
pub use volume::Volume;
pub use walk::{Found, Walk};
pub use xattr::Xattrs;
