//! Does a built file hold? Everything that can be checked without believing it: checksums, hash trees, signatures, UUIDs that follow from
//! hashes, and that nothing is there that the builder does not write.
//!
//! The last is one comparison: the image is assembled again from the parts that were checked, and every byte has to be the same. So there
//! is no place in which something unchecked could hide. A medium that was in use differs from the shipped file without being damaged: it
//! is larger, a node has adopted it, another system has written to its EFI system partition. Such differences have an outcome of their
//! own, and the verdict separates them from a seal that fails. What can take part in a boot is never one of them. An image with a test's
//! additions is refused by its own boot manifest, which says so; it is covered by the same signature as everything else.

mod disk;
mod esp;
mod folder;
mod program;
mod seed;
mod table;
mod whole;

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::artifact::{self, Artifact, ArtifactError, MANIFEST};
use crate::compare::first_difference;
use crate::image::manifest::{Manifest, SUMS};
use crate::keys::PublicKeys;
use crate::sparse_file::SparseFile;
use kubedos_debian::failure::chain;

/// What came of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// It could not be made.
    Unchecked,
    /// It is not as in the shipped file, which is normal for a medium in use.
    Differs,
    /// It is not from kubedOS, and takes no part in a boot.
    Foreign,
}

/// What came of all checks together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every check holds: it is what the builder writes.
    AsBuilt,
    /// Every sealed part verifies. Around them it differs from the shipped file as media in use do.
    Sealed,
    /// A seal fails, or something of kubedOS is damaged or has company that can take part in a boot.
    Damaged,
    /// It is a disk without anything of kubedOS.
    NotOurs,
    /// Nothing could be checked.
    Unchecked,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Of what.
    pub part: String,
    /// What came of it.
    pub outcome: Outcome,
    /// In words.
    pub detail: String,
}

/// All checks of a file, in the order in which they were made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Always 1.
    pub version: u32,
    /// The file or folder.
    pub file: PathBuf,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Verification {
    /// The verdict on the whole.
    pub fn verdict(&self) -> Verdict {
        let has = |outcome| self.with(outcome).next().is_some();
        if has(Outcome::Fails) {
            Verdict::Damaged
        } else if has(Outcome::Holds) {
            if has(Outcome::Differs) || has(Outcome::Foreign) { Verdict::Sealed } else { Verdict::AsBuilt }
        } else if has(Outcome::Foreign) {
            Verdict::NotOurs
        } else {
            Verdict::Unchecked
        }
    }

    /// Those with an outcome.
    pub fn with(&self, outcome: Outcome) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.outcome == outcome)
    }
}

impl Display for Check {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.detail)
    }
}

/// Checks a file, or a folder of outputs by its manifest. `keys` is the public half that it should be built with; without it signatures
/// are only held against the certificates that came with them.
///
/// # Errors
/// When it cannot be read, or is not of a known kind.
pub fn verify(path: &Path, keys: Option<&PublicKeys>) -> Result<Verification, ArtifactError> {
    let opened = &artifact::resolve(path)?;
    let mut checks = Checks { keys, made: Vec::new() };
    match &artifact::open(opened)? {
        Artifact::Disk(disk) => {
            disk::disk(disk, &mut checks);
        }
        Artifact::Program(bytes) => program::alone(bytes, &mut checks),
        Artifact::Seed(volume) => seed::seed(volume, None, &mut checks),
        Artifact::Statement(bytes) => disk::detached(bytes, &mut checks),
        Artifact::Manifest(manifest) => folder::folder(opened, manifest, &mut checks),
    }
    Ok(Verification { version: 1, file: path.to_owned(), checks: checks.made })
}

/// The manifest of a folder of outputs, and the folder.
///
/// # Errors
/// When it cannot be read, or is something else.
pub fn manifest(path: &Path) -> Result<(PathBuf, Manifest), ArtifactError> {
    let path = artifact::resolve(path)?;
    match artifact::open(&path)? {
        Artifact::Manifest(manifest) => Ok((folder::of(&path).to_owned(), manifest)),
        _ => Err(ArtifactError::NoManifest { path }),
    }
}

/// Compares every output of one folder with that of the same name in another, byte by byte.
pub fn compare_outputs(folder: &Path, other: &Path, manifest: &Manifest) -> Vec<Check> {
    let mut checks = Checks { keys: None, made: Vec::new() };
    let names = manifest.outputs.iter().map(|output| output.name.as_str()).chain([SUMS, MANIFEST]);
    for name in names {
        let part = format!("rebuilt {name}");
        let pair = [folder, other].map(|folder| SparseFile::open(&folder.join(name)));
        let [one, other] = pair.map(|file| checks.need(&part, file));
        let (Some(one), Some(other)) = (one, other) else { continue };
        match checks.need(&part, first_difference(&one, &other)) {
            Some(None) => checks.holds(&part, "the same bytes"),
            Some(Some(at)) => checks.fails(&part, format!("differs from byte {at} on")),
            None => {}
        }
    }
    checks.made
}

/// Checks as they are made, and what they are held against.
struct Checks<'k> {
    keys: Option<&'k PublicKeys>,
    made: Vec<Check>,
}

impl Checks<'_> {
    fn add(&mut self, part: &str, outcome: Outcome, detail: impl Into<String>) {
        self.made.push(Check { part: part.to_owned(), outcome, detail: detail.into() });
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.made.iter().filter(|check| check.outcome == outcome).count()
    }

    fn holds(&mut self, part: &str, detail: impl Into<String>) {
        self.add(part, Outcome::Holds, detail);
    }

    fn fails(&mut self, part: &str, detail: impl Into<String>) {
        self.add(part, Outcome::Fails, detail);
    }

    fn differs(&mut self, part: &str, detail: impl Into<String>) {
        self.add(part, Outcome::Differs, detail);
    }

    fn foreign(&mut self, part: &str, detail: impl Into<String>) {
        self.add(part, Outcome::Foreign, detail);
    }

    fn unchecked(&mut self, part: &str, detail: impl Into<String>) {
        self.add(part, Outcome::Unchecked, detail);
    }

    /// The value of something that had to work; else the check fails with its error.
    fn need<T, E: std::error::Error>(&mut self, part: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.fails(part, chain(&error))).ok()
    }
}
