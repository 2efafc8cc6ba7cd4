//! The store's repacked copies of packages.
//!
//! Decompressing xz takes most of the time of composition. The first build therefore compresses each package with zstd and stores it under
//! its SHA-256; later builds read that copy.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use super::unpack::UnpackError;
use super::{ComposeError, Package};
use crate::cache_key::CacheKeyBuilder;
use crate::store::Store;
use kubedos_debian::cache::Cache;
use kubedos_debian::deb::{Deb, DebError, repack};
use kubedos_debian::lock::LockedPackage;

const KIND: &str = "package";
const DEB: &str = "deb";
/// Increment when the format of the stored copy changes.
const VERSION: u32 = 2;

/// Opens the stored copy of a package and creates it first if it is missing.
pub(super) fn open(
    package: &LockedPackage,
    cache: &Cache,
    store: &Store,
) -> Result<Package<File>, ComposeError> {
    let unpack = |source: UnpackError| ComposeError::Unpack {
        package: package.name.clone(),
        source: Box::new(source),
    };
    let key = CacheKeyBuilder::new(KIND, VERSION).with("sha256", package.sha256.to_string()).finish();
    let kept = store.find(KIND, &key);
    let unpacked = kept.is_none();
    let folder = match kept {
        Some(folder) => folder,
        None => {
            let mut reader =
                cache.open(&package.pin()).and_then(|verified| verified.reader()).map_err(Box::new)?;
            let fill = |folder: &Path| -> Result<(), ComposeError> {
                keep(&mut reader, folder).map_err(|error| unpack(error.into()))
            };
            store.insert(KIND, &key, fill)?
        }
    };
    let file = File::open(folder.join(DEB)).map_err(|error| unpack(DebError::Io(error).into()))?;
    let deb = Deb::open(file).map_err(|error| unpack(error.into()))?;
    Ok(Package { name: package.name.clone(), version: package.version.to_string(), unpacked, deb })
}

fn keep(reader: &mut File, folder: &Path) -> Result<(), DebError> {
    let mut out = BufWriter::with_capacity(1 << 18, File::create_new(folder.join(DEB))?);
    repack(reader, &mut out)?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok(())
}
