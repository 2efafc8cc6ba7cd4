//! What a built file holds, as one document: partitions, files of the ESP, sections and signatures of programs, the initrd, the boot
//! manifest with its dm tables, the configuration's statement. Nothing is judged here; `verify` does that. No secret is in it.
//!
//! A part that cannot be read is a line in `problems`, so that the rest of a damaged file can still be looked at.

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

/// How far the file systems of volumes are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trees {
    /// Not at all.
    Closed,
    /// Their files are counted.
    Counted,
    /// Every path is listed, every file read.
    Listed,
}

/// Every path of a volume.
///
/// # Errors
/// [`TreeError`].
pub fn listing(volume: &dyn Source) -> Result<TreeReport, TreeError> {
    tree::tree(volume, true)
}

/// Looks at a file; of a folder of outputs, at its manifest.
///
/// # Errors
/// When it cannot be read, or is none of the files that kubedOS makes.
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
