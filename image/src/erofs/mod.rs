//! EROFS, the read-only file system of Linux (`Documentation/filesystems/erofs.rst`, `fs/erofs/erofs_fs.h`), in the form that Linux 6.12
//! reads.
//!
//! A volume consists of block 0 with the superblock, the blocks of files and of the packed inode, and the metadata: inodes in slots of 32
//! bytes, each followed by its extended attributes and the index of its clusters. Blocks and logical clusters have 4096 bytes.
//!
//! A compressed file is a sequence of *extents*. The bytes of an extent come from one *cluster* of 1 to 256 blocks. An extent begins at
//! any byte, but at most one extent begins in each logical cluster. The end of a file may be a *fragment*: a piece of the packed inode,
//! which is itself compressed.
//!
//! [`write`] is deterministic: the bytes depend only on the tree and the parameters, not on the number of threads or the content of a
//! cache. The reader supports the volumes of this writer, and those that mkfs.erofs 1.8 writes with lz4 and zstd. It trusts no byte of a
//! volume.

mod format;
mod index;
pub mod reader;
mod tree;
mod writer;

pub use format::Algorithm;
pub use tree::{Attributes, Device, InodeId, Kind, LINK_MAX, Time, Tree, TreeError};
pub use writer::{
    CompressError, Compression, NoCache, Params, SegmentCache, Sink, Statistics, WriteError, write, writer,
};
