//! The output folder: publishes the files of a build atomically per file, and admits one build at a time.
//!
//! Invariant: no incomplete file ever has its final name. A file is created without a name (`O_TMPFILE`) and linked into place when it is
//! complete and flushed, so an interrupted build leaves no files. On file systems without `O_TMPFILE`, a named temporary file next to
//! the final name is used; the next build removes those of a killed build. All files of a build get their names together,
//! `manifest.json` last.
//!
//! FAT, exFAT, SMB and the shared folders of hypervisors have no hard links and no sparse files. The abilities of the folder are tested
//! when it is locked, before any other work. Without links, a second name is a copy; the free space is checked before the first byte is
//! written.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, linkat, open};

use crate::interrupt::{Temporary, whole};
use crate::size::human;
use crate::sparse_file::{self, SparseFile};

/// The suffix of all temporary names of this module.
const TEMPORARY: &str = ".kubedos-partial";

/// The errors of the output folder.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The folder cannot be created or written to.
    #[error("cannot write to the output folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another build is writing to the folder.
    #[error("another build is writing to {}", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The file system has too little free space for the outputs.
    #[error(
        "{} needs {} for the outputs, but its file system has {}{}",
        path.display(), human(*needed), human(*available),
        if *holes { "" } else { " and does not support holes: an image occupies its full size there" }
    )]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// The bytes that the outputs will occupy.
        needed: u64,
        /// The free bytes.
        available: u64,
        /// Whether the file system supports holes.
        holes: bool,
    },
    /// A file cannot be written, flushed or renamed.
    #[error("failed to {doing} {}", path.display())]
    File {
        /// The operation.
        doing: &'static str,
        /// The file's final name.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Whether a name in a manifest or in an index of keys refers to a file directly in its folder. All names that kubedOS writes do.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// A locked output folder. Until it is dropped, only this process writes to it.
#[derive(Debug)]
pub struct OutputDir {
    path: PathBuf,
    abilities: Abilities,
    _lock: File,
}

impl OutputDir {
    /// Creates the folder if it does not exist, locks it, and removes temporary files of an interrupted build.
    ///
    /// # Errors
    /// [`OutputError::Folder`] if it cannot be written to, [`OutputError::Busy`] if another build has locked it.
    pub fn lock(path: &Path) -> Result<Self, OutputError> {
        let folder = |source: io::Error| OutputError::Folder { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(folder)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(".lock"))
            .map_err(folder)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => OutputError::Busy { path: path.to_owned() },
            other => folder(other.into()),
        })?;
        for entry in fs::read_dir(path).map_err(folder)? {
            let entry = entry.map_err(folder)?;
            if entry.file_name().to_string_lossy().ends_with(TEMPORARY) {
                fs::remove_file(entry.path()).map_err(folder)?;
            }
        }
        let abilities = Abilities::try_out(path).map_err(folder)?;
        Ok(Self { path: path.to_owned(), abilities, _lock: lock })
    }

    /// The abilities of the folder's file system.
    pub const fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// Checks before anything is written that a set of files fits. Each pair is the length of a file and its data bytes without holes.
    ///
    /// # Errors
    /// [`OutputError::NoRoom`]; [`OutputError::Folder`] if the file system cannot be queried.
    pub fn reserve(&self, files: &[(u64, u64)]) -> Result<(), OutputError> {
        let holes = self.abilities.holes;
        let needed = files
            .iter()
            .fold(0_u64, |sum, (length, data)| sum.saturating_add(if holes { *data } else { *length }));
        let room = rustix::fs::statvfs(&self.path)
            .map_err(|source| OutputError::Folder { path: self.path.clone(), source: source.into() })?;
        let available = room.f_bavail.saturating_mul(room.f_frsize);
        // Some network file systems do not report their size.
        if room.f_blocks > 0 && available < needed {
            return Err(OutputError::NoRoom { path: self.path.clone(), needed, available, holes });
        }
        Ok(())
    }

    /// Creates a second file with the content of an unpublished one: a link if the folder supports links, otherwise a copy, which is
    /// written immediately.
    ///
    /// # Errors
    /// [`OutputError::File`] if the file cannot be copied, or its name cannot be linked.
    pub fn twin(&self, of: &Unpublished, name: &str) -> Result<Twin, OutputError> {
        if self.abilities.links {
            let no_name = || of.error("link", io::ErrorKind::InvalidFilename.into());
            let original = of.path.file_name().and_then(OsStr::to_str).ok_or_else(no_name)?;
            return Ok(Twin::Link(original.to_owned(), name.to_owned()));
        }
        let copy = self.create(name)?;
        let content = of.file.try_clone().and_then(SparseFile::new);
        content
            .and_then(|content| sparse_file::write(&content, &copy.file, |_, _| {}))
            .map_err(|source| copy.error("copy", source))?;
        Ok(Twin::Copy(copy))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a file that gets `name` only when it is published.
    ///
    /// # Errors
    /// [`OutputError::File`] if it cannot be created.
    pub fn create(&self, name: &str) -> Result<Unpublished, OutputError> {
        let path = self.path.join(name);
        let error = |source: io::Error| OutputError::File { doing: "create", path: path.clone(), source };
        let mode = Mode::from_raw_mode(0o644);
        match open(&self.path, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
            Ok(fd) => Ok(Unpublished { file: fd.into(), path, temporary: None }),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                let temporary = Temporary::new(self.path.join(format!("{name}{TEMPORARY}")));
                let file = OpenOptions::new()
                    .create(true)
                    .truncate(true)
                    .read(true)
                    .write(true)
                    .open(temporary.path())
                    .map_err(error)?;
                Ok(Unpublished { file, path, temporary: Some(temporary) })
            }
            Err(other) => Err(error(other.into())),
        }
    }

    /// Gives a set of files their names, and creates additional links (existing name, new name). The last file is the index of the set: its
    /// older version is removed before any file gets its name, and it gets its name last, so it never describes files of a different build.
    ///
    /// # Errors
    /// [`OutputError::File`]. A folder with one of the names is detected before anything is changed. After any other failure, all names of
    /// the set are removed, so that no file looks like a published output without an index.
    pub fn publish(&self, files: Vec<Unpublished>, links: &[(String, String)]) -> Result<(), OutputError> {
        files.iter().try_for_each(Unpublished::flush)?;
        let names: Vec<PathBuf> = files
            .iter()
            .map(|file| file.path.clone())
            .chain(links.iter().map(|(_, name)| self.path.join(name)))
            .collect();
        if let Some(path) = names.iter().find(|path| path.is_dir()) {
            let source = io::Error::from(io::ErrorKind::IsADirectory);
            return Err(OutputError::File { doing: "replace", path: path.clone(), source });
        }
        let published = whole(|| {
            if let Some(last) = files.last() {
                match fs::remove_file(&last.path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(last.error("replace", error));
                    }
                    _ => {}
                }
            }
            let count = files.len();
            for (at, file) in files.into_iter().enumerate() {
                if at + 1 == count {
                    links.iter().try_for_each(|(of, name)| self.link(&self.path.join(of), name))?;
                }
                file.name()?;
            }
            Ok(())
        });
        if published.is_err() {
            // The index was removed first. A file that cannot be removed here therefore has no index.
            names.iter().for_each(|path| drop(fs::remove_file(path)));
        }
        published
    }

    /// Creates a second name of a published file and replaces an older file of that name.
    fn link(&self, published: &Path, name: &str) -> Result<(), OutputError> {
        let path = self.path.join(name);
        let temporary = self.path.join(format!("{name}{TEMPORARY}"));
        fs::hard_link(published, &temporary)
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| match fs::remove_file(&temporary) {
                // Renaming a link over another link of the same file has no effect, so the temporary name still exists.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            })
            .map_err(|source| OutputError::File { doing: "link", path, source })
    }

    /// Creates a file with the given content.
    ///
    /// # Errors
    /// [`OutputError::File`] if it cannot be written.
    pub fn create_with(&self, name: &str, bytes: &[u8]) -> Result<Unpublished, OutputError> {
        let mut unpublished = self.create(name)?;
        io::Write::write_all(&mut unpublished.file, bytes)
            .map_err(|source| unpublished.error("write", source))?;
        Ok(unpublished)
    }
}

/// The second of two files with equal content.
#[derive(Debug)]
pub enum Twin {
    /// A link (existing name, new name) that is created when the set is published.
    Link(String, String),
    /// A separate file.
    Copy(Unpublished),
}

/// The abilities of a folder's file system, determined by experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Hard links are supported.
    pub links: bool,
    /// Holes in files occupy no space.
    pub holes: bool,
}

impl Abilities {
    /// The size of the test hole in bytes.
    const HOLE: u64 = 4 << 20;

    fn try_out(folder: &Path) -> io::Result<Self> {
        let one = Temporary::new(folder.join(format!(".one{TEMPORARY}")));
        let two = Temporary::new(folder.join(format!(".two{TEMPORARY}")));
        let file = File::create(one.path())?;
        // One byte of data, because a file system may store a file without data blocks in its inode table.
        file.write_all_at(&[1], 0)?;
        let holes = match file.set_len(Self::HOLE) {
            Ok(()) => {
                file.sync_data()?;
                file.metadata()?.blocks().saturating_mul(512) < Self::HOLE / 2
            }
            // A size limit or a full disk: the hole was allocated.
            Err(_) => false,
        };
        // For any error (EPERM, EOPNOTSUPP, EMLINK, ENOSYS) a copy is used instead.
        let links = fs::hard_link(one.path(), two.path()).is_ok();
        Ok(Self { links, holes })
    }
}

/// A written file that does not have its final name yet.
#[derive(Debug)]
pub struct Unpublished {
    /// The open file, for reading and writing.
    pub file: File,
    path: PathBuf,
    temporary: Option<Temporary>,
}

impl Unpublished {
    /// The final name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Creates an error about this file.
    pub fn error(&self, doing: &'static str, source: io::Error) -> OutputError {
        OutputError::File { doing, path: self.path.clone(), source }
    }

    /// Waits until the written data is on the disk. Callers use it while another thread does other work.
    ///
    /// # Errors
    /// [`OutputError::File`] if the flush fails.
    pub fn flush(&self) -> Result<(), OutputError> {
        self.file.sync_data().map_err(|source| self.error("flush", source))
    }

    /// Flushes the file and gives it its final name. An older file of that name is replaced atomically.
    ///
    /// # Errors
    /// [`OutputError::File`]; the older file is then unchanged.
    pub fn publish(self) -> Result<PathBuf, OutputError> {
        self.flush()?;
        whole(|| self.name())
    }

    /// Gives the file its name. The caller must run it inside [`whole`].
    fn name(mut self) -> Result<PathBuf, OutputError> {
        let temporary = match self.temporary.take() {
            Some(temporary) => temporary,
            None => self.link_temporary().map_err(|source| self.error("name", source))?,
        };
        temporary
            .finish_within(|temporary| fs::rename(temporary, &self.path))
            .map_err(|source| self.error("name", source))?;
        Ok(self.path)
    }

    /// Links the unnamed file to a temporary name, because `linkat` cannot replace a file.
    fn link_temporary(&self) -> io::Result<Temporary> {
        let mut name = self.path.clone().into_os_string();
        name.push(TEMPORARY);
        let temporary = Temporary::new(PathBuf::from(name));
        let handle = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        linkat(CWD, handle, CWD, temporary.path(), AtFlags::SYMLINK_FOLLOW)?;
        Ok(temporary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_has_no_name_until_it_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let out = OutputDir::lock(&folder.path().join("out")).unwrap();
        let mut file = out.create("a.raw").unwrap();
        file.file.write_all(b"half").unwrap();
        assert!(!out.path().join("a.raw").exists());
        drop(file);
        assert_eq!(names(out.path()), [".lock"]);
        let path = out.create_with("a.raw", b"whole").unwrap().publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        out.create_with("a.raw", b"newer").unwrap().publish().unwrap();
        assert_eq!(fs::read(path).unwrap(), b"newer");
        assert_eq!(names(out.path()), [".lock", "a.raw"]);
    }

    #[test]
    fn an_index_is_published_only_with_its_complete_set() {
        let folder = tempfile::tempdir().unwrap();
        let out = OutputDir::lock(&folder.path().join("out")).unwrap();
        let make = |name: &str, bytes: &[u8]| out.create_with(name, bytes).unwrap();
        let links = [("a.raw".to_owned(), "a.iso".to_owned())];
        out.publish(vec![make("a.raw", b"1"), make("index", b"1")], &links).unwrap();
        out.publish(vec![make("a.raw", b"2"), make("index", b"2")], &links).unwrap();
        for name in ["a.raw", "a.iso", "index"] {
            assert_eq!(fs::read(out.path().join(name)).unwrap(), b"2", "{name}");
        }
        // A folder has the name of a file of the set: this is detected first, and the older set stays complete.
        fs::create_dir(out.path().join("b.raw")).unwrap();
        let error = out.publish(vec![make("a.raw", b"3"), make("b.raw", b"3"), make("index", b"3")], &[]);
        assert!(error.unwrap_err().to_string().contains("b.raw"));
        for name in ["a.raw", "a.iso", "index"] {
            assert_eq!(fs::read(out.path().join(name)).unwrap(), b"2", "{name}");
        }
        assert_eq!(names(out.path()), [".lock", "a.iso", "a.raw", "b.raw", "index"]);
    }

    /// After a failure between the first and the last name, no file of this or of the previous build remains without an index.
    #[test]
    fn a_publication_that_fails_leaves_neither_new_nor_old_files_of_the_set() {
        let folder = tempfile::tempdir().unwrap();
        let out = OutputDir::lock(folder.path()).unwrap();
        let make = |name: &str, bytes: &[u8]| out.create_with(name, bytes).unwrap();
        let set = |bytes| {
            vec![make("a.raw", bytes), make("b.raw", bytes), make("c.raw", bytes), make("index", bytes)]
        };
        let links = [("a.raw".to_owned(), "a.iso".to_owned())];
        out.publish(set(b"1"), &links).unwrap();
        fs::write(folder.path().join("mine.txt"), b"kept").unwrap();
        // A file cannot be named while a folder has its temporary name.
        fs::create_dir(folder.path().join(format!("b.raw{TEMPORARY}"))).unwrap();
        out.publish(set(b"2"), &links).unwrap_err();
        assert_eq!(names(out.path()), [".lock", "mine.txt"]);
    }

    /// Simulates FAT, exFAT, SMB and vboxsf: the abilities of the folder are overridden.
    #[test]
    fn without_hard_links_the_second_file_is_a_copy_and_the_index_is_still_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut out = OutputDir::lock(&folder.path().join("out")).unwrap();
        assert_eq!(out.abilities(), Abilities { links: true, holes: true }, "the file system of the tests");
        out.abilities.links = false;
        let mut content = vec![0; 3 << 20];
        content[4096..4100].copy_from_slice(b"data");
        content.push(9);
        let raw = out.create_with("a.raw", &content).unwrap();
        let Twin::Copy(iso) = out.twin(&raw, "a.iso").unwrap() else { panic!("a link") };
        assert!(iso.file.metadata().unwrap().blocks() * 512 <= 64 << 10, "the copy has holes");
        let index = out.create_with("index", b"1").unwrap();
        out.publish(vec![raw, iso, index], &[]).unwrap();
        assert_eq!(names(out.path()), [".lock", "a.iso", "a.raw", "index"]);
        let read = |name: &str| fs::read(out.path().join(name)).unwrap();
        assert!(read("a.iso") == content && read("a.raw") == content);
        let inode = |name: &str| fs::metadata(out.path().join(name)).unwrap().ino();
        assert_ne!(inode("a.iso"), inode("a.raw"));
    }

    #[test]
    fn outputs_that_do_not_fit_are_refused_before_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut out = OutputDir::lock(folder.path()).unwrap();
        out.reserve(&[(u64::MAX, 4096), (u64::MAX, 4096)]).unwrap();
        out.abilities.holes = false;
        let error = out.reserve(&[(1 << 60, 4096)]).unwrap_err().to_string();
        assert!(error.contains("does not support holes"), "{error}");
        assert_eq!(names(out.path()), [".lock"]);
    }

    #[test]
    fn a_second_build_in_the_same_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = OutputDir::lock(folder.path()).unwrap();
        assert!(matches!(OutputDir::lock(folder.path()), Err(OutputError::Busy { .. })));
        drop(first);
        OutputDir::lock(folder.path()).unwrap();
    }

    #[test]
    fn only_temporary_files_of_an_interrupted_build_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("a.raw{TEMPORARY}")), b"half").unwrap();
        fs::write(folder.path().join("mine.txt"), b"kept").unwrap();
        OutputDir::lock(folder.path()).unwrap();
        assert_eq!(names(folder.path()), [".lock", "mine.txt"]);
    }

    #[test]
    fn a_folder_that_cannot_be_created_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = OutputDir::lock(&file.join("out")).unwrap_err();
        assert!(error.to_string().contains("file/out"), "{error}");
    }

    #[test]
    fn a_name_refers_to_a_file_of_its_folder_only() {
        for name in
            ["", ".", "..", "../root-ca.key", "/etc/shadow", "a/b", ".hidden", "a b", "a\0", "a\u{1b}"]
        {
            assert!(!is_plain(name), "{name:?}");
        }
        assert!(is_plain("root-ca.key") && is_plain("lab-0.1.0-rc.1.qcow2"));
    }
}
