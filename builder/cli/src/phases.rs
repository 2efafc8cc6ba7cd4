//! Shows the phases of a build on stderr: one updated line on a terminal, otherwise one line at the start of each phase.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use kubedos_builder::image::phase::{Phase, Watcher};

use super::terminal::{can_move_cursor, say};

/// Shows the phases of a build.
#[derive(Debug)]
pub struct Phases {
    moving: bool,
    line: Mutex<Option<ProgressBar>>,
}

impl Phases {
    /// Creates the display. It uses an updated line if stderr is a terminal that can move the cursor.
    pub fn new() -> Self {
        Self { moving: can_move_cursor(), line: Mutex::new(None) }
    }

    fn set(&self, line: Option<ProgressBar>) {
        let old = std::mem::replace(&mut *self.line.lock().unwrap_or_else(PoisonError::into_inner), line);
        if let Some(old) = old {
            old.finish_and_clear();
        }
    }
}

impl Watcher for Phases {
    fn begin(&self, phase: Phase) {
        let text = format!("[{}/{}] {}", phase.number(), Phase::ALL.len(), phase.describe());
        // The fetch draws its own bar, and cargo prints its own progress.
        if !self.moving || matches!(phase, Phase::Fetch | Phase::Init) {
            return say!("{text}");
        }
        let line = ProgressBar::new_spinner().with_message(text);
        if let Ok(style) = ProgressStyle::with_template("{msg} {spinner} {elapsed}") {
            line.set_style(style);
        }
        line.enable_steady_tick(Duration::from_millis(100));
        self.set(Some(line));
    }

    fn end(&self, phase: Phase, took: Duration) {
        if self.line.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return;
        }
        self.set(None);
        let text = format!("[{}/{}] {}", phase.number(), Phase::ALL.len(), phase.describe());
        say!("{text:<32} {:>6.1} s", took.as_secs_f64());
    }
}
