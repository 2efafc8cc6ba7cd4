//! Packages as they are read fast: unpacking xz is most of composing, so each package is kept once more, behind zstd, under its digest.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use super::unpack::UnpackError;
use super::{ComposeError, Package};
use crate::cache::Cache;
use crate::deb::{Deb, DebError, repack};
use crate::digest::Sha256;
use crate::key::{Key, KeyBuilder};
use crate::lock::LockedPackage;
use crate::store::Store;

const KIND: &str = "package";
const DEB: &str = "deb";
const DIGEST: &str = "sha256";
/// Raised when a package is kept in another way.
const VERSION: u32 = 1;

/// Opens a package, keeping it first if it is not there or has rotted.
pub(super) fn open(
    package: &LockedPackage,
    cache: &Cache,
    store: &Store,
) -> Result<Package<File>, ComposeError> {
    let unpack = |source: UnpackError| ComposeError::Unpack {
        package: package.name.clone(),
        source: Box::new(source),
    };
    let key = KeyBuilder::new(KIND, VERSION).with("sha256", package.sha256.to_string()).finish();
    let kept = match kept(store, &key) {
        Some(file) => file,
        None => {
            let mut reader =
                cache.open(&package.pin()).and_then(|verified| verified.reader()).map_err(Box::new)?;
            store.discard(KIND, &key)?;
            let fill = |folder: &Path| -> Result<(), ComposeError> {
                keep(&mut reader, folder).map_err(|error| unpack(error.into()))
            };
            let folder = store.insert(KIND, &key, fill)?;
            File::open(folder.join(DEB)).map_err(|error| unpack(DebError::Io(error).into()))?
        }
    };
    let deb = Deb::open(kept).map_err(|error| unpack(error.into()))?;
    Ok(Package { name: package.name.clone(), version: package.version.to_string(), deb })
}

/// What was kept, if it still has its digest. What cannot be read is made anew.
fn kept(store: &Store, key: &Key) -> Option<File> {
    let folder = store.find(KIND, key)?;
    let wanted = fs::read_to_string(folder.join(DIGEST)).ok()?;
    let path = folder.join(DEB);
    let (digest, _) = Sha256::of_reader(File::open(&path).ok()?).ok()?;
    (digest.to_string() == wanted).then(|| File::open(path).ok())?
}

fn keep(reader: &mut File, folder: &Path) -> Result<(), DebError> {
    let path = folder.join(DEB);
    let mut out = BufWriter::with_capacity(1 << 18, File::create_new(&path)?);
    repack(reader, &mut out)?;
    out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    let (digest, _) = Sha256::of_reader(File::open(&path)?)?;
    Ok(fs::write(folder.join(DIGEST), digest.to_string())?)
}
