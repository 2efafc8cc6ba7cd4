//! What the files of an entry were when it was made: their digests, and the stamps by which the file system tells that nobody has written
//! to them since. Digests are compared when a stamp has changed, and once after every start of the machine, since a power cut may
//! have taken what was not yet on the disk.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use kubedos_debian::digest::Sha256;
use kubedos_debian::stamp::Stamp;

/// The file of an entry that says what its other files are.
const RECORD: &str = "checked.json";
/// Where the kernel says which start of the machine this is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The start of the machine in which the digests were compared last; none where the kernel does not tell.
    boot: Option<String>,
    files: Vec<Entry>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    name: String,
    sha256: Sha256,
    stamp: Stamp,
}

/// Writes down what the files of a folder are.
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

/// Are all files of a folder what they were, and no file more or less?
pub(super) fn is_sound(folder: &Path) -> io::Result<bool> {
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
        // Who may read only compares again next time.
        write(folder, files).unwrap_or_default();
    }
    Ok(true)
}

/// Beside its place first: two builds may look at one entry at once.
fn write(folder: &Path, files: Vec<Entry>) -> io::Result<()> {
    let text = serde_json::to_vec(&Record { boot: boot(), files })?;
    let mut beside = super::partial()
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(folder.parent().unwrap_or(folder))?;
    beside.write_all(&text)?;
    beside.persist(folder.join(RECORD))?;
    Ok(())
}

/// Read once: it is the same as long as this process lives.
fn boot() -> Option<String> {
    static ID: OnceLock<Option<String>> = OnceLock::new();
    let read = || Some(fs::read_to_string(BOOT).ok()?.trim().to_owned()).filter(|id| !id.is_empty());
    ID.get_or_init(read).clone()
}
