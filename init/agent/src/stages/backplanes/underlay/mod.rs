//! The underlay: the files of systemd-networkd under `/run/systemd/network`, and the state of networkd itself.
//!
//! `kubedos_wire::underlay` computes the files. This module writes them, removes every other entry of the folder, and
//! starts networkd, or makes it read the files again. A mark records the files that networkd has read, so that an agent
//! that is killed between a write and the request repeats the request.
//!
//! networkd does not change a VLAN or a bond that exists: a new number or mode takes effect at the next boot, as
//! `kubedos-build plan --since` shows. The state of links is in [`links`].

pub mod cards;
pub mod links;
pub mod networkd;
pub mod renewals;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kubedos_base::atomic;
use kubedos_base::outcome::{Class, Classified};
use kubedos_wire::hex32::sha256;
use kubedos_wire::node::Underlay;
use kubedos_wire::underlay::{self, Files, UnderlayError};
use networkd::{Networkd, NetworkdError};

/// networkd runs as its own user, so everybody may read the files. They contain no secret.
const MODE: u32 = 0o644;

/// The name of the mark.
const MARK: &str = "underlay.sha256";

/// The folders that this module writes to.
#[derive(Debug, Clone)]
pub struct Folders {
    /// The files of networkd.
    pub network: PathBuf,
    /// The mark.
    pub mark: PathBuf,
}

impl Default for Folders {
    fn default() -> Self {
        Self { network: "/run/systemd/network".into(), mark: "/run/kubedos".into() }
    }
}

/// The observed state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// Regular files that everybody may read and only their owner may write, with their content.
    pub files: Files,
    /// All other entries: folders, links, files with another mode, and files that are not text.
    pub others: Vec<String>,
    /// networkd is running.
    pub running: bool,
    /// The digest of the files that networkd has read.
    pub mark: Option<String>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Removes an entry that is not desired.
    Remove(String),
    /// Writes a file.
    Write(String, String),
    /// Starts networkd; the text is the digest of the files.
    Start(String),
    /// Makes networkd read the files again; the text is their digest.
    Reload(String),
}

/// Why the underlay could not be established.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// The shard contradicts itself.
    #[error("the shard has no valid underlay")]
    Shard(#[from] UnderlayError),
    /// A file operation failed.
    #[error("failed to {0}")]
    File(String, #[source] io::Error),
    /// networkd could not be asked or controlled.
    #[error(transparent)]
    Networkd(#[from] NetworkdError),
}

impl Classified for SettleError {
    fn class(&self) -> Class {
        match self {
            Self::Shard(_) => Class::Halt,
            Self::File(..) | Self::Networkd(_) => Class::Retry,
        }
    }
}

/// Observes the files and networkd; makes no change.
pub fn observe(folders: &Folders, networkd: &impl Networkd) -> Result<Observed, SettleError> {
    let failed = |error| SettleError::File(format!("read {}", folders.network.display()), error);
    let mut observed = Observed { running: networkd.running()?, ..Observed::default() };
    let entries = match fs::read_dir(&folders.network) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>().map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let metadata = entry.metadata().map_err(failed)?; // does not follow a link
        let plain = metadata.is_file() && metadata.permissions().mode() & 0o777 == MODE;
        let text = match plain.then(|| fs::read(entry.path())).transpose().map_err(failed)? {
            Some(bytes) => String::from_utf8(bytes).ok(), // not text: treated as foreign
            None => None,
        };
        match (entry.file_name().into_string(), text) {
            (Ok(name), Some(text)) => drop(observed.files.insert(name, text)),
            (Ok(name), None) => observed.others.push(name),
            (Err(name), _) => observed.others.push(name.to_string_lossy().into_owned()),
        }
    }
    observed.others.sort();
    observed.mark = match fs::read_to_string(folders.mark.join(MARK)) {
        Ok(mark) => Some(mark),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(SettleError::File("read the mark of the underlay".into(), error)),
    };
    Ok(observed)
}

/// The changes that establish the underlay. Pure.
pub fn plan(want: &Files, have: &Observed) -> Vec<Change> {
    let foreign = have.files.keys().filter(|name| !want.contains_key(*name));
    let mut changes: Vec<Change> =
        have.others.iter().chain(foreign).map(|name| Change::Remove(name.clone())).collect();
    let differs = |(name, text): &(&String, &String)| have.files.get(*name) != Some(text);
    let writes = want.iter().filter(differs).map(|(name, text)| Change::Write(name.clone(), text.clone()));
    changes.extend(writes);
    let digest = digest(want);
    if !have.running {
        changes.push(Change::Start(digest));
    } else if !changes.is_empty() || have.mark.as_ref() != Some(&digest) {
        changes.push(Change::Reload(digest));
    }
    changes
}

fn digest(files: &Files) -> String {
    let parts: Vec<&[u8]> =
        files.iter().flat_map(|(name, text)| [name.as_bytes(), b"\0", text.as_bytes(), b"\0"]).collect();
    hex::encode(sha256(&parts))
}

/// Applies one change.
pub fn apply(folders: &Folders, networkd: &impl Networkd, change: &Change) -> Result<(), SettleError> {
    let failed = |error| SettleError::File(describe(change), error);
    match change {
        Change::Remove(name) => remove(&folders.network.join(name)).map_err(failed),
        Change::Write(name, text) => write(&folders.network, name, text).map_err(failed),
        Change::Start(digest) => networkd.start().map_err(Into::into).and_then(|()| mark(folders, digest)),
        Change::Reload(digest) => networkd.reload().map_err(Into::into).and_then(|()| mark(folders, digest)),
    }
}

/// Removes an entry; a link is removed, not its target.
fn remove(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    atomic::replace(folder, name, text.as_bytes())?;
    fs::set_permissions(folder.join(name), Permissions::from_mode(MODE))
}

fn mark(folders: &Folders, digest: &str) -> Result<(), SettleError> {
    atomic::replace(&folders.mark, MARK, digest.as_bytes())
        .map_err(|error| SettleError::File("mark the files of the underlay as read".into(), error))
}

/// Brings the files and networkd to the desired state. Returns a description of each change.
pub fn settle(
    folders: &Folders,
    networkd: &impl Networkd,
    want: &Underlay,
) -> Result<Vec<String>, SettleError> {
    let changes = plan(&underlay::render(want)?, &observe(folders, networkd)?);
    changes.iter().map(|change| apply(folders, networkd, change).map(|()| describe(change))).collect()
}

/// Describes one change.
pub fn describe(change: &Change) -> String {
    match change {
        Change::Remove(name) => format!("remove {name}, which is not a file of the underlay"),
        Change::Write(name, _) => format!("write {name}"),
        Change::Start(_) => "start systemd-networkd".into(),
        Change::Reload(_) => "make systemd-networkd read its files again".into(),
    }
}
