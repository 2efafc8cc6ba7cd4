//! The errors of the reader.

use std::borrow::Cow;
use std::io;

/// A volume, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    /// The source failed.
    #[error("failed to read the volume at byte {at}")]
    Read {
        /// The offset in the volume, in bytes.
        at: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The volume has no magic number of EROFS.
    #[error("not an EROFS volume: no magic number at byte 1024")]
    NotErofs,
    /// The superblock contradicts itself or the volume.
    #[error("EROFS superblock: {0}")]
    Superblock(Cow<'static, str>),
    /// The format allows the feature, but this reader does not support it.
    #[error("unsupported EROFS feature: {0}")]
    Unsupported(Cow<'static, str>),
    /// An inode, or data that belongs to it, contradicts the format.
    #[error("EROFS inode {nid}, {part} at {at}: {what}")]
    Damaged {
        /// The number of the inode.
        nid: u64,
        /// The part of the inode.
        part: Part,
        /// The position in the part, in the unit of the part.
        at: u64,
        /// The cause.
        what: Cow<'static, str>,
    },
    /// The tree contradicts itself.
    #[error("EROFS path {path:?}: {what}")]
    Tree {
        /// The path.
        path: String,
        /// The cause.
        what: &'static str,
    },
    /// The operation does not apply to the kind of the inode.
    #[error("EROFS inode {nid} is not a {wanted}")]
    Kind {
        /// The number of the inode.
        nid: u64,
        /// The kind that the operation requires.
        wanted: &'static str,
    },
    /// The receiver of the bytes failed.
    #[error("failed to write the content of inode {nid}")]
    Sink {
        /// The number of the inode.
        nid: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A part of an inode, with the unit of positions in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The structure. The position is a byte of the volume.
    Inode,
    /// An extended attribute. The position is a byte of the volume.
    Attribute,
    /// An entry of the directory. The position is a byte of the directory.
    Entry,
    /// The index. The position is the number of a logical cluster or chunk.
    Index,
    /// The content. The position is a byte of the file.
    Content,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Inode => "structure",
            Self::Attribute => "attribute",
            Self::Entry => "entry",
            Self::Index => "index",
            Self::Content => "content",
        })
    }
}

/// The place of an error: an inode, a part, and a position in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) nid: u64,
    pub(super) part: Part,
    pub(super) at: u64,
}

impl Place {
    pub(super) fn damaged(self, what: impl Into<Cow<'static, str>>) -> ErofsError {
        ErofsError::Damaged { nid: self.nid, part: self.part, at: self.at, what: what.into() }
    }
}
