//! The output of a machine's serial port, as lines with timestamps. A separate thread reads it.
//!
//! A line ends at a line feed; a carriage return before it is removed, and invalid UTF-8 is replaced. The lines are
//! kept in memory until the [`Console`] is dropped.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kubedos_wire::record::Record;

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
    lines: Vec<Line>,
    ended: bool,
}

impl Console {
    /// Reads `source` to its end.
    pub(crate) fn read(source: impl Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let start = Instant::now();
            split_lines(source, |text| {
                theirs.lock().lines.push(Line { at: start.elapsed(), text });
                theirs.changed.notify_all();
            });
            theirs.lock().ended = true;
            theirs.changed.notify_all();
        });
        Self { shared, reader: Some(reader) }
    }

    /// Every line so far.
    pub fn lines(&self) -> Vec<Line> {
        self.shared.lock().lines.clone()
    }

    /// The lines from number `from` on, without waiting. The first line has the number 0.
    pub fn lines_from(&self, from: usize) -> Vec<Line> {
        self.shared.lock().lines.get(from..).unwrap_or_default().to_vec()
    }

    /// The number of lines so far.
    pub fn len(&self) -> usize {
        self.shared.lock().lines.len()
    }

    /// Whether there is no output so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every record so far, in order.
    pub fn records(&self) -> Vec<Record> {
        self.shared.lock().lines.iter().filter_map(|line| Record::find(&line.text)).collect()
    }

    /// The lines from number `from` on, and whether the source has ended. Waits for a change, at most `at_most`.
    pub(crate) fn since(&self, from: usize, at_most: Duration) -> (Vec<Line>, bool) {
        let state = self.shared.lock();
        let nothing_new = |state: &mut State| state.lines.len() <= from && !state.ended;
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, at_most, nothing_new)
            .unwrap_or_else(PoisonError::into_inner);
        (state.lines.get(from..).unwrap_or_default().to_vec(), state.ended)
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
        // The state is a list that only grows, so it is consistent whenever the lock is free.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `line` for every line, and for the text after the last line end.
fn split_lines(mut source: impl Read, mut line: impl FnMut(String)) {
    let (mut buffer, mut pending) = (vec![0_u8; 4096], Vec::new());
    while let Ok(count @ 1..) = source.read(&mut buffer) {
        for &byte in buffer.get(..count).unwrap_or_default() {
            if byte == b'\n' {
                line(text(&pending));
                pending.clear();
            } else {
                pending.push(byte);
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
            let (new, ended) = console.since(seen, Duration::from_secs(10));
            seen += new.len();
            if ended {
                break;
            }
        }
        assert_eq!(seen, 1);
    }
}
