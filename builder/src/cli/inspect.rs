//! `inspect FILE`: what a built file holds.

use std::path::PathBuf;

use clap::Args;
use kubedos_builder::artifact::ArtifactError;
use kubedos_builder::failure::{Class, Failure};
use kubedos_builder::inspect::{self, Trees};

use super::terminal::{print, print_pretty};

/// Show what a built file holds: partitions, programs, signatures, initrd, volumes; never a secret
#[derive(Debug, Args)]
pub struct Inspect {
    /// An image (.raw, .iso, .qcow2), UKI (.efi), seed (.img) or manifest.json
    file: PathBuf,

    /// List every path of the volumes, with mode, owner, size, SHA-256 and attributes
    #[arg(long)]
    files: bool,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Prints it. Fails when a part of the file cannot be read; what can be read is printed all the same.
    pub fn run(&self) -> Result<(), Failure> {
        let trees = if self.files { Trees::Listed } else { Trees::Counted };
        let report = inspect::inspect(&self.file, trees).map_err(failure)?;
        if self.json {
            print_pretty(&report)?;
        } else {
            print(&report)?;
        }
        match report.problems.as_slice() {
            [] => Ok(()),
            [only] => Err(Failure::new(Class::Failed, format!("{}: {}", only.part, only.error))),
            [first, rest @ ..] => {
                let more = rest.len();
                Err(Failure::new(
                    Class::Failed,
                    format!("{}: {}; and {more} more problems", first.part, first.error),
                ))
            }
        }
    }
}

/// Sorts an error of opening a built file.
pub fn failure(error: ArtifactError) -> Failure {
    let help = match &error {
        ArtifactError::Unknown { .. } => {
            Some("it takes a disk image (.raw, .iso, .qcow2), a UKI (.efi), a seed (.img) or manifest.json")
        }
        _ => None,
    };
    let class = match &error {
        ArtifactError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Class::Usage,
        _ => Class::Failed,
    };
    match help {
        Some(help) => Failure::new(class, error).with_help(help),
        None => Failure::new(class, error),
    }
}
