//! When the next round of the reconcile loop begins. Pure.
//!
//! A complete round begins every [`EVERY`], whatever happens. An event of the kernel leads to an earlier round of the
//! network, not before [`DEBOUNCE`] has passed, so that the events of one change lead to one round. The distance between
//! such rounds doubles while events continue: neither a flood of events nor a program that changes the same object again
//! and again costs more than a few rounds a minute, and neither delays the complete rounds.

use std::time::Duration;

/// The interval between two complete rounds.
pub const EVERY: Duration = Duration::from_secs(60);

/// The time from an event to its round.
pub const DEBOUNCE: Duration = Duration::from_secs(1);

/// The least distance between two rounds because of events. It doubles while events continue.
pub const FIRST_GAP: Duration = Duration::from_secs(3);

/// What the loop does after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// After this time, a round of the network.
    Network(Duration),
    /// After this time, a complete round.
    Complete(Duration),
}

/// The memory of the loop. Times are those since the kernel started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    due: Duration,
    not_before: Duration,
    gap: Duration,
    events: bool,
}

impl Pace {
    /// A loop that begins now.
    pub fn new(now: Duration) -> Self {
        Self { due: now.saturating_add(EVERY), not_before: now, gap: FIRST_GAP, events: false }
    }

    /// The time to the next complete round.
    pub fn until_complete(&self, now: Duration) -> Duration {
        self.due.saturating_sub(now)
    }

    /// An event arrived.
    pub fn event(&self, now: Duration) -> Next {
        let begin = now.saturating_add(DEBOUNCE).max(self.not_before);
        if begin >= self.due {
            Next::Complete(self.until_complete(now))
        } else {
            Next::Network(begin.saturating_sub(now))
        }
    }

    /// A round of the network ends.
    pub fn network_round(&mut self, now: Duration) {
        self.not_before = now.saturating_add(self.gap);
        self.gap = self.gap.saturating_mul(2).min(EVERY);
        self.events = true;
    }

    /// A complete round ends. Without rounds because of events since the last one, the next event is answered fast.
    pub fn complete_round(&mut self, now: Duration) {
        self.due = now.saturating_add(EVERY);
        if !self.events {
            self.gap = FIRST_GAP;
            self.not_before = now;
        }
        self.events = false;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs the loop; event times in milliseconds. Returns the begins of network rounds and of complete rounds.
    fn run(mut events: Vec<u64>, round: Duration, end: Duration) -> (Vec<Duration>, Vec<Duration>) {
        events.sort_unstable();
        let mut now = Duration::ZERO;
        let mut pace = Pace::new(now);
        let (mut network, mut complete) = (Vec::new(), Vec::new());
        while now < end {
            let due = now + pace.until_complete(now);
            // The first event after the last round; earlier ones were discarded.
            let event = events.iter().map(|event| Duration::from_millis(*event)).find(|event| *event >= now);
            let next = match event.filter(|event| *event < due) {
                Some(event) => {
                    now = event;
                    pace.event(now)
                }
                None => Next::Complete(pace.until_complete(now)),
            };
            match next {
                Next::Network(wait) => {
                    now += wait;
                    network.push(now);
                    now += round;
                    pace.network_round(now);
                }
                Next::Complete(wait) => {
                    now += wait;
                    complete.push(now);
                    now += round;
                    pace.complete_round(now);
                }
            }
        }
        (network, complete)
    }

    #[test]
    fn one_change_is_found_after_a_second() {
        let (network, complete) = run(vec![90_000], Duration::ZERO, Duration::from_secs(180));
        assert_eq!(network, [Duration::from_secs(91)]);
        assert_eq!(complete.len(), 3);
        // After quiet minutes the next change is found as fast.
        let (network, _) = run(vec![90_000, 300_000], Duration::ZERO, Duration::from_secs(400));
        assert_eq!(network, [Duration::from_secs(91), Duration::from_secs(301)]);
    }

    /// Attack: an event every millisecond for an hour.
    #[test]
    fn a_flood_of_events_costs_a_few_rounds_and_delays_no_complete_round() {
        let hour = Duration::from_secs(3600);
        let (network, complete) = run((0..3_600_000).collect(), Duration::from_millis(50), hour);
        assert!(network.len() < 70, "{} rounds", network.len());
        assert!(complete.len() >= 59, "{} complete rounds", complete.len());
    }

    proptest! {
        /// The distance between complete rounds is never more than the interval and one round; and an hour has at most
        /// about two rounds a minute because of events.
        #[test]
        fn every_sequence_of_events_is_bounded(
            events in proptest::collection::vec(0_u64..3_600_000, 0..2000),
            round in 0_u64..5000,
        ) {
            let (hour, round) = (Duration::from_secs(3600), Duration::from_millis(round));
            let (network, complete) = run(events, round, hour);
            for (one, next) in complete.iter().zip(complete.iter().skip(1)) {
                prop_assert!(*next - *one <= EVERY + round * 2, "{one:?} {next:?}");
            }
            for (one, next) in network.iter().zip(network.iter().skip(1)) {
                prop_assert!(*next - *one >= DEBOUNCE, "{one:?} {next:?}");
            }
            prop_assert!(network.len() <= 6 * 60, "{}", network.len());
        }
    }
}
