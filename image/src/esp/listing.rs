//! The content of a file system: the files of kubedOS, and the files that other systems added after they mounted it.

use super::writer::Tree;
use super::{EspError, format};
use std::ops::Range;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The path in long names, such as `EFI/BOOT/BOOTX64.EFI`. Files of other systems may contain any character.
    pub path: String,
    /// The path in short names. A file system also finds the file by this path.
    pub short_path: String,
    /// The content.
    pub content: Vec<u8>,
}

impl Listed {
    /// Both names of each part of the path.
    pub fn parts(&self) -> impl Iterator<Item = [&str; 2]> {
        self.path.split('/').zip(self.short_path.split('/')).map(|(long, short)| [long, short])
    }
}

/// An entry that cannot be read.
#[derive(Debug)]
pub struct Fault {
    /// The path of the entry.
    pub path: String,
    /// The cause.
    pub error: EspError,
    /// Further files may exist that are not listed: the entry is a directory, or the first entry above a limit.
    pub hides_files: bool,
}

/// The content of a file system.
#[derive(Debug, Default)]
pub struct Listing {
    pub(super) files: Vec<Listed>,
    pub(super) faults: Vec<Fault>,
    pub(super) directories: Vec<Range<u64>>,
    pub(super) erased: usize,
    pub(super) tables_differ: bool,
}

impl Listing {
    /// The files with their contents, in order of path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|file| (file.path.as_str(), file.content.as_slice()))
    }

    /// The files with both names and their contents, in order of path.
    pub fn listed(&self) -> &[Listed] {
        &self.files
    }

    /// The entries that cannot be read. Other entries are still listed.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether the two allocation tables differ. Which table is used then depends on the implementation.
    pub fn tables_differ(&self) -> bool {
        self.tables_differ
    }

    /// The number of directory entries that are marked as deleted.
    pub fn erased(&self) -> usize {
        self.erased
    }

    /// The byte ranges that any system writes when it mounts the file system or changes a file: both boot sectors with the counts of free
    /// clusters, both allocation tables, and the directories.
    pub fn bookkeeping(&self) -> Vec<Range<u64>> {
        let sectors = [0, format::BACKUP_SECTOR].map(|at| at * format::SECTOR..(at + 2) * format::SECTOR);
        let tables = format::FATS_AT.map(|at| at..at + format::FAT_SECTORS * format::SECTOR);
        sectors.into_iter().chain(tables).chain(self.directories.iter().cloned()).collect()
    }

    /// The files as input of the writer.
    ///
    /// # Errors
    /// [`EspError::Path`] or [`EspError::Clash`] for a file that the writer does not accept.
    pub fn tree(&self) -> Result<Tree<'static>, EspError> {
        let mut tree = Tree::new();
        for file in &self.files {
            tree.add(&file.path, file.content.clone())?;
        }
        Ok(tree)
    }
}
