//! The agent's own watchdog: systemd is told "alive" only while the stages' thread moves.
//!
//! The thread says [`Heartbeat::beat`] at every step and before every step how long that may take; a second thread passes it on.
//! When the stages hang, the second thread falls silent, systemd ends the agent and starts it anew (`WatchdogSec`, `Restart`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::console::uptime;

/// Until when the stages' thread may stay silent.
#[derive(Debug, Default)]
pub struct Heartbeat {
    good_until_ms: AtomicU64,
}

impl Heartbeat {
    /// The stages' thread is alive, and its next step takes at most `next_step`.
    pub fn beat(&self, next_step: Duration) {
        self.good_until_ms.store(millis(uptime().saturating_add(next_step)), Ordering::Relaxed);
    }

    /// Whether the last step is still within its time at `now` (since the kernel started).
    pub fn is_good(&self, now: Duration) -> bool {
        millis(now) <= self.good_until_ms.load(Ordering::Relaxed)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hung_step_is_noticed_and_a_long_one_is_not() {
        let heartbeat = Heartbeat::default();
        heartbeat.beat(Duration::from_secs(600));
        assert!(heartbeat.is_good(uptime()));
        assert!(heartbeat.is_good(uptime() + Duration::from_secs(599)));
        assert!(!heartbeat.is_good(uptime() + Duration::from_secs(601)));
    }
}
