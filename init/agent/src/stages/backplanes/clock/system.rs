//! The system clock at boot: the decision of the state machine, applied to the kernel.
//!
//! The first reading ([`Start::first`]) is taken before the stage Baseline raises the clock to its floor, so that the RTC is judged and not
//! the floor. [`plan`] is pure; [`settle`] reads and sets the clock. Nothing here fails or waits: planes come up with any
//! clock, because a wrong clock may recover and a node without planes does not.

use std::io;
use std::time::Duration;

use kubedos_base::console::uptime;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use super::status::Span;
use super::{Action, Clock, JUMP, Millis, Reading, Settings, Wall, millis};

/// The facts for the decision at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The facts about the node.
    pub settings: Settings,
    /// The clocks before the agent set the system clock for the first time. The kernel sets it from the RTC when it starts.
    pub first: Reading,
}

/// What the clock is, and the change if there was one.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The state machine after its first decision.
    pub clock: Clock,
    /// The state, for the console.
    pub note: String,
    /// The change.
    pub change: Option<String>,
}

/// Reads both clocks.
pub fn read() -> Reading {
    let now = clock_gettime(ClockId::Realtime);
    let wall = Wall(now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000));
    Reading { wall, boot: uptime() }
}

/// Sets the system clock.
pub fn set(to: Wall) -> io::Result<()> {
    let time =
        Timespec { tv_sec: to.0.div_euclid(1000), tv_nsec: to.0.rem_euclid(1000).saturating_mul(1_000_000) };
    Ok(clock_settime(ClockId::Realtime, time)?)
}

/// Makes the clock faster or slower until it has gained this time.
pub fn slew(by: Millis) -> io::Result<()> {
    kubedos_sys::clock::slew(by.saturating_mul(1000))
}

/// The state machine, and the time that the clock must be set to; `None` if it needs no change. A second plan after the change
/// is empty.
pub fn plan(start: &Start, now: Reading) -> (Clock, Option<Wall>) {
    let passed: Duration = now.boot.saturating_sub(start.first.boot);
    let untouched = Reading { wall: start.first.wall.plus(millis(passed)), boot: now.boot };
    let (clock, actions) = Clock::start(&start.settings, untouched);
    let target = actions.iter().find_map(|action| match action {
        Action::SetClock(to) => Some(*to),
        Action::Slew(_) | Action::Save(_) => None,
    });
    let target = target.filter(|to| now.wall.since(*to).saturating_abs() > JUMP);
    (clock, target)
}

/// Brings the clock between floor and ceiling.
pub fn settle(start: &Start) -> Settled {
    let now = read();
    let (clock, target) = plan(start, now);
    let note = format!("clock {}", clock.status().basis);
    let Some(to) = target else { return Settled { clock, note, change: None } };
    let by = to.since(now.wall);
    let direction = if by < 0 { "back" } else { "forward" };
    match set(to) {
        Ok(()) => Settled { clock, note, change: Some(format!("set the clock {direction} by {}", Span(by))) },
        Err(error) => {
            let note = format!("clock wrong: failed to set it {direction} by {}: {error}", Span(by));
            Settled { clock, note, change: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Basis;
    use super::*;

    const FLOOR: u64 = 1_763_300_000;
    const DAY: Millis = 86_400_000;

    fn start(rtc: Wall) -> Start {
        let control_planes = [1, 2, 3].into();
        let settings = Settings { floor: Wall::from_secs(FLOOR), span_days: 3650, control_planes, node: 1 };
        Start { settings, first: Reading { wall: rtc, boot: Duration::from_secs(4) } }
    }

    /// The clocks at the stage, which begins 20 seconds after the first reading.
    fn at_stage(wall: Wall) -> Reading {
        Reading { wall, boot: Duration::from_secs(24) }
    }

    /// The basis of the clock, and the time that it is set to.
    fn planned(start: &Start, now: Reading) -> (Basis, Option<Wall>) {
        let (clock, target) = plan(start, now);
        (clock.status().basis, target)
    }

    /// Baseline has raised the clock to the floor, which must not look like a good RTC.
    #[test]
    fn an_rtc_below_the_floor_is_recognised_after_baseline() {
        let raised = Wall::from_secs(FLOOR).plus(19_000);
        let (basis, target) = planned(&start(Wall(0)), at_stage(raised));
        assert_eq!(basis.to_string(), "from the lower bound, because the RTC is 20408 days behind it");
        assert_eq!(target, Some(Wall::from_secs(FLOOR + 24)));
    }

    #[test]
    fn an_rtc_in_2106_is_replaced_and_a_good_one_is_kept() {
        let year_2106 = Wall::from_secs(4_294_967_296);
        let (basis, target) = planned(&start(year_2106), at_stage(year_2106.plus(20_000)));
        assert!(matches!(basis, Basis::Floor { .. }));
        assert_eq!(target, Some(Wall::from_secs(FLOOR + 24)));
        let good = Wall::from_secs(FLOOR).plus(400 * DAY);
        assert_eq!(planned(&start(good), at_stage(good.plus(20_000))), (Basis::Rtc, None));
    }

    #[test]
    fn both_clocks_of_this_machine_can_be_read() {
        let (one, two) = (read(), read());
        assert!(one.wall > Wall(0) && one.boot > Duration::ZERO && two.boot >= one.boot);
    }

    proptest! {
        /// The target is the floor plus the time since boot, for every clock at the start and at the stage, and a second
        /// plan is empty.
        #[test]
        fn a_second_plan_is_empty(rtc in any::<i64>(), wall in any::<i64>(), near in -9000 * DAY..9000 * DAY) {
            for rtc in [Wall(rtc), Wall::from_secs(FLOOR).plus(near)] {
                let start = start(rtc);
                let (basis, target) = planned(&start, at_stage(Wall(wall)));
                if let Some(to) = target {
                    prop_assert_eq!(to, Wall::from_secs(FLOOR + 24));
                    prop_assert_eq!(planned(&start, at_stage(to)), (basis, None));
                }
                let trusted = rtc >= start.settings.floor && rtc <= start.settings.floor.plus(3650 * DAY);
                prop_assert!(!trusted || target.is_none());
            }
        }
    }
}
