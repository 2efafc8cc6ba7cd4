//! Tests of minting seeds and of writing them into images.

use std::fs;
use std::os::unix::fs::MetadataExt;

use kubedos_image::gpt::Table;
use kubedos_image::guid::Guid;
use kubedos_image::layout::{Layout, MIB, Names, shipped};
use kubedos_image::source::FileSource;
use kubedos_wire::hex32::{RootHash, Salt};
use kubedos_wire::release::Release;
use kubedos_wire::seal::Seal;
use kubedos_wire::statement::ConfigurationStatement;

use super::*;

fn demo() -> KeyDir {
    KeyDir::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../keys/demo")).unwrap()
}

fn layout() -> Layout {
    shipped(MIB).unwrap()
}

fn offset(role: Role) -> u64 {
    let layout = layout();
    layout.place(role).unwrap().start
}

const SIGNATURE: Role = Role::Volume(Volume::Configuration, Area::Signature, Slot::A);

const FLOORS: Floors = Floors { generation: 1, release: Release::new(0, 1, 0) };

fn wanted(node: &str, incarnation: u32) -> Mint<'_> {
    Mint { cluster: "lab", node, incarnation, floors: FLOORS }
}

/// Creates an image with a partition table and a signed configuration of `cluster`, the parts that personalising checks.
fn image(path: &Path, cluster: &str) {
    let keys = demo();
    let layout = layout();
    let file = File::create(path).unwrap();
    file.set_len(layout.disk_bytes()).unwrap();
    let names = Names {
        root: RootHash::new([1; 32]),
        configuration: RootHash::new([2; 32]),
        payload: RootHash::new([3; 32]),
    };
    let table: Table = layout.table(SectorSize::B512, names.disk_guid(), |role| names.uuid(role)).unwrap();
    for extent in table.extents() {
        file.write_all_at(&extent.bytes, extent.offset).unwrap();
    }
    let id = keys.public().cluster_id(cluster);
    let seal = Seal { root_hash: RootHash::new([2; 32]), salt: Salt::new([4; 32]), data_blocks: 1 };
    let body = ConfigurationStatement::new(cluster.into(), id, 1, Release::new(0, 1, 0), seal).unwrap();
    let body = body.emit().unwrap();
    let signer = keys.configuration_signer().unwrap();
    let statement = statement::write(Domain::Configuration, &body, &[&signer]).unwrap();
    file.write_all_at(&statement, offset(SIGNATURE)).unwrap();
}

fn parsed(volume_bytes: &[u8]) -> (Seed, Vec<u8>) {
    let statement_bytes = volume::read(volume_bytes).unwrap();
    let statement = statement::read(statement_bytes).unwrap();
    let verified = statement.verify(Domain::Seed, &demo().public().seed).unwrap();
    (Seed::parse(&verified).unwrap(), statement_bytes.to_vec())
}

/// L1: minting a seed again gives the same bytes, and the next incarnation shares no secret with it.
#[test]
fn a_seed_is_reproducible_and_belongs_to_one_incarnation() {
    let keys = demo();
    let first = mint(&keys, &wanted("cp-1", 1)).unwrap();
    assert!(first.bytes() == mint(&keys, &wanted("cp-1", 1)).unwrap().bytes());
    let second = mint(&keys, &wanted("cp-1", 2)).unwrap();
    let ((one, _), (two, _)) = (parsed(first.bytes()), parsed(second.bytes()));
    assert_eq!((one.node.as_str(), one.incarnation, two.incarnation), ("cp-1", 1, 2));
    assert_eq!(one.cluster_id, keys.public().cluster_id("lab"));
    assert!(one.disk_key.expose() != two.disk_key.expose());
    assert!(one.birth_key.expose() != two.birth_key.expose());
    assert!(mint(&keys, &wanted("cp-1", 0)).is_err());
    assert!(mint(&keys, &wanted("no such name!", 1)).is_err());
}

/// C0: the floors are in the signed part, and a seed with other floors has other bytes.
#[test]
fn the_floors_of_a_seed_are_signed() {
    let keys = demo();
    let floors = Floors { generation: 7, release: "0.10.0-rc.1".parse().unwrap() };
    let minted = mint(&keys, &Mint { floors: floors.clone(), ..wanted("cp-1", 1) }).unwrap();
    assert_eq!(parsed(minted.bytes()).0.floors, Some(floors));
    let lower = mint(&keys, &wanted("cp-1", 1)).unwrap();
    assert_eq!(parsed(lower.bytes()).0.floors, Some(FLOORS));
    let mut forged = minted.bytes().to_vec();
    let at = forged.windows(20).position(|window| window == b"generation_floor = 7").unwrap();
    forged[at + 19] = b'1';
    let statement = statement::read(volume::read(&forged).unwrap()).ok().unwrap();
    assert!(statement.verify(Domain::Seed, &keys.public().seed).is_err());
}

/// A node must not get an image that it would reject at boot.
#[test]
fn an_image_below_the_seeds_floor_is_refused_with_both_generations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.raw");
    image(&path, "lab");
    let (keys, out) = (demo(), OutputDir::lock(&folder.path().join("out")).unwrap());
    let seed =
        mint(&keys, &Mint { floors: Floors { generation: 2, ..FLOORS }, ..wanted("cp-1", 1) }).unwrap();
    let error = personalise(&path, &seed, keys.public(), &out, "copy.raw", Protection::Owner)
        .unwrap_err()
        .to_string();
    assert!(error.contains("has generation 1, below the seed's floor 2"), "{error}");
    assert!(!out.path().join("copy.raw").exists());
}

/// A4, T5: the published image contains no secret. The copy differs from it in the seed partition only and is readable by its owner only.
#[test]
fn a_personalised_copy_differs_in_its_seed_partition_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.raw");
    image(&path, "lab");
    let before = fs::read(&path).unwrap();
    let (keys, out) = (demo(), OutputDir::lock(&folder.path().join("out")).unwrap());
    let seed = mint(&keys, &wanted("cp-1", 1)).unwrap();
    let copy = personalise(&path, &seed, keys.public(), &out, "cp-1.raw", Protection::Owner).unwrap();
    assert!(fs::read(&path).unwrap() == before);
    let mut after = fs::read(&copy).unwrap();
    let at = usize::try_from(offset(Role::Seed)).unwrap();
    assert!(after[at..at + seed.bytes().len()] == *seed.bytes());
    after[at..at + seed.bytes().len()].fill(0);
    assert!(after == before);
    let metadata = fs::metadata(&copy).unwrap();
    assert_eq!(metadata.mode() & 0o777, 0o600);
    assert!(metadata.blocks() * 512 < metadata.len() / 10, "the copy has holes");
    let alone = write(&seed, &out, "cp-1.img", Protection::Owner).unwrap();
    assert_eq!(fs::metadata(&alone).unwrap().mode() & 0o777, 0o600);
    assert!(fs::read(alone).unwrap() == seed.bytes());
}

#[test]
fn a_used_or_foreign_image_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.raw");
    let (keys, out) = (demo(), OutputDir::lock(&folder.path().join("out")).unwrap());
    let seed = mint(&keys, &wanted("cp-1", 1)).unwrap();
    let refusal = |why: &str, change: &dyn Fn(&File)| {
        image(&path, "lab");
        change(&fs::OpenOptions::new().write(true).open(&path).unwrap());
        let error =
            personalise(&path, &seed, keys.public(), &out, "copy.raw", Protection::Owner).unwrap_err();
        assert!(!out.path().join("copy.raw").exists(), "{why}: no file is left");
        error
    };
    let put = |at: u64| move |file: &File| file.write_all_at(&[0xff], at).unwrap();
    let error = refusal("a seed", &put(offset(Role::Seed) + SEED_SIZE - 1));
    assert!(matches!(error, SeedError::Refused { reason, .. } if reason.contains("not empty")), "{error}");
    let error = refusal("a damaged table", &put(1024));
    assert!(matches!(error, SeedError::Refused { reason, .. } if reason.contains("damaged")), "{error}");
    let error = refusal("a forged configuration", &put(offset(SIGNATURE) + 60));
    assert!(matches!(error, SeedError::NotAccepted { .. }), "{error}");
    let error = refusal("a truncated image", &|file: &File| file.set_len(4096).unwrap());
    assert!(matches!(error, SeedError::Table { .. }), "{error}");
    let error = refusal("a short file", &|file: &File| file.set_len(300).unwrap());
    assert!(matches!(error, SeedError::Foreign { form: Form::Short, .. }), "{error}");
    let error = refusal("a qcow2 file", &|file: &File| file.write_all_at(b"QFI\xfb\0\0\0\x03", 0).unwrap());
    assert!(error.to_string().contains("lab.raw is a qcow2 file"), "{error}");

    image(&path, "other");
    let error = personalise(&path, &seed, keys.public(), &out, "copy.raw", Protection::Owner).unwrap_err();
    assert!(
        matches!(error, SeedError::Refused { reason, .. } if reason.contains("belongs to a different cluster")),
        "{error}"
    );
}

/// An image at the path of its own copy is not replaced.
#[test]
fn an_image_is_not_overwritten_by_its_own_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, out) = (demo(), OutputDir::lock(folder.path()).unwrap());
    let path = folder.path().join("cp-1.raw");
    image(&path, "lab");
    let before = fs::read(&path).unwrap();
    let seed = mint(&keys, &wanted("cp-1", 1)).unwrap();
    let linked = folder.path().join("linked.raw");
    fs::hard_link(&path, &linked).unwrap();
    for image in [&path, &linked] {
        let error =
            personalise(image, &seed, keys.public(), &out, "cp-1.raw", Protection::Owner).unwrap_err();
        assert!(matches!(error, SeedError::Foreign { form: Form::Target, .. }), "{error}");
    }
    assert!(fs::read(&path).unwrap() == before);
    for (place, form) in [(folder.path(), Form::Folder), (Path::new("/dev/null"), Form::Device)] {
        let error = personalise(place, &seed, keys.public(), &out, "a.raw", Protection::Owner).unwrap_err();
        assert!(matches!(error, SeedError::Foreign { form: found, .. } if found == form), "{error}");
    }
}

/// FAT and similar file systems report the mode of the mount and ignore the requested mode.
#[test]
fn a_seed_is_not_written_to_a_file_that_others_can_read() {
    for (mode, private) in
        [(0o100_600, true), (0o100_400, true), (0o100_755, false), (0o100_640, false), (0o100_604, false)]
    {
        assert_eq!(is_private(mode), private, "{mode:o}");
    }
}

/// The seed partition is found by its type, at any offset, and must have the size of the layout.
#[test]
fn a_seed_partition_with_a_different_size_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.raw");
    image(&path, "lab");
    let (keys, out) = (demo(), OutputDir::lock(&folder.path().join("out")).unwrap());
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let source = FileSource::new(file.try_clone().unwrap(), layout().disk_bytes());
    let mut table = gpt::read_from(&source, SectorSize::B512).unwrap().table;
    let (number, mut partition) = table
        .of_type(Role::Seed.type_guid())
        .map(|(number, partition)| (number, partition.clone()))
        .next()
        .unwrap();
    table.remove(number);
    let rewrite = |table: &Table| {
        for extent in table.extents() {
            file.write_all_at(&extent.bytes, extent.offset).unwrap();
        }
        let seed = mint(&keys, &wanted("cp-1", 1)).unwrap();
        personalise(&path, &seed, keys.public(), &out, "copy.raw", Protection::Owner).unwrap_err()
    };
    let error = rewrite(&table);
    assert!(
        matches!(error, SeedError::Refused { reason, .. } if reason.contains("exactly one seed")),
        "{error}"
    );
    partition.last_lba -= 2048;
    partition.uuid = Guid::from_u128(7);
    table.set(number, partition).unwrap();
    let error = rewrite(&table);
    assert!(
        matches!(error, SeedError::Refused { reason, .. } if reason.contains("the size of its seed partition is not 4 MiB")),
        "{error}"
    );
}
