//! Files that survive a power cut as a whole: after it they are the old ones or the new ones, never a part.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Replaces the file `name` in `folder`: written under a temporary name, flushed, renamed, and the folder flushed.
pub fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!(".{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    sync(folder)
}

/// Flushes a folder's entries.
pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
