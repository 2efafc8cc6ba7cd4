//! Packages of the peers. They are pinned here and not in the lock, because no part of the product needs them.
//!
//! The user's cache keeps the packages.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kubedos_debian::cache::Pin;
use kubedos_debian::deb::{Deb, DebError, Kind};
use kubedos_debian::fetch::{Fetcher, Silent, Source};
use kubedos_debian::mirror::{Mirrors, Wanted};
use kubedos_tests::{Pins, project};

use super::Reason;

/// A package of trixie.
#[derive(Debug)]
pub struct Package {
    /// Name and version, for messages.
    pub name: &'static str,
    /// Its path in the archive.
    pub path: &'static str,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: &'static str,
}

/// The host's mirrors.
pub fn mirrors() -> Mirrors {
    Mirrors::find(Wanted::from_environment(project()))
}

/// Creates a folder unless it exists. `fill` writes a temporary folder, which is renamed when it is complete.
///
/// # Errors
/// If `fill` fails, or the folder cannot be renamed.
pub fn make_whole(folder: &Path, fill: impl FnOnce(&Path) -> Result<(), Reason>) -> Result<(), Reason> {
    if folder.is_dir() {
        return Ok(());
    }
    let temporary = folder.with_extension("new");
    if temporary.exists() {
        fs::remove_dir_all(&temporary).map_err(Reason::new)?;
    }
    fill(&temporary)?;
    fs::rename(&temporary, folder).map_err(Reason::new)
}

impl Package {
    /// Fetches the package, and unpacks the files below `prefix` into `folder`; `prefix` is removed from their paths.
    ///
    /// # Errors
    /// If no source has the package, or the folder cannot be written.
    pub fn unpack(&self, prefix: &str, folder: &Path) -> Result<(), Reason> {
        let pin = Pin { name: self.name.into(), size: self.size, sha256: self.sha256.parse().unwrap() };
        let cache = Pins::get().cache();
        let source = Source { pin: pin.clone(), suite: "trixie".into(), paths: vec![self.path.into()] };
        Fetcher::new(cache, &mirrors())
            .fetch(&[source], &Silent)
            .map_err(|error| Reason::new(&error.0[0]))?;
        let mut deb = Deb::open(cache.open(&pin).unwrap().reader().unwrap()).map_err(Reason::new)?;
        let unpacked = deb.visit(|entry, content| {
            let Some(path) = entry.path.strip_prefix(prefix) else { return Ok(()) };
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap())?;
            match &entry.kind {
                Kind::Directory => fs::create_dir_all(path)?,
                Kind::Symlink { target } => symlink(target, path)?,
                _ => {
                    let mut file = File::create(&path)?;
                    std::io::copy(content, &mut file)?;
                    file.set_permissions(fs::Permissions::from_mode(entry.mode))?;
                }
            }
            Ok::<(), DebError>(())
        });
        unpacked.map_err(Reason::new)
    }
}
