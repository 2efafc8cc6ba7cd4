//! Packages of the peers: pinned here, since nothing of the product needs them, and kept in the user's cache.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use kubedos_debian::cache::Pin;
use kubedos_debian::deb::{Deb, DebError, Kind};
use kubedos_debian::fetch::{Fetcher, Silent, Source};
use kubedos_debian::mirror::{Mirrors, Wanted};
use kubedos_tests::{Pins, project};

use super::Why;

/// A package of trixie.
#[derive(Debug)]
pub struct Package {
    /// Name and version, for people.
    pub name: &'static str,
    /// Its path in the archive.
    pub path: &'static str,
    /// Bytes.
    pub size: u64,
    /// Digest, hex.
    pub sha256: &'static str,
}

/// The host's mirrors.
pub fn mirrors() -> Mirrors {
    Mirrors::find(Wanted::from_environment(project()))
}

/// Makes a folder unless it is there: `fill` writes beside its place, and what is whole gets its name.
///
/// # Errors
/// What `fill` returns, and what the file system refuses.
pub fn make_whole(folder: &Path, fill: impl FnOnce(&Path) -> Result<(), Why>) -> Result<(), Why> {
    if folder.is_dir() {
        return Ok(());
    }
    let beside = folder.with_extension("new");
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(Why::new)?;
    }
    fill(&beside)?;
    fs::rename(&beside, folder).map_err(Why::new)
}

impl Package {
    /// Fetches the package, and unpacks what begins with `prefix` into `folder`, without it.
    ///
    /// # Errors
    /// If it can be had nowhere, or the folder cannot be written.
    pub fn unpack(&self, prefix: &str, folder: &Path) -> Result<(), Why> {
        let pin = Pin { name: self.name.into(), size: self.size, sha256: self.sha256.parse().unwrap() };
        let cache = Pins::get().cache();
        let source = Source { pin: pin.clone(), suite: "trixie".into(), paths: vec![self.path.into()] };
        Fetcher::new(cache, &mirrors()).fetch(&[source], &Silent).map_err(|error| Why::new(&error.0[0]))?;
        let mut deb = Deb::open(cache.open(&pin).unwrap().reader().unwrap()).map_err(Why::new)?;
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
        unpacked.map_err(Why::new)
    }
}
