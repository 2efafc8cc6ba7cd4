//! Tests of the FAT32 writer and reader. The crate `fatfs` is the second implementation.

use super::super::format::{DATA_AT, END};
use super::super::writer::Tree;
use super::*;
use crate::sparse::{Runs, for_data};
use kubedos_wire::hex32::sha256;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn sample() -> Tree<'static> {
    let mut tree = Tree::new();
    tree.add("loader/loader.conf", b"timeout 0\n".as_slice()).unwrap();
    tree.add("EFI/Linux/kubedos_0.1.0+3.efi", vec![0xab; 3_000_000]).unwrap();
    tree.add("EFI/Linux/kubedos_0.1.1.efi", b"".as_slice()).unwrap();
    tree.add("EFI/BOOT/BOOTX64.EFI", vec![0xcd; 100_001]).unwrap();
    tree
}

fn flat(runs: &Runs<'_>) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(ESP_BYTES).unwrap()];
    runs.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// A file system with some bytes changed.
struct Patched<'a> {
    runs: &'a Runs<'a>,
    changes: Vec<(usize, u8)>,
}

impl Source for Patched<'_> {
    fn len(&self) -> u64 {
        self.runs.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.runs.read_exact_at(buffer, offset)?;
        for (at, byte) in &self.changes {
            let place = (*at as u64).checked_sub(offset).and_then(|place| usize::try_from(place).ok());
            if let Some(target) = place.and_then(|place| buffer.get_mut(place)) {
                *target = *byte;
            }
        }
        Ok(())
    }
}

/// A4: the bytes do not depend on the time, the order of insertion or random values.
#[test]
fn the_same_tree_gives_the_same_pinned_bytes() {
    let mut reversed = Tree::new();
    let files = sample();
    for (path, content) in files.files().collect::<Vec<_>>().into_iter().rev() {
        reversed.add(path, content).unwrap();
    }
    let (a, b) = (flat(&files.write(0x1234_5678).unwrap()), flat(&reversed.write(0x1234_5678).unwrap()));
    assert!(a == b);
    assert_eq!(
        hex::encode(sha256(&[&a])),
        "201a93fad96c8b8609273aac3d6802520cef65550d2a6ac86827e70094a3ac98"
    );
    assert!(a != flat(&files.write(1).unwrap()));
}

#[test]
fn written_files_are_read_back() {
    let tree = sample();
    let listing = read(&tree.write(7).unwrap()).unwrap();
    assert!(listing.tree().unwrap() == tree && listing.faults().is_empty() && !listing.tables_differ());
}

/// An independent implementation reads the same files.
#[test]
fn fatfs_reads_what_was_written() {
    use std::io::Read;
    let tree = sample();
    let bytes = flat(&tree.write(7).unwrap());
    let options = fatfs::FsOptions::new().update_accessed_date(false);
    let file_system = fatfs::FileSystem::new(std::io::Cursor::new(bytes), options).unwrap();
    assert_eq!(file_system.fat_type(), fatfs::FatType::Fat32);
    assert_eq!((file_system.volume_id(), file_system.volume_label()), (7, "KUBEDOS ESP".to_owned()));
    for (path, content) in tree.files() {
        let mut read = Vec::new();
        file_system.root_dir().open_file(path).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == content, "{path}");
    }
}

#[test]
fn only_clusters_with_data_are_allocated() {
    let tree = sample();
    let mut allocated = 0;
    for_data(&tree.write(1).unwrap(), 4096, |_, bytes| {
        allocated += bytes.len();
        Ok(())
    })
    .unwrap();
    assert!((3_100_000..3_150_000).contains(&allocated), "{allocated}");
}

#[test]
fn paths_that_fat_or_firmware_would_mangle_are_refused() {
    let mut tree = Tree::new();
    for path in ["", "/EFI", "EFI/", "a//b", ".", "a/..", "a b", "x:y", "é", "x.", &"x".repeat(65), "a\\b"] {
        assert!(matches!(tree.add(path, b"".as_slice()), Err(EspError::Path(_))), "{path}");
    }
    tree.add("EFI/x", b"".as_slice()).unwrap();
    for path in ["EFI/X", "EFI/x/y", "EFI", "efi/z", "EFI/x"] {
        assert!(matches!(tree.add(path, b"".as_slice()), Err(EspError::Clash(..))), "{path}");
    }
}

#[test]
fn files_larger_than_the_partition_are_an_error() {
    let mut tree = Tree::new();
    let big = vec![1u8; 134 << 20];
    tree.add("a", big.as_slice()).unwrap();
    tree.add("b", big.as_slice()).unwrap();
    assert!(matches!(tree.write(1), Err(EspError::Full(_))));
}

/// A directory may be full of orphaned pieces of long names. The reader does not collect them.
#[test]
fn orphaned_pieces_of_long_names_are_not_collected() {
    let mut pieces = LongName::default();
    let mut piece = [0xff; 32];
    piece[0] = 1;
    for _ in 0..200_000 {
        pieces.push(&piece);
    }
    assert!(pieces.units.is_empty() && pieces.finish(b"A          ").is_none());
}

/// A chain that contains a loop, leaves the partition, or ends early is an error.
#[test]
fn damaged_chains_are_refused() {
    let tree = sample();
    let runs = tree.write(1).unwrap();
    let bytes = flat(&runs);
    let [table, _] = FATS_AT.map(|at| usize::try_from(at).unwrap());
    // The root directory; then the clusters of the first file, BOOTX64.EFI.
    let first = (2..)
        .find(|cluster| {
            bytes[table + cluster * 4..][..4] == (u32::try_from(*cluster).unwrap() + 1).to_le_bytes()
        })
        .unwrap();
    for (cluster, value) in [
        (2, 2u32),
        (2, 3),
        (first, u32::try_from(first).unwrap()),
        (first, END),
        (first, 0),
        (first, LAST + 1),
    ] {
        let changes =
            value.to_le_bytes().into_iter().enumerate().map(|(at, byte)| (table + cluster * 4 + at, byte));
        let bad = Patched { runs: &runs, changes: changes.collect() };
        match read(&bad) {
            // The chain of the root directory is damaged.
            Err(EspError::Damaged(_)) => assert_eq!(cluster, 2),
            // The chain of the root directory continues in the clusters of a different directory, which then cannot be read.
            Ok(listing) if cluster == 2 => assert!(!listing.faults().is_empty()),
            Ok(listing) => {
                assert_eq!(listing.faults().len(), 1, "{cluster} -> {value}");
                assert!(listing.tables_differ() && listing.files().count() == 3, "{cluster} -> {value}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// Windows, macOS and Linux leave these files on a stick that they mount. An independent implementation writes them.
#[test]
fn files_of_other_systems_hide_no_entry() {
    use std::io::Write;
    let tree = sample();
    let mut bytes = flat(&tree.write(7).unwrap());
    {
        let options = fatfs::FsOptions::new();
        let file_system = fatfs::FileSystem::new(std::io::Cursor::new(&mut bytes), options).unwrap();
        let root = file_system.root_dir();
        for (folder, file) in [
            ("System Volume Information", "IndexerVolumeGuid"),
            (".fseventsd", "fseventsd-uuid"),
            (".Trash-1000", "é ünïcode [1].txt"),
        ] {
            let folder = root.create_dir(folder).unwrap();
            folder.create_file(file).unwrap().write_all(b"{123}").unwrap();
        }
        root.create_file("._kubedos").unwrap();
        root.create_file("removed").unwrap();
        root.remove("removed").unwrap();
    }
    let listing = read(&bytes).unwrap();
    assert!(listing.faults().is_empty(), "{:?}", listing.faults());
    assert!(listing.erased() > 0 && !listing.tables_differ());
    let paths: Vec<&str> = listing.files().map(|(path, _)| path).collect();
    for path in [
        "._kubedos",
        ".Trash-1000/é ünïcode [1].txt",
        "System Volume Information/IndexerVolumeGuid",
        ".fseventsd/fseventsd-uuid",
    ] {
        assert!(paths.contains(&path), "{path}: {paths:?}");
    }
    for (path, content) in tree.files() {
        assert!(listing.files().any(|found| found == (path, content)), "{path}");
    }
    assert!(matches!(listing.tree(), Err(EspError::Path(_))));
    bytes[71..82].copy_from_slice(b"MY STICK   ");
    bytes[65] = 1;
    assert!(read(&bytes).is_ok());
}

/// Firmware would find a second file by the name of a kubedOS file: with a different case, or by its short name.
#[test]
fn two_files_with_the_same_name_are_a_fault() {
    let mut tree = Tree::new();
    tree.add("EFI/BOOT/BOOTX64.EFI", vec![1; 10]).unwrap();
    tree.add("EFI/BOOT/readme.text", vec![2; 10]).unwrap();
    let bytes = flat(&tree.write(7).unwrap());
    let alias = bytes.windows(11).position(|name| name == b"README~1TEX").unwrap();
    let mut renamed = bytes.clone();
    renamed[alias..alias + 11].copy_from_slice(b"BOOTX64 EFI");
    // The piece of the long name has the checksum of the new short name.
    renamed[alias - 32 + 13] = checksum(b"BOOTX64 EFI");
    let listing = read(&renamed).unwrap();
    assert_eq!(listing.faults().len(), 1);
    assert_eq!(listing.faults()[0].path, "EFI/BOOT/readme.text");
    assert_eq!(listing.listed()[1].short_path, "EFI/BOOT/BOOTX64.EFI");
    // A name that starts with a dot but is not `.` or `..` is a file.
    renamed = bytes;
    renamed[alias..alias + 11].copy_from_slice(b".EVIL   EFI");
    let listing = read(&renamed).unwrap();
    assert!(listing.files().any(|(path, _)| path == "EFI/BOOT/.EVIL.EFI"), "{listing:?}");
}

/// Empty files use no cluster, so their number has its own limit.
#[test]
fn a_flood_of_empty_files_is_refused() {
    let mut tree = Tree::new();
    for number in 0..=MAX_FILES {
        tree.add(&format!("{number}"), b"".as_slice()).unwrap();
    }
    let listing = read(&tree.write(1).unwrap()).unwrap();
    assert_eq!((listing.files().count(), listing.faults().len()), (MAX_FILES, 1));
}

#[test]
fn other_geometries_are_refused() {
    let tree = sample();
    let runs = tree.write(1).unwrap();
    let short = crate::source::Window::new(&runs, 0, ESP_BYTES - 1).unwrap();
    assert!(matches!(read(&short), Err(EspError::NotOurs)));
    let mut sector = [0; 512];
    runs.read_exact_at(&mut sector, 0).unwrap();
    for at in [0, 11, 13, 14, 16, 28, 32, 36, 40, 44, 510] {
        let bad = Patched { runs: &runs, changes: vec![(at, sector[at] ^ 1)] };
        assert!(matches!(read(&bad), Err(EspError::NotOurs)), "{at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_tree_round_trips(
        files in proptest::collection::btree_map("[A-Za-c0-9+._~-]{1,14}(/[a-cA-C1.]{1,10}){0,2}", proptest::collection::vec(any::<u8>(), 0..5000), 0..80),
    ) {
        let mut tree = Tree::new();
        let mut expected = BTreeMap::new();
        for (path, content) in &files {
            if tree.add(path, content.as_slice()).is_ok() {
                expected.insert(path.as_str(), content.as_slice());
            }
        }
        let runs = tree.write(3).unwrap();
        let read = read(&runs).unwrap();
        prop_assert!(read.faults().is_empty());
        let found: BTreeMap<_, _> = read.files().collect();
        prop_assert!(found == expected);
    }

    #[test]
    fn a_changed_byte_never_panics(changes in proptest::collection::vec((0usize..6144, any::<u8>()), 1..4)) {
        let mut tree = Tree::new();
        tree.add("EFI/BOOT/BOOTX64.EFI", vec![1; 9000]).unwrap();
        tree.add("loader/entries.srel", b"type1\n".as_slice()).unwrap();
        let runs = tree.write(1).unwrap();
        // Boot sectors; the first entries of the table; the directories.
        let starts = [0, usize::try_from(FATS_AT[0]).unwrap(), usize::try_from(DATA_AT).unwrap()];
        let changes = changes.into_iter().map(|(at, byte)| (starts[at / 2048] + at % 2048, byte)).collect();
        if let Ok(tree) = read(&Patched { runs: &runs, changes }) {
            prop_assert!(tree.files().map(|(_, content)| content.len() as u64).sum::<u64>() <= ESP_BYTES);
        }
    }
}
