//! The exit class of each error of this library, and the hint for the user.
//!
//! The matches are exhaustive, so the code compiles only if each new variant has an exit class. A wrapping error has the class and the
//! hint of its cause.

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
    fn classify(&self) -> (Class, Option<String>) {
        match self {
            Self::Lock(error) => error.classify(),
            Self::Cache(error) => error.classify(),
            Self::NotThere { .. } | Self::NotAProgram { .. } => (Class::Usage, None),
            Self::Deb { .. } | Self::Unpack { .. } | Self::Io { .. } => (Class::Failed, None),
        }
    }
}

impl Classify for InitBuildError {
    fn classify(&self) -> (Class, Option<String>) {
        match self {
            Self::Toolbox(error) => error.classify(),
            Self::Rustc { .. } => (Class::Mismatch, None),
            Self::Run(..)
            | Self::Cargo(_)
            | Self::File { .. }
            | Self::NoChannel(_)
            | Self::Uncovered(_)
            | Self::Changed
            | Self::NoHome(_)
            | Self::Leak { .. }
            | Self::Store(_) => (Class::Failed, None),
        }
    }
}

impl Classify for KeyError {
    fn classify(&self) -> (Class, Option<String>) {
        let (class, help) = match self {
            Self::Exposed { .. } => (Class::Usage, "chmod -R go= the key directory"),
            Self::Exists { .. } => (
                Class::Usage,
                "`keys rotate` replaces single keys; a new cluster needs a directory of its own",
            ),
            Self::DemoKeys { .. } | Self::HiddenDemo { .. } => {
                (Class::Usage, "`kubedos-build keys init CLUSTER` creates your own keys")
            }
            Self::NoRoot { .. } => {
                (Class::Usage, "attach the offline root CA's key for this step, and remove it afterwards")
            }
            Self::File { doing: "open", source, .. } if source.kind() == ErrorKind::NotFound => (
                Class::Usage,
                "`kubedos-build keys init CLUSTER` creates keys; --keys DIR names their directory",
            ),
            Self::OtherCluster { .. } => return (Class::Usage, None),
            Self::Pair { .. } | Self::Certificate { .. } => return (Class::Mismatch, None),
            Self::File { .. }
            | Self::Index { .. }
            | Self::Rule { .. }
            | Self::Malformed { .. }
            | Self::NoCertificate { .. }
            | Self::Encode { .. }
            | Self::Clock(_)
            | Self::Generate(_)
            | Self::Issue(_)
            | Self::Enrolment(_) => return (Class::Failed, None),
        };
        (class, Some(help.to_owned()))
    }
}

impl Classify for ComposeError {
    fn classify(&self) -> (Class, Option<String>) {
        match self {
            Self::Cache(error) => error.classify(),
            Self::Lock(error) => error.classify(),
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
            | Self::Audit(_) => (Class::Failed, None),
        }
    }
}

impl Classify for BuildError {
    fn classify(&self) -> (Class, Option<String>) {
        match self {
            Self::Compose(error) => error.classify(),
            Self::CacheKey(error) => error.classify(),
            Self::Output(error) => error.classify(),
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
            | Self::File { .. } => (Class::Failed, None),
        }
    }
}

impl Classify for OutputError {
    fn classify(&self) -> (Class, Option<String>) {
        let help = match self {
            Self::Busy { .. } => Some("wait until it ends, or choose another --out"),
            Self::NoRoom { .. } => {
                Some("free some space, select fewer formats with --format, or choose another --out")
            }
            Self::Folder { .. } | Self::File { .. } => None,
        };
        (Class::Failed, help.map(str::to_owned))
    }
}

impl Classify for SeedError {
    fn classify(&self) -> (Class, Option<String>) {
        match self {
            Self::Keys(error) => error.classify(),
            Self::Output(error) => error.classify(),
            Self::Foreign { path, form } => (Class::Usage, Some(form.remedy(path))),
            Self::NotAccepted { .. } => {
                let help =
                    "personalise an image that was built with these keys, or pass the keys with --keys";
                (Class::Mismatch, Some(help.to_owned()))
            }
            Self::BelowFloor { found, .. } => {
                let help = format!(
                    "build a newer image; or mint the seed with --generation-floor {found}, which allows the node to go back"
                );
                (Class::Mismatch, Some(help))
            }
            Self::Refused { .. } | Self::Table { .. } => (Class::Mismatch, None),
            Self::Unprotected { .. } => {
                let help = "choose an --out on a file system with permissions, or pass --unprotected if no other user can read that medium";
                (Class::Failed, Some(help.to_owned()))
            }
            Self::Document(_) | Self::Sign(_) | Self::Volume(_) | Self::Image { .. } => (Class::Failed, None),
        }
    }
}

impl Classify for ArtifactError {
    fn classify(&self) -> (Class, Option<String>) {
        let help = match self {
            Self::Io { source, .. } if source.kind() == ErrorKind::NotFound => return (Class::Usage, None),
            Self::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                "grant read permission, or run as a user who has it; reading a disk requires root".to_owned()
            }
            Self::Unknown { .. } => {
                "give a disk image (.raw, .iso, .qcow2) or a disk, a UKI (.efi), a seed (.img) or manifest.json"
                    .to_owned()
            }
            Self::Folder { path, files } => choice(path, files),
            Self::Qcow2 { path, source: Qcow2Error::Unsupported(what) } => conversion(path, *what),
            Self::Io { .. }
            | Self::TooLarge { .. }
            | Self::Table { .. }
            | Self::Qcow2 { .. }
            | Self::NoManifest { .. }
            | Self::Manifest { .. } => return (Class::Failed, None),
        };
        (Class::Failed, Some(help))
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

/// The files of a folder that may be meant.
fn choice(folder: &Path, files: &[String]) -> String {
    if files.is_empty() {
        return "give a file, or the folder that `image` wrote its outputs to".to_owned();
    }
    let first = files.iter().take(8).map(|name| folder.join(name).display().to_string());
    format!("give one of its files: {}", first.collect::<Vec<_>>().join(", "))
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
    fn classify(&self) -> (Class, Option<String>) {
        match self {
            Self::Artifact(error) => error.classify(),
            Self::Kinds { .. } => (Class::Usage, None),
            Self::Problem { .. } | Self::Read(..) | Self::Document(_) => (Class::Failed, None),
        }
    }
}
