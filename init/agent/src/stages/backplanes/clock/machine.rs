//! The state machine of the clock: from the start of the agent, before WireGuard.
//!
//! [`Clock::start`] decides about the RTC. [`Clock::tick`] then compares the system clock with `CLOCK_BOOTTIME` and with
//! the measurements of [`Clock::measured`]. The caller applies the actions before it calls again.
//!
//! The machine keeps the difference between the two clocks. Only its own [`Action::SetClock`] changes the difference, so
//! any other change is a jump. Arithmetic saturates: no input can overflow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::agreement::{Agreement, Estimate, agree, majority};
use super::status::{Basis, Opinion, Refusal, Status};
use super::{
    Action, FRESH, JUMP, LARGEST_BOUND, LATEST, Measurement, Millis, Reading, SAVE_EVERY, STEP, Settings,
    Wall, millis,
};

const DAY: Millis = 86_400_000;

/// The clock of this node.
#[derive(Debug, Clone)]
pub struct Clock {
    floor: Wall,
    span: Millis,
    /// The control planes except this node.
    sources: BTreeSet<u32>,
    is_control_plane: bool,
    /// The expected system clock minus the boot-time clock.
    difference: Millis,
    basis: Basis,
    opinion: Opinion,
    measurements: BTreeMap<u32, Measurement>,
    /// Earlier measurements refer to a clock that was set since.
    measured_from: Duration,
    /// The newest measurement for which the clock was slewed. It is not slewed twice for the same one.
    slewed_for: Duration,
    saved: Wall,
    /// The boot-time clock since when every comparison has confirmed the clock.
    agreed_since: Option<Duration>,
    jumps: u32,
    last_jump: Millis,
}

impl Clock {
    /// Decides what the clock is at the start: the RTC if it is between floor and ceiling, or else the floor plus the time
    /// since boot.
    pub fn start(settings: &Settings, now: Reading) -> (Self, Vec<Action>) {
        let mut sources = settings.control_planes.clone();
        let is_control_plane = sources.remove(&settings.node);
        let floor = settings.floor.min(LATEST);
        let mut clock = Self {
            floor,
            span: i64::from(settings.span_days).saturating_mul(DAY),
            sources,
            is_control_plane,
            difference: now.wall.0.saturating_sub(millis(now.boot)),
            basis: Basis::Rtc,
            opinion: Opinion::Waiting,
            measurements: BTreeMap::new(),
            measured_from: now.boot,
            slewed_for: now.boot,
            saved: floor,
            agreed_since: None,
            jumps: 0,
            last_jump: 0,
        };
        let ceiling = clock.ceiling(now.boot);
        if now.wall >= floor && now.wall <= ceiling {
            return (clock, vec![]);
        }
        let trusted = if now.wall < floor { floor } else { ceiling };
        clock.basis = Basis::Floor { rtc: now.wall, trusted };
        let to = floor.plus(millis(now.boot)).min(ceiling);
        let set = clock.set(to, now.boot);
        (clock, vec![set])
    }

    /// The latest time that the clock may be set to: the floor, plus the time since boot, plus the span.
    pub fn ceiling(&self, boot: Duration) -> Wall {
        self.floor.plus(millis(boot)).plus(self.span).min(LATEST)
    }

    /// Records a measurement. Measurements of other sources than control planes, of this node itself, with an invalid or
    /// too large error bound, or from before the clock was last set, are ignored.
    pub fn measured(&mut self, measurement: Measurement) {
        let valid = self.sources.contains(&measurement.source)
            && (0..=LARGEST_BOUND).contains(&measurement.bound)
            && measurement.at > self.measured_from;
        if valid {
            self.measurements.insert(measurement.source, measurement);
        }
    }

    /// Compares the clocks. The caller calls this at least once a minute, and more often before the planes are up.
    pub fn tick(&mut self, now: Reading) -> Vec<Action> {
        let expected = Wall(self.difference).plus(millis(now.boot));
        let jump = now.wall.since(expected);
        if jump.saturating_abs() > JUMP {
            self.jumps = self.jumps.saturating_add(1);
            self.last_jump = jump;
            let to = expected.clamp(self.floor, self.ceiling(now.boot));
            return vec![self.set(to, now.boot)];
        }
        let boot = now.boot;
        self.measurements.retain(|_, measurement| boot.saturating_sub(measurement.at) <= FRESH);
        let Some(agreed) = agree(&self.estimates(), self.of()) else {
            let enough = self.heard() >= majority(self.of());
            self.opinion = if enough { Opinion::Disagree } else { Opinion::Waiting };
            self.agreed_since = None;
            return vec![];
        };
        self.follow(agreed, now)
    }

    /// The state for the console and the status page.
    pub fn status(&self) -> Status {
        Status {
            basis: self.basis,
            opinion: self.opinion,
            heard: self.heard(),
            of: self.of(),
            best: self.measurements.values().copied().min_by_key(|one| one.bound),
            jumps: self.jumps,
            last_jump: self.last_jump,
        }
    }

    /// Keeps, slews, steps or saves the clock, as a majority asks for.
    fn follow(&mut self, agreed: Agreement, now: Reading) -> Vec<Action> {
        let correction = agreed.correction;
        if correction.saturating_abs() <= STEP {
            self.opinion = Opinion::Agreed { by: agreed.by };
            let since = *self.agreed_since.get_or_insert(now.boot);
            let confirmed_for = millis(now.boot.saturating_sub(since));
            let alone = self.measurements.is_empty(); // the clock of a single control plane comes from its RTC
            let mut actions = Vec::new();
            if !alone && confirmed_for >= SAVE_EVERY && now.wall.since(self.saved) >= SAVE_EVERY {
                self.saved = now.wall;
                actions.push(Action::Save(now.wall));
            }
            actions.extend(self.slew(correction));
            return actions;
        }
        let to = now.wall.plus(correction);
        if let Some(why) = self.refusal(to, now.boot) {
            self.opinion = Opinion::Refused(why, correction);
            self.agreed_since = None;
            return vec![];
        }
        self.basis = Basis::Stepped;
        vec![self.set(to, now.boot)]
    }

    /// A correction that is too small for a step, once for each new measurement, and only if it is larger than the error of
    /// the best measurement.
    fn slew(&mut self, correction: Millis) -> Option<Action> {
        let newest = self.measurements.values().map(|one| one.at).max()?;
        let best = self.measurements.values().map(|one| one.bound).min()?;
        if newest <= self.slewed_for || correction.saturating_abs() <= best {
            return None;
        }
        self.slewed_for = newest;
        Some(Action::Slew(correction))
    }

    fn refusal(&self, to: Wall, boot: Duration) -> Option<Refusal> {
        if to < self.floor {
            Some(Refusal::BelowFloor)
        } else if to > self.ceiling(boot) {
            Some(Refusal::AboveCeiling)
        } else {
            None
        }
    }

    /// Sets the clock, and discards what was measured before.
    fn set(&mut self, to: Wall, boot: Duration) -> Action {
        self.difference = to.0.saturating_sub(millis(boot));
        self.measurements.clear();
        self.measured_from = boot;
        self.opinion = Opinion::Waiting;
        self.agreed_since = None;
        Action::SetClock(to)
    }

    /// The estimates of all control planes with a fresh measurement. A control plane confirms its own clock.
    fn estimates(&self) -> Vec<Estimate> {
        let own = self.is_control_plane.then_some(Estimate { offset: 0, bound: 0 });
        let others = self.measurements.values().map(|one| Estimate { offset: one.offset, bound: one.bound });
        own.into_iter().chain(others).collect()
    }

    fn heard(&self) -> usize {
        self.measurements.len().saturating_add(usize::from(self.is_control_plane))
    }

    fn of(&self) -> usize {
        self.sources.len().saturating_add(usize::from(self.is_control_plane))
    }
}
