//! The board: the facts about the node that all threads share. The stages write it and the status page reads it.
//!
//! It contains only facts: no text layout, which is in `status_page`, and no secrets, because anybody at the console can
//! read the page.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubedos_wire::record::Outcome;
use kubedos_wire::stage::Stage;

use crate::stages::backplanes::conflicts::memory::Conflict;
use crate::stages::backplanes::path_mtu::PathState;
use kubedos_wire::handover::Handover;
use kubedos_wire::planes::WantedPlane;

/// Maximum number of errors that are kept.
const ERRORS: usize = 8;

/// The state of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageState {
    /// The stage.
    pub stage: Stage,
    /// Its last outcome; `None` before it begins.
    pub outcome: Option<Outcome>,
    /// Time of that outcome, since the kernel started.
    pub at: Duration,
    /// Duration of the stage.
    pub took: Option<Duration>,
    /// The reason for waiting, the error, or the result.
    pub about: String,
}

/// One error for the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentError {
    /// Time since the kernel started.
    pub at: Duration,
    /// The stage.
    pub stage: &'static str,
    /// The error with its causes.
    pub text: String,
}

/// One disk or volume on the status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLine {
    /// Its purpose (`system`, `state`, `data`), or its kernel name.
    pub name: String,
    /// Its place and size.
    pub text: String,
}

/// Everything that the status page shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The boot, as stage 1 handed it over.
    pub handover: Option<Handover>,
    /// The node's name; `None` before ValidateShard.
    pub node: Option<String>,
    /// The node's role; `None` before ValidateShard.
    pub role: Option<String>,
    /// The incarnation in its seed.
    pub incarnation: Option<u32>,
    /// The floors in its seed, as text.
    pub floors: Option<String>,
    /// The cluster uses the published demonstration keys.
    pub demo_keys: bool,
    /// The fingerprint of the node's own key.
    pub fingerprint: Option<String>,
    /// The stages, in order.
    pub stages: Vec<StageState>,
    /// Disks and volumes.
    pub disks: Vec<DiskLine>,
    /// Every attached disk, with the reason why it was chosen or not.
    pub attached: Vec<DiskLine>,
    /// The last comparison of the clock with the control planes, as text for the status page.
    pub clock: Option<String>,
    /// The planes, with their peers.
    pub planes: Vec<WantedPlane>,
    /// The counters of the firewall's rules that drop packets.
    pub drop_counters: Vec<String>,
    /// Nodes that packets of the planned size do not reach.
    pub small_paths: Vec<PathState>,
    /// Addresses of the underlay that another machine uses too.
    pub conflicts: Vec<Conflict>,
    /// Volumes with a block that failed verification.
    pub corrupt: Vec<String>,
    /// The last errors, the newest at the end.
    pub errors: VecDeque<RecentError>,
}

/// The board, shared between threads.
#[derive(Debug)]
pub struct Board(Mutex<Facts>);

impl Default for Board {
    fn default() -> Self {
        let state =
            |stage| StageState { stage, outcome: None, at: Duration::ZERO, took: None, about: String::new() };
        Self(Mutex::new(Facts { stages: Stage::ALL.map(state).to_vec(), ..Facts::default() }))
    }
}

impl Board {
    /// A copy of all facts.
    pub fn facts(&self) -> Facts {
        self.lock().clone()
    }

    /// Applies a change to the facts.
    pub fn note(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.lock());
    }

    /// Sets the state of a stage.
    pub fn set_stage(
        &self,
        stage: Stage,
        outcome: Outcome,
        at: Duration,
        took: Option<Duration>,
        about: &str,
    ) {
        let mut facts = self.lock();
        if let Some(state) = facts.stages.iter_mut().find(|state| state.stage == stage) {
            state.outcome = Some(outcome);
            state.at = at;
            state.took = took.or(state.took);
            about.clone_into(&mut state.about);
        }
    }

    /// Adds an error; the oldest one is dropped if there are too many.
    pub fn add_error(&self, at: Duration, stage: &'static str, text: String) {
        let mut facts = self.lock();
        if facts.errors.len() == ERRORS {
            facts.errors.pop_front();
        }
        facts.errors.push_back(RecentError { at, stage, text });
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
            board.add_error(Duration::from_secs(number), "Disks", format!("error {number}"));
        }
        let errors = board.facts().errors;
        assert_eq!(errors.len(), ERRORS);
        assert_eq!(errors.back().unwrap().text, "error 19");
        assert_eq!(errors.front().unwrap().text, "error 12");
    }
}
