//! Emission of console records, shared by stage 1 and the agent; their shape is `kubedos_spec::record`.
//!
//! A record is one `write(2)` to `/dev/kmsg`, thus one record of the kernel log, and the kernel prints it on every console
//! in one piece: nothing that services write to the same line can tear it. The count `n` belongs to the boot, not to the
//! process: stage 1 hands it over, and the agent keeps it in a file beside the hand-over, so that a restarted agent goes on
//! counting. Kernel side: `Documentation/ABI/testing/dev-kmsg`, `kernel.printk` and `kernel.printk_devkmsg` in
//! `Documentation/admin-guide/sysctl/kernel.rst`.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kubedos_spec::record::{Outcome, Record};
use rustix::time::{ClockId, clock_gettime};

/// What a record says, without what the console adds to it (count, time, node).
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

    /// How long the stage took.
    #[must_use]
    pub fn took(mut self, took: Duration) -> Self {
        self.took = Some(took);
        self
    }

    /// What it waits for.
    #[must_use]
    pub fn on(mut self, what: impl Into<String>) -> Self {
        self.on = Some(what.into());
        self
    }

    /// What went wrong, with its causes.
    #[must_use]
    pub fn error(mut self, error: &dyn Error) -> Self {
        self.error = Some(chain(error));
        self
    }

    /// What went wrong, where there is only a text (a panic).
    #[must_use]
    pub fn error_text(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into());
        self
    }

    /// Which try it was, from 1.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// The volume that did not verify.
    #[must_use]
    pub fn volume(mut self, volume: impl Into<String>) -> Self {
        self.volume = Some(volume.into());
        self
    }

    /// What was chosen, and why.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// An error and its causes, joined by `: `.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Where records go: the kernel log, or a list in tests.
pub trait Sink: Send {
    /// Writes one record as a whole; `priority` is a kernel log level.
    fn write_record(&mut self, priority: u8, line: &str) -> io::Result<()>;
}

/// The writer of records; share it by reference between threads.
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
    /// The console of stage 1: counts from 1. `/dev` and `/proc` are mounted.
    pub fn first() -> Self {
        raise_levels();
        Self::with_sink(Box::new(Kmsg::open()), 1)
    }

    /// The console of the agent: goes on where `counter` says that an earlier agent of this boot stopped, else at `handed_over`
    /// (`record_count` of the hand-over).
    pub fn resume(handed_over: u64, counter: &Path) -> Self {
        raise_levels();
        let kept = fs::read_to_string(counter).ok().and_then(|text| text.trim().parse().ok()); // absent on the agent's first start
        let console = Self::with_sink(Box::new(Kmsg::open()), kept.unwrap_or(0).max(handed_over));
        console.lock().counter = Some(counter.to_owned());
        console
    }

    /// A console over any sink; `next` is the first record's `n`.
    pub fn with_sink(sink: Box<dyn Sink>, next: u64) -> Self {
        Self(Mutex::new(Inner { sink, next, node: None, counter: None }))
    }

    /// Puts the node's name into every record from now on.
    pub fn set_node(&self, node: impl Into<String>) {
        self.lock().node = Some(node.into());
    }

    /// The `n` of the next record.
    pub fn next(&self) -> u64 {
        self.lock().next
    }

    /// Writes one record. There is nobody to tell when that fails, and nothing may stop because of it.
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
            drop(fs::write(counter, inner.next.to_string())); // a wrong count after a crash is not worth a failure now
        }
        drop(inner.sink.write_record(priority(event.outcome), &record.line())); // nobody left to tell
    }

    /// Writes a line for people, which is no record.
    pub fn say(&self, text: &str) {
        drop(self.lock().sink.write_record(SHOWN, &Record::remark(text))); // nobody left to tell
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time since the kernel started.
pub fn uptime() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// The kernel log level of a record that no human must act on. It is `err`, because the console has to show every record, and a console
/// that also shows `warning` shows what healthy machines and drivers warn of at each boot.
const SHOWN: u8 = 3;

/// The kernel log level of an outcome: `crit` where a human must act.
const fn priority(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Halted | Outcome::Corrupt => 2,
        Outcome::Started | Outcome::Done | Outcome::Unchanged | Outcome::Waiting | Outcome::Retry => SHOWN,
    }
}

/// Holds the kernel's console level; its first number.
const PRINTK: &str = "/proc/sys/kernel/printk";

/// The kernel prints records above its console level only, and by default drops user space's when they come fast.
/// [`SHOWN`] must show, and no record may be lost.
fn raise_levels() {
    if console_level().is_some_and(|level| level <= SHOWN) {
        drop(fs::write(PRINTK, (SHOWN + 1).to_string())); // read-only /proc in tests; the record still is in the log
    }
    drop(fs::write("/proc/sys/kernel/printk_devkmsg", "on\n")); // with its line end, or it is refused; also refused when the command line has set it, which is as good
}

fn console_level() -> Option<u8> {
    fs::read_to_string(PRINTK).ok().and_then(|text| text.split_whitespace().next()?.parse().ok())
}

/// Runs something of which the kernel complains although it is meant, and keeps the complaint off the console; it stays in the log.
/// Only where nothing else can go wrong meanwhile.
pub fn quietly(run: impl FnOnce()) {
    const ALERT_ONLY: &str = "2";
    let level = console_level();
    if level.is_some() {
        drop(fs::write(PRINTK, ALERT_ONLY)); // then the complaint shows
    }
    run();
    if let Some(level) = level {
        drop(fs::write(PRINTK, level.to_string())); // the agent raises it again
    }
}

/// `/dev/kmsg`, and `/dev/console` where the kernel has none.
#[derive(Debug)]
struct Kmsg {
    kmsg: Option<File>,
}

impl Kmsg {
    fn open() -> Self {
        Self { kmsg: OpenOptions::new().write(true).open("/dev/kmsg").ok() } // then every record goes to the console directly
    }
}

impl Sink for Kmsg {
    fn write_record(&mut self, priority: u8, line: &str) -> io::Result<()> {
        // The line end closes the record: one without stays open for more text, and the consoles show it with the next one only.
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
    fn records_count_and_carry_node_and_chain() {
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

    /// D1: a record that nothing follows is shown, too.
    #[test]
    fn every_record_is_closed_when_it_is_written() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut kmsg = Kmsg { kmsg: Some(file.reopen().unwrap()) };
        kmsg.write_record(5, "kubedos: {}").unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "<5>kubedos: {}\n");
    }

    #[test]
    fn a_restarted_agent_goes_on_counting() {
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
