//! The search for the largest packet that a path carries: pure, one question and one answer at a time.
//!
//! A path is known to be smaller only if small packets pass before and after larger ones did not. A peer that does not answer
//! at all is silent, and its path is unknown.

/// WireGuard pads packets to multiples of this (`MESSAGE_PADDING_MULTIPLE` of `drivers/net/wireguard/messages.h`), so sizes
/// between two of them look the same on the path.
pub const STEP: u16 = 16;

/// The smallest size that is tried, in bytes.
pub const LEAST: u16 = 128;

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The peer does not answer.
    Silent,
    /// The largest packet in bytes that passes.
    Passes(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Small,
    Planned,
    Between,
    SmallAgain,
    Ended(Found),
}

/// One search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    planned: u16,
    passes: u16,
    fails: u16,
    next: Next,
}

impl Search {
    /// A search up to the planned size.
    pub const fn new(planned: u16) -> Self {
        Self { planned, passes: LEAST, fails: planned, next: Next::Small }
    }

    /// The size in bytes to ask for; `None` at the end.
    pub const fn size(&self) -> Option<u16> {
        match self.next {
            Next::Small | Next::SmallAgain => Some(LEAST),
            Next::Planned => Some(self.planned),
            Next::Between => Some(self.middle()),
            Next::Ended(_) => None,
        }
    }

    /// What was found; `None` before the end.
    pub const fn found(&self) -> Option<Found> {
        match self.next {
            Next::Ended(found) => Some(found),
            _ => None,
        }
    }

    /// Whether a packet of [`Self::size`] was answered.
    pub const fn answer(&mut self, arrived: bool) {
        self.next = match (self.next, arrived) {
            (Next::Small | Next::SmallAgain, false) => Next::Ended(Found::Silent),
            (Next::Small, true) => Next::Planned,
            (Next::Planned, true) => Next::Ended(Found::Passes(self.planned)),
            (Next::Planned, false) => self.between(),
            (Next::Between, true) => {
                self.passes = self.middle();
                self.between()
            }
            (Next::Between, false) => {
                self.fails = self.middle();
                self.between()
            }
            (Next::SmallAgain, true) => Next::Ended(Found::Passes(self.passes)),
            (Next::Ended(found), _) => Next::Ended(found),
        };
    }

    const fn between(&self) -> Next {
        if self.middle() > self.passes { Next::Between } else { Next::SmallAgain }
    }

    /// The multiple of [`STEP`] in the middle; `passes` if there is none between the two.
    const fn middle(&self) -> u16 {
        let middle = self.passes + (self.fails.saturating_sub(self.passes)) / 2;
        let down = middle - middle % STEP;
        if down > self.passes {
            down
        } else if self.passes + STEP < self.fails {
            self.passes + STEP
        } else {
            self.passes
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(planned: u16, mut passes: impl FnMut(u16, usize) -> bool) -> (Found, usize) {
        let (mut search, mut asked) = (Search::new(planned), 0);
        while let Some(size) = search.size() {
            search.answer(passes(size, asked));
            asked += 1;
            assert!(asked < 20, "the search does not end");
        }
        (search.found().unwrap(), asked)
    }

    proptest! {
        #[test]
        fn the_largest_step_that_passes_is_found(planned in 1216_u16..9000, carries in 0_u16..9000) {
            let (found, _) = run(planned, |size, _| size <= carries);
            let wanted = match carries {
                _ if carries < LEAST => Found::Silent,
                _ if carries >= planned => Found::Passes(planned),
                _ => Found::Passes(carries - carries % STEP),
            };
            prop_assert_eq!(found, wanted);
        }

        #[test]
        fn a_peer_that_goes_away_is_silent_and_not_small(planned in 1216_u16..9000, after in 0_usize..20) {
            let (found, asked) = run(planned, |_, asked| asked < after);
            // Only a peer that answered the planned size before it went away has a known path.
            let wanted = if after >= 2 { Found::Passes(planned) } else { Found::Silent };
            prop_assert_eq!(found, wanted, "after {} of {} questions", after, asked);
        }
    }
}
