//! Lists file system trees as the kernel shows them: the trees on disks whose serial numbers begin with [`TREE`], which a test wrote,
//! and the node's own volumes.
//!
//! A listing maps each path, in hexadecimal, to one line with all its attributes. The tests generate the same lines from the trees
//! that they wrote, and compare them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{lgetxattr, llistxattr};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::{Map, Value, json};

/// The prefix of the serial numbers of such disks. Linux shows at most twenty bytes of a virtio disk's serial number.
const TREE: &str = "kubedos-tree-";
/// Where the sealed volumes are mounted.
const VOLUMES: [&str; 3] = ["/", "/usr/lib/kubedos/payload", "/usr/lib/kubedos/configuration"];
const PLACE: &str = "/run/kubedos-probe-tree";

/// The listing of each disk by its serial number without the prefix, or the error of reading it.
pub fn read_all() -> Value {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    disks
        .filter_map(|entry| {
            let serial = fs::read_to_string(entry.path().join("serial")).ok()?;
            let device = Path::new("/dev").join(entry.file_name());
            let name = serial.trim().strip_prefix(TREE)?.to_owned();
            Some((name, read(&device).unwrap_or_else(|error| json!({ "error": error.to_string() }))))
        })
        .collect()
}

/// The listings of the node's own volumes by mount point. A directory on which something else is mounted is not listed.
pub fn read_volumes() -> Value {
    VOLUMES
        .iter()
        .map(|place| {
            let listing =
                walk(Path::new(place)).unwrap_or_else(|error| json!({ "error": error.to_string() }));
            ((*place).to_owned(), listing)
        })
        .collect()
}

fn read(device: &Path) -> io::Result<Value> {
    fs::create_dir_all(PLACE)?;
    mount(device, PLACE, "erofs", MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID, None)?;
    let listing = walk(Path::new(PLACE));
    unmount(PLACE, UnmountFlags::empty())?;
    listing
}

fn walk(root: &Path) -> io::Result<Value> {
    let mut listing = Map::new();
    let mut left = vec![root.to_owned()];
    let device = fs::symlink_metadata(root)?.dev();
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.dev() != device {
            continue;
        }
        if metadata.is_dir() {
            let entries = fs::read_dir(&path)?.collect::<io::Result<Vec<_>>>()?;
            left.extend(entries.into_iter().map(|entry| entry.path()));
        }
        let name = path.strip_prefix(root).unwrap_or(&path);
        listing.insert(hex(name.as_os_str().as_bytes()), describe(&path, &metadata)?.into());
    }
    Ok(Value::Object(listing))
}

/// The line of one inode: type, content, mode, owner, group, time, number of links, extended attributes.
fn describe(path: &Path, metadata: &fs::Metadata) -> io::Result<String> {
    let kind = metadata.file_type();
    let content = if kind.is_file() {
        let (len, digest) = digest(path)?;
        format!("file {len} {digest:016x}")
    } else if kind.is_symlink() {
        format!("link {}", hex(fs::read_link(path)?.as_os_str().as_bytes()))
    } else if kind.is_dir() {
        "directory".to_owned()
    } else {
        let word = match () {
            () if kind.is_char_device() => "character",
            () if kind.is_block_device() => "block",
            () if kind.is_fifo() => "fifo",
            () => "socket",
        };
        let device = metadata.rdev();
        format!("{word} {}:{}", rustix::fs::major(device), rustix::fs::minor(device))
    };
    Ok(format!(
        "{content} {:04o} {}:{} {}.{} {}{}",
        metadata.mode() & 0o7777,
        metadata.uid(),
        metadata.gid(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.nlink(),
        xattrs(path)?
    ))
}

/// Length and 64-bit FNV-1a digest of a file. The odd read size makes reads cross block and cluster boundaries.
fn digest(path: &Path) -> io::Result<(usize, u64)> {
    let mut file = File::open(path)?;
    let (mut len, mut digest) = (0, 0xcbf2_9ce4_8422_2325_u64);
    let mut piece = vec![0; 77_777];
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok((len, digest));
        }
        len += count;
        for byte in piece.iter().take(count) {
            digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

fn xattrs(path: &Path) -> io::Result<String> {
    let mut names = vec![0; 1 << 16];
    let len = llistxattr(path, &mut names)?;
    names.truncate(len);
    let mut texts: Vec<String> = Vec::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 1 << 16];
        let len = lgetxattr(path, name, &mut value)?;
        value.truncate(len);
        texts.push(format!(" {}={}", String::from_utf8_lossy(name), hex(&value)));
    }
    texts.sort();
    Ok(texts.concat())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
