//! The folder with the disks and logs of one test or one lab.
//!
//! A bench starts empty and is removed when it is dropped. It is kept when the thread panics, so that the logs of a
//! failed test can be read, and when the caller asks for it ([`Bench::keep`]).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Disk, Format, MachineError, Tools};

/// The folder of one test: empty at the start, and removed when the bench is dropped, unless the thread is panicking.
#[derive(Debug)]
pub struct Bench {
    folder: PathBuf,
    machines: AtomicU32,
    keep: bool,
}

impl Bench {
    /// Creates the empty folder `name` in `base`; removes an existing one.
    ///
    /// # Errors
    /// If the folder cannot be emptied or created.
    pub fn new(base: &Path, name: &str) -> Result<Self, MachineError> {
        let folder = base.join(name);
        let failed = |source| MachineError::Folder { path: folder.clone(), source };
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(failed)?;
        }
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        Ok(Self { folder, machines: AtomicU32::new(0), keep: false })
    }

    /// Creates a bench inside this one.
    ///
    /// # Errors
    /// If the folder cannot be emptied or created.
    pub fn sub(&self, name: &str) -> Result<Self, MachineError> {
        Self::new(&self.folder, name)
    }

    /// Keeps the folder when the bench is dropped.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Creates a folder for the logs of the next machine.
    pub(crate) fn next_machine(&self) -> Result<PathBuf, MachineError> {
        let number = self.machines.fetch_add(1, Ordering::Relaxed) + 1;
        let path = self.folder.join(format!("machine-{number}"));
        std::fs::create_dir_all(&path)
            .map_err(|source| MachineError::Folder { path: path.clone(), source })?;
        Ok(path)
    }

    /// Creates an empty disk that reads as zeroes and uses no space.
    ///
    /// # Errors
    /// If the file cannot be created.
    pub fn blank(&self, name: &str, bytes: u64) -> Result<Disk, MachineError> {
        let path = self.path(name);
        File::create(&path)
            .and_then(|file| file.set_len(bytes))
            .map_err(|source| MachineError::Folder { path: path.clone(), source })?;
        Ok(Disk::new(path, Format::Raw))
    }

    /// Copies a file; the copy is as sparse as the original.
    ///
    /// # Errors
    /// If the file cannot be copied.
    pub fn copy(&self, name: &str, of: &Path) -> Result<PathBuf, MachineError> {
        let path = self.path(name);
        copy_sparse(of, &path).map_err(|source| MachineError::Folder { path: path.clone(), source })?;
        Ok(path)
    }

    /// Creates a disk of `bytes` bytes that starts with the content of `image`; `bytes` may exceed the size of the
    /// image. Writes to the disk do not change the image.
    ///
    /// # Errors
    /// If `qemu-img` is missing or fails.
    pub fn overlay(&self, tools: &Tools, name: &str, image: &Disk, bytes: u64) -> Result<Disk, MachineError> {
        let path = self.path(name);
        let mut command = tools.command("usr/bin/qemu-img")?;
        command.args(["create", "-q", "-f", "qcow2", "-F", image.format.name(), "-b"]);
        let image = image.file.canonicalize().unwrap_or_else(|_| image.file.clone());
        command.arg(image).arg(&path).arg(bytes.to_string());
        run("qemu-img create", &mut command)?;
        Ok(Disk::new(path, Format::Qcow2))
    }

    /// Copies the content of a disk into a sparse raw file.
    ///
    /// # Errors
    /// If `qemu-img` is missing or fails.
    pub fn raw_copy(&self, tools: &Tools, name: &str, disk: &Disk) -> Result<PathBuf, MachineError> {
        let path = self.path(name);
        let mut command = tools.command("usr/bin/qemu-img")?;
        command.args(["convert", "-q", "-f", disk.format.name(), "-O", "raw"]).arg(&disk.file).arg(&path);
        run("qemu-img convert", &mut command)?;
        Ok(path)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if std::thread::panicking() {
            eprintln!("kept the folder {}", self.folder.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("failed to remove {}: {error}", self.folder.display());
        }
    }
}

/// Runs a program and waits for its end.
fn run(what: &'static str, command: &mut std::process::Command) -> Result<(), MachineError> {
    let output = command.output().map_err(|source| MachineError::Run { what, source })?;
    if output.status.success() {
        return Ok(());
    }
    Err(MachineError::Refused { what, message: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
}

/// Copies a file without its runs of zeroes.
fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom, Write};
    const STEP: usize = 1 << 16;
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let length = from.metadata()?.len();
    let (mut buffer, zeroes) = (vec![0_u8; STEP], vec![0_u8; STEP]);
    loop {
        let count = from.read(&mut buffer)?;
        let Some(read) = buffer.get(..count) else { break };
        if count == 0 {
            break;
        }
        if zeroes.starts_with(read) {
            to.seek(SeekFrom::Current(i64::try_from(count).unwrap_or(0)))?;
        } else {
            to.write_all(read)?;
        }
    }
    to.set_len(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_bench_starts_empty_and_is_removed_at_the_end() {
        let base = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(base.path().join("a/old")).unwrap();
        let bench = Bench::new(base.path(), "a").unwrap();
        assert!(!bench.path("old").exists());
        bench.blank("d", 1 << 30).unwrap();
        assert_eq!(std::fs::metadata(bench.path("d")).unwrap().len(), 1 << 30);
        drop(bench);
        assert!(!base.path().join("a").exists());
    }

    #[test]
    fn a_copy_has_the_same_bytes_and_stays_sparse() {
        let base = tempfile::tempdir().unwrap();
        let bench = Bench::new(base.path(), "a").unwrap();
        let mut bytes = vec![0_u8; 3 << 20];
        bytes[1 << 20] = 7;
        bytes[(3 << 20) - 1] = 0;
        let from = bench.path("from");
        std::fs::write(&from, &bytes).unwrap();
        let copy = bench.copy("copy", &from).unwrap();
        assert_eq!(std::fs::read(&copy).unwrap(), bytes);
        assert!(std::fs::metadata(&copy).unwrap().blocks() * 512 < 1 << 20);
    }
}
