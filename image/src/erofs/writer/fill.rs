//! The interface of the compressors: filling one cluster.

/// The maximum number of bytes of a file in one cluster. The format allows more, but a reader may have to decode all of them for one byte.
pub(super) const EXTENT_MAX: usize = 1 << 20;

/// A compressor failed. The only possible causes are a lack of memory and an internal error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the compressor failed: {0}")]
pub struct CompressError(pub(super) &'static str);

/// A compressed extent.
pub(super) struct Filled {
    /// The number of bytes of the data.
    pub(super) used: usize,
    /// The compressed bytes, not longer than a cluster.
    pub(super) bytes: Vec<u8>,
}

/// A compressor of one piece of data, which it processes from start to end.
pub(super) trait Fill {
    /// Compresses as much of the data from `at` on as fits into a cluster, but at most [`EXTENT_MAX`]. `None` if compression is expected
    /// not to save space.
    fn fill(&mut self, at: usize) -> Result<Option<Filled>, CompressError>;

    /// Whether the rest of the data from `at` on is expected to take less than a cluster.
    fn is_short(&mut self, at: usize) -> Result<bool, CompressError>;
}
