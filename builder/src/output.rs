//! The output folder: nothing half-written ever stands under its final name, and one build at a time writes there.
//!
//! A file is written without a name (`O_TMPFILE`) and linked into place when it is complete and flushed, so that an interrupted
//! build leaves nothing behind. Where the file system cannot do that, a named temporary beside it is used; what a killed build leaves
//! of those is removed at the next. All files of a build get their names together, `manifest.json` last.
//!
//! FAT, exFAT, SMB and shared folders of hypervisors have no hard links, and files without holes. What the folder can do is tried out
//! when it is locked, before any work; a second name is then a copy, and room is asked for before the first byte is written.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use kubedos_image::width::to_usize;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, linkat, open};

use crate::interrupt::{Temporary, whole};
use crate::size::human;

/// What stands at the end of every temporary name that this module makes.
const TEMPORARY: &str = ".kubedos-partial";

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The folder cannot be made or written to.
    #[error("cannot write to the output folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another build is writing there.
    #[error("another build is writing to {}", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// The file system has too little room for what is to be written.
    #[error(
        "{} needs {} for the outputs, and its file system has {}{}",
        path.display(), human(*needed), human(*available),
        if *holes { "" } else { " and no holes in files: an image occupies its whole size there" }
    )]
    NoRoom {
        /// The folder.
        path: PathBuf,
        /// Bytes that the outputs will occupy.
        needed: u64,
        /// Bytes that may be used.
        available: u64,
        /// Whether holes occupy nothing.
        holes: bool,
    },
    /// A file could not be written, flushed or named.
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

/// An output folder that this process alone writes to until it is dropped.
#[derive(Debug)]
pub struct OutputDir {
    path: PathBuf,
    abilities: Abilities,
    _lock: File,
}

impl OutputDir {
    /// Makes the folder if needed, locks it, and removes what an interrupted build left there.
    ///
    /// # Errors
    /// [`OutputError::Folder`] when it cannot be written to, [`OutputError::Busy`] when another build holds it.
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

    /// What the file system of the folder can do.
    pub const fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// Refuses before anything is written when the files of a set would not fit. Each has a length and the part of it that is no hole.
    ///
    /// # Errors
    /// [`OutputError::NoRoom`]; [`OutputError::Folder`] when the file system cannot be asked.
    pub fn reserve(&self, files: &[(u64, u64)]) -> Result<(), OutputError> {
        let holes = self.abilities.holes;
        let needed = files
            .iter()
            .fold(0_u64, |sum, (length, data)| sum.saturating_add(if holes { *data } else { *length }));
        let room = rustix::fs::statvfs(&self.path)
            .map_err(|source| OutputError::Folder { path: self.path.clone(), source: source.into() })?;
        let available = room.f_bavail.saturating_mul(room.f_frsize);
        // Some network file systems do not say how much room they have.
        if room.f_blocks > 0 && available < needed {
            return Err(OutputError::NoRoom { path: self.path.clone(), needed, available, holes });
        }
        Ok(())
    }

    /// A second file of the same content as one that is written but not named: a link where the folder has links, else a copy, made now.
    ///
    /// # Errors
    /// [`OutputError::File`] when it cannot be copied, or has no name that could be linked.
    pub fn twin(&self, of: &Unpublished, name: &str) -> Result<Twin, OutputError> {
        if self.abilities.links {
            let no_name = || of.error("link", io::ErrorKind::InvalidFilename.into());
            let original = of.path.file_name().and_then(OsStr::to_str).ok_or_else(no_name)?;
            return Ok(Twin::Link(original.to_owned(), name.to_owned()));
        }
        let copy = self.create(name)?;
        of.copy_to(&copy.file).map_err(|source| copy.error("copy", source))?;
        Ok(Twin::Copy(copy))
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new file that gets `name` only when it is published.
    ///
    /// # Errors
    /// [`OutputError::File`] when it cannot be created.
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

    /// Gives a set of files their names, with second names (`of`, `name`) of some of them. The last one speaks for all: its older version
    /// goes before the first is named, and it is named last, so that it never stands beside files of another build.
    ///
    /// # Errors
    /// [`OutputError::File`]. A folder that stands under one of the names is found before anything is changed; after any other failure no
    /// file stands under a name of the set, so that none looks like an output of a build that has no index.
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
            // The index went first. What cannot be removed is without one.
            names.iter().for_each(|path| drop(fs::remove_file(path)));
        }
        published
    }

    /// A second name of a published file, replacing an older one of that name.
    fn link(&self, published: &Path, name: &str) -> Result<(), OutputError> {
        let path = self.path.join(name);
        let temporary = self.path.join(format!("{name}{TEMPORARY}"));
        fs::hard_link(published, &temporary)
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| match fs::remove_file(&temporary) {
                // Renaming one name of a file over another name of the same file does nothing at all.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                other => other,
            })
            .map_err(|source| OutputError::File { doing: "link", path, source })
    }

    /// A small file, whole.
    ///
    /// # Errors
    /// [`OutputError::File`] when it cannot be written.
    pub fn create_with(&self, name: &str, bytes: &[u8]) -> Result<Unpublished, OutputError> {
        let mut unpublished = self.create(name)?;
        io::Write::write_all(&mut unpublished.file, bytes)
            .map_err(|source| unpublished.error("write", source))?;
        Ok(unpublished)
    }
}

/// The second file of a pair of equal ones.
#[derive(Debug)]
pub enum Twin {
    /// A second name (of, name), given when the set is published.
    Link(String, String),
    /// A file of its own.
    Copy(Unpublished),
}

/// What the file system of a folder can do, found out by doing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// A file can have two names.
    pub links: bool,
    /// A hole in a file occupies nothing.
    pub holes: bool,
}

impl Abilities {
    /// The size of the hole that is tried.
    const HOLE: u64 = 4 << 20;

    fn try_out(folder: &Path) -> io::Result<Self> {
        let one = Temporary::new(folder.join(format!(".one{TEMPORARY}")));
        let two = Temporary::new(folder.join(format!(".two{TEMPORARY}")));
        let file = File::create(one.path())?;
        // One byte: a file system may keep a file of nothing but a hole in its index.
        file.write_all_at(&[1], 0)?;
        let holes = match file.set_len(Self::HOLE) {
            Ok(()) => {
                file.sync_data()?;
                file.metadata()?.blocks().saturating_mul(512) < Self::HOLE / 2
            }
            // A limit or a full disk: without holes it does not fit.
            Err(_) => false,
        };
        // Whatever the reason is (EPERM, EOPNOTSUPP, EMLINK, ENOSYS), a copy serves.
        let links = fs::hard_link(one.path(), two.path()).is_ok();
        Ok(Self { links, holes })
    }
}

/// A file that is written but has no name yet.
#[derive(Debug)]
pub struct Unpublished {
    /// The open file, for reading and writing.
    pub file: File,
    path: PathBuf,
    temporary: Option<Temporary>,
}

impl Unpublished {
    /// The name that it will get.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error about this file.
    pub fn error(&self, doing: &'static str, source: io::Error) -> OutputError {
        OutputError::File { doing, path: self.path.clone(), source }
    }

    /// Waits until what was written is on the disk, for a caller that has other work to do meanwhile on another thread.
    ///
    /// # Errors
    /// [`OutputError::File`] when it cannot be flushed.
    pub fn flush(&self) -> Result<(), OutputError> {
        self.file.sync_data().map_err(|source| self.error("flush", source))
    }

    /// Copies the content; blocks of zeroes are left out, so that they are holes where there are holes.
    fn copy_to(&self, to: &File) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        to.set_len(length)?;
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        while at < length {
            let count = to_usize(length - at).min(buffer.len());
            let (chunk, _) = buffer.split_at_mut(count);
            self.file.read_exact_at(chunk, at)?;
            for (block, start) in chunk.chunks(4096).zip((at..).step_by(4096)) {
                if block.iter().any(|byte| *byte != 0) {
                    to.write_all_at(block, start)?;
                }
            }
            at += count as u64;
        }
        Ok(())
    }

    /// Flushes the file and gives it its name, replacing an older file of that name in one step.
    ///
    /// # Errors
    /// [`OutputError::File`]; the older file is then untouched.
    pub fn publish(self) -> Result<PathBuf, OutputError> {
        self.flush()?;
        whole(|| self.name())
    }

    /// Within [`whole`].
    fn name(mut self) -> Result<PathBuf, OutputError> {
        let temporary = match self.temporary.take() {
            Some(temporary) => temporary,
            None => self.link_beside().map_err(|source| self.error("name", source))?,
        };
        temporary
            .finish_within(|temporary| fs::rename(temporary, &self.path))
            .map_err(|source| self.error("name", source))?;
        Ok(self.path)
    }

    /// Links the nameless file under a temporary name, since `linkat` cannot replace a file.
    fn link_beside(&self) -> io::Result<Temporary> {
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
    fn a_set_has_its_index_only_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let out = OutputDir::lock(&folder.path().join("out")).unwrap();
        let make = |name: &str, bytes: &[u8]| out.create_with(name, bytes).unwrap();
        let links = [("a.raw".to_owned(), "a.iso".to_owned())];
        out.publish(vec![make("a.raw", b"1"), make("index", b"1")], &links).unwrap();
        out.publish(vec![make("a.raw", b"2"), make("index", b"2")], &links).unwrap();
        for name in ["a.raw", "a.iso", "index"] {
            assert_eq!(fs::read(out.path().join(name)).unwrap(), b"2", "{name}");
        }
        // A folder stands where a file of the set is to go: that is found first, and the older set stays whole.
        fs::create_dir(out.path().join("b.raw")).unwrap();
        let error = out.publish(vec![make("a.raw", b"3"), make("b.raw", b"3"), make("index", b"3")], &[]);
        assert!(error.unwrap_err().to_string().contains("b.raw"));
        for name in ["a.raw", "a.iso", "index"] {
            assert_eq!(fs::read(out.path().join(name)).unwrap(), b"2", "{name}");
        }
        assert_eq!(names(out.path()), [".lock", "a.iso", "a.raw", "b.raw", "index"]);
    }

    /// What fails between the first name and the last: no file of this build and none of the one before stands without an index.
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
        // A file cannot be named while something stands under its temporary name.
        fs::create_dir(folder.path().join(format!("b.raw{TEMPORARY}"))).unwrap();
        out.publish(set(b"2"), &links).unwrap_err();
        assert_eq!(names(out.path()), [".lock", "mine.txt"]);
    }

    /// What FAT, exFAT, SMB and vboxsf refuse, without one of them: the folder is taken for one that cannot link.
    #[test]
    fn without_hard_links_the_second_file_is_a_copy_and_the_index_is_still_last() {
        let folder = tempfile::tempdir().unwrap();
        let mut out = OutputDir::lock(&folder.path().join("out")).unwrap();
        assert_eq!(out.abilities(), Abilities { links: true, holes: true }, "the tests' own file system");
        out.abilities.links = false;
        let mut content = vec![0; 3 << 20];
        content[4096..4100].copy_from_slice(b"data");
        content.push(9);
        let raw = out.create_with("a.raw", &content).unwrap();
        let Twin::Copy(iso) = out.twin(&raw, "a.iso").unwrap() else { panic!("a link") };
        assert!(iso.file.metadata().unwrap().blocks() * 512 <= 64 << 10, "holes stay holes");
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
        assert!(error.contains("no holes in files"), "{error}");
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
    fn what_an_interrupted_build_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(format!("a.raw{TEMPORARY}")), b"half").unwrap();
        fs::write(folder.path().join("mine.txt"), b"kept").unwrap();
        OutputDir::lock(folder.path()).unwrap();
        assert_eq!(names(folder.path()), [".lock", "mine.txt"]);
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = OutputDir::lock(&file.join("out")).unwrap_err();
        assert!(error.to_string().contains("file/out"), "{error}");
    }
}
