//! When networkd is asked to configure a device again: it has a lease from DHCP, but the device has no address. Pure.
//!
//! This is the state after the agent has removed an address of a plane that a DHCP server gave: networkd does not ask for
//! another one before the lease must be renewed, and the server decides how long that takes. The time between two requests
//! doubles, so a server that gives the same address again and again costs a few requests in an hour. A device that has
//! an address from the spec is never configured again for this reason.

use std::collections::BTreeMap;
use std::time::Duration;

/// The time from the first look at which the address is missing to the request, and between the first two requests.
pub const FIRST: Duration = Duration::from_secs(5);

/// The longest time between two requests.
pub const LONGEST: Duration = Duration::from_secs(900);

#[derive(Debug, Clone, Copy)]
struct State {
    due: Duration,
    pause: Duration,
}

/// The memory of the reconcile loop: the devices that lack an address, or did a short time ago, by number.
#[derive(Debug, Default)]
pub struct Renewals(BTreeMap<u32, State>);

impl Renewals {
    /// Observes the devices that lack an address at a time since the kernel started; returns those to configure again.
    pub fn due(&mut self, lacking: &[u32], now: Duration) -> Vec<u32> {
        // A device with an address is forgotten at once if nothing was requested, and otherwise after a quarter of an hour.
        let recent = |state: &State| state.pause > FIRST && now.saturating_sub(state.due) < LONGEST;
        self.0.retain(|link, state| lacking.contains(link) || recent(state));
        let mut due = Vec::new();
        for link in lacking {
            let first = State { due: now.saturating_add(FIRST), pause: FIRST };
            let state = self.0.entry(*link).or_insert(first);
            if now >= state.due {
                state.pause = state.pause.saturating_mul(2).min(LONGEST);
                state.due = now.saturating_add(state.pause);
                due.push(*link);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_follow_fast_at_first_and_then_every_quarter_of_an_hour() {
        let mut renewals = Renewals::default();
        let asked: Vec<u64> =
            (0..4000).filter(|second| !renewals.due(&[2], Duration::from_secs(*second)).is_empty()).collect();
        assert_eq!(asked, [5, 15, 35, 75, 155, 315, 635, 1275, 2175, 3075, 3975]);
    }

    #[test]
    fn an_address_that_is_missing_for_a_moment_causes_no_request() {
        let mut renewals = Renewals::default();
        assert!(renewals.due(&[2], Duration::from_secs(10)).is_empty());
        assert!(renewals.due(&[], Duration::from_secs(12)).is_empty());
        assert_eq!(renewals.due(&[2, 3], Duration::from_secs(3600)), [] as [u32; 0]);
    }

    proptest! {
        /// Attack: a server that gives good and hostile leases in any order.
        #[test]
        fn a_day_has_few_requests_whatever_the_leases_are(
            changes in prop::collection::vec(1_u64..2000, 1..400),
        ) {
            let (mut renewals, mut now, mut count) = (Renewals::default(), 0, 0);
            for (turn, length) in changes.iter().enumerate() {
                let end = now + length;
                while now < end && now < 86_400 {
                    let lacking: &[u32] = if turn % 2 == 0 { &[2] } else { &[] };
                    count += renewals.due(lacking, Duration::from_secs(now)).len();
                    now += 3;
                }
            }
            prop_assert!(count <= 86_400 / 900 * 10, "{}", count);
        }
    }
}
