//! `run.json`: when, where and how long. It stands beside the outputs and is listed nowhere, so that the outputs can be equal; the next build
//! in the same folder reads there what this one was made from.

use serde::Serialize;

use super::explain::Explained;
use super::phase::Span;
use crate::release::date::Moment;

/// The name of the record in the output folder.
pub const RUN_RECORD: &str = "run.json";

/// One run of `image`.
#[derive(Debug, Clone, Serialize)]
pub struct RunRecord {
    /// Always 1.
    pub version: u32,
    /// The version of `kubedos-build`.
    pub kubedos_build: &'static str,
    /// When it began, by the host's clock.
    pub started: Moment,
    /// When the outputs were there.
    pub ended: Moment,
    /// The host.
    pub host: Host,
    /// How long each phase took.
    pub phases: Vec<Span>,
    /// What was taken from the store, what was made anew, and from what.
    pub parts: Vec<Explained>,
}

/// Where a build ran.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// `uname -srm`.
    pub system: String,
    /// Processors that the build may use.
    pub processors: usize,
}

impl Host {
    /// This host.
    pub fn this() -> Self {
        let uname = rustix::system::uname();
        let [name, system, release, machine] =
            [uname.nodename(), uname.sysname(), uname.release(), uname.machine()]
                .map(|text| text.to_string_lossy());
        Self {
            name: name.into_owned(),
            system: format!("{system} {release} {machine}"),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

impl RunRecord {
    /// The record of a run that began at `started` and ends now.
    pub fn new(started: Moment, phases: Vec<Span>, parts: Vec<Explained>) -> Self {
        Self {
            version: 1,
            kubedos_build: env!("CARGO_PKG_VERSION"),
            started,
            ended: Moment::now(),
            host: Host::this(),
            phases,
            parts,
        }
    }

    /// The record as text.
    pub fn emit(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}
