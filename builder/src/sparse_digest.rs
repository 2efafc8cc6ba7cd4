//! SHA-256 of long byte strings that are mostly holes: what lies between two pieces counts as zeroes and is read from nowhere.
//!
//! SHA-256 has no short way over zeroes, so hashing the holes of an image is most of the work of naming it. It is done once: [`Alongside`]
//! hashes on a thread of its own the very pieces that its caller writes; [`of`] is for files that are there already.

use std::io;
use std::panic;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use kubedos_image::source::Source;
use kubedos_image::sparse::for_data;
use kubedos_image::width::to_usize;

use kubedos_debian::digest::{Hasher, Sha256};

/// What file systems allocate: shorter stretches of zeroes are read.
const GRAIN: u64 = 4096;

/// So many pieces, of at most 1 MiB each, wait for the hash before the writer does.
const WAITING: usize = 64;

/// Zeroes, few enough to stay in the processor's cache.
static ZEROES: [u8; 1 << 15] = [0; 1 << 15];

/// The digest of a source, its holes as zeroes.
///
/// # Errors
/// When it cannot be read.
pub fn of(source: &dyn Source) -> io::Result<Sha256> {
    let mut digest = Positioned::default();
    for_data(source, GRAIN, |at, bytes| {
        digest.piece(at, bytes);
        Ok(())
    })?;
    Ok(digest.finish(source.len()))
}

/// Hashes, on a thread of its own, what its caller hands over piece by piece.
#[derive(Debug)]
pub struct Alongside {
    pieces: SyncSender<(u64, Vec<u8>)>,
    worker: JoinHandle<Sha256>,
}

impl Alongside {
    /// Begins a byte string of `len` bytes.
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

    /// The next piece, behind all that came before. Waits when the hash is far behind.
    pub fn piece(&self, at: u64, bytes: &[u8]) {
        // The worker ends early only by a panic, which `finish` passes on.
        drop(self.pieces.send((at, bytes.to_vec())));
    }

    /// Waits for the digest.
    pub fn finish(self) -> Sha256 {
        drop(self.pieces);
        self.worker.join().unwrap_or_else(|cause| panic::resume_unwind(cause))
    }
}

/// A digest that knows how far it is.
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
        fn both_ways_agree_with_the_digest_of_the_flat_bytes(
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
    fn more_pieces_than_may_wait_are_all_hashed_in_order() {
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
