//! The rule by which control planes agree about the time.
//!
//! Each estimate is an interval. The largest group of intervals with a common point agrees if it is a majority of *all*
//! control planes, whether they answer or not (the intersection of Marzullo's algorithm, RFC 5905 §11.2.1). The correction
//! then lies between estimates of honest control planes, as long as at most half of all control planes lie: see [`agree`].
//!
//! Not here: which measurements are fresh, and which corrections are permitted.

use super::Millis;

/// The largest difference between two control planes that agree, in addition to their error bounds. After a power
/// failure of all nodes, clocks without an RTC start from floors that were saved within [`super::SAVE_EVERY`].
pub const TOLERANCE: Millis = 2 * super::SAVE_EVERY;

/// What one control plane says about this node's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// The correction that it asks for.
    pub offset: Millis,
    /// The largest possible error of the offset; not negative.
    pub bound: Millis,
}

impl Estimate {
    fn low(self) -> Millis {
        self.offset.saturating_sub(self.bound).saturating_sub(TOLERANCE / 2)
    }

    fn high(self) -> Millis {
        self.offset.saturating_add(self.bound).saturating_add(TOLERANCE / 2)
    }

    fn contains(self, point: Millis) -> bool {
        self.low() <= point && point <= self.high()
    }
}

/// The result of an agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreement {
    /// The number of control planes that agree.
    pub by: usize,
    /// The correction of this node's clock.
    pub correction: Millis,
}

/// The number of control planes that must agree, of all `of`.
pub const fn majority(of: usize) -> usize {
    of / 2 + 1
}

/// Combines the estimates of distinct control planes, of which there are `of` in all. `None` if no majority agrees. The
/// order of the estimates has no influence.
///
/// With at most `f = of / 2` liars and `n` members of the group in ascending order, let `a = x[f]` and `b = x[n - 1 - f]`.
/// If `n > 2 f`, then `a <= b`, and both lie between offsets of honest members: `b` is the result, because a step forward
/// harms WireGuard less than a step back. If `n <= 2 f`, then `b <= a`, and only the interval from `b` to `a` is certain to
/// reach an honest offset: the result is the point of it that is nearest to the present clock. In both cases the result
/// is 0 if all honest control planes say 0.
pub fn agree(estimates: &[Estimate], of: usize) -> Option<Agreement> {
    let mut sorted = estimates.to_vec();
    sorted.sort_by_key(|estimate| (estimate.low(), estimate.offset, estimate.bound));
    let count = |point: Millis| sorted.iter().filter(|estimate| estimate.contains(point)).count();
    let mut best: Option<(usize, Millis)> = None;
    for point in sorted.iter().map(|estimate| estimate.low()) {
        let by = count(point);
        if best.is_none_or(|(most, _)| by > most) {
            best = Some((by, point));
        }
    }
    let (by, point) = best.filter(|(by, _)| *by >= majority(of))?;
    let mut offsets: Vec<Millis> =
        sorted.iter().filter(|estimate| estimate.contains(point)).map(|estimate| estimate.offset).collect();
    offsets.sort_unstable();
    let liars = of / 2;
    let a = *offsets.get(liars).or(offsets.last())?;
    let b = *offsets.iter().rev().nth(liars).or(offsets.first())?;
    let correction = if a <= b { b } else { 0.clamp(b, a) };
    Some(Agreement { by, correction })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn estimates(offsets: &[Millis]) -> Vec<Estimate> {
        offsets.iter().map(|offset| Estimate { offset: *offset, bound: 20 }).collect()
    }

    const YEAR: Millis = 365 * 86_400_000;

    #[test]
    fn a_majority_of_all_control_planes_decides() {
        for (offsets, of, want) in [
            (vec![], 1, None),
            (vec![5000], 1, Some((1, 5000))),
            (vec![YEAR], 1, Some((1, YEAR))),
            (vec![5000], 2, None),
            (vec![5000, 5000], 2, Some((2, 5000))),
            (vec![0, YEAR], 2, None),
            (vec![5000], 3, None),
            (vec![5000, 5000], 3, Some((2, 5000))),
            (vec![0, 0, YEAR], 3, Some((2, 0))),
            (vec![-YEAR, 0, YEAR], 3, None),
            (vec![YEAR, YEAR, 0], 3, Some((2, YEAR))),
            (vec![3000, 4000, 5000], 3, Some((3, 4000))),
            (vec![7, 7], 5, None),
            (vec![7, 7, 7], 5, Some((3, 7))),
            (vec![7, 7, 7, YEAR, YEAR], 5, Some((3, 7))),
            (vec![i64::MAX, i64::MIN, 0, 0, 0], 5, Some((3, 0))),
            (vec![i64::MAX, i64::MIN, i64::MIN, i64::MAX, 0], 5, None),
        ] {
            let got = agree(&estimates(&offsets), of).map(|agreed| (agreed.by, agreed.correction));
            assert_eq!(got, want, "{offsets:?} of {of}");
        }
    }

    /// The last honest control plane of five answers together with two liars. They agree within the tolerance, but the
    /// clock stays where the honest one wants it.
    #[test]
    fn liars_within_the_tolerance_do_not_move_a_good_clock() {
        let nine_minutes = 9 * 60_000;
        assert_eq!(agree(&estimates(&[0, nine_minutes]), 2).unwrap().correction, 0);
        assert_eq!(agree(&estimates(&[0, nine_minutes]), 3).unwrap().correction, 0);
        assert_eq!(agree(&estimates(&[0, nine_minutes, nine_minutes]), 5).unwrap().correction, 0);
        assert_eq!(agree(&estimates(&[-nine_minutes, -nine_minutes, 0]), 5).unwrap().correction, 0);
    }

    fn lies() -> impl Strategy<Value = (Millis, Millis)> {
        let near = -2 * TOLERANCE..2 * TOLERANCE;
        (prop_oneof![any::<i64>(), near], prop_oneof![0..super::super::LARGEST_BOUND, Just(0)])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Any number of honest control planes may be unreachable; at most half of all lie, each as it likes.
        #[test]
        fn half_of_the_control_planes_never_move_a_clock_that_the_others_confirm(
            of in 1usize..8,
            honest in proptest::collection::vec(0..super::super::LARGEST_BOUND, 0..8),
            lies in proptest::collection::vec(lies(), 0..4),
        ) {
            let lies = lies.iter().take(of / 2).map(|(offset, bound)| Estimate { offset: *offset, bound: *bound });
            let mut all: Vec<Estimate> = lies.collect();
            let honest = honest.iter().take(of - all.len()).map(|bound| Estimate { offset: 0, bound: *bound });
            all.extend(honest);
            if let Some(agreed) = agree(&all, of) {
                prop_assert!(agreed.by >= majority(of) && agreed.by <= all.len());
                prop_assert_eq!(agreed.correction, 0);
            }
        }

        /// A minority of liars that answers together with all others moves a clock only towards honest clocks.
        #[test]
        fn the_correction_is_between_the_present_clock_and_honest_ones(
            offsets in proptest::collection::vec(-TOLERANCE..TOLERANCE, 3..8),
            lies in proptest::collection::vec(lies(), 3),
        ) {
            let of = offsets.len();
            let liars = lies.len().min((of - 1) / 2);
            let mut all = estimates(&offsets[liars..]);
            let (low, high) = (offsets[liars..].iter().min().unwrap(), offsets[liars..].iter().max().unwrap());
            all.extend(lies.iter().take(liars).map(|(offset, bound)| Estimate { offset: *offset, bound: *bound }));
            if let Some(agreed) = agree(&all, of) {
                let (low, high) = ((*low).min(0), (*high).max(0));
                prop_assert!(low <= agreed.correction && agreed.correction <= high, "{} {low} {high}", agreed.correction);
            }
        }

        #[test]
        fn the_order_has_no_influence(mut all in proptest::collection::vec(lies(), 1..7), turn in 0usize..7) {
            let estimates = |all: &[(Millis, Millis)]| -> Vec<Estimate> {
                all.iter().map(|(offset, bound)| Estimate { offset: *offset, bound: *bound }).collect()
            };
            let before = agree(&estimates(&all), all.len());
            let turn = turn % all.len();
            all.rotate_left(turn);
            prop_assert_eq!(agree(&estimates(&all), all.len()), before);
            all.reverse();
            prop_assert_eq!(agree(&estimates(&all), all.len()), before);
        }
    }
}
