//! Tests of EROFS with independent tools: volumes of mkfs.erofs with various options are read as the tree that it was given, and fsck.erofs
//! accepts and extracts the volumes of our writer.
//! They need the lock's tools in the cache, or a mirror to fetch them from.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::type_complexity,
    reason = "a test fails by panicking; its types are used here only"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use kubedos_builder::toolbox::Toolbox;
use kubedos_debian::cache::Place;
use kubedos_debian::fetch::{Fetcher, Silent};
use kubedos_debian::lock::Lock;
use kubedos_debian::mirror::{Mirrors, Wanted};
use kubedos_image::erofs::reader::{Inode, Kind, Piece, Stored, Volume};
use kubedos_image::erofs::{
    Algorithm, Attributes, Compression, Device, InodeId, Kind as Written, NoCache, Params, Time,
    Tree as WrittenTree, write,
};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use rustix::fs::{CWD, FileType, Mode, mknodat};

const BLOCK: usize = 4096;
const MTIME: u64 = 1_700_000_000;
const ONE_TIME: i64 = 1_700_000_002;

/// A tool of the lock.
fn tool(program: &str) -> Command {
    static TOOLS: OnceLock<Toolbox> = OnceLock::new();
    let tools = TOOLS.get_or_init(|| {
        let lock = Lock::read_alone(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../kubedos.lock")).unwrap();
        let cache = Place::from_environment(None).open().unwrap();
        let mirrors =
            Mirrors::find(Wanted::from_environment(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))));
        let sources = lock.sources(&["tools".to_owned()]).unwrap();
        Fetcher::new(&cache, &mirrors).fetch(&sources, &Silent).unwrap();
        Toolbox::open(&cache, &lock, "tools").unwrap()
    });
    tools.command(program).unwrap()
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Directory,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    what: What,
    mode: u16,
    uid: u32,
    gid: u32,
    mtime: i64,
    links: u32,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A tree by path. For hard links, the path of the file with the content.
#[derive(Default)]
struct Tree {
    nodes: BTreeMap<Vec<u8>, Node>,
    links: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Tree {
    fn add(&mut self, path: impl AsRef<[u8]>, what: What) -> &mut Node {
        let path = path.as_ref();
        let count = u32::try_from(self.nodes.len()).unwrap();
        if let Some(slash) = path.iter().rposition(|byte| *byte == b'/') {
            if !self.nodes.contains_key(&path[..slash]) {
                self.add(&path[..slash], What::Directory);
            }
        } else if !path.is_empty() && self.nodes.is_empty() {
            self.add("", What::Directory);
        }
        let mode = if matches!(what, What::Directory) { 0o755 } else { 0o644 };
        let mode = if matches!(what, What::Symlink(_)) { 0o777 } else { mode };
        let mtime = (MTIME + u64::from(count)) as i64;
        let node = Node { what, mode, uid: 0, gid: count % 3, mtime, links: 1, xattrs: BTreeMap::new() };
        self.nodes.insert(path.to_vec(), node);
        self.nodes.get_mut(path).unwrap()
    }

    fn link(&mut self, path: &str, to: &str) {
        self.links.insert(path.into(), to.into());
    }

    /// The nodes that a reader must find: hard links have the node of their target, and link counts are correct.
    fn expected(&self) -> BTreeMap<Vec<u8>, Node> {
        let mut nodes = self.nodes.clone();
        for (path, node) in &mut nodes {
            node.links = match node.what {
                What::Directory => {
                    let depth = |path: &[u8]| path.iter().filter(|byte| **byte == b'/').count();
                    let below = |other: &&Vec<u8>| {
                        let inner = if path.is_empty() {
                            Some(other.as_slice()).filter(|other| !other.is_empty())
                        } else {
                            other.strip_prefix(path.as_slice()).and_then(|rest| rest.strip_prefix(b"/"))
                        };
                        inner.is_some_and(|inner| depth(inner) == 0)
                            && self.nodes[*other].what == What::Directory
                    };
                    2 + u32::try_from(self.nodes.keys().filter(below).count()).unwrap()
                }
                _ => 1 + u32::try_from(self.links.values().filter(|to| *to == path).count()).unwrap(),
            };
        }
        for (path, to) in &self.links {
            nodes.insert(path.clone(), nodes[to].clone());
        }
        nodes
    }

    fn tar(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, node) in &self.nodes {
            let mut header = tar::Header::new_gnu();
            header.set_mode(node.mode.into());
            header.set_uid(node.uid.into());
            header.set_gid(node.gid.into());
            header.set_mtime(node.mtime.try_into().unwrap());
            header.set_size(0);
            let names: Vec<(String, &Vec<u8>)> = node
                .xattrs
                .iter()
                .map(|(name, value)| (format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)), value))
                .collect();
            if !names.is_empty() {
                tar.append_pax_extensions(
                    names.iter().map(|(name, value)| (name.as_str(), value.as_slice())),
                )
                .unwrap();
            }
            let name = if path.is_empty() { OsStr::new("./") } else { OsStr::from_bytes(path) };
            let kind = match &node.what {
                What::Directory => tar::EntryType::Directory,
                What::File(_) => tar::EntryType::Regular,
                What::Symlink(_) => tar::EntryType::Symlink,
                What::Character(..) => tar::EntryType::Char,
                What::Block(..) => tar::EntryType::Block,
                What::Fifo => tar::EntryType::Fifo,
                What::Socket => panic!("a tar stream has no sockets"),
            };
            header.set_entry_type(kind);
            match &node.what {
                What::File(content) => {
                    header.set_size(content.len() as u64);
                    tar.append_data(&mut header, name, content.as_slice()).unwrap();
                }
                What::Symlink(target) => {
                    tar.append_link(&mut header, name, OsStr::from_bytes(target)).unwrap()
                }
                What::Character(major, minor) | What::Block(major, minor) => {
                    header.set_device_major(*major).unwrap();
                    header.set_device_minor(*minor).unwrap();
                    tar.append_data(&mut header, name, std::io::empty()).unwrap();
                }
                _ => tar.append_data(&mut header, name, std::io::empty()).unwrap(),
            }
        }
        for (path, to) in &self.links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Link);
            header.set_size(0);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(MTIME);
            tar.append_link(&mut header, OsStr::from_bytes(path), OsStr::from_bytes(to)).unwrap();
        }
        tar.into_inner().unwrap()
    }
}

/// Generates compressible text in which no block is repeated.
fn text(random: &mut StdRng, len: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        write!(text, "{:x} the quick {} ", random.gen_range(0..5000), random.gen_range(0..20)).unwrap();
    }
    text.truncate(len);
    text
}

fn noise(random: &mut StdRng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    random.fill_bytes(&mut bytes);
    bytes
}

fn tree() -> Tree {
    let mut random = StdRng::seed_from_u64(4);
    let random = &mut random;
    let mut tree = Tree::default();
    // Lengths around the limits of blocks, packs and clusters.
    for blocks in [0_usize, 1, 2, 3, 8, 16, 17, 33, 64] {
        for offset in [-1_i64, 0, 1] {
            let len = usize::try_from((blocks * BLOCK) as i64 + offset).unwrap_or(0);
            tree.add(format!("border/text-{len}"), What::File(text(random, len)));
            tree.add(format!("border/noise-{len}"), What::File(noise(random, len)));
        }
    }
    for len in [1_usize, 5, 60, 1000, 4000, 5000, 10_000, 300_000, 1_300_000] {
        tree.add(format!("size/{len}"), What::File(text(random, len)));
    }
    tree.add(
        "mixed/alternating",
        What::File(
            (0..12)
                .flat_map(|_| {
                    let (a, b) = (random.gen_range(1..30_000), random.gen_range(1..9000));
                    [text(random, a), noise(random, b)].concat()
                })
                .collect(),
        ),
    );
    tree.add("mixed/zeroes", What::File(vec![0; 3 << 20]));
    tree.add("mixed/ones-and-a-tail", What::File([vec![1; 200_000], noise(random, 100)].concat()));
    tree.add("mixed/noise-and-a-tail", What::File([noise(random, 40_000), text(random, 300)].concat()));
    // Content of sparse files: noise, a hole, noise.
    tree.add(
        "mixed/sparse",
        What::File([noise(random, 5000), vec![0; 500_000], noise(random, 7000)].concat()),
    );
    // Equal files, and files that are equal from some offset on.
    let common = text(random, 400_000);
    for (name, from, to) in [
        ("a", 0, 400_000),
        ("b", 0, 400_000),
        ("c", 777, 300_001),
        ("d", 100_000, 400_000),
        ("e", 0, 150_000),
    ] {
        tree.add(format!("equal/{name}"), What::File(common[from..to].to_vec()));
        tree.add(
            format!("equal/{name}-after-noise"),
            What::File([noise(random, 3000), common[from..to].to_vec()].concat()),
        );
    }
    for number in 0..700 {
        let len = random.gen_range(0..300);
        tree.add(format!("wide/{:x}-{number}", number * 7919 % 1000), What::File(text(random, len)));
    }
    let mut deep = "deep".to_owned();
    for level in 0..120 {
        deep.push_str(&format!("/{level}"));
    }
    tree.add(deep + "/end", What::File(b"end".to_vec()));
    tree.add([b"names/".as_slice(), &[b'n'; 255]].concat(), What::File(b"long".to_vec()));
    tree.add(b"names/\xff\xfe not utf-8 \x80", What::File(b"bytes".to_vec()));
    for name in ["!before-dots", "-", "...", "..a", ".hidden", "\u{e4}", " ", "\n"] {
        tree.add(format!("names/{name}"), What::File(name.into()));
    }
    tree.add("empty", What::Directory);
    tree.add("links/short", What::Symlink(b"a".to_vec()));
    tree.add("links/not-utf-8", What::Symlink(b"\xff/\x80".to_vec()));
    tree.add("links/long", What::Symlink(b"0123456789/".repeat(372)));
    tree.add("links/first", What::File(text(random, 9000)));
    tree.link("links/second", "links/first");
    tree.link("zlinks/third", "links/first");
    tree.add("zlinks", What::Directory);
    tree.add("dev/null", What::Character(1, 3)).mode = 0o666;
    tree.add("dev/large", What::Character(4095, 0xf_ffff));
    tree.add("dev/sda17", What::Block(8, 17));
    tree.add("dev/fifo", What::Fifo);
    let suid = tree.add("modes/suid", What::File(b"suid".to_vec()));
    (suid.mode, suid.uid, suid.gid) = (0o6755, 70_000, 80_000);
    tree.add("modes/sticky", What::Directory).mode = 0o1777;
    tree.add("modes/none", What::File(b"secret".to_vec())).mode = 0;
    for number in 0..12_u8 {
        let node = tree.add(format!("xattrs/{number}"), What::File(text(random, 500 * usize::from(number))));
        node.xattrs.insert(b"security.selinux".to_vec(), b"system_u:object_r:bin_t:s0\0".to_vec());
        node.xattrs.insert(b"user.number".to_vec(), vec![number; usize::from(number) * 20 + 1]);
        node.xattrs.insert(format!("trusted.of-{number}").into_bytes(), noise(random, 9));
    }
    let acl = tree.add("xattrs/acl", What::Directory);
    acl.xattrs.insert(b"system.posix_acl_default".to_vec(), vec![2, 0, 0, 0]);
    acl.xattrs.insert(b"system.posix_acl_access".to_vec(), vec![2, 0, 0, 0]);
    acl.xattrs.insert(b"user.large".to_vec(), noise(random, 3000));
    tree
}

/// The input of mkfs.erofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// The tree as a tar stream.
    Tar,
    /// A folder; owners, times, attributes and devices are lost. It is needed because mkfs.erofs 1.8.6 writes wrong content for equal
    /// fragments of a tar stream: it compares with a wrong offset of the stream.
    Folder,
}

impl Tree {
    /// Creates the part of the tree that an unprivileged user can create in a folder. Returns the nodes that a reader must find.
    fn in_folder(&self, folder: &Path) -> BTreeMap<Vec<u8>, Node> {
        let mut expected = self.expected();
        expected.retain(|_, node| !matches!(node.what, What::Character(..) | What::Block(..)));
        for (path, node) in &mut expected {
            (node.uid, node.gid, node.mtime) = (0, 0, ONE_TIME);
            node.xattrs.clear();
            // Without this permission only root could read the file.
            node.mode |= 0o400;
            let place = folder.join(OsStr::from_bytes(path));
            if let Some(to) = self.links.get(path) {
                fs::hard_link(folder.join(OsStr::from_bytes(to)), place).unwrap();
                continue;
            }
            match &node.what {
                What::Directory => fs::create_dir_all(&place).unwrap(),
                What::File(content) => fs::write(&place, content).unwrap(),
                What::Symlink(target) => symlink(OsStr::from_bytes(target), &place).unwrap(),
                What::Fifo => mknodat(CWD, &place, FileType::Fifo, Mode::empty(), 0).unwrap(),
                What::Socket => drop(UnixListener::bind(&place).unwrap()),
                What::Character(..) | What::Block(..) => {}
            }
            if !matches!(node.what, What::Symlink(_)) {
                fs::set_permissions(&place, fs::Permissions::from_mode(node.mode.into())).unwrap();
            }
        }
        expected
    }
}

/// Runs mkfs.erofs and returns the bytes that it wrote.
fn make(scratch: &Path, arguments: &[&str], input: Result<&[u8], &Path>) -> Vec<u8> {
    let out = scratch.join("volume");
    if out.exists() {
        fs::remove_file(&out).unwrap();
    }
    let mut command = tool("usr/bin/mkfs.erofs");
    command.args(["--quiet", "-d1", "-U00000000-0000-0000-0000-000000000001"]).args(arguments);
    match input {
        Ok(_) => command.arg("--tar=f").arg(&out),
        Err(folder) => {
            command.args(["--all-root", "-x-1"]).arg(format!("-T{ONE_TIME}")).arg(&out).arg(folder)
        }
    };
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || pipe.write_all(input.unwrap_or_default()));
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        sent.join().unwrap().unwrap();
    });
    fs::read(out).unwrap()
}

/// Collects how the content of an inode is stored.
fn ways(volume: &Volume<'_>, inode: &Inode, ways: &mut BTreeSet<&'static str>) {
    let mut at = 0;
    for extent in volume.extents(inode, 0).unwrap() {
        let extent = extent.unwrap();
        assert_eq!(extent.start, at);
        at = extent.end();
        let way = match extent.stored {
            Stored::Hole => "hole",
            Stored::Plain { .. } if inode.is_compressed() => "literal",
            Stored::Plain { at } if at % BLOCK as u64 != 0 => "inline",
            Stored::Plain { .. } => "plain",
            Stored::Rotated { .. } => "rotated",
            Stored::Fragment { .. } if extent.start == 0 => "whole fragment",
            Stored::Fragment { .. } => "fragment",
            Stored::Compressed(cluster) => {
                if cluster.partial {
                    ways.insert("partial");
                }
                if cluster.at % BLOCK as u64 != 0 {
                    ways.insert("compressed inline");
                }
                if cluster.bytes as usize > BLOCK {
                    ways.insert("blocks");
                }
                match cluster.algorithm {
                    Algorithm::Lz4 => "lz4",
                    Algorithm::Zstd => "zstd",
                }
            }
        };
        ways.insert(way);
    }
    assert_eq!(at, inode.size);
}

/// Reads the content at once, and compares it with reads at random offsets.
fn content(volume: &Volume<'_>, inode: &Inode, random: &mut StdRng) -> Vec<u8> {
    let mut whole = Vec::new();
    volume
        .reader()
        .read(inode, 0..u64::MAX, &mut |piece| {
            match piece {
                Piece::Bytes(bytes) => whole.extend_from_slice(bytes),
                Piece::Zeroes(len) => whole.resize(whole.len() + usize::try_from(len).unwrap(), 0),
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(whole.len() as u64, inode.size);
    let mut reader = volume.reader();
    for _ in 0..whole.len().min(6) {
        let (start, len) = (random.gen_range(0..=whole.len()), random.gen_range(1..20_000_usize));
        let mut part = vec![0xaa; len];
        let read = reader.read_at(inode, start as u64, &mut part).unwrap();
        assert_eq!(read, len.min(whole.len() - start));
        assert!(part[..read] == whole[start..start + read], "inode {} at {start}", inode.nid);
    }
    whole
}

fn read(
    volume: &Volume<'_>,
) -> (BTreeMap<Vec<u8>, Node>, BTreeMap<u64, BTreeSet<Vec<u8>>>, BTreeSet<&'static str>) {
    let (mut nodes, mut names, mut seen) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    let mut random = StdRng::seed_from_u64(9);
    for found in volume.walk() {
        let found = found.unwrap();
        let inode = &found.inode;
        let what = match inode.kind {
            Kind::Directory => What::Directory,
            Kind::File => {
                ways(volume, inode, &mut seen);
                What::File(content(volume, inode, &mut random))
            }
            Kind::Symlink => What::Symlink(volume.link(inode).unwrap()),
            Kind::Character { major, minor } => What::Character(major, minor),
            Kind::Block { major, minor } => What::Block(major, minor),
            Kind::Fifo => What::Fifo,
            Kind::Socket => What::Socket,
        };
        let xattrs = volume.xattrs(inode).unwrap();
        let node = Node {
            what,
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            mtime: inode.mtime,
            links: inode.links,
            xattrs,
        };
        if node.what != What::Directory {
            names.entry(inode.nid).or_insert_with(BTreeSet::new).insert(found.path.clone());
        }
        nodes.insert(found.path, node);
    }
    (nodes, names, seen)
}

/// Inputs and options of mkfs.erofs, and the kinds of storage that must occur with them.
const MATRIX: &[(From, &[&str], &[&str])] = &[
    (From::Tar, &[], &["plain", "inline"]),
    (From::Tar, &["-Enoinline_data", "-Eforce-inode-extended", "-x100"], &["plain"]),
    (From::Tar, &["-T1700000001", "-x1"], &["plain", "inline"]),
    (From::Folder, &["--chunksize=4096"], &["plain", "hole"]),
    (From::Folder, &["--chunksize=65536", "-Eforce-chunk-indexes"], &["plain", "hole"]),
    (From::Tar, &["-zlz4"], &["lz4", "literal"]),
    (From::Tar, &["-zlz4", "-Elegacy-compress"], &["lz4", "literal"]),
    (From::Tar, &["-zlz4hc,level=9", "-C1048576"], &["lz4", "blocks"]),
    (From::Tar, &["-zlz4hc,level=3", "-C16384", "-Eztailpacking"], &["lz4", "compressed inline"]),
    (From::Tar, &["-zlz4hc,level=3", "-C16384", "-Ededupe"], &["lz4", "partial"]),
    (
        From::Tar,
        &["-zlz4hc,level=9", "-C65536", "-Efragments,ztailpacking,^fragdedupe"],
        &["rotated", "whole fragment"],
    ),
    (
        From::Folder,
        &["-zlz4hc,level=9", "-C65536", "-Efragments,ztailpacking"],
        &["lz4", "rotated", "blocks", "fragment", "whole fragment"],
    ),
    (From::Folder, &["-zlz4", "-Efragments"], &["lz4", "rotated", "fragment", "whole fragment"]),
    (From::Folder, &["-zlz4", "-C32768", "-Ededupe,fragments"], &["lz4", "fragment"]),
    (From::Folder, &["-zlz4", "-C65536", "-Eall-fragments,ztailpacking"], &["whole fragment"]),
    (From::Tar, &["-zzstd,level=3"], &["zstd", "literal"]),
    (From::Tar, &["-zzstd,level=3", "-C16384", "-Ededupe"], &["zstd", "blocks", "partial"]),
    (From::Tar, &["-zzstd,level=3", "-C1048576", "-Eztailpacking"], &["zstd", "compressed inline", "blocks"]),
    (
        From::Folder,
        &["-zzstd,level=3", "-C65536", "-Efragments,dedupe,ztailpacking"],
        &["zstd", "partial", "fragment"],
    ),
    (From::Folder, &["-zzstd,level=3", "-C262144", "-Eall-fragments"], &["whole fragment"]),
];

#[test]
fn volumes_of_mkfs_erofs_are_read_back_unchanged() {
    let mut tree = tree();
    let (tar, of_tar) = (tree.tar(), tree.expected());
    tree.add("dev/socket", What::Socket);
    let (scratch, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let of_folder = tree.in_folder(folder.path());
    let mut failures = Vec::new();
    for (from, arguments, wanted) in MATRIX {
        let (input, expected) = match from {
            From::Tar => (Ok(tar.as_slice()), &of_tar),
            From::Folder => (Err(folder.path()), &of_folder),
        };
        let bytes = make(scratch.path(), arguments, input);
        let volume = Volume::open(&bytes).unwrap();
        assert_eq!(volume.bytes(), bytes.len() as u64);
        let (nodes, names, seen) = read(&volume);
        let inodes = expected.values().filter(|node| node.what != What::Directory).count() - tree.links.len();
        assert_eq!(names.len(), inodes);
        assert!(names.values().any(|names| names.len() == 3), "{arguments:?}: no hard links");
        let one_time = arguments
            .iter()
            .find_map(|argument| argument.strip_prefix("-T"))
            .map(|time| time.parse().unwrap());
        for (path, node) in expected {
            let mut node = node.clone();
            node.mtime = one_time.unwrap_or(node.mtime);
            let found =
                nodes.get(path).unwrap_or_else(|| panic!("{arguments:?}: no {}", path.escape_ascii()));
            assert!(
                *found == node,
                "{arguments:?}: {} is\n{}, not\n{}",
                path.escape_ascii(),
                brief(found),
                brief(&node)
            );
        }
        assert_eq!(nodes.len(), expected.len());
        let missing: Vec<_> = wanted.iter().filter(|way| !seen.contains(**way)).collect();
        if !missing.is_empty() {
            failures.push(format!("{arguments:?}: no {missing:?} in {seen:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The last part of a node's text, without most of the content.
fn brief(node: &Node) -> String {
    let text = format!("{node:?}");
    text.get(text.len().saturating_sub(300)..).unwrap_or(&text).to_owned()
}

impl Tree {
    /// Converts the tree to the types of the writer.
    fn to_write(&self) -> WrittenTree<'_> {
        let attributes = |node: &Node| Attributes {
            mode: node.mode,
            uid: node.uid,
            gid: node.gid,
            mtime: Time { seconds: node.mtime.try_into().unwrap(), nanos: 5 },
            xattrs: node.xattrs.clone(),
        };
        let split = |path: &[u8]| {
            let at = path.iter().rposition(|byte| *byte == b'/');
            (path[..at.unwrap_or(0)].to_vec(), path[at.map_or(0, |at| at + 1)..].to_vec())
        };
        let mut tree = WrittenTree::new(attributes(&self.nodes[&b""[..]])).unwrap();
        let mut ids = BTreeMap::from([(Vec::new(), InodeId::ROOT)]);
        // Add directories before their entries.
        let mut paths: Vec<&Vec<u8>> = self.nodes.keys().filter(|path| !path.is_empty()).collect();
        paths.sort_by_key(|path| path.iter().filter(|byte| **byte == b'/').count());
        for path in paths {
            let node = &self.nodes[path];
            let (parent, name) = split(path);
            let parent = ids[&parent];
            let kind = match &node.what {
                What::Directory => {
                    ids.insert(path.clone(), tree.add_directory(parent, &name, attributes(node)).unwrap());
                    continue;
                }
                What::File(content) => Written::File(Box::new(content.as_slice())),
                What::Symlink(target) => Written::Symlink(target.clone()),
                &What::Character(major, minor) => Written::Character(Device { major, minor }),
                &What::Block(major, minor) => Written::Block(Device { major, minor }),
                What::Fifo => Written::Fifo,
                What::Socket => Written::Socket,
            };
            ids.insert(path.clone(), tree.add(parent, &name, kind, attributes(node)).unwrap());
        }
        for (path, to) in &self.links {
            let (parent, name) = split(path);
            tree.link(ids[&parent], &name, ids[to]).unwrap();
        }
        tree
    }
}

/// A1, A4: fsck.erofs, which decodes all data, accepts our volumes and extracts the original tree. It creates devices only for root, so the
/// extracted tree has none.
#[test]
fn fsck_erofs_extracts_what_the_writer_wrote() {
    let whole = tree();
    let mut plain = tree();
    plain.nodes.retain(|_, node| !matches!(node.what, What::Character(..) | What::Block(..)));
    let scratch = tempfile::tempdir().unwrap();
    for (compression, cluster) in [
        (Compression::None, 4096),
        (Compression::Lz4hc(9), 4096),
        (Compression::Lz4hc(9), 65_536),
        (Compression::Lz4hc(3), 1 << 20),
        (Compression::Zstd(1), 4096),
        (Compression::Zstd(10), 65_536),
        (Compression::Zstd(16), 16_384),
        (Compression::Zstd(3), 1 << 20),
    ] {
        let case = format!("{compression:?} in {cluster}");
        let params = Params {
            uuid: [3; 16],
            epoch: Time { seconds: MTIME, nanos: 0 },
            compression,
            cluster,
            threads: NonZeroUsize::new(2).unwrap(),
        };
        let volume_of = |tree: &Tree| {
            let path = scratch.path().join("ours");
            let mut volume = fs::File::create(&path).unwrap();
            write(&tree.to_write(), &params, &NoCache, &mut volume).unwrap();
            path
        };
        let checked = tool("usr/bin/fsck.erofs").arg(volume_of(&whole)).output().unwrap();
        assert!(checked.status.success(), "{case}: {}", String::from_utf8_lossy(&checked.stderr));
        let (volume, out) = (volume_of(&plain), tempfile::tempdir().unwrap());
        let extracted = tool("usr/bin/fsck.erofs")
            .arg(format!("--extract={}", out.path().join("tree").display()))
            .args(["--no-preserve-owner", "--preserve-perms"])
            .arg(volume)
            .output()
            .unwrap();
        assert!(extracted.status.success(), "{case}: {}", String::from_utf8_lossy(&extracted.stderr));
        let mut count = 0;
        for (path, node) in plain.expected() {
            let place = out.path().join("tree").join(OsStr::from_bytes(&path));
            let name = format!("{case}: {}", path.escape_ascii());
            let metadata = fs::symlink_metadata(&place).unwrap_or_else(|error| panic!("{name}: {error}"));
            count += 1;
            match &node.what {
                What::Symlink(target) => {
                    assert_eq!(fs::read_link(&place).unwrap().as_os_str().as_bytes(), target, "{name}");
                    continue;
                }
                What::File(content) => {
                    // Without this, the file may be unreadable for the user who runs the test.
                    fs::set_permissions(
                        &place,
                        fs::Permissions::from_mode(metadata.permissions().mode() | 0o400),
                    )
                    .unwrap();
                    assert!(fs::read(&place).unwrap() == *content, "{name}");
                    assert_eq!(
                        u64::from(node.links),
                        std::os::unix::fs::MetadataExt::nlink(&metadata),
                        "{name}"
                    );
                }
                _ => {}
            }
            if !path.is_empty() {
                assert_eq!(metadata.permissions().mode() & 0o7777, u32::from(node.mode), "{name}");
            }
        }
        assert_eq!(count, plain.nodes.len() + plain.links.len());
    }
}
