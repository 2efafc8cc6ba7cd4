//! Prediction of the amount of data that fills a cluster. It uses the compressed sizes of the parts at the fastest level, and the ratio
//! that the requested level achieved on the previous data.

use std::ops::Range;

use super::fill::{CompressError, EXTENT_MAX};
use super::stream::{append, context};

/// The number of bytes between two measured sizes. Predictions are interpolated between them.
const GRAIN: usize = 8192;

pub(super) struct Prediction {
    /// The compressed size of the first n grains at level 1.
    sums: Vec<usize>,
    /// The expected size for 1024 bytes of output of level 1.
    factor: usize,
}

impl Prediction {
    /// Creates a prediction. `factor` is the initial expected size for 1024 bytes of output of level 1.
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

    /// The compressed size of the data up to an offset, at level 1.
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

    /// The end of the range from `from` on that is expected to compress to `size` bytes; `usize::MAX` if all data is expected to compress
    /// to less.
    pub(super) fn reach(&self, from: usize, size: usize) -> usize {
        let goal = self.at(from) + size * 1024 / self.factor;
        let grain = self.sums.partition_point(|sum| *sum < goal);
        let Some((&high, below)) = self.sums.get(grain).zip(grain.checked_sub(1)) else {
            return if grain == 0 { from } else { usize::MAX };
        };
        let low = self.sums.get(below).copied().unwrap_or(0);
        below * GRAIN + (goal - low) * GRAIN / (high - low).max(1)
    }

    /// Updates the ratio with the compressed size of a range.
    pub(super) fn update(&mut self, range: Range<usize>, size: usize) {
        self.factor = (size * 1024 / self.between(range).max(1)).clamp(64, 8192);
    }

    /// Whether level 1 saves less than 2 % of the range.
    pub(super) fn is_hopeless(&self, range: Range<usize>) -> bool {
        let len = range.len();
        self.between(range) * 50 > len * 49
    }

    /// Whether the data from `at` to `end` is expected to take less than a cluster.
    pub(super) fn is_short(&self, at: usize, end: usize, cluster: usize) -> bool {
        end - at <= EXTENT_MAX && self.between(at..end) * self.factor / 1024 < cluster * 97 / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predicted_range_has_the_predicted_size() {
        // Four bits of each byte are random.
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
    fn zeroes_and_empty_data_have_predictions() {
        for data in [&[0; 100_000][..], &[]] {
            let mut prediction = Prediction::new(data, 850).unwrap();
            assert!(prediction.is_short(0, data.len(), 4096));
            prediction.update(0..data.len(), 0);
            assert!(prediction.reach(0, 4096) >= data.len());
        }
    }
}
