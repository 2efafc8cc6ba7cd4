//! SHA-256 of sparse byte strings: holes are hashed as zeros, without reading them.
//!
//! SHA-256 has no shortcut for zeros, so hashing the holes takes most of the time for an image. It is therefore done once: [`Alongside`]
//! hashes on a separate thread the pieces that its caller writes; [`of`] hashes existing files.

use std::io;
use std::panic;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use kubedos_image::source::Source;
use kubedos_image::sparse::for_data;
use kubedos_image::width::to_usize;

use kubedos_debian::digest::{Hasher, Sha256};

/// The usual allocation unit of file systems in bytes. Shorter holes are read as data.
const GRAIN: u64 = 4096;

/// The number of pieces, of at most 1 MiB each, that can wait for the hash thread before the writer blocks.
const WAITING: usize = 64;

/// A buffer of zeros that fits into the processor's cache.
static ZEROES: [u8; 1 << 15] = [0; 1 << 15];

/// Returns the digest of a source; holes count as zeros.
///
/// # Errors
/// If the source cannot be read.
pub fn of(source: &dyn Source) -> io::Result<Sha256> {
    let mut digest = Positioned::default();
    for_data(source, GRAIN, |at, bytes| {
        digest.piece(at, bytes);
        Ok(())
    })?;
    Ok(digest.finish(source.len()))
}

/// Hashes on a separate thread the pieces that the caller passes.
#[derive(Debug)]
pub struct Alongside {
    pieces: SyncSender<(u64, Vec<u8>)>,
    worker: JoinHandle<Sha256>,
}

impl Alongside {
    /// Starts a byte string of `len` bytes.
    pub fn start(len: u64) -> Self {
        let (pieces, handed_over) = sync_channel::<(u64, Vec<u8>)>(WAITING);
        let worker = thread::spawn(move || {
            let mut digest = Positioned::default();
            for (at, bytes) in handed_over {
                digest.piece(at, &bytes);
            }
            digest.finish(len)
        });
        Self { pieces, worker }
    }

    /// Adds the next piece at offset `at`, after all previous ones. Blocks while the queue of the hash thread is full.
    pub fn piece(&self, at: u64, bytes: &[u8]) {
        // The worker ends early only on a panic, and `finish` propagates it.
        drop(self.pieces.send((at, bytes.to_vec())));
    }

    /// Returns the digest after all pieces are hashed.
    pub fn finish(self) -> Sha256 {
        drop(self.pieces);
        self.worker.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
    }
}

/// A hash state with its position.
#[derive(Default)]
struct Positioned {
    hasher: Hasher,
    position: u64,
}

impl Positioned {
    fn piece(&mut self, at: u64, bytes: &[u8]) {
        self.zeroes_to(at);
        self.hasher.update(bytes);
        self.position += bytes.len() as u64;
    }

    fn zeroes_to(&mut self, end: u64) {
        while let Some(left @ 1..) = end.checked_sub(self.position) {
            let count = to_usize(left).min(ZEROES.len());
            let (zeroes, _) = ZEROES.split_at(count);
            self.hasher.update(zeroes);
            self.position += count as u64;
        }
    }

    fn finish(mut self, len: u64) -> Sha256 {
        self.zeroes_to(len);
        self.hasher.finish().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_image::sparse::Runs;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_functions_agree_with_the_digest_of_the_flat_bytes(
            pieces in proptest::collection::vec((0usize..60_000, proptest::collection::vec(0u8..2, 0..9000)), 0..8),
        ) {
            let mut flat = vec![0u8; 60_000];
            let mut runs = Runs::new(60_000);
            for (at, bytes) in &pieces {
                if runs.add_bytes(*at as u64, bytes.as_slice()).is_ok() {
                    flat[*at..at + bytes.len()].copy_from_slice(bytes);
                }
            }
            let expected = Sha256::of(&flat);
            prop_assert_eq!(of(&runs).unwrap(), expected);
            let alongside = Alongside::start(60_000);
            for_data(&runs, GRAIN, |at, bytes| { alongside.piece(at, bytes); Ok(()) }).unwrap();
            prop_assert_eq!(alongside.finish(), expected);
        }
    }

    #[test]
    fn more_pieces_than_fit_into_the_queue_are_hashed_in_order() {
        let bytes: Vec<u8> = (0..=255).cycle().take(3 * WAITING * 64).collect();
        let alongside = Alongside::start(bytes.len() as u64 + 5);
        for (number, piece) in (0u64..).zip(bytes.chunks(64)) {
            alongside.piece(number * 64, piece);
        }
        let mut whole = bytes;
        whole.extend([0; 5]);
        assert_eq!(alongside.finish(), Sha256::of(&whole));
    }
}
