//! Progress of a fetch on stderr: a bar on a terminal, otherwise a line every few seconds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use kubedos_debian::cache::{CacheError, Pin};
use kubedos_debian::fetch::Progress;
use kubedos_debian::fetch::http::HttpError;
use kubedos_debian::mirror::{Accepted, Rejection};
use kubedos_wire::printable::chain;

use super::terminal::{can_move_cursor, say};

/// The interval between progress lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows the progress of a fetch on stderr.
#[derive(Debug)]
pub struct Console {
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    files: usize,
    files_done: usize,
    bytes: u64,
    current: HashMap<String, u64>,
    bytes_done: u64,
    last_line: Instant,
}

impl Console {
    /// Creates a progress display. It draws a bar if stderr is a terminal that can move the cursor.
    pub fn new() -> Self {
        let can_draw = can_move_cursor();
        let state = State {
            files: 0,
            files_done: 0,
            bytes: 0,
            current: HashMap::new(),
            bytes_done: 0,
            last_line: Instant::now(),
        };
        Self { bar: can_draw.then(ProgressBar::no_length), state: Mutex::new(state) }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| say!("{line}")),
            None => say!("{line}"),
        }
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let bytes = state.bytes_done + state.current.values().sum::<u64>();
        match &self.bar {
            Some(bar) => {
                bar.set_position(bytes);
                bar.set_message(format!("{}/{} files", state.files_done, state.files));
            }
            None if state.last_line.elapsed() >= LINE_EVERY => {
                state.last_line = Instant::now();
                let (done, files) = (state.files_done, state.files);
                say!(
                    "fetching: {done} of {files} files, {} of {} MB",
                    bytes / 1_000_000,
                    state.bytes / 1_000_000
                );
            }
            None => {}
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Console {
    fn start(&self, files: usize, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(bytes);
            let template = "fetching {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
        }
        self.update(|state| {
            (state.files, state.bytes, state.files_done, state.bytes_done) = (files, bytes, 0, 0)
        });
        self.say(&format!("fetching {files} files, {} MB", bytes / 1_000_000));
    }

    fn advance(&self, name: &str, bytes: u64) {
        self.update(|state| {
            state.current.insert(name.to_owned(), bytes);
        });
    }

    fn done(&self, pin: &Pin) {
        self.update(|state| {
            state.current.remove(&pin.name);
            state.files_done += 1;
            state.bytes_done += pin.size;
        });
    }

    fn retry(&self, name: &str, error: &HttpError, wait: Duration) {
        self.say(&format!("{name}: {}; retry in {:.1} s", chain(error), wait.as_secs_f32()));
    }

    fn mirror(&self, suite: &str, accepted: &Accepted, rejections: &[Arc<Rejection>]) {
        // Print a line only if sources were rejected, so that the user sees which mirror is used instead.
        if rejections.is_empty() {
            return;
        }
        for rejection in rejections {
            self.say(&format!("no mirror of {suite}: {rejection}"));
        }
        self.say(&format!("{suite} is fetched from {} ({})", accepted.mirror.host(), accepted.named));
    }

    fn damaged(&self, error: &CacheError) {
        self.say(&format!("{error}; it will be fetched again"));
    }
}
