//! Writes console records, for stage 1 and the agent; `kubedos_wire::record` owns their format.
//!
//! A record is one `write(2)` to `/dev/kmsg` and therefore one record of the kernel log. The kernel prints it on every
//! console in one piece, so the output of services cannot split it. The count `n` is the number of the record in this
//! boot: stage 1 hands it over, and the agent stores it in a file in the folder of the hand-over, so that a restarted
//! agent continues the count. Kernel documentation: `Documentation/ABI/testing/dev-kmsg`, `kernel.printk` and
//! `kernel.printk_devkmsg` in `Documentation/admin-guide/sysctl/kernel.rst`.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kubedos_wire::printable::chain;
use kubedos_wire::record::{Outcome, Record};
use rustix::time::{ClockId, clock_gettime};

/// The content of a record without the fields that the console adds (count, time, node).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    stage: &'static str,
    outcome: Outcome,
    took: Option<Duration>,
    on: Option<String>,
    error: Option<String>,
    attempt: Option<u32>,
    volume: Option<String>,
    note: Option<String>,
}

impl Event {
    /// An event of a stage (`Stage::name`, `EarlyStage::name`).
    pub const fn new(stage: &'static str, outcome: Outcome) -> Self {
        Self { stage, outcome, took: None, on: None, error: None, attempt: None, volume: None, note: None }
    }

    /// Sets how long the stage took.
    #[must_use]
    pub fn took(mut self, took: Duration) -> Self {
        self.took = Some(took);
        self
    }

    /// Sets the object that the stage waits for.
    #[must_use]
    pub fn on(mut self, what: impl Into<String>) -> Self {
        self.on = Some(what.into());
        self
    }

    /// Sets the error, with its causes.
    #[must_use]
    pub fn error(mut self, error: &dyn Error) -> Self {
        self.error = Some(chain(error));
        self
    }

    /// Sets the error from a text, for a panic, which has no error value.
    #[must_use]
    pub fn error_text(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into());
        self
    }

    /// Sets the number of the attempt, from 1.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// Sets the volume that failed verification.
    #[must_use]
    pub fn volume(mut self, volume: impl Into<String>) -> Self {
        self.volume = Some(volume.into());
        self
    }

    /// Sets the note: the result, and why.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// The destination of records: the kernel log, or a list in tests.
pub trait Sink: Send {
    /// Writes one record in one piece; `priority` is a kernel log level.
    fn write_record(&mut self, priority: u8, line: &str) -> io::Result<()>;
}

/// The writer of records; threads share it by reference.
pub struct Console(Mutex<Inner>);

struct Inner {
    sink: Box<dyn Sink>,
    next: u64,
    node: Option<String>,
    counter: Option<PathBuf>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("next", &self.next()).finish_non_exhaustive()
    }
}

impl Console {
    /// The console of stage 1: counts from 1. `/dev` and `/proc` must be mounted.
    pub fn first() -> Self {
        raise_levels();
        Self::with_sink(Box::new(Kmsg::open()), 1)
    }

    /// The console of the agent: continues the count in the file `counter`, which an earlier agent of this boot wrote,
    /// otherwise at `handed_over` (`record_count` of the hand-over).
    pub fn resume(handed_over: u64, counter: &Path) -> Self {
        raise_levels();
        let kept = fs::read_to_string(counter).ok().and_then(|text| text.trim().parse().ok()); // the file does not exist on the agent's first start
        let console = Self::with_sink(Box::new(Kmsg::open()), kept.unwrap_or(0).max(handed_over));
        console.lock().counter = Some(counter.to_owned());
        console
    }

    /// A console with any sink; `next` is the `n` of the first record.
    pub fn with_sink(sink: Box<dyn Sink>, next: u64) -> Self {
        Self(Mutex::new(Inner { sink, next, node: None, counter: None }))
    }

    /// Adds the node's name to all further records.
    pub fn set_node(&self, node: impl Into<String>) {
        self.lock().node = Some(node.into());
    }

    /// The `n` of the next record.
    pub fn next(&self) -> u64 {
        self.lock().next
    }

    /// Writes one record. Errors are ignored: they cannot be reported, and a failed write must not stop the node.
    pub fn emit(&self, event: Event) {
        let mut inner = self.lock();
        let mut record = Record::new(inner.next, uptime().as_secs_f64(), event.stage, event.outcome);
        record.node = inner.node.clone();
        record.took_ms = event.took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        record.on = event.on;
        record.error = event.error;
        record.attempt = event.attempt;
        record.volume = event.volume;
        record.note = event.note;
        inner.next += 1;
        if let Some(counter) = &inner.counter {
            drop(fs::write(counter, inner.next.to_string())); // the only consequence is a wrong count after a crash
        }
        drop(inner.sink.write_record(priority(event.outcome), &record.line())); // the error cannot be reported
    }

    /// Writes a line of text that is not a record.
    pub fn log_line(&self, text: &str) {
        drop(self.lock().sink.write_record(SHOWN, &Record::remark(text))); // the error cannot be reported
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time since the kernel started.
pub fn uptime() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// The kernel log level of a record that requires no action. It is `err`, because the console must show every record; a
/// console that also shows `warning` shows the warnings of healthy machines and drivers at each boot.
const SHOWN: u8 = 3;

/// The kernel log level of an outcome: `crit` if an operator must act.
const fn priority(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Halted | Outcome::Corrupt => 2,
        Outcome::Started | Outcome::Done | Outcome::Unchanged | Outcome::Waiting | Outcome::Retry => SHOWN,
    }
}

/// The file whose first number is the kernel's console level.
const PRINTK: &str = "/proc/sys/kernel/printk";

/// The kernel prints only records above its console level, and by default drops records from user space that come fast.
/// Raises the limits so that [`SHOWN`] is shown and no record is lost.
fn raise_levels() {
    if console_level().is_some_and(|level| level <= SHOWN) {
        drop(fs::write(PRINTK, (SHOWN + 1).to_string())); // /proc is read-only in tests; the record is still in the log
    }
    drop(fs::write("/proc/sys/kernel/printk_devkmsg", "on\n")); // the kernel requires the line end; it also refuses when the command line has set the value, which has the same effect
}

fn console_level() -> Option<u8> {
    fs::read_to_string(PRINTK).ok().and_then(|text| text.split_whitespace().next()?.parse().ok())
}

/// Runs a function that causes an expected kernel message, and does not print the message on the console; it stays in
/// the log. Use it only if the kernel can log no other message during that time.
pub fn quietly(run: impl FnOnce()) {
    const ALERT_ONLY: &str = "2";
    let level = console_level();
    if level.is_some() {
        drop(fs::write(PRINTK, ALERT_ONLY)); // on error the message is shown
    }
    run();
    if let Some(level) = level {
        drop(fs::write(PRINTK, level.to_string())); // on error the agent raises the level again
    }
}

/// `/dev/kmsg`, or `/dev/console` if the kernel has no `/dev/kmsg`.
#[derive(Debug)]
struct Kmsg {
    kmsg: Option<File>,
}

impl Kmsg {
    fn open() -> Self {
        Self { kmsg: OpenOptions::new().write(true).open("/dev/kmsg").ok() } // on error every record goes to the console directly
    }
}

impl Sink for Kmsg {
    fn write_record(&mut self, priority: u8, line: &str) -> io::Result<()> {
        // The line end completes the record: without it the kernel waits for more text, and shows the record only with
        // the next one.
        let record = format!("<{priority}>{line}\n");
        if let Some(kmsg) = &mut self.kmsg {
            loop {
                match kmsg.write(record.as_bytes()) {
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
        OpenOptions::new().write(true).open("/dev/console")?.write_all(format!("{line}\r\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<Vec<(u8, String)>>>);

    impl Sink for Fake {
        fn write_record(&mut self, priority: u8, line: &str) -> io::Result<()> {
            self.0.lock().unwrap().push((priority, line.to_owned()));
            Ok(())
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("failed to open volume root")]
    struct Outer(#[source] io::Error);

    #[test]
    fn records_are_numbered_and_contain_the_node_and_the_causes_of_an_error() {
        let fake = Fake::default();
        let console = Console::with_sink(Box::new(fake.clone()), 5);
        console.emit(Event::new("OpenRoot", Outcome::Started));
        console.set_node("cp-1");
        let error = Outer(io::Error::other("bad superblock"));
        console.emit(Event::new("OpenRoot", Outcome::Halted).error(&error).took(Duration::from_millis(12)));
        let lines = fake.0.lock().unwrap().clone();
        let first = Record::find(&lines[0].1).unwrap();
        let second = Record::find(&lines[1].1).unwrap();
        assert_eq!((lines[0].0, first.n, first.node), (3, 5, None));
        assert_eq!((lines[1].0, second.n, second.node.as_deref()), (2, 6, Some("cp-1")));
        assert_eq!(second.error.as_deref(), Some("failed to open volume root: bad superblock"));
        assert_eq!(second.took_ms, Some(12));
        assert!(second.t >= first.t && first.t > 0.0);
        assert_eq!(console.next(), 7);
    }

    /// D1: a record is shown even if no other record follows.
    #[test]
    fn every_record_ends_with_a_line_feed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut kmsg = Kmsg { kmsg: Some(file.reopen().unwrap()) };
        kmsg.write_record(5, "kubedos: {}").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "<5>kubedos: {}\n");
    }

    #[test]
    fn a_restarted_agent_continues_the_count() {
        let folder = tempfile::tempdir().unwrap();
        let counter = folder.path().join("records");
        let counted = |next, count: Option<&Path>| {
            let console = Console::with_sink(Box::new(Fake::default()), next);
            console.lock().counter = count.map(Path::to_owned);
            console
        };
        counted(9, Some(&counter)).emit(Event::new("Disks", Outcome::Started));
        assert_eq!(fs::read_to_string(&counter).unwrap(), "10");
        assert_eq!(Console::resume(9, &counter).next(), 10);
        assert_eq!(Console::resume(9, &folder.path().join("absent")).next(), 9);
    }
}
