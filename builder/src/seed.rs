//! Mints seeds: the small volume with the secrets of one node and one incarnation (ADR 0002). The substrate attaches it as a device, or it
//! is written into a personalised copy of an image.
//!
//! A seed is a function of the key directory, the node, the incarnation and the floors: minting it again gives the same bytes. Its file is
//! readable by the owner only. It is never written into the published image: [`personalise`] writes a copy, and only if the same keys
//! signed the image's configuration for the same cluster.

mod form;

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kubedos_image::gpt::{self, SectorSize};
use kubedos_image::iso::seed as volume;
use kubedos_image::layout::{Area, Role, SEED_SIZE, Slot};
use kubedos_image::source::Source;
use kubedos_image::sparse::for_data;
use kubedos_image::width::to_usize;
use kubedos_wire::accept::{self, accept};
use kubedos_wire::document::DocumentError;
use kubedos_wire::hex32::ClusterId;
use kubedos_wire::seal::Volume;
use kubedos_wire::statement::{self, Domain, Floors, Seed};
use zeroize::Zeroizing;

pub use form::Form;

use crate::keys::{KeyDir, KeyError, PublicKeys};
use crate::output::{OutputDir, OutputError, Unpublished};
use crate::sparse_file::{self, BLOCK, SparseFile};

/// The errors of minting and writing a seed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// A key cannot be read or used.
    #[error("failed to use the keys")]
    Keys(#[from] KeyError),
    /// A value cannot be stored in a seed.
    #[error("failed to create a seed from these values")]
    Document(#[from] DocumentError),
    /// The seed cannot be signed.
    #[error("failed to sign the seed")]
    Sign(#[from] statement::SignError<std::convert::Infallible>),
    /// The seed volume cannot be created.
    #[error("failed to create the seed volume")]
    Volume(#[from] volume::SeedVolumeError),
    /// The image cannot be read.
    #[error("failed to {doing} {}", path.display())]
    Image {
        /// The operation.
        doing: &'static str,
        /// The image.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The image has no valid partition table.
    #[error("{} has no partition table of kubedOS", path.display())]
    Table {
        /// The image.
        path: PathBuf,
        /// The cause.
        #[source]
        source: gpt::ReadError,
    },
    /// The image cannot be personalised.
    #[error("{} cannot be personalised: {reason}", path.display())]
    Refused {
        /// The image.
        path: PathBuf,
        /// The cause.
        reason: &'static str,
    },
    /// Nodes with these keys reject the configuration in the image.
    #[error("the configuration in {} is not accepted by nodes with these keys", path.display())]
    NotAccepted {
        /// The image.
        path: PathBuf,
        /// The cause.
        #[source]
        source: accept::Refusal,
    },
    /// The node would reject the image.
    #[error("{} has generation {found}, below the seed's floor {floor}: the node would reject it", path.display())]
    BelowFloor {
        /// The image.
        path: PathBuf,
        /// The generation in the image.
        found: u64,
        /// The floor in the seed.
        floor: u64,
    },
    /// The input file is not a raw image.
    #[error("{} {form}, not a raw image of kubedOS: a seed cannot be written into it", path.display())]
    Foreign {
        /// The input file.
        path: PathBuf,
        /// The file's type.
        form: Form,
    },
    /// The file system of the output folder has no permissions.
    #[error("{} would be readable by others: its file system does not store permissions, and a seed is secret", path.display())]
    Unprotected {
        /// The file.
        path: PathBuf,
    },
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The protection of a seed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Readable by the owner only; an error if the file system does not store permissions.
    Owner,
    /// No protection beyond that of the file system.
    None,
}

/// A minted seed volume. It does not implement `Debug`, because it consists of secrets.
#[expect(missing_debug_implementations, reason = "secrets must not be printed")]
pub struct Minted {
    /// The id of the cluster.
    pub cluster_id: ClusterId,
    /// The lowest generation and release that the node may boot.
    pub floors: Floors,
    bytes: Zeroizing<Vec<u8>>,
}

/// The values of a seed to mint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mint<'a> {
    /// The cluster's name.
    pub cluster: &'a str,
    /// The node's name.
    pub node: &'a str,
    /// The incarnation of the node, from 1.
    pub incarnation: u32,
    /// The lowest generation and release that the node may boot.
    pub floors: Floors,
}

impl Minted {
    /// The bytes of the volume.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Mints the seed of one incarnation of a node.
///
/// # Errors
/// If the seed key or the node master secret cannot be used, or a value cannot be stored in a seed.
pub fn mint(keys: &KeyDir, wanted: &Mint<'_>) -> Result<Minted, SeedError> {
    let Mint { cluster, node, incarnation, floors } = wanted.clone();
    let cluster_id = keys.public().cluster_id(cluster);
    let secrets = keys.node_secrets(cluster_id, node, incarnation)?;
    let seed = Seed {
        cluster: cluster.to_owned(),
        cluster_id,
        node: node.to_owned(),
        incarnation,
        floors: Some(floors.clone()),
        disk_key: secrets.disk,
        birth_key: secrets.birth,
        voucher: None,
    };
    let body = seed.emit()?;
    let signed = Zeroizing::new(statement::write(Domain::Seed, &body, &[&keys.seed_signer()?])?);
    Ok(Minted { cluster_id, floors, bytes: Zeroizing::new(volume::write(&signed)?) })
}

/// Writes the seed as a separate file that is readable by its owner only.
///
/// # Errors
/// [`SeedError::Output`].
pub fn write(
    seed: &Minted,
    out: &OutputDir,
    name: &str,
    protection: Protection,
) -> Result<PathBuf, SeedError> {
    let file = create_secret(out, name, protection)?;
    file.file.write_all_at(seed.bytes(), 0).map_err(|source| file.error("write", source))?;
    Ok(file.publish()?)
}

/// Writes a copy of `image` with the seed in its seed partition, readable by its owner only. Holes are preserved.
///
/// # Errors
/// [`SeedError::Refused`] and related errors if the image is not a fresh image of this cluster. The image itself is never modified.
pub fn personalise(
    image: &Path,
    seed: &Minted,
    keys: &PublicKeys,
    out: &OutputDir,
    name: &str,
    protection: Protection,
) -> Result<PathBuf, SeedError> {
    let failed = |doing: &'static str| {
        move |source: io::Error| SeedError::Image { doing, path: image.to_owned(), source }
    };
    let foreign = |form| SeedError::Foreign { path: image.to_owned(), form };
    // Check the metadata before opening the path: opening a pipe would block.
    Form::of_place(image).map_err(failed("open"))?.map_or(Ok(()), |form| Err(foreign(form)))?;
    let file = File::open(image).map_err(failed("open"))?;
    let metadata = file.metadata().map_err(failed("read"))?;
    let length = metadata.len();
    Form::of_content(&file, length).map_err(failed("read"))?.map_or(Ok(()), |form| Err(foreign(form)))?;
    let target = out.path().join(name);
    if fs::metadata(&target).is_ok_and(|there| (there.dev(), there.ino()) == (metadata.dev(), metadata.ino()))
    {
        return Err(foreign(Form::Target));
    }
    let source = SparseFile::new(file).map_err(failed("read"))?;
    let at = seed_offset(image, &source, seed, keys)?;
    let mut data = 0;
    for_data(&source, BLOCK, |_, piece| {
        data += piece.len() as u64;
        Ok(())
    })
    .map_err(failed("read"))?;
    out.reserve(&[(length, data)])?;
    let copy = create_secret(out, name, protection)?;
    // Done first, so that the error for a file that is too large names the copy.
    copy.file.set_len(length).map_err(|source| copy.error("write", source))?;
    sparse_file::write(&source, &copy.file, |_, _| {}).map_err(failed("copy"))?;
    copy.file.write_all_at(seed.bytes(), at).map_err(|source| copy.error("write", source))?;
    Ok(copy.publish()?)
}

/// Verifies that the image is a fresh image of the seed's cluster. Returns the offset of its seed partition.
fn seed_offset(image: &Path, disk: &SparseFile, seed: &Minted, keys: &PublicKeys) -> Result<u64, SeedError> {
    let refuse = |reason| SeedError::Refused { path: image.to_owned(), reason };
    let failed = |source| SeedError::Image { doing: "read", path: image.to_owned(), source };
    let found = gpt::read_from(disk, SectorSize::B512)
        .map_err(|source| SeedError::Table { path: image.to_owned(), source })?;
    if !found.is_consistent() {
        return Err(refuse("its partition table is damaged"));
    }
    let table = &found.table;
    let one = |role: Role, missing| -> Result<(u64, u64), SeedError> {
        let mut partitions = table.of_type(role.type_guid());
        match (partitions.next(), partitions.next()) {
            (Some((_, only)), None) => Ok((table.start_bytes(only), table.len_bytes(only))),
            _ => Err(refuse(missing)),
        }
    };
    let signature = Role::Volume(Volume::Configuration, Area::Signature, Slot::A);
    let (at, length) = one(signature, "it does not have exactly one configuration statement")?;
    let length = to_usize(length).min(statement::MAX_LEN);
    let mut bytes = vec![0; length];
    disk.read_exact_at(&mut bytes, at).map_err(failed)?;
    let accepted = accept(&bytes, &keys.authority())
        .map_err(|source| SeedError::NotAccepted { path: image.to_owned(), source })?;
    if accepted.statement.cluster_id != seed.cluster_id {
        return Err(refuse("it belongs to a different cluster"));
    }
    let (found, floor) = (accepted.statement.generation, seed.floors.generation);
    if found < floor {
        return Err(SeedError::BelowFloor { path: image.to_owned(), found, floor });
    }

    let (at, length) = one(Role::Seed, "it does not have exactly one seed partition")?;
    if length != SEED_SIZE {
        return Err(refuse("the size of its seed partition is not 4 MiB"));
    }
    let mut bytes = vec![0; to_usize(SEED_SIZE)];
    disk.read_exact_at(&mut bytes, at).map_err(failed)?;
    if bytes.iter().any(|byte| *byte != 0) {
        return Err(refuse("its seed partition is not empty: use a fresh image"));
    }
    Ok(at)
}

/// Creates a file that only its owner can read. It is an error if the file system does not store permissions.
fn create_secret(out: &OutputDir, name: &str, protection: Protection) -> Result<Unpublished, SeedError> {
    let file = out.create(name)?;
    let set = file.file.set_permissions(Permissions::from_mode(0o600));
    let mode = file.file.metadata().map_err(|source| file.error("protect", source))?.permissions().mode();
    match protection {
        Protection::Owner if !is_private(mode) => {
            Err(SeedError::Unprotected { path: file.path().to_owned() })
        }
        Protection::Owner => set.map(|()| file).map_err(|source| unprotectable(out, name, source)),
        Protection::None => Ok(file),
    }
}

fn unprotectable(out: &OutputDir, name: &str, source: io::Error) -> SeedError {
    OutputError::File { doing: "protect", path: out.path().join(name), source }.into()
}

/// Whether the mode permits access to the owner only. FAT and similar file systems report the mount's mode for all files and reject others.
const fn is_private(mode: u32) -> bool {
    mode & 0o077 == 0
}

#[cfg(test)]
mod tests;
