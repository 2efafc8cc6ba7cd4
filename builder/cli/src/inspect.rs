//! `inspect FILE` shows the content of a built file; `inspect --disks` shows the disks of this machine.

use std::path::{Path, PathBuf};

use clap::Args;
use kubedos_builder::artifact::ArtifactError;
use kubedos_builder::inspect::{self, Trees};
use kubedos_debian::failure::{Class, Failure};
use kubedos_image::qcow2::{Qcow2Error, Unsupported};

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
        let report = inspect::inspect(file, trees).map_err(failure)?;
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
        ArtifactError::Unknown { .. } => Some(
            "give a disk image (.raw, .iso, .qcow2) or a disk, a UKI (.efi), a seed (.img) or manifest.json"
                .to_owned(),
        ),
        ArtifactError::Folder { path, files } => Some(match files.as_slice() {
            [] => "give a file, or the folder that `image` wrote its outputs to".to_owned(),
            files => {
                let first = files.iter().take(8).map(|name| path.join(name).display().to_string());
                format!("give one of its files: {}", first.collect::<Vec<_>>().join(", "))
            }
        }),
        ArtifactError::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Some("give it to a user who may read it; a disk is read by root".to_owned())
        }
        ArtifactError::Qcow2 { path, source: Qcow2Error::Unsupported(what) } => Some(conversion(path, *what)),
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

/// The command that converts the file to a readable one.
fn conversion(path: &Path, what: Unsupported) -> String {
    // Quoted for a shell.
    let path = format!("'{}'", path.display().to_string().replace('\'', r"'\''"));
    let convert = format!("qemu-img convert -O raw {path} disk.raw");
    match what {
        Unsupported::Dirty | Unsupported::Corrupt => {
            format!(
                "shut its machine down, run `qemu-img check -r all {path}`, then `{convert}`, and give disk.raw"
            )
        }
        Unsupported::Encrypted => {
            format!("run `{convert}` with its key (--object secret, --image-opts), and give disk.raw")
        }
        _ => format!("run `{convert}`, and give disk.raw"),
    }
}
