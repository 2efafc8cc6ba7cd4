//! Faults that the switch injects into the frames between two ports, and the decisions which frames they affect.
//!
//! A decision depends on the seed, the two ports, and the number of the frame on its way between them since the faults
//! were set. It depends neither on time nor on traffic between other ports. Each decision has its own random number, so
//! another probability of one fault does not change the decisions of the others.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::SwitchError;
use super::ports::PortId;
use crate::write_log::split_mix;

/// A probability of one, in parts per million.
pub const CERTAIN: u32 = 1_000_000;

/// The maximum of `delay` and `jitter` together.
pub const MAX_DELAY: Duration = Duration::from_secs(60);

/// The maximum of `reorder_distance`.
pub const MAX_DISTANCE: u32 = 1000;

/// The faults on the way from one port to another. The default has no faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// The probability that a frame is lost, in parts per million.
    pub loss_ppm: u32,
    /// The mean delay. Delayed frames keep their order.
    pub delay: Duration,
    /// The maximum difference from the mean delay, at most `delay`. The distribution is uniform.
    pub jitter: Duration,
    /// The probability that a frame is held back, in parts per million.
    pub reorder_ppm: u32,
    /// The number of later frames that overtake a frame that is held back. If fewer follow within
    /// [`super::REORDER_HOLD`], it continues without them.
    pub reorder_distance: u32,
    /// The probability that a frame arrives twice, in parts per million.
    pub duplicate_ppm: u32,
}

impl Faults {
    fn check(&self) -> Result<(), SwitchError> {
        let problem =
            if [self.loss_ppm, self.reorder_ppm, self.duplicate_ppm].iter().any(|ppm| *ppm > CERTAIN) {
                "a probability is more than 1000000 ppm"
            } else if self.jitter > self.delay {
                "the jitter is more than the delay"
            } else if self.delay.checked_add(self.jitter).is_none_or(|delay| delay > MAX_DELAY) {
                "the delay is more than 60 s"
            } else if self.reorder_ppm > 0 && !(1..=MAX_DISTANCE).contains(&self.reorder_distance) {
                "the reorder distance is not 1 to 1000"
            } else {
                return Ok(());
            };
        Err(SwitchError::Faults(problem))
    }
}

/// The frames to which faults apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Frames between any two ports that have no faults of their own.
    All,
    /// Frames that enter at one port and leave at another one; not those in the other direction.
    Pair {
        /// Where the frames enter.
        from: PortId,
        /// Where the frames leave.
        to: PortId,
    },
}

/// Where a frame enters and where it leaves.
pub(super) type Pair = (PortId, PortId);

/// What happens to one frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) lost: bool,
    /// The delay of the frame.
    pub(super) delay: Duration,
    /// How many frames overtake it.
    pub(super) overtaken_by: Option<u32>,
    /// The delay of a second copy.
    pub(super) duplicate: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct FaultTable {
    seed: u64,
    all: Faults,
    own: BTreeMap<Pair, Faults>,
    numbers: BTreeMap<Pair, u64>,
}

impl FaultTable {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, all: Faults::default(), own: BTreeMap::new(), numbers: BTreeMap::new() }
    }

    /// Sets faults and restarts the numbering of the frames.
    pub(super) fn set(&mut self, scope: Scope, faults: Faults) -> Result<(), SwitchError> {
        faults.check()?;
        match scope {
            Scope::All => {
                self.all = faults;
                self.numbers.clear();
            }
            Scope::Pair { from, to } => {
                self.own.insert((from, to), faults);
                self.numbers.remove(&(from, to));
            }
        }
        Ok(())
    }

    /// Removes all faults.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.seed);
    }

    /// Decides what happens to the next frame.
    pub(super) fn decide(&mut self, pair: Pair) -> Verdict {
        let faults = *self.own.get(&pair).unwrap_or(&self.all);
        if faults == Faults::default() {
            return Verdict::default();
        }
        let number = self.numbers.entry(pair).or_default();
        let frame = *number;
        *number += 1;
        let seed = self.seed;
        let roll = |purpose: u64| roll(seed, pair, frame, purpose);
        let happens = |purpose, ppm| roll(purpose) % u64::from(CERTAIN) < u64::from(ppm);
        let delay = |purpose| {
            let range = u64::try_from(faults.jitter.as_nanos() * 2).unwrap_or(u64::MAX).saturating_add(1);
            faults.delay - faults.jitter + Duration::from_nanos(roll(purpose) % range)
        };
        Verdict {
            lost: happens(0, faults.loss_ppm),
            delay: delay(1),
            overtaken_by: happens(2, faults.reorder_ppm).then_some(faults.reorder_distance),
            duplicate: happens(3, faults.duplicate_ppm).then(|| delay(4)),
        }
    }
}

/// A random number that depends only on the arguments.
fn roll(seed: u64, (from, to): Pair, frame: u64, purpose: u64) -> u64 {
    let ports = [from, to].map(|port| u64::try_from(port.0).unwrap_or(u64::MAX));
    let words = ports.into_iter().chain([frame, purpose]);
    words.fold(seed, |mixed, word| split_mix(&mut (mixed ^ word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Pair = (PortId(0), PortId(1));
    const BACK: Pair = (PortId(1), PortId(0));

    fn verdicts(table: &mut FaultTable, pair: Pair, count: usize) -> Vec<Verdict> {
        (0..count).map(|_| table.decide(pair)).collect()
    }

    #[test]
    fn decisions_repeat_and_depend_on_the_seed_and_the_pair() {
        let faults = Faults { loss_ppm: 500_000, ..Faults::default() };
        let mut table = FaultTable::new(1);
        table.set(Scope::All, faults).unwrap();
        let first = verdicts(&mut table, PAIR, 64);
        assert_ne!(first, verdicts(&mut table, BACK, 64));
        table.set(Scope::All, faults).unwrap();
        // Traffic of other pairs does not change the decisions.
        let _back = verdicts(&mut table, BACK, 7);
        assert_eq!(first, verdicts(&mut table, PAIR, 64));
        let mut other = FaultTable::new(2);
        other.set(Scope::All, faults).unwrap();
        assert_ne!(first, verdicts(&mut other, PAIR, 64));
    }

    #[test]
    fn the_frequency_of_a_fault_is_its_probability() {
        for (ppm, expected) in
            [(0, 0..=0), (10_000, 60..=140), (500_000, 4_800..=5_200), (CERTAIN, 10_000..=10_000)]
        {
            let mut table = FaultTable::new(3);
            let faults = Faults { loss_ppm: ppm, duplicate_ppm: CERTAIN - ppm, ..Faults::default() };
            table.set(Scope::All, faults).unwrap();
            let lost = verdicts(&mut table, PAIR, 10_000).iter().filter(|verdict| verdict.lost).count();
            assert!(expected.contains(&lost), "{lost} lost with {ppm} ppm");
        }
    }

    #[test]
    fn the_faults_of_a_frame_are_independent_of_each_other() {
        let half = Faults { loss_ppm: 500_000, duplicate_ppm: 500_000, ..Faults::default() };
        let lost = |faults| {
            let mut table = FaultTable::new(6);
            table.set(Scope::All, faults).unwrap();
            verdicts(&mut table, PAIR, 1000).iter().map(|verdict| verdict.lost).collect::<Vec<_>>()
        };
        assert_eq!(lost(half), lost(Faults { duplicate_ppm: 0, ..half }));
        let mut table = FaultTable::new(6);
        table.set(Scope::All, half).unwrap();
        let verdicts = verdicts(&mut table, PAIR, 1000);
        let both = verdicts.iter().filter(|verdict| verdict.lost && verdict.duplicate.is_some()).count();
        assert!((200..300).contains(&both), "{both} of 1000");
    }

    #[test]
    fn a_delay_stays_within_its_jitter() {
        let (delay, jitter) = (Duration::from_millis(30), Duration::from_millis(10));
        let mut table = FaultTable::new(4);
        table.set(Scope::All, Faults { delay, jitter, ..Faults::default() }).unwrap();
        let delays: Vec<_> = verdicts(&mut table, PAIR, 1000).iter().map(|verdict| verdict.delay).collect();
        assert!(delays.iter().all(|one| (delay - jitter..=delay + jitter).contains(one)));
        assert!(delays.iter().max().unwrap().saturating_sub(*delays.iter().min().unwrap()) > jitter);
    }

    #[test]
    fn the_faults_of_a_pair_replace_those_of_all_pairs() {
        let mut table = FaultTable::new(5);
        table.set(Scope::All, Faults { loss_ppm: CERTAIN, ..Faults::default() }).unwrap();
        table.set(Scope::Pair { from: PortId(0), to: PortId(1) }, Faults::default()).unwrap();
        assert!(!table.decide(PAIR).lost);
        assert!(table.decide(BACK).lost);
        table.clear();
        assert_eq!(table.decide(BACK), Verdict::default());
    }

    #[test]
    fn settings_out_of_range_are_refused_with_their_reason() {
        let second = Duration::from_secs(1);
        let cases = [
            (Faults { loss_ppm: CERTAIN + 1, ..Faults::default() }, "a probability is more than 1000000 ppm"),
            (Faults { jitter: second, ..Faults::default() }, "the jitter is more than the delay"),
            (Faults { delay: second * 61, ..Faults::default() }, "the delay is more than 60 s"),
            (
                Faults { delay: Duration::MAX, jitter: second, ..Faults::default() },
                "the delay is more than 60 s",
            ),
            (Faults { reorder_ppm: 1, ..Faults::default() }, "the reorder distance is not 1 to 1000"),
        ];
        for (faults, reason) in cases {
            let error = FaultTable::new(0).set(Scope::All, faults).unwrap_err();
            assert_eq!(error.to_string(), format!("the faults cannot be set: {reason}"));
        }
    }
}
