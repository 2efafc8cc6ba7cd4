//! The walk: runs one stage. It repeats the attempts of the stage, pauses between them, and reports each outcome to the
//! console and the board.
//!
//! It does not depend on what a stage does: it maps every [`Step`] and [`Class`] to an outcome, by exhaustive match.

use std::error::Error;
use std::time::Duration;

use kubedos_wire::planes::WAITS_ON_PEERS;
use kubedos_wire::record::Outcome;
use kubedos_wire::stage::Stage;

use kubedos_base::console::{Console, Event, uptime};
use kubedos_base::outcome::{Class, Classified, Step};
use kubedos_wire::printable::chain;

use crate::board::Board;
use crate::heartbeat::Heartbeat;
use crate::notify::Notify;

/// The stage halted; the error has been reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stage {} halted", .0.name())]
pub struct Halted(pub Stage);

/// Number of attempts before an error of class [`Class::Retry`] halts the stage: about half a minute.
pub const ATTEMPTS: u32 = 6;

/// The pause between two attempts of a waiting stage.
const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The longest time that one attempt may take: creating file systems on a slow disk under emulation.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(900);

/// The interfaces that a stage reports to.
#[expect(missing_debug_implementations, reason = "contains a closure")]
pub struct Walk<'a> {
    /// The console for the records.
    pub console: &'a Console,
    /// The board, with the facts for the status page.
    pub board: &'a Board,
    /// The connection to systemd.
    pub notify: &'a Notify,
    /// The watchdog.
    pub heartbeat: &'a Heartbeat,
    /// Sleeps.
    pub pause: &'a dyn Fn(Duration),
}

impl Walk<'_> {
    /// Runs a stage until it ends or halts.
    pub fn stage<T, E: Classified>(
        &self,
        stage: Stage,
        mut attempt: impl FnMut() -> Result<Step<T>, E>,
    ) -> Result<T, Halted> {
        let begun = uptime();
        self.report(stage, Event::new(stage.name(), Outcome::Started), Outcome::Started, None, "");
        let mut failures = 0;
        let mut waits_on = None;
        loop {
            self.heartbeat.beat(LONGEST_ATTEMPT);
            let ended = attempt();
            let took = uptime().saturating_sub(begun);
            match ended {
                Ok(Step::Done { output, note }) => {
                    self.end(stage, Outcome::Done, took, note);
                    return Ok(output);
                }
                Ok(Step::Unchanged { output, note }) => {
                    self.end(stage, Outcome::Unchanged, took, note);
                    return Ok(output);
                }
                Ok(Step::Degraded { output, on, note }) => {
                    self.wait(stage, &on, note.as_deref(), Some(took));
                    return Ok(output);
                }
                Ok(Step::Waiting { on, note }) => {
                    failures = 0;
                    let reason = Some((on, note));
                    if reason != waits_on
                        && let Some((on, note)) = &reason
                    {
                        self.wait(stage, on, note.as_deref(), None);
                    }
                    waits_on = reason;
                    (self.pause)(POLL_INTERVAL);
                }
                Err(error) => match error.class() {
                    Class::Retry if failures + 1 < ATTEMPTS => {
                        failures += 1;
                        self.retry(stage, &error, failures);
                        (self.pause)(Duration::from_secs(1 << failures.min(4)));
                    }
                    Class::Retry | Class::Halt => {
                        self.halt(stage, &error);
                        return Err(Halted(stage));
                    }
                    Class::Wait => {
                        let reason = Some((chain(&error), None));
                        if reason != waits_on
                            && let Some((on, _)) = &reason
                        {
                            self.wait(stage, on, None, None);
                        }
                        waits_on = reason;
                        (self.pause)(POLL_INTERVAL);
                    }
                },
            }
        }
    }

    /// Reports a stage that does not run in this version, or that needs a stage which did not succeed.
    pub fn not_run(&self, stage: Stage, on: &str) {
        self.wait(stage, on, None, None);
    }

    /// Reports drift that was repaired after boot.
    pub fn drift_repaired(&self, stage: Stage, took: Duration, what: &str) {
        self.end(stage, Outcome::Done, took, Some(format!("drift repaired: {what}")));
    }

    /// Reports that sessions of planes were lost or exist again; `silent` if a node has none.
    pub fn sessions(&self, stage: Stage, silent: bool, note: String) {
        if silent {
            self.wait(stage, WAITS_ON_PEERS, Some(&note), None);
        } else {
            let event = Event::new(stage.name(), Outcome::Done).note(note.clone());
            self.report(stage, event, Outcome::Done, None, &note);
        }
    }

    /// Reports an error after boot; the next round tries again.
    pub fn retry(&self, stage: Stage, error: &dyn Error, attempt: u32) {
        let text = chain(error);
        self.board.add_error(uptime(), stage.name(), text.clone());
        let event = Event::new(stage.name(), Outcome::Retry).error(error).attempt(attempt);
        self.report(stage, event, Outcome::Retry, None, &text);
    }

    fn halt(&self, stage: Stage, error: &dyn Error) {
        let text = chain(error);
        self.board.add_error(uptime(), stage.name(), text.clone());
        self.report(
            stage,
            Event::new(stage.name(), Outcome::Halted).error(error),
            Outcome::Halted,
            None,
            &text,
        );
    }

    fn end(&self, stage: Stage, outcome: Outcome, took: Duration, note: Option<String>) {
        let event = Event::new(stage.name(), outcome).took(took);
        let about = note.clone().unwrap_or_default();
        let event = match note {
            Some(note) => event.note(note),
            None => event,
        };
        self.report(stage, event, outcome, Some(took), &about);
    }

    fn wait(&self, stage: Stage, on: &str, note: Option<&str>, took: Option<Duration>) {
        let mut event = Event::new(stage.name(), Outcome::Waiting).on(on);
        if let Some(note) = note {
            event = event.note(note);
        }
        if let Some(took) = took {
            event = event.took(took);
        }
        let about = note.map_or_else(|| on.to_owned(), |note| format!("{on}: {note}"));
        self.report(stage, event, Outcome::Waiting, took, &about);
    }

    fn report(&self, stage: Stage, event: Event, outcome: Outcome, took: Option<Duration>, about: &str) {
        self.board.set_stage(stage, outcome, uptime(), took, about);
        self.notify.status(&format!("{}: {}", stage.name(), outcome.name()));
        self.console.emit(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_base::console::Sink;
    use kubedos_wire::record::Record;
    use std::cell::RefCell;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<Record>>>);

    impl Sink for Lines {
        fn write_record(&mut self, _: u8, line: &str) -> io::Result<()> {
            self.0.lock().unwrap().push(Record::find(line).unwrap());
            Ok(())
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("no luck")]
    struct Bad(Class);

    impl Classified for Bad {
        fn class(&self) -> Class {
            self.0
        }
    }

    /// Runs a script of attempts; returns the result, the records, and the sum of the pauses.
    fn run(script: Vec<Result<Step<u32>, Bad>>) -> (Result<u32, Halted>, Vec<Record>, Duration) {
        let lines = Lines::default();
        let console = Console::with_sink(Box::new(lines.clone()), 1);
        let (board, notify, heartbeat) = (Board::default(), Notify::default(), Heartbeat::default());
        let paused = RefCell::new(Duration::ZERO);
        let pause = |time| *paused.borrow_mut() += time;
        let walk =
            Walk { console: &console, board: &board, notify: &notify, heartbeat: &heartbeat, pause: &pause };
        let mut script = script.into_iter();
        let result = walk.stage(Stage::Disks, || script.next().expect("the walk made one attempt too many"));
        let records = lines.0.lock().unwrap().clone();
        let paused = *paused.borrow();
        (result, records, paused)
    }

    fn outcomes(records: &[Record]) -> Vec<Outcome> {
        records.iter().map(|record| record.outcome).collect()
    }

    #[test]
    fn a_temporary_error_is_retried_and_counted() {
        let (result, records, paused) = run(vec![
            Err(Bad(Class::Retry)),
            Err(Bad(Class::Retry)),
            Ok(Step::Done { output: 7, note: None }),
        ]);
        assert_eq!(result, Ok(7));
        assert_eq!(outcomes(&records), [Outcome::Started, Outcome::Retry, Outcome::Retry, Outcome::Done]);
        assert_eq!(records[2].attempt, Some(2));
        assert_eq!(records[2].error.as_deref(), Some("no luck"));
        assert_eq!(paused, Duration::from_secs(6));
    }

    #[test]
    fn a_permanent_error_halts_the_stage_after_the_last_attempt() {
        let (result, records, _) = run((0..ATTEMPTS).map(|_| Err(Bad(Class::Retry))).collect());
        assert_eq!(result, Err(Halted(Stage::Disks)));
        assert_eq!(records.last().unwrap().outcome, Outcome::Halted);
        assert_eq!(records.len(), 1 + ATTEMPTS as usize);
    }

    #[test]
    fn waiting_is_reported_once_for_each_reason() {
        let wait = |on: &str| Ok(Step::Waiting { on: on.into(), note: None });
        let noted = |note: &str| Ok(Step::Waiting { on: "other seed".into(), note: Some(note.into()) });
        let (result, records, _) = run(vec![
            wait("seed"),
            wait("seed"),
            wait("other seed"),
            noted("vdb is skipped"),
            noted("vdb is skipped"),
            noted("vdc is skipped"),
            Ok(Step::Unchanged { output: 1, note: None }),
        ]);
        assert_eq!(result, Ok(1));
        assert_eq!(
            outcomes(&records),
            [
                Outcome::Started,
                Outcome::Waiting,
                Outcome::Waiting,
                Outcome::Waiting,
                Outcome::Waiting,
                Outcome::Unchanged
            ]
        );
        assert_eq!(records[1].on.as_deref(), Some("seed"));
        assert_eq!(records[4].note.as_deref(), Some("vdc is skipped"), "a new reason is reported");
    }

    #[test]
    fn a_halt_is_final_and_a_degraded_stage_continues() {
        let (result, records, _) = run(vec![Err(Bad(Class::Halt))]);
        assert_eq!(result, Err(Halted(Stage::Disks)));
        assert_eq!(outcomes(&records), [Outcome::Started, Outcome::Halted]);
        let (result, records, _) =
            run(vec![Ok(Step::Degraded { output: 2, on: "disk".into(), note: Some("too small".into()) })]);
        assert_eq!(result, Ok(2));
        assert_eq!(records[1].on.as_deref(), Some("disk"));
    }
}
