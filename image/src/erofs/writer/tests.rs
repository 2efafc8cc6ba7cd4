//! Tests of the writer with the reader of this crate. Other tests use fsck.erofs and the kernel as oracles.

use super::*;
use crate::erofs::reader::{self, Volume};
use crate::erofs::tree::{Attributes, Device, InodeId, Kind};
use crate::source::Source;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Mutex;

/// Bytes with one of several patterns.
fn bytes(pattern: u8, len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    match pattern {
        0 => vec![0; len],
        1 => (0..len).map(|_| noise().to_le_bytes()[0]).collect(),
        2 => (0..len).map(|at| u8::try_from(at / 7 % 251).unwrap()).collect(),
        // Words of a small dictionary.
        3 => {
            let words: Vec<[u8; 4]> = (0..200).map(|_| noise().to_le_bytes()).collect();
            (0..len.div_ceil(4))
                .flat_map(|_| words[usize::try_from(noise() % 200).unwrap()])
                .take(len)
                .collect()
        }
        // Alternating random and compressible parts: the ratio of one part is wrong for the next.
        _ => {
            (0..len)
                .map(|at| {
                    if at / 30_000 % 2 == 0 { noise().to_le_bytes()[0] } else { noise().to_le_bytes()[0] & 3 }
                })
                .collect()
        }
    }
}

/// A file that consists mostly of holes.
struct Sparse {
    len: u64,
    data: BTreeMap<u64, Vec<u8>>,
}

impl Source for Sparse {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        buffer.fill(0);
        for (at, bytes) in &self.data {
            for (position, byte) in (*at..).zip(bytes) {
                let index = position.checked_sub(offset).and_then(|index| usize::try_from(index).ok());
                if let Some(slot) = index.and_then(|index| buffer.get_mut(index)) {
                    *slot = *byte;
                }
            }
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Option<Range<u64>> {
        let stretches = self.data.iter().map(|(at, bytes)| *at..*at + bytes.len() as u64);
        stretches
            .filter(|stretch| stretch.end > offset)
            .map(|stretch| stretch.start.max(offset)..stretch.end)
            .min_by_key(|stretch| stretch.start)
    }
}

#[derive(Debug, Clone)]
enum What {
    Directory,
    File { pattern: u8, len: usize, seed: u32 },
    Symlink(Vec<u8>),
    Link(prop::sample::Index),
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
}

#[derive(Debug, Clone)]
struct Item {
    parent: prop::sample::Index,
    name: Vec<u8>,
    what: What,
    attributes: Attributes,
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let id = || prop_oneof![Just(0), 0..70_000_u32, Just(u32::MAX)];
    let name = prop_oneof![
        Just("user.a".to_owned()),
        Just("security.capability".to_owned()),
        Just("system.posix_acl_access".to_owned()),
        "user\\.[a-z]{1,240}",
        "trusted\\.[a-z]{1,9}"
    ];
    let value = prop::collection::vec(any::<u8>(), 0..600);
    let time = prop_oneof![Just((7, 0)), (0..u64::from(u32::MAX) * 3, 0..1_000_000_000_u32)];
    (
        0..=0o7777_u16,
        id(),
        id(),
        time,
        prop::collection::btree_map(name.prop_map(String::into_bytes), value, 0..4),
    )
        .prop_map(|(mode, uid, gid, (seconds, nanos), xattrs)| Attributes {
            mode,
            uid,
            gid,
            mtime: Time { seconds, nanos },
            xattrs,
        })
}

/// Lengths near the borders of blocks, clusters and segments.
fn lengths() -> impl Strategy<Value = usize> {
    let near = |border: usize| (border.saturating_sub(2))..(border + 3);
    prop_oneof![
        4 => 0..300_usize,
        2 => near(4096),
        2 => near(8192),
        2 => near(16_384),
        2 => near(65_536),
        1 => 0..400_000_usize,
        1 => near(1 << 20),
        1 => near(4 << 20),
    ]
}

fn item() -> impl Strategy<Value = Item> {
    let name = prop_oneof![
        3 => "[!-.0-~]{1,12}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>().prop_filter("", |byte| !matches!(byte, 0 | b'/')), 1..=255),
    ];
    let what = prop_oneof![
        2 => Just(What::Directory),
        6 => (0..5_u8, lengths(), 0..40_u32).prop_map(|(pattern, len, seed)| What::File { pattern, len, seed }),
        1 => prop::collection::vec(1..=255_u8, 1..=4095).prop_map(What::Symlink),
        1 => any::<prop::sample::Index>().prop_map(What::Link),
        1 => (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| What::Character(major, minor)),
        1 => (0..4096_u32, 0..1_048_576_u32).prop_map(|(major, minor)| What::Block(major, minor)),
        1 => prop_oneof![Just(What::Fifo), Just(What::Socket)],
    ];
    (any::<prop::sample::Index>(), name, what, attributes())
        .prop_map(|(parent, name, what, attributes)| Item { parent, name, what, attributes })
}

/// The expected result of a reader for a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Expected {
    kind: reader::Kind,
    attributes: Attributes,
    links: u32,
    /// The content of a file, or the target of a link.
    content: Vec<u8>,
    /// The paths of an inode have the same number.
    inode: usize,
}

/// The tree of the items, and the expected result for each path. Items that the tree refuses are omitted.
fn tree(root: &Attributes, items: &[Item]) -> (Tree<'static>, BTreeMap<Vec<u8>, Expected>) {
    let mut tree = Tree::new(root.clone()).unwrap();
    let of = |kind, attributes: &Attributes, content: Vec<u8>, inode| Expected {
        kind,
        attributes: attributes.clone(),
        links: if kind == reader::Kind::Directory { 2 } else { 1 },
        content,
        inode,
    };
    let mut expected = BTreeMap::from([(Vec::new(), of(reader::Kind::Directory, root, Vec::new(), 0))]);
    let mut directories = vec![(InodeId::ROOT, Vec::new())];
    let mut files: Vec<(InodeId, Vec<u8>)> = Vec::new();
    for (number, item) in (1..).zip(items) {
        let (parent, parent_path) = directories[item.parent.index(directories.len())].clone();
        let mut path: Vec<u8> = parent_path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&item.name);
        let (kind, found, content) = match &item.what {
            What::Directory => {
                let Ok(id) = tree.add_directory(parent, &item.name, item.attributes.clone()) else {
                    continue;
                };
                directories.push((id, path.clone()));
                expected.get_mut(&parent_path).unwrap().links += 1;
                expected.insert(path, of(reader::Kind::Directory, &item.attributes, Vec::new(), number));
                continue;
            }
            What::Link(target) => {
                if files.is_empty() {
                    continue;
                }
                let (id, first) = files[target.index(files.len())].clone();
                if tree.link(parent, &item.name, id).is_ok() {
                    let inode = expected[&first].inode;
                    let links = expected[&first].links + 1;
                    expected.insert(path, expected[&first].clone());
                    for same in expected.values_mut().filter(|same| same.inode == inode) {
                        same.links = links;
                    }
                }
                continue;
            }
            What::File { pattern, len, seed } => {
                let content = bytes(*pattern, *len, *seed);
                (Kind::File(Box::new(content.clone())), reader::Kind::File, content)
            }
            What::Symlink(target) => (Kind::Symlink(target.clone()), reader::Kind::Symlink, target.clone()),
            &What::Character(major, minor) => (
                Kind::Character(Device { major, minor }),
                reader::Kind::Character { major, minor },
                Vec::new(),
            ),
            &What::Block(major, minor) => {
                (Kind::Block(Device { major, minor }), reader::Kind::Block { major, minor }, Vec::new())
            }
            What::Fifo => (Kind::Fifo, reader::Kind::Fifo, Vec::new()),
            What::Socket => (Kind::Socket, reader::Kind::Socket, Vec::new()),
        };
        if let Ok(id) = tree.add(parent, &item.name, kind, item.attributes.clone()) {
            files.push((id, path.clone()));
            expected.insert(path, of(found, &item.attributes, content, number));
        }
    }
    (tree, expected)
}

fn found(volume: &[u8]) -> BTreeMap<Vec<u8>, Expected> {
    let volume = Volume::open(&volume).unwrap();
    let mut numbers: HashMap<u64, usize> = HashMap::new();
    let mut paths: BTreeMap<Vec<u8>, (u64, Expected)> = BTreeMap::new();
    for found in volume.walk() {
        let reader::Found { path, inode } = found.unwrap();
        let mut content = Vec::new();
        match inode.kind {
            reader::Kind::Symlink => content = volume.link(&inode).unwrap(),
            reader::Kind::File => {
                content.resize(usize::try_from(inode.size).unwrap(), 0xee);
                assert_eq!(volume.read_at(&inode, 0, &mut content).unwrap(), content.len());
            }
            _ => {}
        }
        let attributes = Attributes {
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            mtime: Time { seconds: u64::try_from(inode.mtime).unwrap(), nanos: inode.mtime_nanos },
            xattrs: volume.xattrs(&inode).unwrap(),
        };
        let expected = Expected { kind: inode.kind, attributes, links: inode.links, content, inode: 0 };
        paths.insert(path, (inode.nid, expected));
    }
    paths
        .into_iter()
        .map(|(path, (nid, mut expected))| {
            let next = numbers.len();
            expected.inode = *numbers.entry(nid).or_insert(next);
            (path, expected)
        })
        .collect()
}

/// Numbers the inodes by their first path, like [`found`].
fn renumbered(expected: BTreeMap<Vec<u8>, Expected>) -> BTreeMap<Vec<u8>, Expected> {
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    expected
        .into_iter()
        .map(|(path, mut expected)| {
            let next = numbers.len();
            expected.inode = *numbers.entry(expected.inode).or_insert(next);
            (path, expected)
        })
        .collect()
}

fn params(compression: Compression, cluster: u32, threads: usize) -> Params {
    Params {
        uuid: [9; 16],
        epoch: Time { seconds: 7, nanos: 0 },
        compression,
        cluster,
        threads: NonZeroUsize::new(threads).unwrap(),
    }
}

fn written(tree: &Tree<'_>, params: &Params) -> Vec<u8> {
    let mut volume = Vec::new();
    let statistics = write(tree, params, &NoCache, &mut volume).unwrap();
    assert_eq!(u64::from(statistics.blocks) * BLOCK as u64, volume.len() as u64);
    volume
}

const COMPRESSIONS: [Compression; 4] =
    [Compression::None, Compression::Lz4hc(3), Compression::Zstd(1), Compression::Zstd(8)];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A4: with all settings, content, mode, owner, times, links and attributes round-trip, and the bytes do not depend on the number of
    /// threads.
    #[test]
    fn any_tree_round_trips(
        root in attributes(),
        items in prop::collection::vec(item(), 0..40),
        compression in prop::sample::select(&COMPRESSIONS[..]),
        cluster in prop::sample::select(vec![4096_u32, 16_384, 65_536, 1 << 20]),
    ) {
        let (tree, expected) = tree(&root, &items);
        let volume = written(&tree, &params(compression, cluster, 1));
        prop_assert!(volume == written(&tree, &params(compression, cluster, 3)), "the bytes depend on the number of threads");
        let (found, expected) = (found(&volume), renumbered(expected));
        for (path, expected) in &expected {
            let name = String::from_utf8_lossy(path);
            let found = found.get(path);
            prop_assert!(found.is_some(), "{name} is missing");
            let found = found.unwrap();
            prop_assert!(found.content == expected.content, "the content of {name} differs");
            prop_assert_eq!(found, expected, "{}", name);
        }
        prop_assert_eq!(found.len(), expected.len());
    }
}

/// One volume per setting contains files of all lengths next to the borders.
#[test]
fn lengths_next_to_every_border_round_trip() {
    for compression in COMPRESSIONS {
        for cluster in [4096_u32, 8192, 65_536, 1 << 20] {
            let borders = [0, 4096, 8192, 12_288, 65_536, 131_072, 1 << 20, 4 << 20];
            let mut tree = Tree::new(Attributes::default()).unwrap();
            let mut contents = BTreeMap::new();
            for border in borders {
                for len in [border.max(1) - 1, border, border + 1] {
                    for pattern in [1, 3, 4] {
                        let content = bytes(pattern, len, 77);
                        let name = format!("{pattern}-{len}").into_bytes();
                        let file = Kind::File(Box::new(content.clone()));
                        if tree.add(InodeId::ROOT, &name, file, Attributes::default()).is_ok() {
                            contents.insert(name, content);
                        }
                    }
                }
            }
            let found = found(&written(&tree, &params(compression, cluster, 2)));
            for (name, content) in &contents {
                let name_text = String::from_utf8_lossy(name);
                assert!(found[name].content == *content, "{name_text} with {compression:?} in {cluster}");
            }
        }
    }
}

/// The end of plain content is after the attributes of the inode, and must be in one block (`erofs_read_inode`, `EROFS_INODE_FLAT_INLINE`).
#[test]
fn an_inline_end_is_in_one_block_with_any_size_of_the_attributes() {
    let mut tree = Tree::new(Attributes::default()).unwrap();
    let mut contents = BTreeMap::new();
    for value in (0..2200).step_by(137).chain([4000, 20_000, 65_535]) {
        for len in [1, 900, 1024, 2900, 3000, 3071, 3072, 3073, 4096 + 3000] {
            let name = format!("{value}-{len}").into_bytes();
            let attributes = Attributes {
                xattrs: BTreeMap::from([(b"user.a".to_vec(), bytes(1, value, 3))]),
                ..Attributes::default()
            };
            let content = bytes(1, len, 5);
            tree.add(InodeId::ROOT, &name, Kind::File(Box::new(content.clone())), attributes).unwrap();
            contents.insert(name, (content, value));
        }
        let attributes = Attributes {
            xattrs: BTreeMap::from([(b"user.a".to_vec(), bytes(1, value, 3))]),
            ..Attributes::default()
        };
        let (name, target) = (format!("link-{value}").into_bytes(), vec![b'x'; 3000]);
        tree.add(InodeId::ROOT, &name, Kind::Symlink(target.clone()), attributes).unwrap();
        contents.insert(name, (target, value));
    }
    let found = found(&written(&tree, &params(Compression::None, 4096, 1)));
    for (name, (content, value)) in contents {
        let found = &found[&name];
        assert!(found.content == content, "{}", name.escape_ascii());
        assert_eq!(found.attributes.xattrs[&b"user.a"[..]], bytes(1, value, 3), "{}", name.escape_ascii());
    }
}

#[test]
fn a_file_may_have_more_than_65535_names() {
    let mut tree = Tree::new(Attributes::default()).unwrap();
    let content = Kind::File(Box::new(b"one".to_vec()));
    let id = tree.add(InodeId::ROOT, b"first", content, Attributes::default()).unwrap();
    for number in 0..70_000 {
        tree.link(InodeId::ROOT, format!("{number}").as_bytes(), id).unwrap();
    }
    let found = found(&written(&tree, &params(Compression::Zstd(1), 4096, 1)));
    assert_eq!((found.len(), found[&b"first"[..]].links), (70_002, 70_001));
}

/// Pins the bytes of one tree, so that a change of the bytes is detected. After such a change, `WRITER` must be increased, because caches
/// may contain segments of an older writer.
#[test]
fn the_same_tree_gives_the_pinned_volume() {
    let mut tree = Tree::new(Attributes::default()).unwrap();
    for (number, len) in [(1, 300_000), (2, 70_000), (3, 5_000_000), (4, 700_000), (3, 900), (4, 4096)] {
        let content = Kind::File(Box::new(bytes(number, len, 11)));
        tree.add(InodeId::ROOT, format!("{number}-{len}").as_bytes(), content, Attributes::default())
            .unwrap();
    }
    let digests = [Compression::None, Compression::Lz4hc(9), Compression::Zstd(10)].map(|compression| {
        hex::encode(kubedos_wire::hex32::sha256(&[&written(&tree, &params(compression, 65_536, 2))]))
    });
    let known = [
        "470ad6583a8a96a6005b4478f4285fb48b858ca8eeb8d29266e03752d01fb62d",
        "d5153cc829689684c47e6f79be3336c677d3a1944e7c5c746712bd70574d2896",
        "a723e99be035a16e94c1d42447dac3413df43324392700ceec72cf25d95821af",
    ];
    assert_eq!(digests, known, "by writer {}", writer());
}

/// The content of a file is read twice. If it differs, the write fails.
#[test]
fn content_that_changes_between_two_reads_is_an_error() {
    struct Changing(Mutex<u8>);
    impl Source for Changing {
        fn len(&self) -> u64 {
            200_000
        }
        fn read_exact_at(&self, buffer: &mut [u8], _: u64) -> io::Result<()> {
            let mut count = self.0.lock().unwrap();
            *count += 1;
            buffer.fill(*count);
            Ok(())
        }
    }
    let mut tree = Tree::new(Attributes::default()).unwrap();
    let changing = Kind::File(Box::new(Changing(Mutex::new(0))));
    tree.add(InodeId::ROOT, b"changing", changing, Attributes::default()).unwrap();
    let params = params(Compression::Zstd(1), 65_536, 1);
    let error = write(&tree, &params, &NoCache, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, WriteError::Changed), "{error}");
}

#[test]
fn equal_files_and_equal_clusters_are_stored_once() {
    let text = bytes(3, 700_000, 5);
    let mut one = Tree::new(Attributes::default()).unwrap();
    let mut two = Tree::new(Attributes::default()).unwrap();
    let file = |content: &[u8]| Kind::File(Box::new(content.to_vec()));
    one.add(InodeId::ROOT, b"a", file(&text), Attributes::default()).unwrap();
    two.add(InodeId::ROOT, b"a", file(&text), Attributes::default()).unwrap();
    for name in [&b"b"[..], b"c", b"d"] {
        two.add(InodeId::ROOT, name, file(&text), Attributes::default()).unwrap();
    }
    let params = params(Compression::Zstd(3), 65_536, 2);
    let (one, two) = (written(&one, &params), written(&two, &params));
    assert!(two.len() <= one.len() + 2 * BLOCK, "{} and {}", one.len(), two.len());
    assert_eq!(found(&two)[&b"d"[..]].content, text);
    // Two files with the same beginning share clusters.
    let mut alike = Tree::new(Attributes::default()).unwrap();
    for (name, seed) in [(&b"a"[..], 7), (b"b", 8)] {
        let content = [bytes(3, 250_000, 5), bytes(3, 60_000, seed)].concat();
        alike.add(InodeId::ROOT, name, file(&content), Attributes::default()).unwrap();
    }
    let mut single = Tree::new(Attributes::default()).unwrap();
    let content = [bytes(3, 250_000, 5), bytes(3, 60_000, 7)].concat();
    single.add(InodeId::ROOT, b"a", file(&content), Attributes::default()).unwrap();
    let (alike, single) = (written(&alike, &params).len(), written(&single, &params).len());
    assert!(alike * 10 < single * 17, "{alike} and {single}");
    // Zeroes take a cluster for each MiB.
    let mut zeroes = Tree::new(Attributes::default()).unwrap();
    zeroes.add(InodeId::ROOT, b"z", file(&vec![0; 6 << 20]), Attributes::default()).unwrap();
    let volume = written(&zeroes, &params);
    assert!(volume.len() <= 12 * BLOCK, "{}", volume.len());
    assert!(found(&volume)[&b"z"[..]].content.iter().all(|byte| *byte == 0));
}

#[test]
fn holes_take_no_space_and_read_as_zeroes() {
    let data = BTreeMap::from([(5_000_000, vec![7; 100]), (40 << 20, bytes(1, 10_000, 3))]);
    let len = (100 << 20) + 17;
    for compression in COMPRESSIONS {
        let mut tree = Tree::new(Attributes::default()).unwrap();
        let sparse = Sparse { len, data: data.clone() };
        let none = Sparse { len: 1 << 40, data: BTreeMap::new() };
        tree.add(InodeId::ROOT, b"sparse", Kind::File(Box::new(sparse)), Attributes::default()).unwrap();
        tree.add(InodeId::ROOT, b"tebibyte", Kind::File(Box::new(none)), Attributes::default()).unwrap();
        let volume = written(&tree, &params(compression, 65_536, 2));
        assert!(volume.len() < 400_000, "{}", volume.len());
        let volume = Volume::open(&volume).unwrap();
        let file = |name: &[u8]| {
            let entry =
                volume.entries(&volume.root().unwrap()).unwrap().find(|e| e.as_ref().unwrap().name == name);
            volume.inode(entry.unwrap().unwrap().nid).unwrap()
        };
        let read = |file: &reader::Inode, at: u64, len: usize| {
            let mut buffer = vec![1; len];
            let count = volume.read_at(file, at, &mut buffer).unwrap();
            buffer.truncate(count);
            buffer
        };
        let sparse = file(b"sparse");
        assert_eq!(sparse.size, len);
        assert_eq!(read(&sparse, 5_000_000 - 3, 106), [&[0; 3][..], &[7; 100], &[0; 3]].concat());
        assert_eq!(read(&sparse, 40 << 20, 10_000), bytes(1, 10_000, 3));
        assert_eq!(read(&sparse, len - 5, 100), [0; 5]);
        assert_eq!(read(&file(b"tebibyte"), 1 << 39, 9), [0; 9]);
    }
}

#[test]
fn a_hundred_thousand_files_in_one_directory_round_trip() {
    let mut tree = Tree::new(Attributes::default()).unwrap();
    let directory = tree.add_directory(InodeId::ROOT, b"many", Attributes::default()).unwrap();
    for number in 0..100_000_u32 {
        let name = format!("file-{number}").into_bytes();
        let content = number.to_string().into_bytes();
        tree.add(directory, &name, Kind::File(Box::new(content)), Attributes::default()).unwrap();
    }
    let volume = written(&tree, &params(Compression::Zstd(1), 65_536, 2));
    let volume = Volume::open(&volume).unwrap();
    let mut reader = volume.reader();
    let mut count = 0;
    for found in volume.walk() {
        let reader::Found { path, inode } = found.unwrap();
        if inode.kind == reader::Kind::File {
            let mut content = vec![0; usize::try_from(inode.size).unwrap()];
            reader.read_at(&inode, 0, &mut content).unwrap();
            assert_eq!(Some(content.as_slice()), path.strip_prefix(b"many/file-"));
            count += 1;
        }
    }
    assert_eq!(count, 100_000);
}

/// Neither a filled cache nor a cache with wrong entries changes the bytes of the volume.
#[test]
fn a_cache_saves_work_and_is_not_trusted() {
    #[derive(Default)]
    struct Memory(Mutex<HashMap<[u8; 32], Vec<u8>>>);
    impl SegmentCache for Memory {
        fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
            self.0.lock().unwrap().get(key).cloned()
        }
        fn put(&self, key: &[u8; 32], bytes: &[u8]) {
            self.0.lock().unwrap().insert(*key, bytes.to_vec());
        }
    }
    let mut tree = Tree::new(Attributes::default()).unwrap();
    for seed in 0..12_u32 {
        let content = bytes(3, 200_000 + usize::try_from(seed).unwrap(), seed);
        let name = seed.to_string().into_bytes();
        tree.add(InodeId::ROOT, &name, Kind::File(Box::new(content)), Attributes::default()).unwrap();
    }
    let params = params(Compression::Zstd(3), 16_384, 2);
    let memory = Memory::default();
    let run = |cache: &dyn SegmentCache| {
        let mut volume = Vec::new();
        let statistics = write(&tree, &params, cache, &mut volume).unwrap();
        (volume, statistics)
    };
    let (without, _) = run(&NoCache);
    assert_eq!(run(&memory).1.cached_segments, 0);
    let (with, statistics) = run(&memory);
    assert!(statistics.segments >= 12 && statistics.cached_segments == statistics.segments);
    assert!(with == without);
    // One entry with the key of a different entry, one truncated, one with a flipped bit, one empty.
    let mut entries = memory.0.lock().unwrap();
    let keys: Vec<[u8; 32]> = entries.keys().copied().collect();
    let other = entries[&keys[1]].clone();
    entries.insert(keys[0], other);
    entries.get_mut(&keys[2]).unwrap().pop();
    *entries.get_mut(&keys[3]).unwrap().first_mut().unwrap() ^= 1;
    entries.get_mut(&keys[4]).unwrap().clear();
    drop(entries);
    let (with_wrong_entries, statistics) = run(&memory);
    assert_eq!(statistics.cached_segments, statistics.segments - 4);
    assert!(with_wrong_entries == without);
}

#[test]
fn invalid_parameters_and_trees_have_specific_errors() {
    let tree = Tree::new(Attributes::default()).unwrap();
    let refused = |params: Params| write(&tree, &params, &NoCache, &mut Vec::new()).unwrap_err().to_string();
    for cluster in [0, 1, 4097, (1 << 20) + 4096] {
        let message = refused(params(Compression::None, cluster, 1));
        assert_eq!(message, format!("a cluster of {cluster} bytes is not a multiple of 4096 up to 1048576"));
    }
    for compression in [Compression::Zstd(0), Compression::Zstd(23), Compression::Lz4hc(13)] {
        assert!(refused(params(compression, 4096, 1)).contains("is not a level"), "{compression:?}");
    }
    let mut tree = Tree::new(Attributes::default()).unwrap();
    let plain = Attributes::default;
    for (name, message) in [
        (&b""[..], "\"\" cannot be the name of a file"),
        (b".", "\".\" cannot be the name of a file"),
        (b"..", "\"..\" cannot be the name of a file"),
        (b"a/b", "\"a/b\" cannot be the name of a file"),
        (b"a\0", "\"a\\0\" cannot be the name of a file"),
    ] {
        assert_eq!(tree.add(InodeId::ROOT, name, Kind::Fifo, plain()).unwrap_err().to_string(), message);
    }
    assert!(tree.add(InodeId::ROOT, &[b'x'; 256], Kind::Fifo, plain()).is_err());
    let pipe = tree.add(InodeId::ROOT, b"pipe", Kind::Fifo, plain()).unwrap();
    let error = tree.add(InodeId::ROOT, b"pipe", Kind::Socket, plain()).unwrap_err();
    assert_eq!(error.to_string(), "\"pipe\" already exists in its directory");
    let error = tree.add(pipe, b"below", Kind::Socket, plain()).unwrap_err();
    assert_eq!(error.to_string(), "the parent of \"below\" is not a directory");
    let error = tree.link(InodeId::ROOT, b"again", InodeId::ROOT).unwrap_err();
    assert_eq!(error.to_string(), "\"again\" would be a second name of a directory");
    for target in [vec![], vec![b'x'; 4096], b"a\0b".to_vec()] {
        assert!(tree.add(InodeId::ROOT, b"link", Kind::Symlink(target), plain()).is_err());
    }
    let far = Kind::Block(Device { major: 4096, minor: 0 });
    let error = tree.add(InodeId::ROOT, b"device", far, plain()).unwrap_err();
    assert_eq!(error.to_string(), "device 4096:0 does not exist: the largest is 4095:1048575");
    for name in ["other.name", "user.", "system.posix_acl_accessible", "user"] {
        let xattrs = BTreeMap::from([(name.as_bytes().to_vec(), Vec::new())]);
        let error = Tree::new(Attributes { xattrs, ..plain() }).err().unwrap();
        assert_eq!(error.to_string(), format!("extended attribute {name:?} cannot be written"));
    }
}
