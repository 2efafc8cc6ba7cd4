//! The clock of a node, before and after its planes come up.
//!
//! This module owns the decisions: what the clock is set to at boot, when it is stepped, and which time is saved as the
//! next lower bound ([`Clock`]); the rule by which control planes agree ([`agreement`]); and the recovery of peers whose
//! stored handshake timestamp is in the future ([`stale_peers`]). [`system`] applies the decision at boot, [`Timekeeper`]
//! those after it, with the measurements of [`chronyd`]; [`saved`] keeps the agreed time.
//!
//! Invariants: the clock is never set below the floor or above the ceiling; only time that another control plane confirms
//! and a majority agrees about is saved; half of the control planes or fewer never move a clock that the others confirm.
//! The planes do not wait for the clock.
//!
//! Only this module sets the clock. chronyd runs without the permission to do so. TAI64N timestamps are checked in `wg_noise_handshake_consume_initiation`
//! (`drivers/net/wireguard/noise.c`). `docs/clock.md` has the reasons.

pub mod agreement;
pub mod chronyd;
mod keeper;
mod machine;
pub mod saved;
pub mod stale_peers;
mod status;
pub mod system;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::stages::validate_shard::Identity;

pub use keeper::{ClockError, Timekeeper, measurements, settle_chronyd};
pub use machine::Clock;
pub use status::{Basis, Opinion, Refusal, Status};

/// The interval between two saved times. STATE is written at most this often. A time is saved only after the control
/// planes have confirmed the clock for as long.
pub const SAVE_EVERY: Millis = 5 * 60 * 1000;

/// Smaller differences are no reason for a step: the clock is slewed, which the kernel does with half a millisecond per second
/// (`MAX_TICKADJ` of `kernel/time/ntp.c`).
pub const STEP: Millis = 500;

/// A larger difference between the system clock and the boot-time clock is a jump. A leap second is smaller, and a
/// correction of the rate changes both clocks alike (`kernel/time/timekeeping.c`).
pub const JUMP: Millis = 2000;

/// A measurement is used for this long.
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

impl Settings {
    /// The facts from the node's documents and the floor that STATE keeps.
    pub fn new(identity: &Identity, floor: u64) -> Self {
        Self {
            floor: Wall::from_secs(floor),
            span_days: identity.cluster.limits.clock_span_days,
            control_planes: identity.cluster.control_planes.iter().map(|one| one.id.get()).collect(),
            node: identity.shard.id.get(),
        }
    }
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
    /// Set the system clock. Measurements from before refer to the old clock.
    SetClock(Wall),
    /// Make the clock faster or slower until it has gained or, if negative, lost this time. It replaces an earlier request.
    Slew(Millis),
    /// Save this time in STATE as the next floor.
    Save(Wall),
}

/// A duration in milliseconds, at most the largest value of the type.
fn millis(duration: Duration) -> Millis {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
