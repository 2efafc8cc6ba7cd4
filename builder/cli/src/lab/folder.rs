//! The folder of a lab: its files, its lock, and the record of its process.
//!
//! | path | content |
//! | --- | --- |
//! | `lab.json` | the machines, as the last `up` planned them; it also shows that the folder is a lab's |
//! | `image/`, `seeds/` | the built image, the seeds |
//! | `nodes/<node>/` | the disks of a node, which remain |
//! | `machines/<node>/` | the console and the emulator's files of the last start |
//! | `run/` | the control socket, the record of the process, the sockets of the switch |
//! | `log` | messages of the process |
//! | `lock` | locked (flock(2)) while a command changes the lab |
//!
//! The folder is accessible to its owner only, because it contains seeds and because who can open the control socket controls the lab.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::LabError;
use super::process::ProcessId;

/// The entries of a lab's folder. `lab down --destroy` removes these, and nothing else.
const ENTRIES: [&str; 8] = ["image", "seeds", "nodes", "machines", "run", "log", "lab.json", "lock"];

/// The folder of a lab.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    /// As the user wrote it, for messages.
    shown: PathBuf,
}

/// While it exists, no other command changes the lab.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// What the record of the process shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// No lab was started, or it was ended by `lab down`.
    Nothing,
    /// The process runs.
    Running(ProcessId),
    /// The process ended without cleaning up, or the record is damaged.
    Stale,
}

impl Folder {
    /// Creates the folder, or uses an existing one if it is empty or a lab's.
    pub fn create(path: &Path) -> Result<Self, LabError> {
        if path.exists() && !is_lab(path)? {
            return Err(LabError::ForeignFolder { folder: path.to_owned() });
        }
        make(path)?;
        Self::open(path)
    }

    /// Opens an existing folder.
    pub fn open(path: &Path) -> Result<Self, LabError> {
        match path.canonicalize() {
            Ok(root) if is_lab(&root)? => Ok(Self { root, shown: path.to_owned() }),
            Ok(_) => Err(LabError::NoLab { folder: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(LabError::NoLab { folder: path.to_owned() })
            }
            Err(source) => Err(LabError::file("open", path)(source)),
        }
    }

    /// Locks the folder against other commands.
    pub fn lock(&self) -> Result<FolderLock, LabError> {
        let path = self.path("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(LabError::file("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(FolderLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LabError::Busy { folder: self.shown.clone() }),
            Err(TryLockError::Error(source)) => Err(LabError::file("lock", path)(source)),
        }
    }

    /// The absolute path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder as the user wrote it.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// The absolute path of an entry.
    pub fn path(&self, entry: &str) -> PathBuf {
        self.root.join(entry)
    }

    /// The folder for sockets, created if necessary.
    pub fn run_folder(&self) -> Result<PathBuf, LabError> {
        let path = self.path("run");
        make(&path)?;
        Ok(path)
    }

    /// Writes a document to an entry: the entry has either its old or its new content at any time.
    pub fn write(&self, entry: &str, document: &impl Serialize) -> Result<(), LabError> {
        let path = self.path(entry);
        let draft = self.path(&format!("{entry}.new"));
        let text = serde_json::to_vec_pretty(document)
            .map_err(|source| LabError::Malformed { path: path.clone(), source })?;
        fs::write(&draft, text)
            .and_then(|()| fs::rename(&draft, &path))
            .map_err(LabError::file("write", path))
    }

    /// Reads a document; `None` if the entry does not exist.
    pub fn read<T: DeserializeOwned>(&self, entry: &str) -> Result<Option<T>, LabError> {
        let path = self.path(entry);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LabError::file("read", path)(source)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|source| LabError::Malformed { path, source })
    }

    /// Records this process as the process of the lab.
    pub fn record_process(&self) -> Result<(), LabError> {
        let this = ProcessId::this().map_err(LabError::file("read", "/proc/self/stat"))?;
        self.write(PROCESS, &this)
    }

    /// The process of the lab.
    pub fn process(&self) -> Result<Recorded, LabError> {
        match self.read::<ProcessId>(PROCESS) {
            Ok(None) => Ok(Recorded::Nothing),
            Ok(Some(id)) => {
                let runs = id.runs().map_err(LabError::file("read", "/proc"))?;
                Ok(if runs { Recorded::Running(id) } else { Recorded::Stale })
            }
            // A host that lost power can leave an empty file.
            Err(LabError::Malformed { .. }) => Ok(Recorded::Stale),
            Err(error) => Err(error),
        }
    }

    /// The process of the lab, which must run.
    pub fn running(&self) -> Result<ProcessId, LabError> {
        match self.process()? {
            Recorded::Running(id) => Ok(id),
            Recorded::Nothing | Recorded::Stale => Err(LabError::NotRunning { folder: self.shown.clone() }),
        }
    }

    /// Removes what a process leaves that did not end by itself.
    pub fn clean(&self) -> Result<(), LabError> {
        remove(&self.path("run"))
    }

    /// Removes the lab with all its disks, and the folder itself if nothing else is in it.
    pub fn destroy(&self) -> Result<(), LabError> {
        ENTRIES.into_iter().try_for_each(|entry| remove(&self.path(entry)))?;
        match fs::remove_dir(&self.root) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                Err(LabError::file("remove", &self.root)(error))
            }
            _ => Ok(()),
        }
    }

    /// The last line of the log of the process.
    pub fn last_message(&self) -> String {
        let log = fs::read(self.path("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let line = log.lines().rev().find(|line| !line.trim().is_empty());
        line.map_or_else(|| format!("{} is empty", self.path("log").display()), str::to_owned)
    }
}

/// The record of the process.
const PROCESS: &str = "run/process.json";

/// Whether a folder is empty, or contains a lab.
fn is_lab(path: &Path) -> Result<bool, LabError> {
    let entries = fs::read_dir(path).map_err(LabError::file("read", path))?;
    let mut names = entries.flatten().map(|entry| entry.file_name()).peekable();
    Ok(names.peek().is_none() || names.any(|name| name == "lab.json" || name == "lock"))
}

/// Creates a folder that only its owner can open.
fn make(path: &Path) -> Result<(), LabError> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(LabError::file("create", path))
}

fn remove(path: &Path) -> Result<(), LabError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(data) if data.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LabError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::create(&base.path().join("lab")).unwrap();
        (base, folder)
    }

    #[test]
    fn only_the_owner_can_open_the_folder() {
        let (_base, folder) = folder();
        assert_eq!(fs::metadata(folder.root()).unwrap().permissions().mode() & 0o777, 0o700);
        let run = folder.run_folder().unwrap();
        fs::set_permissions(&run, Permissions::from_mode(0o755)).unwrap();
        folder.run_folder().unwrap();
        assert_eq!(fs::metadata(run).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_second_command_is_refused_until_the_first_has_ended() {
        let (_base, folder) = folder();
        let lock = folder.lock().unwrap();
        assert!(matches!(folder.lock(), Err(LabError::Busy { .. })));
        drop(lock);
        folder.lock().unwrap();
    }

    #[test]
    fn the_record_of_the_process_is_checked_against_the_running_processes() {
        let (_base, folder) = folder();
        assert_eq!(folder.process().unwrap(), Recorded::Nothing);
        folder.run_folder().unwrap();
        folder.record_process().unwrap();
        let this = ProcessId::this().unwrap();
        assert_eq!(folder.process().unwrap(), Recorded::Running(this.clone()));
        folder.write(PROCESS, &ProcessId { started: this.started + 1, ..this.clone() }).unwrap();
        assert_eq!(folder.process().unwrap(), Recorded::Stale, "another process has the id");
        folder.write(PROCESS, &ProcessId { boot: "before".into(), ..this }).unwrap();
        assert_eq!(folder.process().unwrap(), Recorded::Stale, "the host has been restarted");
        assert!(matches!(folder.running(), Err(LabError::NotRunning { .. })));
        folder.clean().unwrap();
        assert_eq!(folder.process().unwrap(), Recorded::Nothing);
    }

    #[test]
    fn a_damaged_record_is_stale() {
        let (_base, folder) = folder();
        folder.run_folder().unwrap();
        for text in ["", "{", "[]", "\0\0\0\0", r#"{"pid":1}"#, r#"{"pid":1e99,"started":1,"boot":""}"#] {
            fs::write(folder.path(PROCESS), text).unwrap();
            assert_eq!(folder.process().unwrap(), Recorded::Stale, "{text:?}");
        }
    }

    #[test]
    fn a_folder_of_somebody_else_is_not_used() {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("letter.txt"), "").unwrap();
        assert!(matches!(Folder::create(base.path()), Err(LabError::ForeignFolder { .. })));
        assert!(matches!(Folder::open(base.path()), Err(LabError::NoLab { .. })));
        assert!(matches!(Folder::open(&base.path().join("absent")), Err(LabError::NoLab { .. })));
    }

    #[test]
    fn destroying_a_lab_keeps_the_files_of_others() {
        let (base, folder) = folder();
        drop(folder.lock().unwrap());
        for entry in ["nodes/cp-1/disk.raw", "machines/cp-1/console.log"] {
            fs::create_dir_all(folder.path(entry).parent().unwrap()).unwrap();
            fs::write(folder.path(entry), "").unwrap();
        }
        let outside = base.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        std::os::unix::fs::symlink(&outside, folder.path("image")).unwrap();
        fs::write(folder.path("capture.pcapng"), "").unwrap();
        folder.destroy().unwrap();
        assert!(outside.join("kept").exists(), "a link was followed");
        let left: Vec<_> =
            fs::read_dir(folder.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["capture.pcapng"]);
    }
}
