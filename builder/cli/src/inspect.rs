//! `inspect FILE` shows the content of a built file; `inspect --disks` shows the disks of this machine.

use std::path::PathBuf;

use clap::Args;
use kubedos_builder::inspect::{self, Trees};
use kubedos_debian::failure::{Class, Failure};

use super::attached::Attached;
use super::terminal::{print, print_pretty};

/// Show the content of a built file: partitions, programs, signatures, initrd, volumes; never a secret
#[derive(Debug, Args)]
pub struct Inspect {
    /// An image (.raw, .iso, .qcow2) or a disk, UKI (.efi), seed (.img), manifest.json, or a folder with one
    #[arg(required_unless_present = "disks", conflicts_with = "disks")]
    file: Option<PathBuf>,

    /// List every path of the volumes, with mode, owner, size, SHA-256 and attributes
    #[arg(long, conflicts_with = "disks")]
    files: bool,

    #[command(flatten)]
    attached: Attached,

    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Prints the report. Fails if a part of the file cannot be read, but prints the other parts.
    pub fn run(&self) -> Result<(), Failure> {
        let Some(file) = &self.file else { return self.attached.run(self.json) };
        let trees = if self.files { Trees::Listed } else { Trees::Counted };
        let report = inspect::inspect(file, trees)?;
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
