//! The output of a machine's serial port, as lines with timestamps. A separate thread reads it.
//!
//! A line ends at a line feed; a carriage return before it is removed, and invalid UTF-8 is replaced. The last lines and
//! all records are kept in memory until the [`Console`] is dropped, up to a size that a guest reaches only by a flood;
//! `console.log` of the machine has everything. Lines keep their numbers when older ones are dropped.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kubedos_wire::record::Record;

/// How much memory lines may use, in bytes. A boot has about 20 KiB.
const KEPT: usize = 32 << 20;

/// The memory that a line uses in addition to its text, about.
const LINE: usize = 64;

/// How many records are kept, the oldest ones. A node that runs for a year has some thousands.
const RECORDS: usize = 50_000;

/// The longest line in bytes; the rest follows as another line.
const LONGEST_LINE: usize = 1 << 20;

/// One line of the console, without its line end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When the line was complete, since the start of the machine, on the host's clock.
    pub at: Duration,
    /// Its text; invalid UTF-8 is replaced.
    pub text: String,
}

/// The console of one machine.
#[derive(Debug)]
pub struct Console {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the first line that is kept.
    first: usize,
    lines: VecDeque<Line>,
    /// The memory of all lines.
    bytes: usize,
    records: Vec<Record>,
    ended: bool,
}

impl State {
    fn push(&mut self, line: Line) {
        if let Some(record) = Record::find(&line.text).filter(|_| self.records.len() < RECORDS) {
            self.records.push(record);
        }
        self.bytes = self.bytes.saturating_add(line.text.len() + LINE);
        self.lines.push_back(line);
        while self.bytes > KEPT
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes = self.bytes.saturating_sub(oldest.text.len() + LINE);
            self.first = self.first.saturating_add(1);
        }
    }

    /// The number of lines so far.
    fn count(&self) -> usize {
        self.first.saturating_add(self.lines.len())
    }

    fn from(&self, number: usize) -> Vec<Line> {
        self.lines.iter().skip(number.saturating_sub(self.first)).cloned().collect()
    }
}

impl Console {
    /// Reads `source` to its end.
    pub(crate) fn read(source: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let start = Instant::now();
            split_lines(source, |text| {
                theirs.lock().push(Line { at: start.elapsed(), text });
                theirs.changed.notify_all();
            });
            theirs.lock().ended = true;
            theirs.changed.notify_all();
        });
        Self { shared, reader: Some(reader) }
    }

    /// Every line so far that is kept.
    pub fn lines(&self) -> Vec<Line> {
        self.lines_from(0).1
    }

    /// The number of the next line, and the lines from number `from` on that are kept, without waiting. The first line has
    /// the number 0.
    pub fn lines_from(&self, from: usize) -> (usize, Vec<Line>) {
        let state = self.shared.lock();
        (state.count(), state.from(from))
    }

    /// The number of lines so far.
    pub fn len(&self) -> usize {
        self.shared.lock().count()
    }

    /// Whether there is no output so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every record so far, in order.
    pub fn records(&self) -> Vec<Record> {
        self.shared.lock().records.clone()
    }

    /// As [`Self::lines_from`], and whether the source has ended. Waits for a change, at most `at_most`.
    pub(crate) fn since(&self, from: usize, at_most: Duration) -> (usize, Vec<Line>, bool) {
        let state = self.shared.lock();
        let nothing_new = |state: &mut State| state.count() <= from && !state.ended;
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, at_most, nothing_new)
            .unwrap_or_else(PoisonError::into_inner);
        (state.count(), state.from(from), state.ended)
    }

    /// Waits until the source has ended. The caller ends the process first, so that this does not block.
    pub(crate) fn drain(&mut self) {
        if let Some(reader) = self.reader.take()
            && reader.join().is_err()
        {
            eprintln!("the reader of the console panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete when the lock is free.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `line` for every line, and for the text after the last line end.
fn split_lines(mut source: impl Read, mut line: impl FnMut(String)) {
    let (mut buffer, mut pending) = (vec![0_u8; 4096], Vec::new());
    while let Ok(count @ 1..) = source.read(&mut buffer) {
        for &byte in buffer.get(..count).unwrap_or_default() {
            if byte != b'\n' {
                pending.push(byte);
            }
            if byte == b'\n' || pending.len() == LONGEST_LINE {
                line(text(&pending));
                pending.clear();
            }
        }
    }
    if !pending.is_empty() {
        line(text(&pending));
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\r').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &'static [u8]) -> Vec<String> {
        let mut console = Console::read(bytes);
        console.drain();
        console.lines().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn the_last_line_needs_no_line_feed() {
        assert_eq!(lines(b"one\r\ntwo\n\nthree"), ["one", "two", "", "three"]);
        assert_eq!(lines(b"\xff\n"), ["\u{fffd}"]);
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn records_are_found_between_other_lines() {
        let record = Record::new(1, 0.5, "Modules", kubedos_wire::record::Outcome::Done);
        let bytes = format!("noise\n[  0.5] {}\r\nnoise", record.line()).into_bytes();
        let mut console = Console::read(std::io::Cursor::new(bytes));
        console.drain();
        assert_eq!(console.records(), [record]);
    }

    #[test]
    fn since_reports_the_end_of_the_source() {
        let console = Console::read(&b"one\n"[..]);
        let mut seen = 0;
        loop {
            let (next, _, ended) = console.since(seen, Duration::from_secs(10));
            seen = next;
            if ended {
                break;
            }
        }
        assert_eq!(seen, 1);
    }

    /// Attack: a guest that prints without end. Records of before the flood are kept, and the last lines with their numbers.
    #[test]
    fn a_flood_of_lines_drops_the_oldest_lines_and_no_record() {
        let mut state = State::default();
        let line = |text: String| Line { at: Duration::ZERO, text };
        let record = Record::new(1, 0.5, "Modules", kubedos_wire::record::Outcome::Done);
        state.push(line(record.line()));
        for number in 0..3 * KEPT / 1024 {
            state.push(line(format!("{number:01024}")));
        }
        assert_eq!(state.lines.len(), KEPT / (1024 + LINE));
        assert_eq!(state.records, [record]);
        assert_eq!(state.count(), 1 + 3 * KEPT / 1024);
        let last = state.from(state.count() - 1);
        assert_eq!(last.len(), 1);
        assert!(last[0].text.ends_with(&format!("0{}", 3 * KEPT / 1024 - 1)));
        assert_eq!(state.from(0).len(), state.lines.len());
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut console =
            Console::read(std::io::repeat(b'x').take(u64::try_from(LONGEST_LINE * 2 + 1).unwrap()));
        console.drain();
        assert_eq!(
            console.lines().iter().map(|line| line.text.len()).collect::<Vec<_>>(),
            [LONGEST_LINE, LONGEST_LINE, 1]
        );
    }
}
