//! `run.json`: the time, the host and the durations of a build, and the inputs of each part.
//!
//! The file is in the output folder, but the manifest does not list it, because it differs between identical builds. The next build in the
//! same folder reads the recorded inputs from it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::explain::{Explained, Why};
use super::phase::Span;
use kubedos_debian::release::date::Moment;

/// The name of the record in the output folder.
pub const RUN_RECORD: &str = "run.json";

/// The errors of the record.
#[derive(Debug, thiserror::Error)]
pub enum RunRecordError {
    /// The record of the previous build cannot be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The record.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The record of this build cannot be encoded as JSON.
    #[error("failed to encode {RUN_RECORD}")]
    Encode(#[source] serde_json::Error),
}

/// The record of one run of `image`.
#[derive(Debug, Clone, Serialize)]
pub struct RunRecord {
    /// Always 1.
    pub version: u32,
    /// The version of `kubedos-build`.
    pub kubedos_build: &'static str,
    /// The start, by the host's clock.
    pub started: Moment,
    /// The end, when all outputs were published.
    pub ended: Moment,
    /// The host of the build.
    pub host: Host,
    /// The duration of each phase.
    pub phases: Vec<Span>,
    /// For each part, whether it came from the store or was built, and its inputs.
    pub parts: Vec<Explained>,
}

/// The host of a build.
#[derive(Debug, Clone, Serialize)]
pub struct Host {
    /// The host's name.
    pub name: String,
    /// `uname -srm`.
    pub system: String,
    /// The number of processors that the build may use.
    pub processors: usize,
}

impl Host {
    /// Describes this host.
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
    /// Creates the record of a run that started at `started` and ends now.
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

    /// Encodes the record as JSON.
    ///
    /// # Errors
    /// [`RunRecordError::Encode`].
    pub fn emit(&self) -> Result<String, RunRecordError> {
        let mut text = serde_json::to_string_pretty(self).map_err(RunRecordError::Encode)?;
        text.push('\n');
        Ok(text)
    }
}

/// The recorded inputs of the previous build: for each part, a value per label.
#[derive(Debug, Default)]
pub struct Before(BTreeMap<String, BTreeMap<String, String>>);

/// The fields of a record that are read back. Records of other versions may have other fields.
#[derive(Deserialize)]
struct Record {
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    part: String,
    inputs: BTreeMap<String, String>,
}

impl Before {
    /// Reads the record in a folder. Without a record, or if it has a different format, the result is empty.
    ///
    /// # Errors
    /// [`RunRecordError::Read`] if the record exists but cannot be read.
    pub fn read(folder: &Path) -> Result<Self, RunRecordError> {
        let path = folder.join(RUN_RECORD);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(RunRecordError::Read { path, source }),
        };
        // Another version of the builder may have written a different format.
        let Ok(Record { parts }) = serde_json::from_slice(&text) else { return Ok(Self::default()) };
        Ok(Self(parts.into_iter().map(|part| (part.part, part.inputs)).collect()))
    }

    /// Compares a part's inputs with the record.
    pub fn why(&self, part: &Explained) -> Why {
        self.0.get(part.part).map_or(Why::Unknown, |before| part.why(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache_key::Inputs;

    fn part(init: &str) -> Explained {
        let inputs = Inputs::new("root", 1).with("kubedos-agent", init);
        Explained { part: "root", reused: true, bytes: 1, inputs, work: None }
    }

    #[test]
    fn the_next_build_reads_the_inputs_of_this_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Before::read(folder.path()).unwrap().why(&part("a")), Why::Unknown);
        let record = RunRecord::new(Moment::now(), Vec::new(), vec![part("a")]);
        std::fs::write(folder.path().join(RUN_RECORD), record.emit().unwrap()).unwrap();
        let before = Before::read(folder.path()).unwrap();
        assert_eq!(before.why(&part("a")), Why::Unchanged);
        assert_eq!(before.why(&part("b")), Why::Changed(vec!["kubedos-agent".into()]));
    }

    #[test]
    fn a_record_with_a_different_format_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "{", "{\"parts\":[{\"part\":\"root\"}]}", "[]"] {
            std::fs::write(folder.path().join(RUN_RECORD), text).unwrap();
            assert_eq!(Before::read(folder.path()).unwrap().why(&part("a")), Why::Unknown, "{text}");
        }
    }

    #[test]
    fn a_record_that_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(RUN_RECORD)).unwrap();
        assert!(matches!(Before::read(folder.path()), Err(RunRecordError::Read { .. })));
    }
}
