//! Reads everything that is sealed: the dm-verity devices block by block, and the files of the root volume.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// The block size of dm-verity.
const BLOCK: usize = 4096;

/// The bytes that could be read from each device-mapper device, by its name, and the blocks that could not.
pub fn read_all() -> Value {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    devices
        .filter_map(|entry| {
            let name = fs::read_to_string(entry.path().join("dm/name")).ok()?;
            let uuid = fs::read_to_string(entry.path().join("dm/uuid")).unwrap_or_default();
            // Containers of STATE and DATA are not sealed, and DATA is large.
            if uuid.contains("CRYPT") {
                return None;
            }
            let device = Path::new("/dev").join(entry.file_name());
            Some((name.trim().to_owned(), read_device(&device)))
        })
        .collect()
}

fn read_device(device: &Path) -> Value {
    let Ok(file) = File::open(device) else { return json!({ "error": "cannot be opened" }) };
    let (mut at, mut given, mut refused) = (0_u64, 0_u64, Vec::new());
    let mut block = [0; BLOCK];
    loop {
        match file.read_at(&mut block, at) {
            Ok(0) => break,
            Ok(count) => given += count as u64,
            Err(error) => {
                refused.push(json!({ "offset": at, "errno": error.raw_os_error() }));
                // 64 blocks are enough to show that the whole device is refused.
                if refused.len() >= 64 {
                    break;
                }
            }
        }
        at += BLOCK as u64;
    }
    json!({ "bytes": given, "refused": refused })
}

/// The number and size of the regular files of the root volume, and those that could not be read.
pub fn walk() -> Value {
    let (mut files, mut bytes, mut refused) = (0_u64, 0_u64, Vec::new());
    let Ok(device) = fs::symlink_metadata("/").map(|metadata| metadata.dev()) else {
        return json!({ "error": "no root" });
    };
    let mut folders = vec![PathBuf::from("/")];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                refused.push(json!({ "path": folder, "errno": error.raw_os_error() }));
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                refused.push(json!({ "path": path }));
                continue;
            };
            if metadata.is_dir() && metadata.dev() == device {
                folders.push(path);
            } else if metadata.is_file() && metadata.dev() == device {
                files += 1;
                match read_file(&path) {
                    Ok(count) => bytes += count,
                    Err(error) => refused.push(json!({ "path": path, "errno": error.raw_os_error() })),
                }
            }
        }
    }
    json!({ "files": files, "bytes": bytes, "refused": refused })
}

fn read_file(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(total),
            count => total += count as u64,
        }
    }
}
