//! How long to wait for a machine: a bound on its silence and one on the whole, in time that the machine could use.
//!
//! Under software emulation on a shared host a machine may be kept from running for minutes. That time does not count: the kernel accounts
//! for every thread how long it was ready and not run (`/proc/PID/task/TID/schedstat`, second field, nanoseconds), and the longest of the
//! machine's threads is taken off the clock. So a busy host makes a test slow, not red.

use std::time::{Duration, Instant};

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The longest time without a new console line.
    pub silence: Duration,
    /// The longest time in all.
    pub total: Duration,
}

impl Patience {
    /// For a boot from firmware to the last stage.
    pub const BOOT: Self = Self { silence: Duration::from_secs(90), total: Duration::from_secs(300) };
    /// For one step of a machine that already runs.
    pub const STEP: Self = Self { silence: Duration::from_secs(60), total: Duration::from_secs(120) };

    /// Both bounds the same.
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

/// What ran out.
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

    /// Looks at the clock; `lines` is how many the console holds by now.
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

/// How long the most starved thread of a process was ready and not run; zero when the kernel does not say.
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
    fn silence_ends_a_wait_and_a_new_line_starts_it_again() {
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
    fn the_total_ends_a_wait_that_is_not_silent() {
        let patience = Patience { silence: Duration::from_secs(60), total: Duration::from_millis(50) };
        let mut waited = Waited::start(patience, std::process::id(), 0);
        std::thread::sleep(Duration::from_millis(200));
        assert!(matches!(waited.ran_out(9), Some(RanOut::Total(_))));
    }

    #[test]
    fn the_kernel_says_how_long_a_process_was_starved() {
        assert!(std::path::Path::new("/proc/self/task").exists());
        assert!(starved(std::process::id()) < Duration::from_secs(3600));
    }
}
