//! The system clock at boot: the decision of the state machine, applied to the kernel.
//!
//! The first reading ([`Start::first`]) is taken before the stage Baseline raises the clock to its floor, so that the RTC is judged and not
//! the floor. [`plan`] is pure; [`settle`] reads and sets the clock. Nothing here fails or waits: planes come up with any
//! clock, because a wrong clock may recover and a node without planes does not.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use kubedos_base::atomic;
use kubedos_base::console::uptime;
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use super::status::Span;
use super::{Action, Clock, JUMP, Millis, Reading, Settings, Wall, millis};

/// The RTC in seconds since 1970 (`drivers/rtc/sysfs.c`). It does not exist on a machine without an RTC.
const RTC: &str = "/sys/class/rtc/rtc0/since_epoch";

/// The mark of the first agent of a boot.
const MARK: &str = "rtc-was-judged";

/// The facts for the decision at boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The facts about the node.
    pub settings: Settings,
    /// The clocks before the agent set the system clock for the first time ([`at_start`]).
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

/// The clocks when the agent starts. The kernel has set the system clock from the RTC, but systemd moves it to its own epoch if
/// it is earlier or more than 15 years later (`clock_apply_epoch`), so the first agent of a boot judges the RTC itself. A mark in
/// `marks` tells later agents that the clock may be better than the RTC.
pub fn at_start(marks: &Path) -> Reading {
    let now = read();
    if marks.join(MARK).exists() || atomic::replace(marks, MARK, b"").is_err() {
        return now;
    }
    let rtc = fs::read_to_string(RTC).ok().and_then(|text| text.trim_end().parse().ok());
    judged(now, rtc.map(|seconds: i64| Wall(seconds.saturating_mul(1000))))
}

/// The RTC counts whole seconds, so a small difference is none.
fn judged(now: Reading, rtc: Option<Wall>) -> Reading {
    match rtc {
        Some(rtc) if rtc.since(now.wall).saturating_abs() > JUMP => Reading { wall: rtc, ..now },
        _ => now,
    }
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

    /// systemd has moved the clock to its epoch.
    #[test]
    fn the_rtc_is_judged_and_not_what_systemd_made_of_it() {
        let epoch = Reading { wall: Wall::from_secs(FLOOR), boot: Duration::from_secs(4) };
        for rtc in [Wall(0), Wall::from_secs(4_294_967_296)] {
            assert_eq!(judged(epoch, Some(rtc)), Reading { wall: rtc, ..epoch });
        }
        for same in [None, Some(epoch.wall), Some(epoch.wall.plus(-1999)), Some(epoch.wall.plus(1000))] {
            assert_eq!(judged(epoch, same), epoch);
        }
    }

    /// An agent that is started again must not take a clock back that the control planes have set.
    #[test]
    fn only_the_first_agent_of_a_boot_reads_the_rtc() {
        let marks = tempfile::tempdir().unwrap();
        at_start(marks.path());
        assert!(marks.path().join(MARK).exists());
        let (now, again) = (read(), at_start(marks.path()));
        assert!(again.wall.since(now.wall).abs() < JUMP);
        // Without a place for the mark, nobody can know whether it is the first agent.
        let (now, nowhere) = (read(), at_start(Path::new("/proc/self/fd")));
        assert!(nowhere.wall.since(now.wall).abs() < JUMP);
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
