//! The board: what the agent knows and shows, written by the stages, read by the status page.
//!
//! Facts only, no text layout (that is `status_page`) and no secrets: whoever stands at the console reads it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubedos_spec::record::Outcome;
use kubedos_spec::stage::Stage;

use crate::handover::Handover;

/// How many errors are kept.
const ERRORS: usize = 8;

/// How one stage stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which stage.
    pub stage: Stage,
    /// Its last outcome; `None` before it begins.
    pub outcome: Option<Outcome>,
    /// When that was, since the kernel started.
    pub at: Duration,
    /// How long it took.
    pub took: Option<Duration>,
    /// What it waits for, what went wrong, or what was chosen.
    pub about: String,
}

/// One error, kept for the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mishap {
    /// When, since the kernel started.
    pub at: Duration,
    /// Where.
    pub stage: &'static str,
    /// What.
    pub text: String,
}

/// One disk or volume, as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLine {
    /// What it is for: `system`, `state`, `data`, or the kernel's name.
    pub name: String,
    /// Where it is and how large.
    pub text: String,
}

/// Everything that is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What was booted.
    pub handover: Option<Handover>,
    /// The node's name, once known.
    pub node: Option<String>,
    /// The node's role, once known.
    pub role: Option<String>,
    /// The incarnation that its seed names.
    pub incarnation: Option<u32>,
    /// The least that its seed lets it boot, as text.
    pub floors: Option<String>,
    /// Whether the cluster was made with the published demonstration keys.
    pub demo_keys: bool,
    /// The fingerprint of the node's own key.
    pub fingerprint: Option<String>,
    /// The stages, in order.
    pub stages: Vec<Standing>,
    /// Disks and volumes.
    pub disks: Vec<DiskLine>,
    /// Every attached disk, with the reason why it was chosen or not.
    pub attached: Vec<DiskLine>,
    /// Volumes of which a block did not verify.
    pub corrupt: Vec<String>,
    /// The last errors, newest last.
    pub errors: VecDeque<Mishap>,
}

/// The shared board.
#[derive(Debug)]
pub struct Board(Mutex<Facts>);

impl Default for Board {
    fn default() -> Self {
        let standing =
            |stage| Standing { stage, outcome: None, at: Duration::ZERO, took: None, about: String::new() };
        Self(Mutex::new(Facts { stages: Stage::ALL.map(standing).to_vec(), ..Facts::default() }))
    }
}

impl Board {
    /// A copy of everything.
    pub fn facts(&self) -> Facts {
        self.lock().clone()
    }

    /// Changes the facts.
    pub fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.lock());
    }

    /// A stage's new standing.
    pub fn stand(&self, stage: Stage, outcome: Outcome, at: Duration, took: Option<Duration>, about: &str) {
        let mut facts = self.lock();
        if let Some(standing) = facts.stages.iter_mut().find(|standing| standing.stage == stage) {
            standing.outcome = Some(outcome);
            standing.at = at;
            standing.took = took.or(standing.took);
            about.clone_into(&mut standing.about);
        }
    }

    /// Keeps an error.
    pub fn mishap(&self, at: Duration, stage: &'static str, text: String) {
        let mut facts = self.lock();
        if facts.errors.len() == ERRORS {
            facts.errors.pop_front();
        }
        facts.errors.push_back(Mishap { at, stage, text });
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_errors_are_kept() {
        let board = Board::default();
        for number in 0..20 {
            board.mishap(Duration::from_secs(number), "Disks", format!("error {number}"));
        }
        let errors = board.facts().errors;
        assert_eq!(errors.len(), ERRORS);
        assert_eq!(errors.back().unwrap().text, "error 19");
        assert_eq!(errors.front().unwrap().text, "error 12");
    }
}
