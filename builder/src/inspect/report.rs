//! The document's shape. Its fields are a promise to scripts: added to freely, changed only with its version.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kubedos_image::guid::Guid;
use kubedos_wire::hex32::{ClusterId, KeyId, PublicKey};
use kubedos_wire::release::Release;
use kubedos_wire::seal::Seal;
use serde::Serialize;

use crate::artifact::Wrapper;
use crate::image::manifest::Manifest;

/// The version of the shape.
pub const VERSION: u32 = 1;

/// What a file holds.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Always [`VERSION`].
    pub version: u32,
    /// The file.
    pub file: PathBuf,
    /// Its length, holes included.
    pub bytes: u64,
    /// By kind.
    #[serde(flatten)]
    pub content: Content,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// A part that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Which.
    pub part: String,
    /// The error and its causes.
    pub error: String,
}

impl Problem {
    /// An error about a part.
    pub fn new(part: impl Into<String>, error: &dyn std::error::Error) -> Self {
        Self { part: part.into(), error: kubedos_wire::printable::chain(error) }
    }
}

/// The kinds of files.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Content {
    /// A disk image.
    Disk(Box<DiskReport>),
    /// A UKI or the boot loader.
    Program(Box<ProgramReport>),
    /// A seed volume.
    Seed {
        /// What of it is not secret.
        seed: Option<SeedReport>,
    },
    /// A configuration's statement by itself.
    Statement {
        /// What it says.
        statement: Option<StatementReport>,
    },
    /// `manifest.json`.
    Manifest {
        /// As it is.
        manifest: Box<Manifest>,
    },
}

/// A disk image.
#[derive(Debug, Clone, Serialize)]
pub struct DiskReport {
    /// How the disk's bytes lie in the file.
    pub wrapper: Wrapper,
    /// The disk's length in bytes.
    pub disk_bytes: u64,
    /// The partition table.
    pub table: TableReport,
    /// The empty ISO 9660 that makes a CD of it is there.
    pub cd: bool,
    /// In order of number.
    pub partitions: Vec<PartitionReport>,
    /// The files of the EFI system partition.
    pub esp: Vec<FileReport>,
    /// The EFI programs among them.
    pub programs: Vec<ProgramReport>,
    /// Root and payload, as the boot manifest names them, and the configuration, as its statement does.
    pub volumes: Vec<VolumeReport>,
    /// The statement over the configuration.
    pub configuration: Option<StatementReport>,
    /// The seed of a personalised image.
    pub seed: Option<SeedReport>,
}

/// A partition table.
#[derive(Debug, Clone, Serialize)]
pub struct TableReport {
    /// The disk's GUID.
    pub disk_guid: Guid,
    /// `shipped`, `adopted`, or `unknown`: not a layout of kubedOS.
    pub layout: &'static str,
    /// The copy that is shown: `primary`, or `backup` when the first cannot be used.
    pub copy: &'static str,
    /// The other copy: `same`, `differs`, or what is wrong with it.
    pub other: String,
    /// Sector 0 protects the table from tools that do not know it.
    pub protective_mbr: bool,
}

/// A partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionReport {
    /// Its entry, from 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Where it starts, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// Up to the last byte that is not zero; `null` when it cannot be read.
    pub used: Option<u64>,
    /// Its type.
    pub type_guid: Guid,
    /// Its own UUID.
    pub uuid: Guid,
    /// Attribute bits.
    pub attributes: u64,
}

/// A file of the ESP.
#[derive(Debug, Clone, Serialize)]
pub struct FileReport {
    /// Its path.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256, hex.
    pub sha256: String,
}

/// An EFI program.
#[derive(Debug, Clone, Serialize)]
pub struct ProgramReport {
    /// Its path on the ESP, or the file's.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// The Authenticode digest, which the signature does not change, hex.
    pub authenticode: String,
    /// In order.
    pub sections: Vec<SectionReport>,
    /// `null`: not signed.
    pub signature: Option<SignatureReport>,
    /// If it is a UKI.
    pub uki: Option<UkiReport>,
}

/// A section of a program.
#[derive(Debug, Clone, Serialize)]
pub struct SectionReport {
    /// Its name.
    pub name: String,
    /// Its length without padding.
    pub bytes: u64,
    /// SHA-256 without padding, hex.
    pub sha256: String,
}

/// The signature of a program, by what it brings along itself.
#[derive(Debug, Clone, Serialize)]
pub struct SignatureReport {
    /// The common name in the certificate of the signer.
    pub signer: Option<String>,
    /// SHA-256 of that certificate, hex.
    pub certificate: Option<String>,
    /// It is that certificate's, over this program.
    pub holds: bool,
}

/// A unified kernel image.
#[derive(Debug, Clone, Serialize)]
pub struct UkiReport {
    /// `uname -r` of the kernel.
    pub kernel: String,
    /// The command line.
    pub cmdline: String,
    /// `os-release` of the root.
    pub os_release: String,
    /// The boot manifest.
    pub boot: BootReport,
    /// The files of the initrd.
    pub initrd: Vec<EntryReport>,
}

/// The boot manifest.
#[derive(Debug, Clone, Serialize)]
pub struct BootReport {
    /// The release of kubedOS.
    pub release: Release,
    /// The floor of the clock, seconds since 1970.
    pub epoch: u64,
    /// The root volume holds a test's additions: no product.
    pub additions: bool,
    /// The root volume.
    pub root: Seal,
    /// The payload volume.
    pub payload: Seal,
    /// dm table of the root device.
    pub root_table: String,
    /// dm table of the payload device.
    pub payload_table: String,
    /// What cluster ids derive from: the first configuration key there ever was.
    pub identity: PublicKey,
    /// Whose configuration is accepted.
    pub configuration_keys: Vec<SignerReport>,
}

/// A key for configurations or seeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignerReport {
    /// Its id: SHA-256 of the public key.
    pub id: KeyId,
    /// The public key, where it is known.
    pub key: Option<PublicKey>,
    /// One of the published demo keys: it protects nothing.
    pub demo: bool,
}

/// An entry of the initrd.
#[derive(Debug, Clone, Serialize)]
pub struct EntryReport {
    /// Its path.
    pub path: String,
    /// `directory`, `file`, `link` or `device`.
    pub kind: &'static str,
    /// Permissions, octal.
    pub mode: String,
    /// A file's length.
    pub bytes: u64,
    /// A file's SHA-256, hex; a link's target; a device's numbers.
    pub content: String,
}

/// A sealed volume.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeReport {
    /// `root`, `payload` or `configuration`.
    pub name: &'static str,
    /// How it is opened.
    #[serde(flatten)]
    pub seal: Seal,
    /// Length of its data.
    pub bytes: u64,
    /// Partitions with the UUIDs of its root hash are there.
    pub present: bool,
    /// What is in its file system; `null` when that was not looked at, or cannot be read.
    pub tree: Option<TreeReport>,
}

/// What is in a file system.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TreeReport {
    /// When it was made, seconds since 1970: also the time of all of its files that do not say otherwise.
    pub made: i64,
    /// Regular files, one for all of its names.
    pub files: u64,
    /// Further names of files.
    pub hard_links: u64,
    /// Directories, with the root.
    pub directories: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Devices, pipes and sockets.
    pub special: u64,
    /// Bytes of all regular files.
    pub content_bytes: u64,
    /// Every path in order, for who asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<NodeReport>>,
}

/// A path of a file system.
#[derive(Debug, Clone, Serialize)]
pub struct NodeReport {
    /// The path from the root, without a slash in front; the root itself is `/`. Bytes that are no UTF-8 are written as `\xff`.
    pub path: String,
    /// `directory`, `file`, `link`, `character device`, `block device`, `fifo` or `socket`.
    pub kind: &'static str,
    /// Permissions, octal.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// A file's length.
    pub bytes: u64,
    /// A file's SHA-256, hex; a link's target; a device's numbers.
    pub content: String,
    /// Extended attributes, values in hex.
    pub xattrs: BTreeMap<String, String>,
    /// Seconds since 1970, where it is not when the file system was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<i64>,
    /// The first path of the same file, if this is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
}

/// A configuration's statement.
#[derive(Debug, Clone, Serialize)]
pub struct StatementReport {
    /// Who is said to have signed.
    pub signers: Vec<SignerReport>,
    /// The image accepts it, as stage 1 judges; `null` without a boot manifest beside it.
    pub accepted: Option<bool>,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The generation.
    pub generation: u64,
    /// The lowest release that may use it; `null` in a statement of version 1.
    pub minimum_release: Option<Release>,
    /// The volume that it covers.
    pub volume: Seal,
}

/// What of a seed is not secret.
#[derive(Debug, Clone, Serialize)]
pub struct SeedReport {
    /// Who is said to have signed.
    pub signers: Vec<SignerReport>,
    /// Whose it is. Who may read the file may read its secrets too; they are not shown.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The node's name.
    pub node: String,
    /// From 1.
    pub incarnation: u32,
    /// The lowest generation that the node may boot; `null` in a seed of version 1.
    pub generation_floor: Option<u64>,
    /// The lowest release that the node may boot; `null` in a seed of version 1.
    pub minimum_release: Option<Release>,
    /// It holds a voucher.
    pub voucher: bool,
}
