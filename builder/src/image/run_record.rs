//! `run.json`: when, where and how long. It stands beside the outputs and is listed nowhere, so that the outputs can be equal; the next build
//! in the same folder reads there what this one was made from.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::explain::{Explained, Why};
use super::phase::Span;
use kubedos_debian::release::date::Moment;

/// The name of the record in the output folder.
pub const RUN_RECORD: &str = "run.json";

/// Why there is no record of a run.
#[derive(Debug, thiserror::Error)]
pub enum RunRecordError {
    /// The record of the build before cannot be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The record.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The record of this build cannot be written as JSON.
    #[error("failed to encode {RUN_RECORD}")]
    Encode(#[source] serde_json::Error),
}

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
    ///
    /// # Errors
    /// [`RunRecordError::Encode`].
    pub fn emit(&self) -> Result<String, RunRecordError> {
        let mut text = serde_json::to_string_pretty(self).map_err(RunRecordError::Encode)?;
        text.push('\n');
        Ok(text)
    }
}

/// What the build before left of itself in an output folder.
#[derive(Debug, Default)]
pub struct Before(BTreeMap<String, BTreeMap<String, String>>);

/// Of the record, what is read again; a record of another version has other things in it.
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
    /// Reads the record in a folder. Without one, or with one of another form, there is nothing that a build could be compared with.
    ///
    /// # Errors
    /// [`RunRecordError::Read`] when there is a record that cannot be read.
    pub fn read(folder: &Path) -> Result<Self, RunRecordError> {
        let path = folder.join(RUN_RECORD);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(RunRecordError::Read { path, source }),
        };
        // Another version of the builder may have written it.
        let Ok(Record { parts }) = serde_json::from_slice(&text) else { return Ok(Self::default()) };
        Ok(Self(parts.into_iter().map(|part| (part.part, part.inputs)).collect()))
    }

    /// Compares a part.
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
    fn the_next_build_reads_what_this_one_was_made_from() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Before::read(folder.path()).unwrap().why(&part("a")), Why::Unknown);
        let record = RunRecord::new(Moment::now(), Vec::new(), vec![part("a")]);
        std::fs::write(folder.path().join(RUN_RECORD), record.emit().unwrap()).unwrap();
        let before = Before::read(folder.path()).unwrap();
        assert_eq!(before.why(&part("a")), Why::Unchanged);
        assert_eq!(before.why(&part("b")), Why::Changed(vec!["kubedos-agent".into()]));
    }

    #[test]
    fn with_a_record_of_another_form_nothing_is_known() {
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
