//! Reading a volume: of any origin, so that nothing in it is believed.
//!
//! Every number is checked where it is used. What a reader holds is bounded by the volume's bytes or by what one cluster may decode to;
//! every loop goes over something that has to be in the volume, or ends with an error.

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
