//! What a file system holds by now: our files, and whatever other systems that mounted it have put beside them.

use super::writer::Tree;
use super::{EspError, format};
use std::ops::Range;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path of long names, such as `EFI/BOOT/BOOTX64.EFI`. Other systems use any character.
    pub path: String,
    /// The same path of short names, by which a file system finds it as well.
    pub short_path: String,
    /// Its content.
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
    /// Its path.
    pub path: String,
    /// Why.
    pub error: EspError,
    /// Files hide behind it: it is a directory, or the first of more entries than are listed.
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

    /// The same with both of their names.
    pub fn listed(&self) -> &[Listed] {
        &self.files
    }

    /// Entries that cannot be read. They hide nothing else.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The two allocation tables differ: which one counts depends on who reads.
    pub fn tables_differ(&self) -> bool {
        self.tables_differ
    }

    /// Entries of files that were removed.
    pub fn erased(&self) -> usize {
        self.erased
    }

    /// The places that any system writes when it mounts the file system or changes a file: both boot sectors with the counts of free
    /// clusters, both allocation tables, and the directories.
    pub fn bookkeeping(&self) -> Vec<Range<u64>> {
        let sectors = [0, format::BACKUP_SECTOR].map(|at| at * format::SECTOR..(at + 2) * format::SECTOR);
        let tables = format::FATS_AT.map(|at| at..at + format::FAT_SECTORS * format::SECTOR);
        sectors.into_iter().chain(tables).chain(self.directories.iter().cloned()).collect()
    }

    /// The files as the writer takes them.
    ///
    /// # Errors
    /// [`EspError::Path`] or [`EspError::Clash`] for a file that the writer would not write.
    pub fn tree(&self) -> Result<Tree<'static>, EspError> {
        let mut tree = Tree::new();
        for file in &self.files {
            tree.add(&file.path, file.content.clone())?;
        }
        Ok(tree)
    }
}
