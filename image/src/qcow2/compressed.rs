//! Compressed clusters: raw deflate, or zstd. A cluster is always decompressed to its full size. The bytes after its compressed data, up to
//! the end of the sector, belong to the next cluster.

use std::io;

use flate2::{Decompress, FlushDecompress};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

/// The compression method of clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Deflate,
    Zstd,
}

impl Method {
    /// Decompresses `from` until `cluster` is full.
    pub(super) fn decompress(self, from: &[u8], cluster: &mut [u8]) -> io::Result<()> {
        let is_full = match self {
            Self::Deflate => deflate(from, cluster),
            Self::Zstd => zstd(from, cluster),
        };
        if is_full {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a compressed cluster is damaged"))
        }
    }
}

fn deflate(from: &[u8], cluster: &mut [u8]) -> bool {
    let mut stream = Decompress::new(false);
    let done = stream.decompress(from, cluster, FlushDecompress::Finish).is_ok();
    done && stream.total_out() == cluster.len() as u64
}

fn zstd(from: &[u8], cluster: &mut [u8]) -> bool {
    let mut context = DCtx::create();
    let (mut input, len) = (InBuffer::around(from), cluster.len());
    let mut output = OutBuffer::around(cluster);
    while output.pos() < len {
        let before = (input.pos(), output.pos());
        let Ok(_hint) = context.decompress_stream(&mut output, &mut input) else { return false };
        if (input.pos(), output.pos()) == before {
            return false;
        }
    }
    true
}
