//! What a compressor is to the cutter: something that fills a cluster.

/// The most bytes of a file that one cluster holds. The format allows more; a reader of one byte decodes up to this much.
pub(super) const EXTENT_MAX: usize = 1 << 20;

/// A compressor failed, which only a lack of memory or a defect explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the compressor failed: {0}")]
pub struct CompressError(pub(super) &'static str);

/// What an extent was compressed to.
pub(super) struct Filled {
    /// Bytes of the data.
    pub(super) used: usize,
    /// Its compressed form: not longer than a cluster.
    pub(super) bytes: Vec<u8>,
}

/// A compressor at work on one piece of data, from its start to its end.
pub(super) trait Fill {
    /// Compresses as much of the data from `at` on as fits into a cluster, and no more than [`EXTENT_MAX`]. None if it looks as though nothing is
    /// gained.
    fn fill(&mut self, at: usize) -> Result<Option<Filled>, CompressError>;

    /// Would all that is left from `at` on be less than a cluster?
    fn is_short(&mut self, at: usize) -> Result<bool, CompressError>;
}
