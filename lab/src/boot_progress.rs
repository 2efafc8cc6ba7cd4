//! What a node has reported on its console since its start: where it is in its stages, and whether it has failed.
//!
//! The input is untrusted: a guest can print any line. The result is data for display and for the decision whether to wait
//! longer; nothing here changes the machine. Texts are kept as they were printed, shortened to [`MAX_TEXT`] characters.

use kubedos_wire::planes::WAITS_ON_PEERS;
use kubedos_wire::printable;
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;

use crate::WaitFailure;
use crate::machine_error::ends_wait;

/// The maximum number of characters of a text. A record has at most 900 bytes, but a line of a guest has no limit.
pub const MAX_TEXT: usize = 1000;

/// The progress of one boot.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BootProgress {
    current: Option<Record>,
    planes: Option<Record>,
    failure: Option<BootFailure>,
    corrupt: Option<Record>,
    /// The last result of the last stage of this version.
    end: Option<End>,
}

/// How the last stage of this version ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Succeeded,
    Waits,
}

/// Why a boot cannot continue.
#[derive(Debug, Clone, PartialEq)]
pub enum BootFailure {
    /// The node reported that a step or a stage halted.
    Halted(Record),
    /// The kernel panicked or oopsed; its message.
    Kernel(String),
}

impl BootProgress {
    /// Adds one line of the console. Lines without a record are ignored, except the kernel's messages about its own end.
    pub fn read(&mut self, line: &str) {
        if let Some(record) = Record::find(line) {
            self.record(shortened(record));
        } else if let Some(WaitFailure::Lost(message)) = ends_wait(line)
            && self.failure.is_none()
        {
            self.failure = Some(BootFailure::Kernel(printable::clipped(&message, MAX_TEXT).into_owned()));
        }
    }

    /// The last record of a step of stage 1, or of a stage that this version implements.
    pub fn current(&self) -> Option<&Record> {
        self.current.as_ref()
    }

    /// The last record of the stage that configures the planes.
    pub fn planes(&self) -> Option<&Record> {
        self.planes.as_ref()
    }

    /// Why the boot cannot continue.
    pub fn failure(&self) -> Option<&BootFailure> {
        self.failure.as_ref()
    }

    /// The first record about a block that did not verify.
    pub fn corrupt(&self) -> Option<&Record> {
        self.corrupt.as_ref()
    }

    /// Whether the last stage of this version has succeeded, and nothing has failed.
    pub fn is_ready(&self) -> bool {
        self.end == Some(End::Succeeded) && self.failure.is_none()
    }

    /// Whether the last stage of this version continues to wait for something outside the node, and nothing has failed.
    pub fn waits_at_the_end(&self) -> bool {
        self.end == Some(End::Waits) && self.failure.is_none()
    }

    fn record(&mut self, record: Record) {
        let stage = Stage::ALL.into_iter().find(|stage| stage.name() == record.stage);
        let is_last = stage.is_some() && stage == last_stage();
        match record.outcome {
            Outcome::Halted if self.failure.is_none() => {
                self.failure = Some(BootFailure::Halted(record.clone()));
            }
            Outcome::Corrupt if self.corrupt.is_none() => self.corrupt = Some(record.clone()),
            Outcome::Done | Outcome::Unchanged if is_last => self.end = Some(End::Succeeded),
            // The node has done its part; the other one may boot later.
            Outcome::Waiting if is_last && record.on.as_deref() == Some(WAITS_ON_PEERS) => {}
            Outcome::Waiting if is_last => self.end = Some(End::Waits),
            _ => {}
        }
        if stage == Some(Stage::Backplanes) {
            self.planes = Some(record.clone());
        }
        // A corrupt block is reported at any time, and does not change in which stage the node is.
        if stage.is_none_or(Stage::in_this_version) && record.outcome != Outcome::Corrupt {
            self.current = Some(record);
        }
    }
}

/// The last stage that this version implements.
fn last_stage() -> Option<Stage> {
    Stage::ALL.into_iter().rfind(|stage| stage.in_this_version())
}

fn shortened(mut record: Record) -> Record {
    let optional =
        [&mut record.on, &mut record.error, &mut record.note, &mut record.volume, &mut record.node];
    for text in optional.into_iter().flatten().chain([&mut record.stage]) {
        *text = printable::clipped(text, MAX_TEXT).into_owned();
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(stage: &str, outcome: Outcome) -> String {
        Record::new(1, 1.0, stage, outcome).line()
    }

    fn after(lines: &[String]) -> BootProgress {
        let mut progress = BootProgress::default();
        lines.iter().for_each(|line| progress.read(line));
        progress
    }

    #[test]
    fn a_boot_is_ready_after_the_last_stage_of_this_version() {
        let last = last_stage().unwrap().name();
        let mut lines = vec![line("SwitchRoot", Outcome::Done), line(last, Outcome::Started)];
        assert!(!after(&lines).is_ready());
        lines.push(line(last, Outcome::Unchanged));
        lines.push(line("Seal", Outcome::Waiting));
        let progress = after(&lines);
        assert!(progress.is_ready());
        assert_eq!(
            progress.current().unwrap().stage,
            last,
            "a stage of a later version is not the current one"
        );
    }

    #[test]
    fn the_first_failure_is_kept() {
        let mut halted = Record::new(1, 1.0, "OpenRoot", Outcome::Halted);
        halted.error = Some("root: no partition".into());
        let lines = [halted.line(), "Kernel panic - not syncing".into(), line("Disks", Outcome::Halted)];
        let progress = after(&lines);
        assert_eq!(progress.failure(), Some(&BootFailure::Halted(halted)));
        let progress = after(&["[ 1.0] Kernel panic - not syncing: x".into()]);
        assert_eq!(
            progress.failure(),
            Some(&BootFailure::Kernel("[ 1.0] Kernel panic - not syncing: x".into()))
        );
    }

    #[test]
    fn a_node_that_halts_after_it_was_ready_is_not_ready() {
        let last = last_stage().unwrap().name();
        assert!(!after(&[line(last, Outcome::Done), line("Disks", Outcome::Halted)]).is_ready());
    }

    #[test]
    fn a_last_stage_that_waits_is_not_ready_until_it_succeeds() {
        let last = last_stage().unwrap().name();
        let mut lines = vec![line("Disks", Outcome::Waiting), line(last, Outcome::Started)];
        assert!(!after(&lines).waits_at_the_end());
        lines.push(line(last, Outcome::Waiting));
        assert!(after(&lines).waits_at_the_end() && !after(&lines).is_ready());
        lines.push(line(last, Outcome::Done));
        assert!(after(&lines).is_ready() && !after(&lines).waits_at_the_end());
        lines.push(line("Disks", Outcome::Halted));
        assert!(!after(&lines).is_ready() && !after(&lines).waits_at_the_end());
    }

    #[test]
    fn a_ready_node_stays_ready_while_its_peers_have_no_session() {
        let last = last_stage().unwrap().name();
        let mut waits = Record::new(1, 1.0, last, Outcome::Waiting);
        waits.on = Some(WAITS_ON_PEERS.into());
        let progress = after(&[line(last, Outcome::Done), waits.line()]);
        assert!(progress.is_ready() && !progress.waits_at_the_end());
        assert_eq!(progress.planes().unwrap().on.as_deref(), Some(WAITS_ON_PEERS));
        assert!(!after(&[waits.line()]).is_ready());
    }

    #[test]
    fn a_corrupt_block_does_not_change_the_stage() {
        let progress = after(&[line("Disks", Outcome::Done), line("Baseline", Outcome::Corrupt)]);
        assert_eq!(progress.current().unwrap().stage, "Disks");
        assert_eq!(progress.corrupt().unwrap().stage, "Baseline");
    }

    proptest! {
        /// A guest controls every line.
        #[test]
        fn every_kept_text_is_short(lines in proptest::collection::vec(any::<String>(), 0..8), long in 0..5000_usize) {
            let mut progress = BootProgress::default();
            let record = format!(r#"kubedos: {{"v":1,"n":1,"t":1,"stage":"{0}","outcome":"halted","error":"{0}"}}"#, "x".repeat(long));
            let panic = format!("Kernel panic{}", "y".repeat(long));
            for line in lines.iter().chain([&record, &panic]) {
                progress.read(line);
            }
            let record = progress.current().unwrap();
            prop_assert!(record.stage.chars().count() <= MAX_TEXT);
            prop_assert!(record.error.as_ref().unwrap().chars().count() <= MAX_TEXT);
        }
    }
}
