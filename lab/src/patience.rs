//! Time limits for waiting on a machine: one for the time without a console line, and one for the whole wait.
//!
//! Under software emulation on a shared host a machine may not get processor time for minutes. That time does not
//! count: the kernel records for every thread how long it was runnable but did not run (`/proc/PID/task/TID/schedstat`,
//! second field, nanoseconds), and the largest value of the machine's threads is subtracted. On a busy host, a test is therefore
//! slow but does not fail.

use std::time::{Duration, Instant};

/// The limits of one wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Maximum time without a new console line.
    pub silence: Duration,
    /// Maximum time of the whole wait.
    pub total: Duration,
}

impl Patience {
    /// The limits for a boot from firmware to the last stage.
    pub const BOOT: Self = Self { silence: Duration::from_secs(90), total: Duration::from_secs(300) };
    /// The limits for one step of a running machine.
    pub const STEP: Self = Self { silence: Duration::from_secs(60), total: Duration::from_secs(120) };

    /// The same value for both limits.
    pub const fn seconds(seconds: u64) -> Self {
        Self { silence: Duration::from_secs(seconds), total: Duration::from_secs(seconds) }
    }
}

/// The clock of one wait.
#[derive(Debug)]
pub(crate) struct Waited {
    patience: Patience,
    pid: u32,
    start: Moment,
    last_line: Moment,
    lines: usize,
}

#[derive(Debug, Clone, Copy)]
struct Moment {
    wall: Instant,
    starved: Duration,
}

impl Moment {
    fn now(pid: u32) -> Self {
        Self { wall: Instant::now(), starved: starved(pid) }
    }

    fn until(self, later: Self) -> Duration {
        let starved = later.starved.saturating_sub(self.starved);
        (later.wall - self.wall).saturating_sub(starved)
    }
}

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RanOut {
    Silence(Duration),
    Total(Duration),
}

impl Waited {
    pub(crate) fn start(patience: Patience, pid: u32, lines: usize) -> Self {
        let now = Moment::now(pid);
        Self { patience, pid, start: now, last_line: now, lines }
    }

    /// Checks both limits; `lines` is the present number of console lines.
    pub(crate) fn ran_out(&mut self, lines: usize) -> Option<RanOut> {
        let now = Moment::now(self.pid);
        if lines != self.lines {
            self.lines = lines;
            self.last_line = now;
        }
        let (silence, total) = (self.last_line.until(now), self.start.until(now));
        if total >= self.patience.total {
            Some(RanOut::Total(total))
        } else if silence >= self.patience.silence {
            Some(RanOut::Silence(silence))
        } else {
            None
        }
    }
}

/// The longest time for which a thread of the process was runnable but did not run. Zero if the kernel does not report
/// it.
fn starved(pid: u32) -> Duration {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    let nanoseconds = tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok())
        .max();
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_ends_a_wait_and_a_new_line_resets_the_limit() {
        let patience = Patience { silence: Duration::from_millis(60), total: Duration::from_secs(60) };
        let mut waited = Waited::start(patience, std::process::id(), 0);
        assert_eq!(waited.ran_out(1), None);
        for lines in 2..6 {
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(waited.ran_out(lines), None);
        }
        std::thread::sleep(Duration::from_millis(200));
        assert!(matches!(waited.ran_out(5), Some(RanOut::Silence(_))));
    }

    #[test]
    fn the_total_limit_ends_a_wait_that_is_not_silent() {
        let patience = Patience { silence: Duration::from_secs(60), total: Duration::from_millis(50) };
        let mut waited = Waited::start(patience, std::process::id(), 0);
        std::thread::sleep(Duration::from_millis(200));
        assert!(matches!(waited.ran_out(9), Some(RanOut::Total(_))));
    }

    #[test]
    fn the_kernel_reports_how_long_a_process_was_starved() {
        assert!(std::path::Path::new("/proc/self/task").exists());
        assert!(starved(std::process::id()) < Duration::from_secs(3600));
    }
}
