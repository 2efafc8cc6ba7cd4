//! The errors of a machine.
//!
//! The error of a wait shows its cause, the file with the whole console, and the last console lines, so that the
//! output of a failed test is sufficient to understand it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kubedos_wire::record::{Outcome, Record};

use crate::patience::RanOut;
use crate::{QmpError, ToolsError};

/// Kernel messages after which the machine cannot continue.
const LOST: [&str; 4] = ["Kernel panic", "Oops", "BUG:", "double fault"];

/// The error of an operation on a machine.
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
        /// The cause.
        source: io::Error,
    },
    /// A program could not be started, or its process could not be used.
    #[error("{what} cannot be used")]
    Run {
        /// The program or the part of it.
        what: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A program failed.
    #[error("{what} failed: {message}")]
    Refused {
        /// The program.
        what: &'static str,
        /// Its output.
        message: String,
    },
    /// The control socket failed.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// A wait failed.
    #[error("{0}")]
    WaitError(Box<WaitError>),
}

/// A wait that failed.
pub struct WaitError {
    /// The awaited record or line.
    pub awaited: String,
    /// The cause of the failure.
    pub failure: WaitFailure,
    /// The file with the whole console.
    pub log: PathBuf,
    /// The last console lines.
    pub tail: Vec<String>,
}

/// Why a wait failed.
#[derive(Debug, Clone, PartialEq)]
pub enum WaitFailure {
    /// The kernel panicked or oopsed.
    Lost(String),
    /// The node halted.
    Halted(Box<Record>),
    /// The emulator ended; its output.
    Ended(String),
    /// There was no new line for too long.
    Silent(Duration),
    /// The wait took too long in total.
    TooLong(Duration),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to wait for {}: ", self.awaited)?;
        match &self.failure {
            WaitFailure::Lost(line) => write!(f, "kernel message: {line}")?,
            WaitFailure::Halted(record) => {
                write!(
                    f,
                    "the node halted at {}: {}",
                    record.stage,
                    record.error.as_deref().unwrap_or("no error in the record")
                )?;
            }
            WaitFailure::Ended(message) if message.is_empty() => write!(f, "the machine ended")?,
            WaitFailure::Ended(message) => write!(f, "the emulator ended: {message}")?,
            WaitFailure::Silent(time) => write!(f, "no new console line for {:.0} s", time.as_secs_f64())?,
            WaitFailure::TooLong(time) => write!(f, "timed out after {:.0} s", time.as_secs_f64())?,
        }
        write!(f, "\nconsole: {}; last lines:", self.log.display())?;
        self.tail.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl fmt::Debug for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Tests print errors with Debug, so Debug has the same text as Display.
        fmt::Display::fmt(self, f)
    }
}

impl From<RanOut> for WaitFailure {
    fn from(ran_out: RanOut) -> Self {
        match ran_out {
            RanOut::Silence(time) => Self::Silent(time),
            RanOut::Total(time) => Self::TooLong(time),
        }
    }
}

/// The failure in this line that ends a wait; `None` for other lines.
pub(crate) fn ends_wait(line: &str) -> Option<WaitFailure> {
    if LOST.iter().any(|word| line.contains(word)) {
        return Some(WaitFailure::Lost(line.to_owned()));
    }
    let record = Record::find(line)?;
    (record.outcome == Outcome::Halted).then(|| WaitFailure::Halted(Box::new(record)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_panic_and_a_halted_node_end_a_wait() {
        let mut halted = Record::new(3, 1.0, "OpenRoot", Outcome::Halted);
        halted.error = Some("root: no partition".into());
        let lost = "[    4.2] Kernel panic - not syncing: Attempted to kill init!";
        assert_eq!(ends_wait(lost), Some(WaitFailure::Lost(lost.into())));
        assert!(matches!(ends_wait("BUG: unable to handle page fault"), Some(WaitFailure::Lost(_))));
        assert_eq!(ends_wait(&halted.line()), Some(WaitFailure::Halted(Box::new(halted.clone()))));
        assert_eq!(ends_wait(&Record::new(4, 1.0, "Disks", Outcome::Retry).line()), None);
        assert_eq!(ends_wait("[    0.0] Debug messages are off"), None);
    }

    #[test]
    fn a_failed_wait_shows_its_cause_and_the_console() {
        let mut record = Record::new(3, 1.0, "OpenRoot", Outcome::Halted);
        record.error = Some("root: no partition".into());
        let wait_error = WaitError {
            awaited: "Baseline Done".into(),
            failure: WaitFailure::Halted(Box::new(record)),
            log: "/bench/console.log".into(),
            tail: vec!["last line".into()],
        };
        let text = format!("{wait_error:?}");
        assert_eq!(
            text,
            "failed to wait for Baseline Done: the node halted at OpenRoot: root: no partition\n\
             console: /bench/console.log; last lines:\n  last line"
        );
    }
}
