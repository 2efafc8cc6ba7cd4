//! The agent's watchdog: systemd gets keep-alive messages only while the thread of the stages makes progress.
//!
//! That thread calls [`Heartbeat::beat`] at every step, with the time that the next step may take. A second thread
//! sends the keep-alive messages. If the stages hang, the second thread stops sending, and systemd kills the agent and
//! starts it again (`WatchdogSec`, `Restart`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kubedos_base::console::uptime;

/// The deadline for the next sign of progress.
#[derive(Debug, Default)]
pub struct Heartbeat {
    good_until_ms: AtomicU64,
}

impl Heartbeat {
    /// Records progress; the next step takes at most `next_step`.
    pub fn beat(&self, next_step: Duration) {
        self.good_until_ms.store(millis(uptime().saturating_add(next_step)), Ordering::Relaxed);
    }

    /// Whether the deadline has not passed at `now` (since the kernel started).
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
    fn a_step_is_reported_as_hung_only_after_its_time_limit() {
        let heartbeat = Heartbeat::default();
        heartbeat.beat(Duration::from_secs(600));
        assert!(heartbeat.is_good(uptime()));
        assert!(heartbeat.is_good(uptime() + Duration::from_secs(599)));
        assert!(!heartbeat.is_good(uptime() + Duration::from_secs(601)));
    }
}
