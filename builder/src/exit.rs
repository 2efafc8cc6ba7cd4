//! The exit class of each error of this library, and the help that goes with it.
//!
//! The matches are exhaustive, so the code compiles only if each new variant has an exit class. A wrapping error has the class of its
//! cause.

#![deny(clippy::wildcard_enum_match_arm)]

use std::io::ErrorKind;
use std::path::Path;

use kubedos_debian::failure::{Class, Classify};
use kubedos_image::qcow2::{Qcow2Error, Unsupported};

use super::artifact::ArtifactError;
use super::compose::ComposeError;
use super::diff::DiffError;
use super::image::build::BuildError;
use super::init_build::InitBuildError;
use super::keys::KeyError;
use super::output::OutputError;
use super::seed::SeedError;
use super::toolbox::ToolboxError;

impl Classify for ToolboxError {
    fn class(&self) -> Class {
        match self {
            Self::NotThere { .. } | Self::NotAProgram { .. } => Class::Usage,
            Self::Lock(error) => error.class(),
            Self::Cache(error) => error.class(),
            Self::Deb { .. } | Self::Unpack { .. } | Self::Io { .. } => Class::Failed,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Lock(error) => error.help(),
            Self::Cache(error) => error.help(),
            Self::Deb { .. }
            | Self::Unpack { .. }
            | Self::Io { .. }
            | Self::NotThere { .. }
            | Self::NotAProgram { .. } => None,
        }
    }
}

impl Classify for InitBuildError {
    fn class(&self) -> Class {
        match self {
            Self::Rustc { .. } => Class::Mismatch,
            Self::Toolbox(error) => error.class(),
            Self::Run(..)
            | Self::Cargo(_)
            | Self::File { .. }
            | Self::NoChannel(_)
            | Self::Uncovered(_)
            | Self::Changed
            | Self::NoHome(_)
            | Self::Leak { .. }
            | Self::Store(_) => Class::Failed,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Toolbox(error) => error.help(),
            Self::Run(..)
            | Self::Cargo(_)
            | Self::File { .. }
            | Self::NoChannel(_)
            | Self::Rustc { .. }
            | Self::Uncovered(_)
            | Self::Changed
            | Self::NoHome(_)
            | Self::Leak { .. }
            | Self::Store(_) => None,
        }
    }
}

impl Classify for KeyError {
    fn class(&self) -> Class {
        match self {
            Self::Exposed { .. }
            | Self::Exists { .. }
            | Self::DemoKeys { .. }
            | Self::HiddenDemo { .. }
            | Self::NoRoot { .. }
            | Self::OtherCluster { .. } => Class::Usage,
            Self::File { doing: "open", source, .. } if source.kind() == ErrorKind::NotFound => Class::Usage,
            Self::Pair { .. } | Self::Certificate { .. } => Class::Mismatch,
            Self::File { .. }
            | Self::Index { .. }
            | Self::Rule { .. }
            | Self::Malformed { .. }
            | Self::NoCertificate { .. }
            | Self::Encode { .. }
            | Self::Clock(_)
            | Self::Generate(_)
            | Self::Issue(_)
            | Self::Enrolment(_) => Class::Failed,
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::Exposed { .. } => "chmod -R go= the key directory",
            Self::Exists { .. } => {
                "`keys rotate` replaces single keys; a new cluster needs a directory of its own"
            }
            Self::DemoKeys { .. } | Self::HiddenDemo { .. } => {
                "`kubedos-build keys init CLUSTER` creates your own keys"
            }
            Self::NoRoot { .. } => "attach the offline root CA's key for this step, and remove it afterwards",
            Self::File { doing: "open", source, .. } if source.kind() == ErrorKind::NotFound => {
                "`kubedos-build keys init CLUSTER` creates keys; --keys DIR names their directory"
            }
            Self::OtherCluster { .. }
            | Self::Pair { .. }
            | Self::Certificate { .. }
            | Self::File { .. }
            | Self::Index { .. }
            | Self::Rule { .. }
            | Self::Malformed { .. }
            | Self::NoCertificate { .. }
            | Self::Encode { .. }
            | Self::Clock(_)
            | Self::Generate(_)
            | Self::Issue(_)
            | Self::Enrolment(_) => return None,
        };
        Some(help.to_owned())
    }
}

impl Classify for ComposeError {
    fn class(&self) -> Class {
        match self {
            Self::Cache(error) => error.class(),
            Self::Lock(error) => error.class(),
            Self::Data(_)
            | Self::Store(_)
            | Self::Unpack { .. }
            | Self::Scripts(_)
            | Self::Twice(_)
            | Self::Missing(_)
            | Self::Tree(_)
            | Self::Rule(_)
            | Self::Account(_)
            | Self::Unit(_)
            | Self::File(_)
            | Self::Kernel(_)
            | Self::Library(_)
            | Self::Audit(_) => Class::Failed,
        }
    }
}

impl Classify for BuildError {
    fn class(&self) -> Class {
        match self {
            Self::Compose(error) => error.class(),
            Self::CacheKey(error) => error.class(),
            Self::Output(error) => error.class(),
            Self::Volume(_)
            | Self::Configuration(_)
            | Self::Schema(_)
            | Self::NoOsRelease
            | Self::Manifest(_)
            | Self::BootManifest(_)
            | Self::Initrd(_)
            | Self::Uki(_)
            | Self::Sign { .. }
            | Self::Esp(_)
            | Self::Disk(_)
            | Self::Qcow2(_)
            | Self::Store(_)
            | Self::File { .. } => Class::Failed,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Compose(error) => error.help(),
            Self::CacheKey(error) => error.help(),
            Self::Output(error) => error.help(),
            Self::Volume(_)
            | Self::Configuration(_)
            | Self::Schema(_)
            | Self::NoOsRelease
            | Self::Manifest(_)
            | Self::BootManifest(_)
            | Self::Initrd(_)
            | Self::Uki(_)
            | Self::Sign { .. }
            | Self::Esp(_)
            | Self::Disk(_)
            | Self::Qcow2(_)
            | Self::Store(_)
            | Self::File { .. } => None,
        }
    }
}

impl Classify for OutputError {
    fn class(&self) -> Class {
        match self {
            Self::Folder { .. } | Self::Busy { .. } | Self::NoRoom { .. } | Self::File { .. } => {
                Class::Failed
            }
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::Busy { .. } => "wait until it ends, or choose another --out",
            Self::NoRoom { .. } => {
                "free some space, select fewer formats with --format, or choose another --out"
            }
            Self::Folder { .. } | Self::File { .. } => return None,
        };
        Some(help.to_owned())
    }
}

impl Classify for SeedError {
    fn class(&self) -> Class {
        match self {
            Self::Keys(error) => error.class(),
            Self::Output(error) => error.class(),
            Self::Foreign { .. } => Class::Usage,
            Self::NotAccepted { .. }
            | Self::BelowFloor { .. }
            | Self::Refused { .. }
            | Self::Table { .. } => Class::Mismatch,
            Self::Document(_)
            | Self::Sign(_)
            | Self::Volume(_)
            | Self::Image { .. }
            | Self::Unprotected { .. } => Class::Failed,
        }
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Self::Keys(error) => return error.help(),
            Self::Output(error) => return error.help(),
            Self::NotAccepted { .. } => {
                "personalise an image that was built with these keys, or pass the keys with --keys"
            }
            Self::BelowFloor { found, .. } => {
                return Some(format!(
                    "build a newer image; or mint the seed with --generation-floor {found}, which allows the node to go back"
                ));
            }
            Self::Foreign { path, form } => return Some(form.remedy(path)),
            Self::Unprotected { .. } => {
                "choose an --out on a file system with permissions, or pass --unprotected if no other user can read that medium"
            }
            Self::Document(_)
            | Self::Sign(_)
            | Self::Volume(_)
            | Self::Image { .. }
            | Self::Table { .. }
            | Self::Refused { .. } => return None,
        };
        Some(help.to_owned())
    }
}

impl Classify for ArtifactError {
    fn class(&self) -> Class {
        match self {
            Self::Io { source, .. } if source.kind() == ErrorKind::NotFound => Class::Usage,
            Self::Io { .. }
            | Self::Unknown { .. }
            | Self::Folder { .. }
            | Self::TooLarge { .. }
            | Self::Table { .. }
            | Self::Qcow2 { .. }
            | Self::NoManifest { .. }
            | Self::Manifest { .. } => Class::Failed,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Unknown { .. } => Some(
                "give a disk image (.raw, .iso, .qcow2) or a disk, a UKI (.efi), a seed (.img) or manifest.json"
                    .to_owned(),
            ),
            Self::Folder { path, files } => Some(match files.as_slice() {
                [] => "give a file, or the folder that `image` wrote its outputs to".to_owned(),
                files => {
                    let first = files.iter().take(8).map(|name| path.join(name).display().to_string());
                    format!("give one of its files: {}", first.collect::<Vec<_>>().join(", "))
                }
            }),
            Self::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                Some("grant read permission, or run as a user who has it; reading a disk requires root".to_owned())
            }
            Self::Qcow2 { path, source: Qcow2Error::Unsupported(what) } => Some(conversion(path, *what)),
            Self::Io { .. }
            | Self::TooLarge { .. }
            | Self::Table { .. }
            | Self::Qcow2 { .. }
            | Self::NoManifest { .. }
            | Self::Manifest { .. } => None,
        }
    }
}

impl ArtifactError {
    /// The class for `verify`: a file that can be read but is not a valid kubedOS output fails verification.
    pub fn class_of_verification(&self) -> Class {
        match self {
            Self::Io { .. }
            | Self::Unknown { .. }
            | Self::Folder { .. }
            | Self::Qcow2 { source: Qcow2Error::Unsupported(_), .. } => self.class(),
            Self::TooLarge { .. }
            | Self::Table { .. }
            | Self::Qcow2 { .. }
            | Self::NoManifest { .. }
            | Self::Manifest { .. } => Class::Mismatch,
        }
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
        Unsupported::BackingFile
        | Unsupported::ExternalData
        | Unsupported::ExtendedTables
        | Unsupported::Version(_)
        | Unsupported::Compression(_)
        | Unsupported::Features(_) => format!("run `{convert}`, and give disk.raw"),
    }
}

impl Classify for DiffError {
    fn class(&self) -> Class {
        match self {
            Self::Artifact(error) => error.class(),
            Self::Kinds { .. } => Class::Usage,
            Self::Problem { .. } | Self::Read(..) | Self::Document(_) => Class::Failed,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Self::Artifact(error) => error.help(),
            Self::Kinds { .. } | Self::Problem { .. } | Self::Read(..) | Self::Document(_) => None,
        }
    }
}
