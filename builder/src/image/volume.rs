//! Sealed volumes: writes a tree as EROFS, hashes its blocks into a verity tree, and stores both under the key of their inputs.
//!
//! Blocks are hashed while they are written. The salt and the UUID are derived from the content, so a volume with the same content always
//! has the same bytes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kubedos_image::erofs::{Sink, Statistics};
use kubedos_image::verity::{Leaves, VerityError};
use kubedos_wire::hex32::Salt;
use kubedos_wire::seal::Volume;
use kubedos_wire::seal::{BLOCK, Seal};
use serde::{Deserialize, Serialize};

use crate::cache_key::{CacheKey, CacheKeyBuilder};
use crate::compose::Tree;
use crate::erofs::{self, ErofsError, Segments};
use crate::store::{Store, StoreError};

const KIND: &str = "volume";
const DATA: &str = "data";
const HASH: &str = "hash";
const SEAL: &str = "seal.toml";

/// A sealed volume in the store.
#[derive(Debug, Clone)]
pub struct SealedVolume {
    /// Which volume it is.
    pub volume: Volume,
    /// The root hash, the salt and the number of blocks.
    pub seal: Seal,
    /// The path of the EROFS image.
    pub data: PathBuf,
    /// The path of the verity superblock and hash tree.
    pub hash: PathBuf,
    /// The statistics of writing it; `None` if the volume came from the store.
    pub written: Option<Statistics>,
}

/// The errors of sealing a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The EROFS image cannot be written.
    #[error("failed to write the {volume} volume")]
    Erofs {
        /// The volume's name.
        volume: &'static str,
        /// The cause.
        #[source]
        source: ErofsError,
    },
    /// A file of the volume cannot be read or written.
    #[error("failed to {doing} {}", path.display())]
    File {
        /// The operation.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The seal cannot be encoded as TOML.
    #[error("failed to encode {}", path.display())]
    Seal {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: toml::ser::Error,
    },
    /// The data cannot be hashed.
    #[error("failed to hash {}", path.display())]
    Verity {
        /// The data file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: VerityError,
    },
    /// The volume is larger than its slot.
    #[error("the {volume} volume has {bytes} bytes, but its slot has {room}")]
    TooLarge {
        /// The volume's name.
        volume: &'static str,
        /// The volume's size in bytes.
        bytes: u64,
        /// The slot's size in bytes.
        room: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The content of `seal.toml` in a stored volume.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    #[serde(flatten)]
    seal: Seal,
}

/// Returns the volume with this key from the store, or builds it from the tree that `compose` returns.
///
/// # Errors
/// The error of `compose`, or a [`VolumeError`].
pub fn seal<E: From<VolumeError>>(
    store: &Store,
    volume: Volume,
    key: &CacheKey,
    epoch: u64,
    compose: impl FnOnce() -> Result<Tree, E>,
) -> Result<SealedVolume, E> {
    if let Some(folder) = store.find(KIND, key) {
        return Ok(sealed(volume, kept(&folder)?.seal, &folder, None));
    }
    let tree = compose()?;
    let mut written = None;
    let folder = store.insert::<VolumeError>(KIND, key, |folder| {
        written = Some(fill(folder, volume, epoch, &tree, &Segments(store))?);
        Ok(())
    })?;
    let seal = kept(&folder)?.seal;
    Ok(sealed(volume, seal, &folder, written))
}

fn sealed(volume: Volume, seal: Seal, folder: &Path, written: Option<Statistics>) -> SealedVolume {
    SealedVolume { volume, seal, data: folder.join(DATA), hash: folder.join(HASH), written }
}

/// The base of the UUID and the salt: a digest of the complete content only, so that equal content has equal bytes in every
/// build.
fn salt_base(tree: &Tree) -> CacheKey {
    let start = CacheKeyBuilder::new("volume content", 1).with("listing", tree.listing());
    tree.files().fold(start, |key, (path, content)| key.with(path, content)).finish()
}

/// Writes the files of a volume into an empty folder.
fn fill(
    folder: &Path,
    volume: Volume,
    epoch: u64,
    tree: &Tree,
    segments: &Segments<'_>,
) -> Result<Statistics, VolumeError> {
    let data = folder.join(DATA);
    let base = salt_base(tree);
    let salt = Salt::new(base.derive("kubedos verity salt"));
    let file_of = File::create_new(&data).map_err(|error| file("create", &data, error))?;
    let mut hashed = Hashed { file: file_of, leaves: Leaves::new(salt) };
    let written = erofs::write(tree, base.derive16("kubedos volume uuid"), epoch, segments, &mut hashed)
        .map_err(|source| VolumeError::Erofs { volume: volume.name(), source })?;
    let blocks = u64::from(written.blocks);
    check_room(volume, blocks * BLOCK)?;
    let tree = hashed
        .leaves
        .finish(blocks)
        .map_err(|error| VolumeError::Verity { path: data.clone(), source: error })?;
    let hash = folder.join(HASH);
    fs::write(&hash, &tree.hash_area).map_err(|error| file("write", &hash, error))?;
    let path = folder.join(SEAL);
    let text = toml::to_string(&Kept { version: 1, seal: tree.seal })
        .map_err(|source| VolumeError::Seal { path: path.clone(), source })?;
    fs::write(&path, text).map_err(|error| file("write", &path, error))?;
    Ok(written)
}

/// The output file of a volume's data; hashes each block that is written.
struct Hashed {
    file: File,
    leaves: Leaves,
}

impl Sink for Hashed {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !offset.is_multiple_of(BLOCK) || !(bytes.len() as u64).is_multiple_of(BLOCK) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a whole number of blocks"));
        }
        self.leaves.add(offset / BLOCK, bytes);
        Sink::write_at(&mut self.file, offset, bytes)
    }
}

fn kept(folder: &Path) -> Result<Kept, VolumeError> {
    let path = folder.join(SEAL);
    let text = fs::read_to_string(&path).map_err(|error| file("read", &path, error))?;
    toml::from_str(&text).map_err(|error| file("read", &path, io::Error::other(error)))
}

fn check_room(volume: Volume, bytes: u64) -> Result<(), VolumeError> {
    let room = volume.max_data_bytes();
    if bytes > room {
        return Err(VolumeError::TooLarge { volume: volume.name(), bytes, room });
    }
    Ok(())
}

fn file(doing: &'static str, path: &Path, source: io::Error) -> VolumeError {
    VolumeError::File { doing, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hash tree would not cover a partial block.
    #[test]
    fn partial_blocks_are_refused() {
        let file = tempfile::tempfile().unwrap();
        let mut hashed = Hashed { file, leaves: Leaves::new(Salt::new([1; 32])) };
        hashed.write_at(0, &[1; 8192]).unwrap();
        for (offset, len) in [(0, 4095), (1, 4096), (4096, 1)] {
            let error = hashed.write_at(offset, &vec![2; len]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        assert_eq!(hashed.file.metadata().unwrap().len(), 8192);
        hashed.leaves.finish(2).unwrap();
    }
}
