//! The state of the clock as the console and the status page show it. No decisions.

use std::fmt::{self, Display, Formatter};

use super::{Measurement, Millis, Wall};

/// Where the time of the clock comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The RTC, which was between floor and ceiling at the start.
    Rtc,
    /// The floor and the time since boot.
    Floor {
        /// The clock at the start, as the kernel had set it from the RTC.
        rtc: Wall,
        /// The nearest time that was trusted.
        trusted: Wall,
    },
    /// The control planes: the clock was stepped to their time.
    Stepped,
}

/// The last comparison with the control planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opinion {
    /// Less than a majority has answered.
    Waiting,
    /// A majority confirms the clock.
    Agreed {
        /// The size of the majority.
        by: usize,
    },
    /// A majority has answered, but does not agree. The clock is kept.
    Disagree,
    /// A majority agrees about a time that the node does not accept. The clock is kept.
    Refused(Refusal, Millis),
}

/// Why a correction that a majority asks for is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The time is before the floor.
    BelowFloor,
    /// The time is beyond the ceiling.
    AboveCeiling,
}

/// The state of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Where the time comes from.
    pub basis: Basis,
    /// The last comparison with the control planes.
    pub opinion: Opinion,
    /// The number of control planes with a fresh measurement; a control plane counts itself.
    pub heard: usize,
    /// The number of all control planes.
    pub of: usize,
    /// The fresh measurement with the smallest error.
    pub best: Option<Measurement>,
    /// The number of jumps since boot. After each, the clock is set back.
    pub jumps: u32,
    /// The last jump; positive is forward.
    pub last_jump: Millis,
}

impl Status {
    /// The state for the status page, which has few columns: how far this clock is ahead of the best measured control
    /// plane, with the error, and how many control planes agree. `+3 ms +/- 21 ms, 2/3 agree`.
    pub fn brief(&self) -> String {
        let (heard, of) = (self.heard, self.of);
        let votes = match self.opinion {
            Opinion::Waiting => format!("{heard}/{of} measured"),
            Opinion::Agreed { by } => format!("{by}/{of} agree"),
            Opinion::Disagree => format!("{heard}/{of} disagree"),
            Opinion::Refused(..) => format!("{heard}/{of}: step refused"),
        };
        match self.best {
            Some(Measurement { offset, bound, .. }) => {
                let ahead = offset.saturating_neg();
                if ahead.saturating_abs() < 10_000 {
                    format!("{ahead:+} ms +/- {bound} ms, {votes}")
                } else {
                    format!("{:+} s +/- {bound} ms, {votes}", ahead / 1000)
                }
            }
            None => votes,
        }
    }
}

impl Display for Basis {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Basis::Rtc => write!(f, "from the RTC"),
            Basis::Floor { rtc, trusted } if rtc < trusted => {
                write!(f, "from the lower bound, because the RTC is {} behind it", Span(trusted.since(rtc)))
            }
            Basis::Floor { rtc, trusted } => {
                let ahead = Span(rtc.since(trusted));
                write!(f, "from the lower bound, because the RTC is {ahead} ahead of the upper bound")
            }
            Basis::Stepped => write!(f, "from the control planes"),
        }
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (heard, of) = (self.heard, self.of);
        write!(f, "{}", self.basis)?;
        match self.opinion {
            Opinion::Waiting => write!(f, "; {heard} of {of} control planes measured")?,
            Opinion::Agreed { by } => write!(f, "; agreed by {by} of {of} control planes")?,
            Opinion::Disagree => {
                write!(f, "; control planes disagree ({heard} of {of} measured), the clock is kept")?;
            }
            Opinion::Refused(why, by) => {
                let why = match why {
                    Refusal::BelowFloor => "would be below the lower bound",
                    Refusal::AboveCeiling => "would be above the upper bound",
                };
                let direction = if by < 0 { "back" } else { "forward" };
                write!(f, "; a step {direction} by {} {why}, the clock is kept", Span(by))?;
            }
        }
        if self.jumps > 0 {
            let direction = if self.last_jump < 0 { "back" } else { "forward" };
            let last = Span(self.last_jump);
            write!(f, "; jumped {} times, last {direction} by {last}", self.jumps)?;
        }
        Ok(())
    }
}

/// An amount of time, without its sign, in the largest unit of which there are at least two.
pub(super) struct Span(pub(super) Millis);

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0.unsigned_abs().div_ceil(1000);
        let units = [(86_400, "days"), (3600, "hours"), (60, "minutes")];
        match units.into_iter().find(|(length, _)| seconds >= 2 * length) {
            Some((length, name)) => write!(f, "{} {name}", seconds / length),
            None => write!(f, "{seconds} s"),
        }
    }
}
