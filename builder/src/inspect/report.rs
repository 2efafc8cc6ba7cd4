//! The types of the document. Scripts rely on its fields: new fields may be added, but other changes require a new version.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kubedos_image::guid::Guid;
use kubedos_wire::hex32::{ClusterId, KeyId, PublicKey};
use kubedos_wire::release::Release;
use kubedos_wire::seal::Seal;
use serde::Serialize;

use crate::artifact::Wrapper;
use crate::image::manifest::Manifest;

/// The version of the document's format.
pub const VERSION: u32 = 1;

/// The description of a file.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Always [`VERSION`].
    pub version: u32,
    /// The path of the file.
    pub file: PathBuf,
    /// The length in bytes, including holes.
    pub bytes: u64,
    /// The content, depending on the kind.
    #[serde(flatten)]
    pub content: Content,
    /// The parts that could not be read.
    pub problems: Vec<Problem>,
}

/// A part that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The name of the part.
    pub part: String,
    /// The error and its causes.
    pub error: String,
}

impl Problem {
    /// Creates a problem from an error.
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
        /// The fields that are not secret; `null` if the seed cannot be read.
        seed: Option<SeedReport>,
    },
    /// A separate statement of a configuration.
    Statement {
        /// The content of the statement; `null` if it cannot be read.
        statement: Option<StatementReport>,
    },
    /// `manifest.json`.
    Manifest {
        /// The manifest.
        manifest: Box<Manifest>,
    },
}

/// A disk image.
#[derive(Debug, Clone, Serialize)]
pub struct DiskReport {
    /// The format of the file that contains the disk.
    pub wrapper: Wrapper,
    /// The disk's length in bytes.
    pub disk_bytes: u64,
    /// The partition table.
    pub table: TableReport,
    /// Whether the disk has the empty ISO 9660 that makes it a CD image.
    pub cd: bool,
    /// The partitions, sorted by number.
    pub partitions: Vec<PartitionReport>,
    /// The files of the EFI system partition.
    pub esp: Vec<FileReport>,
    /// The EFI programs among the files of the ESP.
    pub programs: Vec<ProgramReport>,
    /// Root and payload as named by the boot manifest, and the configuration as named by its statement.
    pub volumes: Vec<VolumeReport>,
    /// The statement of the configuration.
    pub configuration: Option<StatementReport>,
    /// The seed of a personalised image.
    pub seed: Option<SeedReport>,
}

/// A partition table.
#[derive(Debug, Clone, Serialize)]
pub struct TableReport {
    /// The disk's GUID.
    pub disk_guid: Guid,
    /// `shipped`, `adopted`, or `unknown` if it is not a layout of kubedOS.
    pub layout: &'static str,
    /// The copy that is described: `primary`, or `backup` if the primary one is unusable.
    pub copy: &'static str,
    /// The state of the other copy: `same`, `differs`, or the error.
    pub other: String,
    /// Whether sector 0 contains the MBR that protects the disk from tools without GPT support.
    pub protective_mbr: bool,
}

/// A partition.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionReport {
    /// The number of the entry, from 1.
    pub number: u32,
    /// The partition's name.
    pub name: String,
    /// The start in bytes.
    pub start: u64,
    /// The length in bytes.
    pub bytes: u64,
    /// The length up to the last byte that is not zero; `null` if it cannot be read.
    pub used: Option<u64>,
    /// The type GUID.
    pub type_guid: Guid,
    /// The partition's UUID.
    pub uuid: Guid,
    /// The attribute bits.
    pub attributes: u64,
}

/// A file of the ESP.
#[derive(Debug, Clone, Serialize)]
pub struct FileReport {
    /// The file's path.
    pub path: String,
    /// The file's length in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal digits.
    pub sha256: String,
}

/// An EFI program.
#[derive(Debug, Clone, Serialize)]
pub struct ProgramReport {
    /// The path on the ESP, or the path of the inspected file.
    pub path: String,
    /// The length in bytes.
    pub bytes: u64,
    /// SHA-256 of the file in hexadecimal digits.
    pub sha256: String,
    /// The Authenticode digest in hexadecimal digits; signing does not change it.
    pub authenticode: String,
    /// The sections in file order.
    pub sections: Vec<SectionReport>,
    /// The signature; `null` if the program is not signed.
    pub signature: Option<SignatureReport>,
    /// The parts of a UKI; `null` for other programs.
    pub uki: Option<UkiReport>,
}

/// A section of a program.
#[derive(Debug, Clone, Serialize)]
pub struct SectionReport {
    /// The section's name.
    pub name: String,
    /// The length without padding, in bytes.
    pub bytes: u64,
    /// SHA-256 without padding, in hexadecimal digits.
    pub sha256: String,
}

/// The signature of a program. It is checked with the certificate that it contains itself, not with a trusted one.
#[derive(Debug, Clone, Serialize)]
pub struct SignatureReport {
    /// The common name in the signer's certificate.
    pub signer: Option<String>,
    /// SHA-256 of the certificate in hexadecimal digits.
    pub certificate: Option<String>,
    /// Whether the signature is valid for this program and certificate.
    pub holds: bool,
}

/// A unified kernel image.
#[derive(Debug, Clone, Serialize)]
pub struct UkiReport {
    /// `uname -r` of the kernel.
    pub kernel: String,
    /// The command line.
    pub cmdline: String,
    /// The `os-release` of the root volume.
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
    /// The lower bound of the clock, in seconds since 1970.
    pub epoch: u64,
    /// Whether the root volume contains a test's additions; such an image is not a product.
    pub additions: bool,
    /// The root volume.
    pub root: Seal,
    /// The payload volume.
    pub payload: Seal,
    /// dm table of the root device.
    pub root_table: String,
    /// dm table of the payload device.
    pub payload_table: String,
    /// The cluster identity key, from which the cluster id is derived.
    pub identity: PublicKey,
    /// The accepted configuration keys.
    pub configuration_keys: Vec<SignerReport>,
}

/// A key for configurations or seeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignerReport {
    /// The key id: SHA-256 of the public key.
    pub id: KeyId,
    /// The public key, if it is known.
    pub key: Option<PublicKey>,
    /// Whether it is one of the published demo keys, with which anybody can sign.
    pub demo: bool,
}

/// An entry of the initrd.
#[derive(Debug, Clone, Serialize)]
pub struct EntryReport {
    /// The entry's path.
    pub path: String,
    /// `directory`, `file`, `link` or `device`.
    pub kind: &'static str,
    /// The permissions in octal digits.
    pub mode: String,
    /// The length of a file in bytes.
    pub bytes: u64,
    /// SHA-256 of a file in hexadecimal digits, the target of a link, or the numbers of a device.
    pub content: String,
}

/// A sealed volume.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeReport {
    /// `root`, `payload` or `configuration`.
    pub name: &'static str,
    /// The root hash, the salt and the number of blocks.
    #[serde(flatten)]
    pub seal: Seal,
    /// The length of the data in bytes.
    pub bytes: u64,
    /// Whether partitions with the UUIDs of the root hash exist.
    pub present: bool,
    /// The content of the file system; `null` if it was not inspected or cannot be read.
    pub tree: Option<TreeReport>,
}

/// The content of a file system.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TreeReport {
    /// The creation time in seconds since 1970. It is also the time of all files without a time of their own.
    pub made: i64,
    /// The number of regular files; a file with several names counts once.
    pub files: u64,
    /// The number of additional names of files.
    pub hard_links: u64,
    /// The number of directories, including the root.
    pub directories: u64,
    /// The number of symbolic links.
    pub symlinks: u64,
    /// The number of devices, pipes and sockets.
    pub special: u64,
    /// The total size of all regular files in bytes.
    pub content_bytes: u64,
    /// All paths in order, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<NodeReport>>,
}

/// A path of a file system.
#[derive(Debug, Clone, Serialize)]
pub struct NodeReport {
    /// The path from the root without a leading slash; the root itself is `/`. Bytes that are not UTF-8 are written as `\xff`.
    pub path: String,
    /// `directory`, `file`, `link`, `character device`, `block device`, `fifo` or `socket`.
    pub kind: &'static str,
    /// The permissions in octal digits.
    pub mode: String,
    /// The user id of the owner.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The length of a file in bytes.
    pub bytes: u64,
    /// SHA-256 of a file in hexadecimal digits, the target of a link, or the numbers of a device.
    pub content: String,
    /// The extended attributes; the values are in hexadecimal digits.
    pub xattrs: BTreeMap<String, String>,
    /// The time in seconds since 1970, if it differs from the creation time of the file system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<i64>,
    /// The first path of the same file, if this path is an additional name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
}

/// The statement of a configuration.
#[derive(Debug, Clone, Serialize)]
pub struct StatementReport {
    /// The key ids in the signatures. The signatures are not verified here.
    pub signers: Vec<SignerReport>,
    /// Whether the image accepts the statement, by the rules of stage 1; `null` without a boot manifest.
    pub accepted: Option<bool>,
    /// The reason if the image does not accept it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The generation of the configuration.
    pub generation: u64,
    /// The lowest release that may use the configuration; `null` in a statement of version 1.
    pub minimum_release: Option<Release>,
    /// The volume that the statement covers.
    pub volume: Seal,
}

/// The fields of a seed that are not secret.
#[derive(Debug, Clone, Serialize)]
pub struct SeedReport {
    /// The key ids in the signatures. The signatures are not verified here.
    pub signers: Vec<SignerReport>,
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's id.
    pub cluster_id: ClusterId,
    /// The node's name.
    pub node: String,
    /// The incarnation of the node, from 1.
    pub incarnation: u32,
    /// The lowest generation that the node may boot; `null` in a seed of version 1.
    pub generation_floor: Option<u64>,
    /// The lowest release that the node may boot; `null` in a seed of version 1.
    pub minimum_release: Option<Release>,
    /// Whether the seed contains a voucher.
    pub voucher: bool,
}
