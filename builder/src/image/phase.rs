//! The phases of a build: told while they run, timed for `run.json`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// One phase. The order is that of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Pinned packages into the cache.
    Fetch,
    /// The programs of `init/`, compiled and linked.
    Init,
    /// The root volume, composed and sealed.
    Root,
    /// The payload volume.
    Payload,
    /// UKI and boot loader, put together and signed.
    Uki,
    /// The configuration volume and its statement.
    Configuration,
    /// The outputs, written without their names.
    Write,
    /// The outputs, flushed and named.
    Publish,
}

impl Phase {
    /// All of them, in order.
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

    /// What it does, for people.
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

    /// From 1.
    pub const fn number(self) -> usize {
        self as usize + 1
    }
}

/// Hears of phases as they begin and end.
pub trait Watcher: Sync {
    /// A phase begins.
    fn begin(&self, phase: Phase);
    /// It has ended, well or not.
    fn end(&self, phase: Phase, took: Duration);
}

/// A phase that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Span {
    /// Which.
    pub phase: Phase,
    /// How long it took.
    pub seconds: f64,
}

/// Runs phases, tells of them, and keeps their times.
#[expect(missing_debug_implementations, reason = "the watcher need not be printable")]
pub struct Timeline<'w> {
    watcher: &'w dyn Watcher,
    spans: Mutex<Vec<Span>>,
}

impl<'w> Timeline<'w> {
    /// A timeline without spans.
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

    /// The phases that have ended.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watcher for Unwatched {
    fn begin(&self, _: Phase) {}
    fn end(&self, _: Phase, _: Duration) {}
}
