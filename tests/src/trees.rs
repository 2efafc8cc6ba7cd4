//! Listings of file system trees in the format of `tests/probe`: of generated trees, which the EROFS writer writes, and of any volume,
//! which the EROFS reader reads.
//!
//! Tests compare them with the listings of the probe on a node, which uses the kernel's EROFS driver.

use std::collections::BTreeMap;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;

use kubedos_image::erofs::reader::{self, Volume};
use kubedos_image::erofs::{
    Attributes, Compression, Device, InodeId, Kind, NoCache, Params, Time, Tree, write,
};
use kubedos_image::sparse::Runs;

use crate::probe::noise;

/// The line of each path; paths are in hexadecimal.
pub type Listing = BTreeMap<String, String>;

/// The time of the volume. The root and every fourth inode have exactly this time.
const EPOCH: u64 = 1_763_300_000;

struct Writer {
    tree: Tree<'static>,
    listing: Listing,
    count: u32,
    /// The next inodes get an attribute of the maximum size of EROFS.
    large_attribute: bool,
}

impl Writer {
    /// Different attributes for each inode, and the end of its line.
    fn attributes(&mut self, names: u32) -> (Attributes, String) {
        self.count += 1;
        let number = self.count;
        let mut attributes = Attributes {
            mode: u16::try_from(number * 73 % 0o10000).unwrap(),
            uid: number % 5 * 30_000,
            gid: number % 3,
            mtime: Time { seconds: EPOCH + u64::from(number % 4), nanos: number % 4 * 1001 },
            xattrs: BTreeMap::new(),
        };
        if number.is_multiple_of(6) {
            attributes.xattrs.insert(b"security.kubedos".to_vec(), b"the same for many".to_vec());
            attributes.xattrs.insert(b"trusted.number".to_vec(), number.to_be_bytes().to_vec());
        }
        if self.large_attribute {
            attributes.xattrs.insert(b"trusted.large".to_vec(), noise(usize::from(u16::MAX)));
        }
        let xattrs: String = attributes.xattrs.iter().map(xattr_text).collect();
        let Attributes { mode, uid, gid, mtime, .. } = &attributes;
        let line_end = format!("{mode:04o} {uid}:{gid} {}.{} {names}{xattrs}", mtime.seconds, mtime.nanos);
        (attributes, line_end)
    }

    fn directory(&mut self, parent: InodeId, path: &str, directories: u32) -> InodeId {
        let (attributes, line_end) = self.attributes(2 + directories);
        self.listing.insert(hex::encode(path), format!("directory {line_end}"));
        self.tree.add_directory(parent, name(path.as_bytes()), attributes).unwrap()
    }

    fn file(&mut self, parent: InodeId, path: &[u8], content: Vec<u8>, names: u32) -> InodeId {
        let words = format!("file {} {:016x}", content.len(), digest(&content));
        self.add(parent, path, Kind::File(Box::new(content)), &words, names)
    }

    /// A sparse file: its content, and the ranges that are not holes.
    fn sparse(&mut self, parent: InodeId, path: &[u8], content: &[u8], data: &[Range<usize>]) {
        let mut runs = Runs::new(content.len() as u64);
        for range in data {
            runs.add_bytes(range.start as u64, content[range.clone()].to_vec()).unwrap();
        }
        let words = format!("file {} {:016x}", content.len(), digest(content));
        self.add(parent, path, Kind::File(Box::new(runs)), &words, 1);
    }

    fn other(&mut self, parent: InodeId, path: &str, kind: Kind<'static>, words: &str) {
        self.add(parent, path.as_bytes(), kind, words, 1);
    }

    fn add(&mut self, parent: InodeId, path: &[u8], kind: Kind<'static>, words: &str, names: u32) -> InodeId {
        let (attributes, line_end) = self.attributes(names);
        self.listing.insert(hex::encode(path), format!("{words} {line_end}"));
        self.tree.add(parent, name(path), kind, attributes).unwrap()
    }
}

/// Writes a volume with sizes at the limits of the format and rare kinds of inodes; returns the expected listing.
///
/// # Panics
/// If it cannot be written.
pub fn generated(out: &Path, compression: Compression, cluster: u32) -> Listing {
    written(out, compression, cluster, 4, fill)
}

/// Writes a volume with 100,000 files, 40,000 of them in one directory; returns the expected listing.
///
/// # Panics
/// If it cannot be written.
pub fn many(out: &Path, compression: Compression, cluster: u32) -> Listing {
    written(out, compression, cluster, 61, |writer| {
        let mut number = 0_u64;
        for (directory, count) in std::iter::once(40_000).chain([1_000; 60]).enumerate() {
            let path = directory.to_string();
            let parent = writer.directory(InodeId::ROOT, &path, 0);
            for _ in 0..count {
                writer.file(parent, format!("{path}/{number}").as_bytes(), number.to_string().into(), 1);
                number += 1;
            }
        }
    })
}

/// Writes a tree whose root has `directories` directories; returns its listing.
fn written(
    out: &Path,
    compression: Compression,
    cluster: u32,
    directories: u32,
    fill: impl FnOnce(&mut Writer),
) -> Listing {
    let root = Attributes { mode: 0o755, mtime: Time { seconds: EPOCH, nanos: 0 }, ..Attributes::default() };
    let line = format!("directory 0755 0:0 {EPOCH}.0 {}", 2 + directories);
    let listing = BTreeMap::from([(String::new(), line)]);
    let mut writer = Writer { tree: Tree::new(root).unwrap(), listing, count: 0, large_attribute: false };
    fill(&mut writer);
    let params = Params {
        uuid: [4; 16],
        epoch: Time { seconds: EPOCH, nanos: 0 },
        compression,
        cluster,
        threads: NonZeroUsize::new(2).unwrap(),
    };
    write(&writer.tree, &params, &NoCache, &mut File::create(out).unwrap()).unwrap();
    writer.listing
}

fn fill(writer: &mut Writer) {
    let sizes = writer.directory(InodeId::ROOT, "sizes", 0);
    for border in [1_usize, 4096, 8192, 65_536, 131_072, 1 << 20, 4 << 20] {
        for len in [border - 1, border, border + 1, border + 2000] {
            for (nature, content) in [("text", text(len)), ("noise", noise(len)), ("zero", vec![0; len])] {
                let path = format!("sizes/{nature}-{border}-{len}");
                writer.file(sizes, path.as_bytes(), content, 1);
            }
        }
    }
    let mut holes = vec![0; (3 << 20) + 100];
    let data = [700_000..900_000, (3 << 20)..(3 << 20) + 100];
    for range in &data {
        holes[range.clone()].copy_from_slice(&text(range.len()));
    }
    writer.sparse(sizes, b"sizes/holes", &holes, &data);
    let wide = writer.directory(InodeId::ROOT, "wide", 0);
    for number in 0..400_usize {
        writer.file(wide, format!("wide/{number}").as_bytes(), text(number * 3), 1);
    }
    writer.file(wide, &[b"wide/".as_slice(), &[b'n'; 255]].concat(), b"long".to_vec(), 1);
    writer.file(wide, b"wide/\xff not utf-8 \x80\n", b"bytes".to_vec(), 1);
    let mut path = "deep".to_owned();
    let mut parent = writer.directory(InodeId::ROOT, &path, 1);
    for level in 0..60 {
        path.push_str(&format!("/{level}"));
        parent = writer.directory(parent, &path, u32::from(level != 59));
    }
    let kinds = writer.directory(InodeId::ROOT, "kinds", 0);
    let first = writer.file(kinds, b"kinds/first", text(9000), 3);
    let line = writer.listing[&hex::encode("kinds/first")].clone();
    for again in ["kinds/second", "kinds/third"] {
        writer.tree.link(kinds, name(again.as_bytes()), first).unwrap();
        writer.listing.insert(hex::encode(again), line.clone());
    }
    writer.large_attribute = true;
    writer.file(kinds, b"kinds/attribute", text(5000), 1);
    writer.other(
        kinds,
        "kinds/link-attribute",
        Kind::Symlink(b"a/b".repeat(900)),
        &format!("link {}", hex::encode(b"a/b".repeat(900))),
    );
    writer.large_attribute = false;
    for target in ["a".to_owned(), "0123456789/".repeat(372)] {
        let path = format!("kinds/link-{}", target.len());
        let words = format!("link {}", hex::encode(&target));
        writer.other(kinds, &path, Kind::Symlink(target.into_bytes()), &words);
    }
    writer.other(kinds, "kinds/fifo", Kind::Fifo, "fifo 0:0");
    writer.other(kinds, "kinds/socket", Kind::Socket, "socket 0:0");
    for (major, minor) in [(1, 3), (4095, 0xf_ffff)] {
        let device = Device { major, minor };
        let path = format!("kinds/character-{major}");
        writer.other(kinds, &path, Kind::Character(device), &format!("character {major}:{minor}"));
        writer.other(
            kinds,
            &format!("kinds/block-{major}"),
            Kind::Block(device),
            &format!("block {major}:{minor}"),
        );
    }
}

/// The listing of a volume that the EROFS reader reads.
///
/// # Panics
/// If it cannot be read.
pub fn listing_of(volume: &Volume<'_>) -> Listing {
    let mut reader = volume.reader();
    let mut listing = Listing::new();
    for found in volume.walk() {
        let reader::Found { path, inode } = found.unwrap();
        let content = match inode.kind {
            reader::Kind::Directory => "directory".to_owned(),
            reader::Kind::Symlink => format!("link {}", hex::encode(volume.link(&inode).unwrap())),
            reader::Kind::File => {
                let mut content = vec![0; usize::try_from(inode.size).unwrap()];
                reader.read_at(&inode, 0, &mut content).unwrap();
                format!("file {} {:016x}", content.len(), digest(&content))
            }
            other => panic!("{} is {other:?}", path.escape_ascii()),
        };
        let xattrs: String = volume.xattrs(&inode).unwrap().iter().map(xattr_text).collect();
        let line = format!(
            "{content} {:04o} {}:{} {}.{} {}{xattrs}",
            inode.mode, inode.uid, inode.gid, inode.mtime, inode.mtime_nanos, inode.links
        );
        listing.insert(hex::encode(path), line);
    }
    listing
}

fn xattr_text((name, value): (&Vec<u8>, &Vec<u8>)) -> String {
    format!(" {}={}", String::from_utf8_lossy(name), hex::encode(value))
}

/// 64-bit FNV-1a.
fn digest(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |digest, byte| {
        (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn name(path: &[u8]) -> &[u8] {
    let at = path.iter().rposition(|byte| *byte == b'/');
    &path[at.map_or(0, |at| at + 1)..]
}

/// Compressible content in which blocks rarely repeat.
fn text(len: usize) -> Vec<u8> {
    (0..)
        .flat_map(|number: u64| format!("{:x} of {number} ", number * number % 977).into_bytes())
        .take(len)
        .collect()
}
