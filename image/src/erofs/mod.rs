//! EROFS, the read-only file system of Linux (`Documentation/filesystems/erofs.rst`, `fs/erofs/erofs_fs.h`), as Linux 6.12 reads it.
//!
//! A volume is: block 0 with the superblock, the blocks of files and of the packed inode, and the metadata: inodes in slots of 32 bytes,
//! each with its attributes and the index of its clusters behind it. Blocks and logical clusters have 4096 bytes.
//!
//! A compressed file is a sequence of *extents*. An extent's bytes come from one *cluster* of 1 to 256 blocks; extents begin at any byte,
//! at most one in each logical cluster. The end of a file may be a *fragment*: a piece of the packed inode, which is itself compressed.
//!
//! [`write`] is deterministic: the bytes depend on the tree and the parameters only, not on the number of threads nor on what a cache holds.
//! The reader takes what this writer makes and what mkfs.erofs 1.8 makes with lz4 and zstd; it believes nothing.

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
