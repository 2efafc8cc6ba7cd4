//! The phases of a build. They are reported to a watcher while they run, and their times are recorded in `run.json`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// A phase of the build, in the order of execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Fetches the pinned packages into the cache.
    Fetch,
    /// Compiles and links the programs of `init/`.
    Init,
    /// Composes and seals the root volume.
    Root,
    /// Seals the payload volume.
    Payload,
    /// Assembles and signs the UKI and the boot loader.
    Uki,
    /// Seals the configuration volume and signs its statement.
    Configuration,
    /// Writes the outputs as unnamed files.
    Write,
    /// Flushes the outputs and gives them their names.
    Publish,
}

impl Phase {
    /// All phases in order.
    pub const ALL: [Self; 8] = [
        Self::Fetch,
        Self::Init,
        Self::Root,
        Self::Payload,
        Self::Uki,
        Self::Configuration,
        Self::Write,
        Self::Publish,
    ];

    /// The phase's description for people.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Fetch => "pinned packages",
            Self::Init => "kubedos-init",
            Self::Root => "root volume",
            Self::Payload => "payload volume",
            Self::Uki => "unified kernel image",
            Self::Configuration => "configuration volume",
            Self::Write => "images",
            Self::Publish => "publishing",
        }
    }

    /// The phase's number, from 1.
    pub const fn number(self) -> usize {
        self as usize + 1
    }
}

/// Receives the start and the end of phases.
pub trait Watcher: Sync {
    /// A phase starts.
    fn begin(&self, phase: Phase);
    /// A phase has ended, successfully or not, after the duration `took`.
    fn end(&self, phase: Phase, took: Duration);
}

/// A completed phase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Span {
    /// The phase.
    pub phase: Phase,
    /// The duration in seconds.
    pub seconds: f64,
}

/// Runs phases, reports them to a watcher and records their times.
#[expect(missing_debug_implementations, reason = "the watcher does not implement Debug")]
pub struct Timeline<'w> {
    watcher: &'w dyn Watcher,
    spans: Mutex<Vec<Span>>,
}

impl<'w> Timeline<'w> {
    /// Creates a timeline without spans.
    pub fn new(watcher: &'w dyn Watcher) -> Self {
        Self { watcher, spans: Mutex::new(Vec::new()) }
    }

    /// Runs a phase.
    pub fn run<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        self.watcher.begin(phase);
        let started = Instant::now();
        let done = work();
        let took = started.elapsed();
        let span = Span { phase, seconds: took.as_secs_f64() };
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).push(span);
        self.watcher.end(phase, took);
        done
    }

    /// Returns the completed phases.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A watcher that ignores all phases.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {
    fn begin(&self, _: Phase) {}
    fn end(&self, _: Phase, _: Duration) {}
}
