//! chronyd: its configuration, its unit, and its measurements.
//!
//! [`settle`] writes the file and starts the unit; a mark records the file that the running chronyd has read, so that an agent
//! that is killed in between starts it again. [`Link::samples`] asks over chronyd's socket.
//!
//! chronyd runs as its own user and parses packets of the network, so it is not trusted more than a control plane: the agent's
//! socket is in a folder that chronyd cannot write to, its owner is chronyd's user, and replies are parsed strictly. What a
//! compromised chronyd can do is to report wrong offsets.

pub mod configuration;
pub mod protocol;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kubedos_base::atomic;
use kubedos_base::outcome::{Class, Classified};
use kubedos_wire::hex32::sha256;

use crate::units::{self, UnitsError};
use configuration::SOCKET;
use protocol::{Answer, LENGTH, ProtocolError, Sample};

const FILE: &str = "chrony.conf";
const MARK: &str = "chrony.sha256";
const OWN_SOCKET: &str = "agent.sock";

/// How long chronyd may take to answer. It runs in a loop of its own and answers within milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the agent waits for the message bus.
const BUS_PATIENCE: Duration = Duration::from_secs(10);

/// More sources than a cluster has control planes.
const SOURCES: u32 = 64;

/// The observed state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// The file's text; `None` if it does not exist or is not text.
    pub file: Option<String>,
    /// The digest of the file that the unit has read.
    pub mark: Option<String>,
    /// The unit runs.
    pub running: bool,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes the file.
    Write(String),
    /// Starts the unit, or restarts it; the text is the digest of the file.
    Restart(String),
}

/// Why chronyd does not measure.
#[derive(Debug, thiserror::Error)]
pub enum ChronydError {
    /// A file operation failed.
    #[error("failed to {0}")]
    File(String, #[source] io::Error),
    /// systemd could not be asked, or refused.
    #[error("failed to start {0}")]
    Unit(&'static str, #[source] UnitsError),
    /// The unit ended although nothing stopped it.
    #[error("{0} had ended and was started again; its messages are in the journal")]
    Ended(&'static str),
    /// chronyd does not answer.
    #[error("chronyd does not answer")]
    Silent(#[source] io::Error),
    /// chronyd sent something else than the reply.
    #[error("chronyd answers wrongly")]
    Answer(#[from] ProtocolError),
}

impl Classified for ChronydError {
    fn class(&self) -> Class {
        match self {
            Self::File(..) | Self::Unit(..) | Self::Ended(_) | Self::Silent(_) | Self::Answer(_) => {
                Class::Retry
            }
        }
    }
}

fn failed(what: &str) -> impl FnOnce(io::Error) -> ChronydError {
    let what = what.to_owned();
    move |error| ChronydError::File(what, error)
}

/// Observes the files and the unit; makes no change.
pub fn observe(folder: &Path, unit: &'static str) -> Result<Observed, ChronydError> {
    let text = |name: &str| match fs::read(folder.join(name)) {
        Ok(bytes) => Ok(String::from_utf8(bytes).ok()), // not text: it is written again
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&format!("read {name}"))(error)),
    };
    let running = units::is_active(unit, BUS_PATIENCE).map_err(|error| ChronydError::Unit(unit, error))?;
    Ok(Observed { file: text(FILE)?, mark: text(MARK)?, running })
}

/// The changes after which chronyd runs with this file. Pure.
pub fn plan(want: &str, have: &Observed) -> Vec<Change> {
    let mut changes = Vec::new();
    if have.file.as_deref() != Some(want) {
        changes.push(Change::Write(want.to_owned()));
    }
    let digest = hex::encode(sha256(&[want.as_bytes()]));
    if !changes.is_empty() || !have.running || have.mark.as_ref() != Some(&digest) {
        changes.push(Change::Restart(digest));
    }
    changes
}

fn apply(folder: &Path, unit: &'static str, change: &Change) -> Result<(), ChronydError> {
    match change {
        Change::Write(text) => write(folder, text).map_err(failed("write the configuration of chronyd")),
        Change::Restart(digest) => {
            restart(unit)?;
            atomic::replace(folder, MARK, digest.as_bytes())
                .map_err(failed("mark the configuration of chronyd as read"))
        }
    }
}

/// chronyd's user reads the file and reaches the agent's socket. Neither is secret.
fn write(folder: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    atomic::replace(folder, FILE, text.as_bytes())?;
    fs::set_permissions(folder.join(FILE), Permissions::from_mode(0o644))
}

/// Starts the unit, or restarts it: all measurements are discarded.
pub fn restart(unit: &'static str) -> Result<(), ChronydError> {
    units::restart(unit, BUS_PATIENCE).map_err(|error| ChronydError::Unit(unit, error))
}

/// Makes chronyd run with this file. Returns a description of each change. A unit that ended by itself is an error, although
/// it is started again.
pub fn settle(folder: &Path, unit: &'static str, want: &str) -> Result<Vec<String>, ChronydError> {
    let have = observe(folder, unit)?;
    let changes = plan(want, &have);
    changes.iter().try_for_each(|change| apply(folder, unit, change))?;
    match changes.as_slice() {
        [Change::Restart(digest)] if have.mark.as_ref() == Some(digest) => Err(ChronydError::Ended(unit)),
        changes => Ok(changes.iter().map(describe).collect()),
    }
}

fn describe(change: &Change) -> String {
    match change {
        Change::Write(_) => "write the configuration of chronyd".into(),
        Change::Restart(_) => "start chronyd".into(),
    }
}

/// The connection to a running chronyd.
#[derive(Debug)]
pub struct Link {
    socket: UnixDatagram,
    path: PathBuf,
    chronyd: PathBuf,
    sequence: u32,
}

impl Link {
    /// Opens the agent's socket in `folder`, which only chronyd at `chronyd` and root may send to.
    pub fn open(folder: &Path, chronyd: &Path) -> Result<Self, ChronydError> {
        let path = folder.join(OWN_SOCKET);
        let opened = || -> io::Result<UnixDatagram> {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let socket = UnixDatagram::bind(&path)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let owner = fs::symlink_metadata(chronyd.parent().unwrap_or(Path::new("/")))?;
            chown(&path, Some(owner.uid()), Some(owner.gid()))?;
            Ok(socket)
        };
        let socket = opened().map_err(ChronydError::Silent)?;
        Ok(Self { socket, path, chronyd: chronyd.to_owned(), sequence: 0 })
    }

    /// Opens the agent's socket for the chronyd of this system.
    pub fn open_here(folder: &Path) -> Result<Self, ChronydError> {
        Self::open(folder, Path::new(SOCKET))
    }

    /// The last measurement of every source that has one.
    pub fn samples(&mut self) -> Result<Vec<Sample>, ChronydError> {
        let mut samples = Vec::new();
        for index in 0..SOURCES {
            match self.ask(index)? {
                Answer::Sample(sample) => samples.push(sample),
                Answer::Empty => {}
                Answer::End => break,
            }
        }
        Ok(samples)
    }

    fn ask(&mut self, index: u32) -> Result<Answer, ChronydError> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = protocol::request(self.sequence, index);
        self.socket.send_to(&request, &self.chronyd).map_err(ChronydError::Silent)?;
        let mut bytes = [0; LENGTH + 1]; // a longer datagram is cut and refused
        let (length, _) = self.socket.recv_from(&mut bytes).map_err(ChronydError::Silent)?;
        let reply = bytes.get(..length).unwrap_or_default();
        Ok(protocol::parse(reply, self.sequence)?)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path)); // after an error, the next connection removes it
    }
}

#[cfg(test)]
mod tests {
    use super::protocol::sample::{end, source};
    use super::*;

    fn observed(file: Option<&str>, mark: Option<&str>, running: bool) -> Observed {
        Observed { file: file.map(Into::into), mark: mark.map(Into::into), running }
    }

    #[test]
    fn chronyd_is_restarted_only_if_something_differs() {
        let digest = hex::encode(sha256(&[b"new"]));
        let restart = Change::Restart(digest.clone());
        let write = Change::Write("new".into());
        for (have, want) in [
            (observed(None, None, false), vec![write.clone(), restart.clone()]),
            (observed(Some("old"), Some(&digest), true), vec![write, restart.clone()]),
            (observed(Some("new"), Some("other"), true), vec![restart.clone()]),
            (observed(Some("new"), None, true), vec![restart.clone()]),
            (observed(Some("new"), Some(&digest), false), vec![restart]),
            (observed(Some("new"), Some(&digest), true), vec![]),
        ] {
            assert_eq!(plan("new", &have), want, "{have:?}");
        }
    }

    /// Answers each request as chronyd would, with the replies that the function gives for a sequence number and an index.
    fn with_chronyd(
        count: usize,
        reply: impl Fn(u32, u32) -> Vec<u8> + Send + 'static,
    ) -> Result<Vec<Sample>, ChronydError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chronyd.sock");
        let chronyd = UnixDatagram::bind(&path).unwrap();
        let answers = std::thread::spawn(move || {
            for _ in 0..count {
                let mut bytes = [0; 200];
                let (length, from) = chronyd.recv_from(&mut bytes).unwrap();
                assert_eq!(length, LENGTH);
                let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
                let reply = reply(word(8), word(20));
                chronyd.send_to(&reply, from.as_pathname().unwrap()).unwrap();
            }
        });
        let samples = Link::open(folder.path(), &path).unwrap().samples();
        answers.join().unwrap();
        assert!(!folder.path().join(OWN_SOCKET).exists());
        samples
    }

    #[test]
    fn all_sources_with_a_measurement_are_read() {
        let samples = with_chronyd(4, |sequence, index| match index {
            0 => source(sequence, [10, 101, 0, 1], 3, 0, 0),
            1 => source(sequence, [10, 101, 0, 2], u32::MAX, 0, 0),
            2 => source(sequence, [10, 101, 0, 3], 9, 0, 0),
            _ => end(sequence),
        });
        let ages: Vec<u64> = samples.unwrap().iter().map(|sample| sample.age.as_secs()).collect();
        assert_eq!(ages, [3, 9]);
    }

    /// A compromised chronyd that lists sources without end does not keep the agent.
    #[test]
    fn an_endless_list_ends_and_a_wrong_reply_is_an_error() {
        let all = usize::try_from(SOURCES).unwrap();
        let samples = with_chronyd(all, |sequence, _| source(sequence, [1; 4], 3, 0, 0)).unwrap();
        assert_eq!(samples.len(), all);
        let error = with_chronyd(1, |sequence, _| source(sequence.wrapping_add(1), [1; 4], 3, 0, 0));
        assert!(matches!(error, Err(ChronydError::Answer(ProtocolError::Head))), "{error:?}");
        let error = with_chronyd(1, |sequence, _| [source(sequence, [1; 4], 3, 0, 0), vec![0; 500]].concat());
        assert!(matches!(error, Err(ChronydError::Answer(ProtocolError::Length(77)))), "{error:?}");
    }

    #[test]
    fn a_chronyd_that_does_not_run_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = Link::open(folder.path(), &folder.path().join("none")).unwrap().samples();
        assert!(matches!(error, Err(ChronydError::Silent(_))), "{error:?}");
    }
}
