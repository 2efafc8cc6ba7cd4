//! The clock after the planes are up: drives the state machine with chronyd's measurements, and applies its actions.
//!
//! One round compares the clocks even if chronyd does not answer, so a jump is always corrected. After the clock was set,
//! chronyd is restarted: it measured with the old clock. The time between two rounds is the caller's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kubedos_base::outcome::{Class, Classified};

use super::chronyd::configuration::Time;
use super::chronyd::protocol::Sample;
use super::chronyd::{self, ChronydError, Link};
use super::status::Span;
use super::{Action, Clock, Measurement, Opinion, Reading, Status, saved, system};

/// The folder of chronyd's configuration and of the agent's socket.
const FOLDER: &str = "/run/kubedos/time";

/// Why the clock is not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// The device of the plane has no number.
    #[error("failed to read the number of the device {0}")]
    Device(String, #[source] io::Error),
    /// chronyd does not measure.
    #[error(transparent)]
    Chronyd(#[from] ChronydError),
    /// The kernel refused to set the clock.
    #[error("failed to set the clock")]
    Set(#[source] io::Error),
    /// STATE does not keep the agreed time.
    #[error("failed to save the agreed time in STATE")]
    Save(#[source] io::Error),
    /// The control planes give no time that the node accepts.
    #[error("clock {0}; correct the RTC of the machine whose clock is wrong, and restart it")]
    Unconfirmed(Status),
}

impl Classified for ClockError {
    fn class(&self) -> Class {
        match self {
            Self::Device(..) | Self::Set(_) | Self::Save(_) => Class::Retry,
            Self::Unconfirmed(_) => Class::Wait,
            Self::Chronyd(error) => error.class(),
        }
    }
}

/// Starts chronyd with the configuration of this node, or restarts it if the configuration differs. Returns the changes.
pub fn settle_chronyd(time: &Time) -> Result<Vec<String>, ClockError> {
    let path = Path::new("/sys/class/net").join(time.plane.as_str()).join("ifindex");
    let failed = |error| ClockError::Device(time.plane.to_string(), error);
    let number = fs::read_to_string(path).map_err(failed)?;
    let number = number.trim().parse().map_err(|error| failed(io::Error::other(error)))?;
    Ok(chronyd::settle(Path::new(FOLDER), time.unit(), &time.render(number))?)
}

/// The clock of a node whose planes are up.
#[derive(Debug)]
pub struct Timekeeper {
    clock: Clock,
    time: Option<Time>,
    state: PathBuf,
}

impl Timekeeper {
    /// `time` is absent on a node without planes, `state` is where STATE is mounted.
    pub fn new(clock: Clock, time: Option<Time>, state: &Path) -> Self {
        Self { clock, time, state: state.to_owned() }
    }

    /// The state for the status page.
    pub fn status(&self) -> Status {
        self.clock.status()
    }

    /// Measures, compares, and corrects the clock. Returns a description of each change; an error is returned only if there
    /// was no change to report.
    pub fn round(&mut self) -> Result<Vec<String>, ClockError> {
        let mut changes = Vec::new();
        let mut failure = self.measure(&mut changes).err();
        let jumps = self.clock.status().jumps;
        for action in self.clock.tick(system::read()) {
            let why =
                if self.clock.status().jumps > jumps { "it had jumped" } else { "the control planes agree" };
            if let Err(error) = self.apply(action, why, &mut changes) {
                failure = Some(error);
            }
        }
        let status = self.clock.status();
        if matches!(status.opinion, Opinion::Disagree | Opinion::Refused(..)) {
            failure.get_or_insert(ClockError::Unconfirmed(status));
        }
        match failure {
            Some(error) if changes.is_empty() => Err(error),
            _ => Ok(changes),
        }
    }

    fn apply(&self, action: Action, why: &str, changes: &mut Vec<String>) -> Result<(), ClockError> {
        match action {
            Action::SetClock(to) => {
                let by = to.since(system::read().wall);
                system::set(to).map_err(ClockError::Set)?;
                let direction = if by < 0 { "back" } else { "forward" };
                changes.push(format!("set the clock {direction} by {}: {why}", Span(by)));
                match &self.time {
                    Some(time) => Ok(chronyd::restart(time.unit())?),
                    None => Ok(()),
                }
            }
            Action::Slew(by) => system::slew(by).map_err(ClockError::Set),
            Action::Save(time) => saved::store(&self.state, time).map_err(ClockError::Save),
        }
    }

    /// Passes chronyd's measurements to the state machine. A chronyd that was just started has none.
    fn measure(&mut self, changes: &mut Vec<String>) -> Result<(), ClockError> {
        let Some(time) = &self.time else { return Ok(()) };
        changes.extend(settle_chronyd(time)?);
        if changes.is_empty() {
            let samples = Link::open_here(Path::new(FOLDER))?.samples()?;
            for measurement in measurements(time, &samples, system::read()) {
                self.clock.measured(measurement);
            }
        }
        Ok(())
    }
}

/// The measurements of control planes among chronyd's samples. Pure.
pub fn measurements(time: &Time, samples: &[Sample], now: Reading) -> Vec<Measurement> {
    let one = |sample: &Sample| {
        let (source, offset, bound) = (*time.sources.get(&sample.address)?, sample.offset, sample.bound);
        let at = now.boot.checked_sub(sample.age)?; // older than the boot: chronyd's clock was set since
        Some(Measurement { source, offset, bound, at })
    };
    samples.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use kubedos_wire::node::Role;
    use proptest::prelude::*;

    use super::super::{LARGEST_BOUND, Millis, STEP, Settings, Wall};
    use super::*;

    const FLOOR: u64 = 1_763_300_000;

    fn address(number: u32) -> IpAddr {
        IpAddr::from([10, 101, 0, u8::try_from(number).unwrap()])
    }

    fn time(sources: &[u32]) -> Time {
        Time {
            role: Role::Worker,
            plane: "wg1".parse().unwrap(),
            cidr: "10.101.0.0/16".parse().unwrap(),
            address: address(9),
            sources: sources.iter().map(|number| (address(*number), *number)).collect(),
        }
    }

    fn sample(source: u32, age: u64, offset: Millis, bound: Millis) -> Sample {
        Sample { address: address(source), age: Duration::from_secs(age), offset, bound }
    }

    fn at(seconds: u64) -> Reading {
        Reading { wall: Wall::from_secs(FLOOR + 86_400 + seconds), boot: Duration::from_secs(seconds) }
    }

    #[test]
    fn only_samples_of_control_planes_since_the_boot_are_measurements() {
        let samples = [sample(1, 5, 7, 20), sample(2, 101, 7, 20), sample(4, 5, 7, 20)];
        let found = measurements(&time(&[1, 2]), &samples, at(100));
        assert_eq!(found, [Measurement { source: 1, offset: 7, bound: 20, at: Duration::from_secs(95) }]);
    }

    proptest! {
        /// Three control planes, of which one sends what it likes; the others confirm the clock. chronyd reports the samples in
        /// any order, some twice. The clock is neither set nor slewed.
        #[test]
        fn a_rogue_control_plane_moves_no_clock(
            rounds in proptest::collection::vec(
                proptest::collection::vec((1u32..4, 0u64..200, any::<i64>(), any::<i64>(), any::<bool>()), 1..8), 1..20),
        ) {
            let settings = Settings {
                floor: Wall::from_secs(FLOOR),
                span_days: 3650,
                control_planes: [1, 2, 3].into(),
                node: 9,
            };
            let (mut clock, _) = Clock::start(&settings, at(10));
            for (round, samples) in (1..).zip(rounds) {
                let now = at(10 + round * 15);
                let samples: Vec<Sample> = samples
                    .into_iter()
                    .map(|(source, age, offset, bound, near)| match source {
                        3 if near => sample(3, age, offset % (4 * STEP), bound.rem_euclid(LARGEST_BOUND)),
                        3 => sample(3, age, offset, bound),
                        honest => sample(honest, age, 0, bound.rem_euclid(LARGEST_BOUND)),
                    })
                    .collect();
                for measurement in measurements(&time(&[1, 2, 3]), &samples, now) {
                    clock.measured(measurement);
                }
                for action in clock.tick(now) {
                    prop_assert!(matches!(action, Action::Save(_)), "{action:?}");
                }
            }
        }
    }
}
