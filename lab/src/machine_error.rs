//! What can go wrong with a machine; above all a wait in vain, told so that a person sees at once why.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kubedos_spec::record::{Outcome, Record};

use crate::patience::RanOut;
use crate::{QmpError, ToolsError};

/// What the kernel says when it is lost: waiting for anything else is vain.
const LOST: [&str; 4] = ["Kernel panic", "Oops", "BUG:", "double fault"];

/// Why a machine did not do what was wanted.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The emulator is incomplete.
    #[error(transparent)]
    Tools(#[from] ToolsError),
    /// A file or folder of the bench cannot be used.
    #[error("{} cannot be used", .path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program does not start.
    #[error("{what} does not start")]
    Run {
        /// The program.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A program refused.
    #[error("{what} failed: {says}")]
    Refused {
        /// The program.
        what: &'static str,
        /// Its words.
        says: String,
    },
    /// The control socket failed.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// What was waited for did not come.
    #[error("{0}")]
    GaveUp(Box<GaveUp>),
}

/// A wait in vain.
pub struct GaveUp {
    /// What was waited for.
    pub awaited: String,
    /// Why it cannot come any more, or is not waited for any longer.
    pub because: Because,
    /// The whole console.
    pub log: PathBuf,
    /// Its last lines.
    pub tail: Vec<String>,
}

/// Why a wait ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Because {
    /// The kernel said that it is lost.
    Lost(String),
    /// The node halted.
    Halted(Box<Record>),
    /// The emulator ended; what it said itself.
    Ended(String),
    /// No new line for too long.
    Silent(Duration),
    /// It took too long in all.
    TooLong(Duration),
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited in vain for {}: ", self.awaited)?;
        match &self.because {
            Because::Lost(line) => write!(f, "the kernel says: {line}")?,
            Because::Halted(record) => {
                write!(
                    f,
                    "the node halted at {}: {}",
                    record.stage,
                    record.error.as_deref().unwrap_or("no reason")
                )?;
            }
            Because::Ended(says) if says.is_empty() => write!(f, "the machine ended")?,
            Because::Ended(says) => write!(f, "the emulator ended: {says}")?,
            Because::Silent(time) => write!(f, "no new console line for {:.0} s", time.as_secs_f64())?,
            Because::TooLong(time) => write!(f, "still nothing after {:.0} s", time.as_secs_f64())?,
        }
        write!(f, "\nconsole: {}; its last lines:", self.log.display())?;
        self.tail.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl fmt::Debug for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Tests print errors by their Debug form: let it be the readable one.
        fmt::Display::fmt(self, f)
    }
}

impl From<RanOut> for Because {
    fn from(ran_out: RanOut) -> Self {
        match ran_out {
            RanOut::Silence(time) => Self::Silent(time),
            RanOut::Total(time) => Self::TooLong(time),
        }
    }
}

/// Why a line makes all waiting vain.
pub(crate) fn vain(line: &str) -> Option<Because> {
    if LOST.iter().any(|word| line.contains(word)) {
        return Some(Because::Lost(line.to_owned()));
    }
    let record = Record::find(line)?;
    (record.outcome == Outcome::Halted).then(|| Because::Halted(Box::new(record)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_kernel_and_a_halted_node_make_waiting_vain() {
        let mut halted = Record::new(3, 1.0, "OpenRoot", Outcome::Halted);
        halted.error = Some("root: no partition".into());
        let lost = "[    4.2] Kernel panic - not syncing: Attempted to kill init!";
        assert_eq!(vain(lost), Some(Because::Lost(lost.into())));
        assert!(matches!(vain("BUG: unable to handle page fault"), Some(Because::Lost(_))));
        assert_eq!(vain(&halted.line()), Some(Because::Halted(Box::new(halted.clone()))));
        assert_eq!(vain(&Record::new(4, 1.0, "Disks", Outcome::Retry).line()), None);
        assert_eq!(vain("[    0.0] Debug messages are off"), None);
    }

    #[test]
    fn a_wait_in_vain_says_what_why_and_where() {
        let mut record = Record::new(3, 1.0, "OpenRoot", Outcome::Halted);
        record.error = Some("root: no partition".into());
        let gave_up = GaveUp {
            awaited: "Baseline Done".into(),
            because: Because::Halted(Box::new(record)),
            log: "/bench/console.log".into(),
            tail: vec!["last words".into()],
        };
        let text = format!("{gave_up:?}");
        assert_eq!(
            text,
            "waited in vain for Baseline Done: the node halted at OpenRoot: root: no partition\n\
             console: /bench/console.log; its last lines:\n  last words"
        );
    }
}
