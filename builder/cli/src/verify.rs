//! `verify PATH`: verifies a built file, or a folder of outputs through its manifest.
//!
//! The checks are in the builder library. This module prints them, and derives the exit code from the verdict. `--rebuild` builds the image
//! again in a temporary folder and compares all outputs byte by byte.

use std::path::{Path, PathBuf};

use clap::Args;
use kubedos_builder::artifact::ArtifactError;
use kubedos_builder::image::build::Formats;
use kubedos_builder::interrupt::Temporary;
use kubedos_builder::keys::{PUBLIC, PublicKeys};
use kubedos_builder::output::OutputDir;
use kubedos_builder::verify::{self, Check, Outcome, Verdict, Verification};
use kubedos_debian::failure::{Class, Failure};
use kubedos_wire::printable::Row;
use serde::Serialize;

use super::image::{Image, Rebuild};
use super::inputs::Inputs;
use super::relock::LOCK_USED;
use super::terminal::{print_painted, print_pretty, say, takes_color};

/// Verify a built file or a folder of outputs: tables, hash trees, signatures, and no other content
#[derive(Debug, Args)]
pub struct Verify {
    /// An image (.raw, .iso, .qcow2), UKI (.efi), seed (.img), manifest.json, or a folder with one
    path: PathBuf,

    /// The expected keys: a key directory, or a copy of its public half
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,

    /// Build the same image again without results of earlier builds, and compare every output; PATH must be a folder
    #[arg(long, requires = "spec")]
    rebuild: bool,

    /// With --rebuild: the ClusterSpec
    #[arg(long, value_name = "FILE", requires = "rebuild")]
    spec: Option<PathBuf>,

    /// With --rebuild: a cargo target directory for the programs of init/ to reuse [default: a new one]
    #[arg(long, value_name = "DIR", requires = "rebuild")]
    init_target: Option<PathBuf>,

    #[command(flatten)]
    inputs: Inputs,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl Verify {
    /// Prints every check. Fails with class 4 if a check fails.
    pub fn run(&self) -> Result<(), Failure> {
        let keys = self.keys.as_deref().map(public_half).transpose()?;
        let mut verification = verify::verify(&self.path, keys.as_ref()).map_err(failure)?;
        if let Some(spec) = &self.spec {
            verification.checks.extend(self.build_again(spec)?);
        }
        if self.json {
            print_pretty(&Document { verdict: verification.verdict(), verification: &verification })?;
        } else {
            print_painted(&table(&verification, takes_color(&std::io::stdout())))?;
        }
        conclude(&verification)
    }
}

impl Verify {
    /// Builds the outputs again and compares them with the ones in the manifest.
    fn build_again(&self, spec: &Path) -> Result<Vec<Check>, Failure> {
        let (folder, manifest) = verify::manifest(&self.path).map_err(failure)?;
        let has = |ending: &str| manifest.outputs.iter().any(|output| output.name.ends_with(ending));
        let formats = Formats { iso: has(".iso"), qcow2: has(".qcow2") };
        let lock = folder.join(LOCK_USED);
        let mut inputs = self.inputs.clone();
        if lock.exists() {
            say!("building with {}, the lock that this image was built with", lock.display());
            inputs.lock = lock;
        }
        let place = tempfile::Builder::new().prefix("kubedos-rebuild-").tempdir();
        let place = Temporary::new(place.map_err(|error| Failure::new(Class::Failed, error))?.keep());
        let out = OutputDir::lock(place.path())?;
        let fresh = place.path().join("init");
        Image::rebuild(Rebuild {
            spec,
            keys: self.keys.as_deref(),
            inputs: &inputs,
            init_target: self.init_target.as_deref().unwrap_or(&fresh),
            formats,
            out: &out,
        })?;
        Ok(verify::compare_outputs(&folder, out.path(), &manifest))
    }
}

/// Opens the public half of a key directory, or a copy of the public half.
fn public_half(path: &Path) -> Result<PublicKeys, Failure> {
    let inside = path.join(PUBLIC);
    Ok(PublicKeys::open(if inside.is_dir() { &inside } else { path })?)
}

/// The failure of a file that was to be verified.
fn failure(error: ArtifactError) -> Failure {
    let class = error.class_of_verification();
    Failure { class, ..error.into() }
}

/// The JSON document: the verdict and the checks.
#[derive(Serialize)]
struct Document<'v> {
    verdict: Verdict,
    #[serde(flatten)]
    verification: &'v Verification,
}

fn table(verification: &Verification, color: bool) -> String {
    let width = verification.checks.iter().map(|check| check.part.chars().count()).max().unwrap_or(0);
    let row = |check: &Check| {
        let (word, code) = match check.outcome {
            Outcome::Holds => ("ok  ", "32"),
            Outcome::Fails => ("FAIL", "1;31"),
            Outcome::Unchecked => ("?   ", "33"),
            Outcome::Differs => ("diff", "33"),
            Outcome::Foreign => ("-   ", "33"),
        };
        let word = if color { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() };
        format!("{word}  {}\n", Row(format_args!("{:<width$}  {}", check.part, check.detail)))
    };
    verification.checks.iter().map(row).collect()
}

fn conclude(verification: &Verification) -> Result<(), Failure> {
    let file = verification.file.display();
    let count = |outcome| verification.with(outcome).count();
    let (holds, unchecked) = (count(Outcome::Holds), count(Outcome::Unchecked));
    let rest = if unchecked == 0 { String::new() } else { format!("; not checked: {unchecked}") };
    match verification.verdict() {
        Verdict::AsBuilt => say!("{file}: all {holds} checks succeeded{rest}"),
        Verdict::Sealed => {
            let (differs, foreign) = (count(Outcome::Differs), count(Outcome::Foreign));
            let foreign = match foreign {
                0 => String::new(),
                count => format!("; not from kubedOS and without a role in a boot: {count}"),
            };
            say!(
                "{file}: the sealed parts verify, all {holds} checks succeeded; differences from the shipped file, normal for a medium in use: {differs}{foreign}{rest}"
            );
        }
        Verdict::Damaged => {
            let failed: Vec<&Check> = verification.with(Outcome::Fails).collect();
            let more = failed.len().saturating_sub(1);
            let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
            let first = failed.first().map(ToString::to_string).unwrap_or_default();
            return Err(Failure::new(Class::Mismatch, format!("{file} does not verify: {first}{more}")));
        }
        Verdict::NotOurs => {
            let failure = Failure::new(Class::Failed, format!("{file} is not a disk of kubedOS"));
            return Err(failure.with_help("no check was run, because the disk has no partition of kubedOS"));
        }
        Verdict::Unchecked => {
            let failure = Failure::new(Class::Failed, "no check was possible");
            return Err(failure.with_help("pass the keys with --keys DIR"));
        }
    }
    Ok(())
}
