//! The blocks of a volume: allocated and written in order. Equal clusters are written once.

use std::collections::HashMap;
use std::io;

use super::WriteError;
use super::cut::Cut;
use crate::erofs::format::{BLOCK, BLOCK_U64, NO_BLOCK};
use crate::erofs::index::{Extent, Stored};
use kubedos_wire::hex32::sha256;

/// The output of the writer.
pub trait Sink {
    /// Writes whole blocks at an offset that is a multiple of 4096.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        if self.len() < end {
            self.resize(end, 0);
        }
        let (_, place) = self.split_at_mut(start);
        let (place, _) = place.split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        Ok(())
    }
}

impl Sink for std::fs::File {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }
}

/// The number of bytes that are collected before they are written.
const PIECE: usize = 1 << 20;

/// Allocates blocks and writes them.
pub(super) struct Area<'s> {
    sink: &'s mut dyn Sink,
    /// The block at which the pending bytes begin.
    written: u64,
    pending: Vec<u8>,
    clusters: HashMap<[u8; 32], u32>,
    /// Several extents share a cluster.
    pub(super) shares: bool,
}

impl<'s> Area<'s> {
    /// Creates an area that starts at block `first`.
    pub(super) fn new(sink: &'s mut dyn Sink, first: u64) -> Self {
        Self { sink, written: first, pending: Vec::new(), clusters: HashMap::new(), shares: false }
    }

    /// The next free block.
    pub(super) fn next(&self) -> Result<u32, WriteError> {
        let next = self.written + (self.pending.len() / BLOCK) as u64;
        // The highest number means a hole.
        u32::try_from(next).ok().filter(|block| *block != NO_BLOCK).ok_or(WriteError::TooLarge)
    }

    /// Writes bytes, and zeroes up to the end of their last block. Returns their first block.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<u32, WriteError> {
        let block = self.next()?;
        self.pending.extend_from_slice(bytes);
        self.pending.resize(self.pending.len().next_multiple_of(BLOCK), 0);
        if self.pending.len() >= PIECE {
            self.flush()?;
        }
        Ok(block)
    }

    fn flush(&mut self) -> Result<(), WriteError> {
        self.sink.write_at(self.written * BLOCK_U64, &self.pending).map_err(WriteError::Sink)?;
        self.written += (self.pending.len() / BLOCK) as u64;
        self.pending.clear();
        Ok(())
    }

    /// Overwrites blocks that were allocated before, whether they are already written or not.
    pub(super) fn write_over(&mut self, block: u32, bytes: &[u8]) -> Result<(), WriteError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.flush()?;
        let mut blocks = bytes.to_vec();
        blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
        self.sink.write_at(u64::from(block) * BLOCK_U64, &blocks).map_err(WriteError::Sink)
    }

    /// Writes the pending bytes, and then the first block.
    pub(super) fn finish(mut self, first_block: &[u8]) -> Result<(), WriteError> {
        self.flush()?;
        self.sink.write_at(0, first_block).map_err(WriteError::Sink)
    }

    /// Writes the clusters of a cut of a file of `size` bytes. An existing equal cluster is shared if that saves more than it costs: an
    /// index whose clusters are not contiguous takes six more bytes per block of the file.
    pub(super) fn place(&mut self, cut: &Cut, size: u64) -> Result<Vec<Extent>, WriteError> {
        let cost = size / BLOCK_U64 * 6;
        let mut rest = cut.clusters.as_slice();
        let mut extents = Vec::with_capacity(cut.extents.len());
        for &(len, stored) in &cut.extents {
            // A cut contains the blocks of all its extents.
            let (cluster, following) = rest.split_at(stored.blocks() as usize * BLOCK);
            rest = following;
            let block = if stored == Stored::Plain || cluster.len() as u64 <= cost {
                self.append(cluster)?
            } else {
                self.place_once(cluster)?
            };
            extents.push(Extent { len, stored, block });
        }
        Ok(extents)
    }

    fn place_once(&mut self, cluster: &[u8]) -> Result<u32, WriteError> {
        let digest = sha256(&[cluster]);
        if let Some(block) = self.clusters.get(&digest) {
            self.shares = true;
            return Ok(*block);
        }
        let block = self.append(cluster)?;
        self.clusters.insert(digest, block);
        Ok(block)
    }
}
