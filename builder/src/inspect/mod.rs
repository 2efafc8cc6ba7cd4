//! Describes the content of a build output as one document: partitions, files of the ESP, sections and signatures of programs, the initrd,
//! the boot manifest with its dm tables, and the statement of the configuration.
//!
//! `inspect` does not verify anything; `verify` does. The document contains no secrets. A part that cannot be read becomes an entry in
//! `problems`, so that the rest of a damaged file can still be inspected.

mod disk;
mod program;
mod report;
mod statement;
mod text;
mod tree;

use std::path::Path;

use kubedos_image::source::Source;

use crate::artifact::{self, Artifact, ArtifactError};
pub use program::program;
pub use report::{
    BootReport, Content, DiskReport, EntryReport, FileReport, NodeReport, PartitionReport, Problem,
    ProgramReport, Report, SectionReport, SeedReport, SignatureReport, SignerReport, StatementReport,
    TableReport, TreeReport, UkiReport, VolumeReport,
};

pub use tree::TreeError;

/// The level of detail for the file systems of volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trees {
    /// They are not read.
    Closed,
    /// Their files are counted.
    Counted,
    /// All paths are listed and all files are read.
    Listed,
}

/// Lists all paths of a volume.
///
/// # Errors
/// [`TreeError`].
pub fn listing(volume: &dyn Source) -> Result<TreeReport, TreeError> {
    tree::tree(volume, true)
}

/// Inspects a file; for an output folder, its manifest.
///
/// # Errors
/// If the file cannot be read or is not a kubedOS output.
pub fn inspect(path: &Path, trees: Trees) -> Result<Report, ArtifactError> {
    let path = &artifact::resolve(path)?;
    let bytes = artifact::length(path)?;
    let artifact = artifact::open(path)?;
    let mut problems = Vec::new();
    let content = match &artifact {
        Artifact::Disk(disk) => Content::Disk(Box::new(disk::report(disk, trees, &mut problems))),
        Artifact::Program(bytes) => {
            Content::Program(Box::new(program(&path.display().to_string(), bytes, &mut problems)))
        }
        Artifact::Seed(volume) => Content::Seed { seed: statement::seed(volume, &mut problems) },
        Artifact::Statement(bytes) => {
            Content::Statement { statement: statement::detached(bytes, &mut problems) }
        }
        Artifact::Manifest(manifest) => Content::Manifest { manifest: Box::new(manifest.clone()) },
    };
    Ok(Report { version: report::VERSION, file: path.to_owned(), bytes, content, problems })
}
