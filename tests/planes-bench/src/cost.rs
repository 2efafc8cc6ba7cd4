//! The cost of a piece of work: wall clock time, and the user and system time of this process and of its children that ended.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde_json::{Value, json};

/// Costs that were measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    wall: Duration,
    processor: Duration,
}

impl Cost {
    /// Adds another cost.
    pub fn add(&mut self, other: Self) {
        self.wall += other.wall;
        self.processor += other.processor;
    }

    /// In milliseconds.
    pub fn json(self) -> Value {
        json!({ "wall_ms": self.wall.as_secs_f64() * 1e3, "cpu_ms": self.processor.as_secs_f64() * 1e3 })
    }
}

/// Runs `work` and measures it.
pub fn measured<T, E: From<nix::Error>>(work: impl FnOnce() -> Result<T, E>) -> Result<(T, Cost), E> {
    let (processor, begun) = (processor()?, Instant::now());
    let result = work()?;
    let wall = begun.elapsed();
    Ok((result, Cost { wall, processor: self::processor()?.saturating_sub(processor) }))
}

fn processor() -> nix::Result<Duration> {
    let of = |who| -> nix::Result<Duration> {
        let usage = getrusage(who)?;
        Ok(duration(usage.user_time()) + duration(usage.system_time()))
    };
    Ok(of(UsageWho::RUSAGE_SELF)? + of(UsageWho::RUSAGE_CHILDREN)?)
}

fn duration(time: TimeVal) -> Duration {
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec())) + Duration::from_micros(part(time.tv_usec()))
}
