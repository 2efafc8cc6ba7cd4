//! How much of some data fills a cluster: what the fastest level gives for its parts, and how the level that is wanted did on what was compressed last.

use std::ops::Range;

use super::fill::{CompressError, EXTENT_MAX};
use super::stream::{append, context};

/// Predictions are interpolated within so many bytes.
const GRAIN: usize = 8192;

pub(super) struct Prediction {
    /// Compressed bytes of the first n grains, at level 1.
    sums: Vec<usize>,
    /// What is to be expected for 1024 bytes of that.
    factor: usize,
}

impl Prediction {
    /// A prediction that starts with what is to be expected for 1024 bytes of level 1.
    pub(super) fn new(data: &[u8], factor: usize) -> Result<Self, CompressError> {
        let mut context = context(1, u32::MAX >> 1)?;
        let mut sums = vec![0];
        let (mut sum, mut out) = (0, Vec::new());
        for grain in data.chunks(GRAIN) {
            append(&mut context, grain, &mut out)?;
            sum += out.len();
            sums.push(sum);
            out.clear();
        }
        Ok(Self { sums, factor })
    }

    /// Compressed bytes up to a position, at level 1.
    fn at(&self, position: usize) -> usize {
        let (grain, within) = (position / GRAIN, position % GRAIN);
        let last = self.sums.last().copied().unwrap_or(0);
        let low = self.sums.get(grain).copied().unwrap_or(last);
        let high = self.sums.get(grain + 1).copied().unwrap_or(last);
        low + (high - low) * within / GRAIN
    }

    fn between(&self, range: Range<usize>) -> usize {
        self.at(range.end).saturating_sub(self.at(range.start))
    }

    /// The end of the data from `from` on that is expected to give `size` bytes; far behind the data if all of it is expected to give less.
    pub(super) fn reach(&self, from: usize, size: usize) -> usize {
        let goal = self.at(from) + size * 1024 / self.factor;
        let grain = self.sums.partition_point(|sum| *sum < goal);
        let Some((&high, below)) = self.sums.get(grain).zip(grain.checked_sub(1)) else {
            return if grain == 0 { from } else { usize::MAX };
        };
        let low = self.sums.get(below).copied().unwrap_or(0);
        below * GRAIN + (goal - low) * GRAIN / (high - low).max(1)
    }

    /// Learns what some of the data came to.
    pub(super) fn learn(&mut self, range: Range<usize>, size: usize) {
        self.factor = (size * 1024 / self.between(range).max(1)).clamp(64, 8192);
    }

    /// Does it not even shrink by a fiftieth?
    pub(super) fn is_hopeless(&self, range: Range<usize>) -> bool {
        let len = range.len();
        self.between(range) * 50 > len * 49
    }

    /// Is all that is left expected to be less than a cluster?
    pub(super) fn is_short(&self, at: usize, end: usize, cluster: usize) -> bool {
        end - at <= EXTENT_MAX && self.between(at..end) * self.factor / 1024 < cluster * 97 / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_is_what_lies_between() {
        // Half of each byte is noise.
        let data: Vec<u8> = kubedos_wire::hex32::sha256(&[b"seed"])
            .repeat(40_000)
            .iter()
            .scan(1_u32, |state, byte| {
                *state = state.wrapping_mul(1_664_525).wrapping_add(u32::from(*byte) + 1_013_904_223);
                Some((*state >> 28).to_le_bytes()[0])
            })
            .collect();
        let prediction = Prediction::new(&data, 850).unwrap();
        for from in [0, 1, 8191, 8192, 500_000] {
            for size in [100, 5000, 60_000] {
                let reached = prediction.reach(from, size);
                let back = prediction.between(from..reached) * 850 / 1024;
                assert!(back.abs_diff(size) <= 2 + size / 500, "{size} from {from}: {reached}, {back}");
            }
        }
        assert_eq!(prediction.reach(0, 1 << 30), usize::MAX);
    }

    #[test]
    fn zeroes_and_nothing_have_predictions() {
        for data in [&[0; 100_000][..], &[]] {
            let mut prediction = Prediction::new(data, 850).unwrap();
            assert!(prediction.is_short(0, data.len(), 4096));
            prediction.learn(0..data.len(), 0);
            assert!(prediction.reach(0, 4096) >= data.len());
        }
    }
}
