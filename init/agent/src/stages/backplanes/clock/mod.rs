//! The clock of a node, before and after its planes come up.
//!
//! This module owns the decisions: what the clock is set to at boot, when it is stepped, which time is saved as the next
//! lower bound, and when the planes may come up ([`Clock`]). It also owns the rule by which control planes agree
//! ([`agreement`]), the recovery of a peer whose stored handshake timestamp is in the future ([`stale_peers`]), and the
//! files of chronyd ([`chrony`], [`measurements`]).
//!
//! Invariants: the clock is never set below the floor or above the ceiling; only time that a majority of the control
//! planes confirms is saved; half of the control planes or fewer never move a clock that the others confirm; planes wait
//! at most [`PATIENCE`]. Everything here is pure: the caller reads and sets clocks, restarts chronyd and writes files.
//!
//! Not here: the rate of the clock, which chronyd corrects. `docs/clock.md` has the reasons. TAI64N timestamps are checked
//! in `wg_noise_handshake_consume_initiation` (`drivers/net/wireguard/noise.c`).

pub mod agreement;
pub mod chrony;
mod machine;
pub mod measurements;
pub mod stale_peers;
mod status;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

pub use machine::Clock;
pub use status::{Basis, Opinion, Refusal, Status};

/// The longest time that the planes wait for the clock, since the state machine started. The clock is set at the start,
/// so the planes wait this long only if the kernel refuses to set it.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The interval between two saved times. STATE is written at most this often. A time is saved only after the control
/// planes have confirmed the clock for as long.
pub const SAVE_EVERY: Millis = 5 * 60 * 1000;

/// A clock that starts from the floor starts this much later. It is then later than the handshakes that this node made
/// after it saved the floor, so that its peers do not refuse the next ones. It includes the interval between two ticks.
pub const RESERVE: Millis = 2 * SAVE_EVERY;

/// Smaller differences are left to chronyd, which corrects them without a step.
pub const STEP: Millis = 500;

/// A larger difference between the system clock and the boot-time clock is a jump. A leap second is smaller, and a
/// correction of the rate changes both clocks alike (`kernel/time/timekeeping.c`).
pub const JUMP: Millis = 2000;

/// The largest step back after services have started. It is below WireGuard's `REKEY_AFTER_TIME` of 120 seconds: the next
/// handshake of a session that runs then has a later timestamp than the last one, so no peer refuses it.
pub const LARGEST_STEP_BACK: Millis = 60 * 1000;

/// A measurement is used for this long. chronyd measures each control plane every 64 seconds or more often.
pub const FRESH: Duration = Duration::from_secs(300);

/// A measurement with a larger error bound is ignored: it would agree with every other one.
pub const LARGEST_BOUND: Millis = 30 * 1000;

/// The latest time that the kernel accepts for the clock: `TIME_SETTOD_SEC_MAX` of `include/linux/time64.h`, in 2232.
pub const LATEST: Wall = Wall(8_277_292_035_000);

/// A difference of times, in milliseconds.
pub type Millis = i64;

/// A time of the system clock, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub Millis);

impl Wall {
    /// A time in seconds since 1970.
    pub fn from_secs(seconds: u64) -> Self {
        Self(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000))
    }

    /// The whole seconds since 1970; 0 before 1970.
    pub fn secs(self) -> u64 {
        u64::try_from(self.0.div_euclid(1000)).unwrap_or(0)
    }

    /// A later time, or an earlier one if `by` is negative.
    #[must_use]
    pub const fn plus(self, by: Millis) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// The difference from `earlier` to this time.
    pub const fn since(self, earlier: Self) -> Millis {
        self.0.saturating_sub(earlier.0)
    }
}

/// The facts about the node that the decisions need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The floor: the later one of the epoch of the image and the time that STATE has saved.
    pub floor: Wall,
    /// How far the RTC may be ahead of the floor, in days (`limits.clock_span_days`).
    pub span_days: u32,
    /// The numbers of all control planes.
    pub control_planes: BTreeSet<u32>,
    /// The number of this node.
    pub node: u32,
}

/// The system clock and the boot-time clock, read at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// `CLOCK_REALTIME`.
    pub wall: Wall,
    /// `CLOCK_BOOTTIME`, which counts suspended time.
    pub boot: Duration,
}

/// One measurement of a control plane's clock over the control plane's WireGuard device, which authenticates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// The number of the control plane.
    pub source: u32,
    /// The control plane's clock minus this node's clock.
    pub offset: Millis,
    /// The largest possible error of the offset.
    pub bound: Millis,
    /// `CLOCK_BOOTTIME` at the measurement.
    pub at: Duration,
}

/// What the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Set the system clock. If chronyd runs, the caller then restarts it and discards what it has logged, because its
    /// measurements refer to the clock before the step.
    SetClock(Wall),
    /// Save this time in STATE as the next floor.
    Save(Wall),
}

/// A duration in milliseconds, at most the largest value of the type.
fn millis(duration: Duration) -> Millis {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
