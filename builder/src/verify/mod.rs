//! Verifies build outputs without trusting them: checksums, hash trees, signatures, UUIDs that are derived from hashes, and the absence of
//! data that the builder does not write.
//!
//! The last check is a single comparison: the image is assembled again from the verified parts, and every byte must be the same. Unverified
//! data therefore has no place in an image.
//!
//! A medium in use differs from the shipped file without being damaged: it is larger, a node has adopted it, or another system wrote to its
//! ESP. These differences have an outcome of their own, and the verdict distinguishes them from a failed seal. Files that can take part
//! in a boot always fail. The boot manifest of an image with a test's additions records them under the same signature, and `verify`
//! rejects the image.

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
use kubedos_wire::printable::chain;

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The check passed.
    Holds,
    /// The check failed.
    Fails,
    /// The check was not possible.
    Unchecked,
    /// The part differs from the shipped file in a way that is normal for a medium in use.
    Differs,
    /// The part is not from kubedOS and takes no part in a boot.
    Foreign,
}

/// The overall result of all checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All checks passed: the file is exactly what the builder writes.
    AsBuilt,
    /// Every sealed part verifies. Other parts differ from the shipped file as is normal for media in use.
    Sealed,
    /// A seal fails, a part of kubedOS is damaged, or a foreign file can take part in a boot.
    Damaged,
    /// The disk contains no partition of kubedOS.
    NotOurs,
    /// No check was possible.
    Unchecked,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The checked part.
    pub part: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The explanation as text.
    pub detail: String,
}

/// All checks of a file, in the order of execution.
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
    /// Returns the overall result.
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

    /// Returns the checks with the given outcome.
    pub fn with(&self, outcome: Outcome) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.outcome == outcome)
    }
}

impl Display for Check {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.detail)
    }
}

/// Verifies a file, or an output folder by its manifest. `keys` are the public keys that it should be built with. Without them, signatures
/// are only checked against the certificates that they contain.
///
/// # Errors
/// If the file cannot be read or is of an unknown kind.
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

/// Returns the folder of outputs and its manifest.
///
/// # Errors
/// If it cannot be read or is not a manifest.
pub fn manifest(path: &Path) -> Result<(PathBuf, Manifest), ArtifactError> {
    let path = artifact::resolve(path)?;
    match artifact::open(&path)? {
        Artifact::Manifest(manifest) => Ok((folder::of(&path).to_owned(), manifest)),
        _ => Err(ArtifactError::NoManifest { path }),
    }
}

/// Compares every output of a folder with the output of the same name in a different folder, byte by byte.
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
            Some(Some(at)) => checks.fails(&part, format!("differs from byte {at}")),
            None => {}
        }
    }
    checks.made
}

/// The results so far, and the keys to verify with.
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

    /// Returns the value of a result; an error becomes a failed check.
    fn need<T, E: std::error::Error>(&mut self, part: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.fails(part, chain(&error))).ok()
    }
}
