//! What can be wrong with a volume.

use std::borrow::Cow;
use std::io;

/// Why a volume, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ErofsError {
    /// The source refused.
    #[error("failed to read the volume at byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing of the format is there.
    #[error("there is no erofs: no magic number at byte 1024")]
    NotErofs,
    /// The superblock contradicts itself or the volume.
    #[error("superblock of the erofs: {0}")]
    Superblock(Cow<'static, str>),
    /// The format allows it, this reader does not know it.
    #[error("this erofs has {0}, which is not supported")]
    Unsupported(Cow<'static, str>),
    /// An inode and what belongs to it contradict the format.
    #[error("inode {nid} of the erofs, {part} at {at}: {what}")]
    Damaged {
        /// The inode's number.
        nid: u64,
        /// What of the inode `at` counts in.
        part: Part,
        /// Where in that part.
        at: u64,
        /// What is wrong.
        what: Cow<'static, str>,
    },
    /// The tree contradicts itself.
    #[error("path {path:?} of the erofs: {what}")]
    Tree {
        /// The path.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Asked of an inode what its kind does not have.
    #[error("inode {nid} of the erofs is no {wanted}")]
    Kind {
        /// The inode's number.
        nid: u64,
        /// What was asked for.
        wanted: &'static str,
    },
    /// The receiver of the bytes refused.
    #[error("failed to pass on the bytes of inode {nid}")]
    Sink {
        /// The inode's number.
        nid: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A part of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The structure itself, by its byte in the volume.
    Inode,
    /// An attribute, by its byte in the volume.
    Attribute,
    /// An entry of the directory, by its byte in the directory.
    Entry,
    /// The index, by its logical cluster or chunk.
    Index,
    /// The content, by its byte in the file.
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

/// An inode as errors about it need it.
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
