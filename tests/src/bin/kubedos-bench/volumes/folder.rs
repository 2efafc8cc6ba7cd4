//! The hidden subcommand that writes a folder as a volume with our EROFS writer. It is a separate process, so that it is measured in the
//! same way as the peers.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, DirEntry, File, Metadata};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use clap::Args;
use kubedos_builder::erofs::Segments;
use kubedos_builder::store::Store;
use kubedos_image::erofs::{
    Attributes, Compression, Device, InodeId, Kind, NoCache, Params, SegmentCache, Time, Tree, write,
};
use kubedos_image::source::Source;
use rustix::fs::{lgetxattr, llistxattr, major, minor};

use super::CLUSTER;

/// The name of the subcommand.
pub const SUBCOMMAND: &str = "write-erofs";
/// The time of every inode, given to mkfs.erofs as well.
pub const EPOCH: u64 = 1_763_300_000;

/// Write a folder as EROFS
#[derive(Debug, Args)]
pub struct WriteFolder {
    /// The folder that caches compressed segments
    #[arg(long)]
    cache: Option<PathBuf>,
    /// The size of the largest cluster in bytes
    #[arg(long, default_value_t = CLUSTER)]
    cluster: u32,
    /// zstd:LEVEL or lz4hc:LEVEL
    #[arg(value_parser = compression)]
    compression: Compression,
    /// The volume
    out: PathBuf,
    /// The folder
    folder: PathBuf,
}

fn compression(text: &str) -> Result<Compression, String> {
    let refused = || format!("{text} is neither zstd:LEVEL nor lz4hc:LEVEL");
    let (algorithm, level) = text.split_once(':').ok_or_else(refused)?;
    let level = level.parse().map_err(|_| refused())?;
    match algorithm {
        "zstd" => Ok(Compression::Zstd(level)),
        "lz4hc" => Ok(Compression::Lz4hc(level)),
        _ => Err(refused()),
    }
}

/// Runs the subcommand.
pub fn write_folder(arguments: &WriteFolder) {
    let params = Params {
        uuid: [1; 16],
        epoch: Time { seconds: EPOCH, nanos: 0 },
        compression: arguments.compression,
        cluster: arguments.cluster,
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    let tree = tree(&arguments.folder);
    let mut volume = File::create(&arguments.out).unwrap();
    let store = arguments.cache.clone().map(Store::new);
    let segments = store.as_ref().map(Segments);
    let cache: &dyn SegmentCache = segments.as_ref().map_or(&NoCache, |segments| segments);
    write(&tree, &params, cache, &mut volume).unwrap();
}

/// Every regular file below a folder, with its length.
pub fn regular_files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in entries(&folder) {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                files.push((entry.path(), metadata.len()));
            }
        }
    }
    files
}

fn tree(folder: &Path) -> Tree<'static> {
    let root = attributes(folder, &fs::symlink_metadata(folder).unwrap());
    let mut tree = Tree::new(root).unwrap();
    let mut seen = HashMap::new();
    let mut folders = vec![(folder.to_owned(), InodeId::ROOT)];
    while let Some((folder, parent)) = folders.pop() {
        for entry in entries(&folder) {
            let (path, name) = (entry.path(), entry.file_name());
            let metadata = entry.metadata().unwrap();
            let attributes = attributes(&path, &metadata);
            if metadata.is_dir() {
                let id = tree.add_directory(parent, name.as_bytes(), attributes).unwrap();
                folders.push((path, id));
                continue;
            }
            let inode = (metadata.dev(), metadata.ino());
            if let Some(known) = seen.get(&inode) {
                tree.link(parent, name.as_bytes(), *known).unwrap();
                continue;
            }
            let id = tree.add(parent, name.as_bytes(), kind(path, &metadata), attributes).unwrap();
            seen.insert(inode, id);
        }
    }
    tree
}

fn entries(folder: &Path) -> Vec<DirEntry> {
    let mut entries: Vec<DirEntry> = fs::read_dir(folder).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(DirEntry::file_name);
    entries
}

fn kind(path: PathBuf, metadata: &Metadata) -> Kind<'static> {
    let kind = metadata.file_type();
    let device = Device { major: major(metadata.rdev()), minor: minor(metadata.rdev()) };
    match () {
        () if kind.is_file() => Kind::File(Box::new(LazyFile { path, len: metadata.len() })),
        () if kind.is_symlink() => Kind::Symlink(fs::read_link(path).unwrap().into_os_string().into_vec()),
        () if kind.is_char_device() => Kind::Character(device),
        () if kind.is_block_device() => Kind::Block(device),
        () if kind.is_fifo() => Kind::Fifo,
        () => Kind::Socket,
    }
}

fn attributes(path: &Path, metadata: &Metadata) -> Attributes {
    let mut names = vec![0; 1 << 16];
    let len = llistxattr(path, &mut names).unwrap();
    let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let value = |name: &[u8]| {
        let mut value = vec![0; 1 << 16];
        let len = lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
        value.truncate(len);
        value
    };
    Attributes {
        mode: u16::try_from(metadata.mode() & 0o7777).unwrap(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: Time { seconds: EPOCH, nanos: 0 },
        xattrs: names.map(|name| (name.to_vec(), value(name))).collect::<BTreeMap<_, _>>(),
    }
}

/// A file that is opened for each read, because a tree has more files than a process may have open.
struct LazyFile {
    path: PathBuf,
    len: u64,
}

impl Source for LazyFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        File::open(&self.path)?.read_exact_at(buffer, offset)
    }
}
