//! Reads build outputs for `inspect`, `verify` and `diff`.
//!
//! The kind of a file is determined from its bytes, never from its name. The content is untrusted: all structures are read by the parsers
//! of `kubedos-image`, which reject unknown values, and sizes are checked before a file is read into memory. This module only parses;
//! `verify` checks signatures and hashes.

mod disk;
mod uki;

use std::io;
use std::path::{Path, PathBuf};

use kubedos_image::gpt::{self, ReadError, SectorSize};
use kubedos_image::iso::seed;
use kubedos_image::qcow2::{self, Qcow2Error};
use kubedos_image::source::Source;
use kubedos_image::width::to_usize;
use kubedos_wire::statement;
use zeroize::Zeroizing;

use crate::image::manifest::Manifest;
use crate::sparse_file::SparseFile;
pub use disk::{Disk, PartError, Wrapper};
pub use uki::{SECTIONS, Uki, UkiError};

/// The limit for a boot program in bytes: the ESP has 256 MiB.
const MAX_PROGRAM: u64 = 256 << 20;
/// The limit for a manifest in bytes.
const MAX_MANIFEST: u64 = 4 << 20;
/// The name of the manifest in an output folder.
pub const MANIFEST: &str = "manifest.json";

/// The errors of reading a build output.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file cannot be opened or read.
    #[error("failed to {doing} {}", path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is not a kubedOS output.
    #[error("{} is not a kubedOS output: {what}", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// A description of the file.
        what: &'static str,
    },
    /// A folder that is not an output folder.
    #[error("{} is a directory without {MANIFEST}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The names of outputs in the folder that the user may have meant.
        files: Vec<String>,
    },
    /// The file is larger than any file of its kind.
    #[error("{} is larger than any {kind}: {bytes} bytes, at most {most}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The file's kind.
        kind: &'static str,
        /// The file's size in bytes.
        bytes: u64,
        /// The limit in bytes.
        most: u64,
    },
    /// A disk image whose partition table is unusable.
    #[error("the partition table of {} cannot be used", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: ReadError,
    },
    /// A qcow2 file that is damaged or unsupported.
    #[error("cannot read {} as a qcow2 file", path.display())]
    Qcow2 {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Qcow2Error,
    },
    /// The file is not a manifest.
    #[error("{} is not a manifest of outputs", path.display())]
    NoManifest {
        /// The file.
        path: PathBuf,
    },
    /// A JSON document that is not a manifest.
    #[error("{} is not a manifest", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

/// A parsed build output.
#[expect(
    missing_debug_implementations,
    reason = "a seed consists of secrets, and an image is too large to print"
)]
pub enum Artifact {
    /// A disk image: raw (which includes the ISO) or qcow2.
    Disk(Disk),
    /// An EFI program: a UKI or the boot loader.
    Program(Vec<u8>),
    /// A seed volume.
    Seed(Zeroizing<Vec<u8>>),
    /// A separate signed statement.
    Statement(Vec<u8>),
    /// `manifest.json`.
    Manifest(Manifest),
}

/// Returns the file that a path refers to: for an output folder, its manifest; for a file, the file itself.
///
/// # Errors
/// [`ArtifactError::Folder`] for a folder without a manifest, [`ArtifactError::Io`] if it cannot be read.
pub fn resolve(path: &Path) -> Result<PathBuf, ArtifactError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let manifest = path.join(MANIFEST);
    let failed = |source| ArtifactError::Io { doing: "read", path: path.to_owned(), source };
    if manifest.try_exists().map_err(failed)? {
        return Ok(manifest);
    }
    let entries = std::fs::read_dir(path).map_err(failed)?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let is_ours = |name: &String| ENDINGS.iter().any(|ending| name.ends_with(ending));
    let mut files: Vec<String> = names.filter(is_ours).collect();
    files.sort();
    Err(ArtifactError::Folder { path: path.to_owned(), files })
}

/// The suffixes of the builder's output files.
const ENDINGS: [&str; 5] = [".raw", ".iso", ".qcow2", ".efi", ".img"];

/// The length of a file or a block device in bytes.
///
/// # Errors
/// [`ArtifactError::Io`].
pub fn length(path: &Path) -> Result<u64, ArtifactError> {
    let file = SparseFile::open(path);
    file.map(|file| file.len()).map_err(|source| ArtifactError::Io {
        doing: "open",
        path: path.to_owned(),
        source,
    })
}

/// Opens a file and determines its kind.
///
/// # Errors
/// [`ArtifactError`].
pub fn open(path: &Path) -> Result<Artifact, ArtifactError> {
    let failed = |doing| move |source| ArtifactError::Io { doing, path: path.to_owned(), source };
    let file = SparseFile::open(path).map_err(failed("open"))?;
    let mut head = vec![0; to_usize(file.len()).min(seed::PROBE_BYTES)];
    file.read_exact_at(&mut head, 0).map_err(failed("read"))?;
    let whole = |kind, most| whole(path, &file, kind, most);
    if head.starts_with(b"QFI\xfb") {
        return qcow2(path, file);
    }
    if head.starts_with(b"MZ") {
        return Ok(Artifact::Program(whole("EFI program", MAX_PROGRAM)?));
    }
    if head.starts_with(b"KUBEDST1") {
        return Ok(Artifact::Statement(whole("signed statement", statement::MAX_LEN as u64)?));
    }
    if seed::is_seed(&head) {
        return Ok(Artifact::Seed(Zeroizing::new(whole("seed volume", seed::MAX_BYTES)?)));
    }
    if head.trim_ascii_start().starts_with(b"{") {
        let text = whole("manifest", MAX_MANIFEST)?;
        let parsed = serde_json::from_slice(&text);
        let manifest = parsed.map_err(|source| ArtifactError::Manifest { path: path.to_owned(), source })?;
        return Ok(Artifact::Manifest(manifest));
    }
    match table(&file) {
        Ok(found) => Ok(Artifact::Disk(Disk::raw(file, found))),
        Err(error) if is_no_disk(&error) => {
            Err(ArtifactError::Unknown { path: path.to_owned(), what: kind(&head) })
        }
        Err(source) => Err(ArtifactError::Table { path: path.to_owned(), source }),
    }
}

fn qcow2(path: &Path, file: SparseFile) -> Result<Artifact, ArtifactError> {
    let image =
        qcow2::Image::open(file).map_err(|source| ArtifactError::Qcow2 { path: path.to_owned(), source })?;
    let found = table(&image).map_err(|source| ArtifactError::Table { path: path.to_owned(), source })?;
    Ok(Artifact::Disk(Disk::qcow2(image, found)))
}

/// Guesses the type of a file that is not a kubedOS output, from its first bytes.
fn kind(head: &[u8]) -> &'static str {
    const KINDS: [(&[u8], &str); 8] = [
        (b"\x1f\x8b", "it is compressed by gzip; decompress it first"),
        (b"\xfd7zXZ\0", "it is compressed by xz; decompress it first"),
        (b"\x28\xb5\x2f\xfd", "it is compressed by zstd; decompress it first"),
        (b"PK\x03\x04", "it is a zip archive; unpack it first"),
        (b"KDMV", "it is a VMDK file; `qemu-img convert -O raw` converts it"),
        (b"vhdxfile", "it is a VHDX file; `qemu-img convert -O raw` converts it"),
        (b"conectix", "it is a VHD file; `qemu-img convert -O raw` converts it"),
        (b"<<< ", "it is a VDI file; `qemu-img convert -O raw` converts it"),
    ];
    if head.is_empty() {
        return "it is empty";
    }
    let known = KINDS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, what)| *what);
    let is_text = || std::str::from_utf8(head).is_ok_and(|text| !text.contains('\0'));
    known.unwrap_or_else(|| if is_text() { "it is text" } else { "it has no partition table" })
}

/// Reads the partition table. Its offset depends on the sector size, 512 or 4096 bytes.
fn table(disk: &dyn Source) -> Result<gpt::Found, ReadError> {
    gpt::read_from(disk, SectorSize::B512)
        .or_else(|error| gpt::read_from(disk, SectorSize::B4096).map_err(|_| error))
}

/// Whether neither end of the file resembles a partition table.
fn is_no_disk(error: &ReadError) -> bool {
    let is_missing = |error: &ReadError| matches!(error, ReadError::Absent | ReadError::Truncated);
    matches!(error, ReadError::NoCopy { primary, backup } if is_missing(primary) && is_missing(backup))
}

fn whole(path: &Path, file: &SparseFile, kind: &'static str, most: u64) -> Result<Vec<u8>, ArtifactError> {
    let bytes = file.len();
    if bytes > most {
        return Err(ArtifactError::TooLarge { path: path.to_owned(), kind, bytes, most });
    }
    let mut content = vec![0; to_usize(bytes)];
    file.read_exact_at(&mut content, 0).map_err(|source| ArtifactError::Io {
        doing: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(content)
}
