//! The times of the steps of the stage, for its record: a person who waits for the planes sees what took long.

use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

/// The steps that have ended, with their times.
#[derive(Debug)]
pub struct Steps {
    begun: Instant,
    ended: Vec<(&'static str, Duration)>,
}

impl Steps {
    /// Starts the first step.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), ended: Vec::new() }
    }

    /// Ends a step and starts the next one.
    pub fn end(&mut self, step: &'static str) {
        let now = Instant::now();
        self.ended.push((step, now.saturating_duration_since(self.begun)));
        self.begun = now;
    }
}

impl Display for Steps {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (position, (step, took)) in self.ended.iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            write!(f, "{separator}{step} {:.1} s", took.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_shown_in_order_with_tenths_of_seconds() {
        let ended = vec![("firewall", Duration::from_millis(149)), ("networkd", Duration::from_millis(3160))];
        assert_eq!(Steps { begun: Instant::now(), ended }.to_string(), "firewall 0.1 s, networkd 3.2 s");
    }
}
