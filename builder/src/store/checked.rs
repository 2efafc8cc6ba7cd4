//! The record of an entry's files: their digests, and file system stamps that show whether a file was written to since.
//!
//! The digests are verified when a stamp changed, and once after each boot of the machine, because a power failure can lose data that was
//! not on the disk yet.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use kubedos_debian::digest::Sha256;
use kubedos_debian::stamp::Stamp;

/// The file of an entry that describes the other files.
const RECORD: &str = "checked.json";
/// The file in which the kernel gives an id to each boot.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The boot in which the digests were last verified; `None` if the kernel does not report an id.
    boot: Option<String>,
    files: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    sha256: Sha256,
    stamp: Stamp,
}

/// Writes the record of a folder's files.
pub(super) fn record(folder: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let file = File::open(entry.path())?;
        let stamp = Stamp::of(&file.metadata()?);
        let name = entry.file_name().into_string().map_err(|_| io::ErrorKind::InvalidFilename)?;
        files.push(Entry { name, sha256: Sha256::of_reader(file)?.0, stamp });
    }
    write(folder, files)
}

/// Whether all files of a folder match the record, with no additional or missing file.
pub(super) fn is_valid(folder: &Path) -> io::Result<bool> {
    let record: Record = match serde_json::from_slice(&fs::read(folder.join(RECORD))?) {
        Ok(record) => record,
        Err(_) => return Ok(false),
    };
    if fs::read_dir(folder)?.count() != record.files.len() + 1 {
        return Ok(false);
    }
    let this_boot = record.boot.is_some() && record.boot == boot();
    let (mut files, mut compared) = (Vec::new(), false);
    for known in record.files {
        let file = File::open(folder.join(&known.name))?;
        let stamp = Stamp::of(&file.metadata()?);
        if stamp.size() != known.stamp.size() {
            return Ok(false);
        }
        if !this_boot || stamp != known.stamp {
            compared = true;
            if Sha256::of_reader(file)?.0 != known.sha256 {
                return Ok(false);
            }
        }
        files.push(Entry { stamp, ..known });
    }
    if compared {
        // A user with read access only cannot store the result and verifies again next time.
        write(folder, files).unwrap_or_default();
    }
    Ok(true)
}

/// Writes a temporary file and renames it, because two builds can access one entry at the same time.
fn write(folder: &Path, files: Vec<Entry>) -> io::Result<()> {
    let text = serde_json::to_vec(&Record { boot: boot(), files })?;
    let mut temporary = super::partial()
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(folder.parent().unwrap_or(folder))?;
    temporary.write_all(&text)?;
    temporary.persist(folder.join(RECORD))?;
    Ok(())
}

/// Returns the id of this boot. It is read once, because it cannot change during the life of the process.
fn boot() -> Option<String> {
    static ID: OnceLock<Option<String>> = OnceLock::new();
    let read = || Some(fs::read_to_string(BOOT).ok()?.trim().to_owned()).filter(|id| !id.is_empty());
    ID.get_or_init(read).clone()
}
