//! A5: `verify` refuses an image with a flipped bit in any region and names the part. It also refuses added content and other keys.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use kubedos_builder::artifact::{self, Artifact, Disk};
use kubedos_builder::image::boot_partition;
use kubedos_builder::sparse_file::{self, SparseFile};
use kubedos_image::esp;
use kubedos_image::layout::{Area, Role, Slot};
use kubedos_image::sparse::for_data;
use kubedos_wire::seal::Volume;

use rustix::fs::{FallocateFlags, fallocate};

use crate::ran::Ran;
use crate::workshop::{Bench, NAME, SPEC, kubedos_build, product, run};

/// Copies a file and keeps its holes.
pub fn copy(from: &Path, to: &Path) {
    let (from, to) = (SparseFile::open(from).unwrap(), File::create(to).unwrap());
    sparse_file::write(&from, &to, |_, _| {}).unwrap();
}

pub fn disk(path: &Path) -> Disk {
    match artifact::open(path).unwrap() {
        Artifact::Disk(disk) => disk,
        _ => panic!("{} is not a disk image", path.display()),
    }
}

/// The start and the length of a partition in bytes.
pub fn partition(disk: &Disk, role: Role) -> (u64, u64) {
    let place = disk.recognised().unwrap().layout.place(role).unwrap();
    (place.start, place.len)
}

fn area(volume: Volume, area: Area) -> Role {
    Role::Volume(volume, area, Slot::A)
}

/// A copy of the image for temporary changes.
struct Copy {
    /// Keeps the folder of the copy alive.
    _bench: Bench,
    path: PathBuf,
}

impl Copy {
    fn new() -> Self {
        let bench = Bench::new(&[]);
        let path = bench.path("copy.raw");
        copy(&product().file("raw"), &path);
        Self { _bench: bench, path }
    }

    fn verify(&self) -> Ran {
        run(&["verify", self.path.to_str().unwrap()])
    }

    /// Runs `verify` with one bit flipped.
    fn flipped(&self, at: u64) -> Ran {
        let file = File::options().read(true).write(true).open(&self.path).unwrap();
        let flip = || {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        };
        flip();
        let ran = self.verify();
        flip();
        ran
    }
}

/// The first position of these bytes in a part of the disk.
fn find(disk: &Disk, (start, len): (u64, u64), wanted: &[u8]) -> u64 {
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    disk.source().read_exact_at(&mut bytes, start).unwrap();
    start + bytes.windows(wanted.len()).position(|window| window == wanted).unwrap() as u64
}

#[test]
fn a_flip_in_any_region_is_reported() {
    let image = Copy::new();
    image.verify().succeeds();
    let disk = disk(&image.path);
    let end = disk.source().len();
    let at = |role| partition(&disk, role).0;
    let root = area(Volume::Root, Area::Data);
    let esp = partition(&disk, Role::Esp);
    let tree = disk.esp().unwrap();
    let uki = tree.files().find(|(path, _)| path.starts_with(boot_partition::UKIS)).unwrap().1;
    let loader = tree.files().find(|(path, _)| *path == boot_partition::BOOT_LOADER).unwrap().1;
    let statement = area(Volume::Configuration, Area::Signature);
    for (place, part) in [
        (510, "partition table: there is no protective MBR"),
        (512 + 16, "partition table: the copy at the start"),
        (1024 + 56, "partition table: the copy at the start"),
        (end - 512 + 16, "partition table: the copy at the end"),
        (end - 600, "partition table: the copy at the end"),
        (16 * 2048 + 40, "cd descriptors"),
        (19 * 2048 + 40, "cd descriptors"),
        (200 << 10, "whole image: byte 204800, in no partition"),
        (esp.0 + 5000, "esp: byte 5000"),
        (esp.0 + esp.1 - 1, "esp: byte"),
        (find(&disk, esp, &loader[4096..4160]), "boot loader signature"),
        (find(&disk, esp, &uki[uki.len() / 2..][..64]), "uki signature"),
        (find(&disk, esp, &uki[uki.len() - 300..uki.len() - 200]), "uki signature"),
        (
            find(&disk, esp, b"timeout 0"),
            "esp: loader/loader.conf differs from the file that the builder writes",
        ),
        (at(Role::Seed) + 7, "seed"),
        (at(root), "root: data block 0 does not verify"),
        (at(root) + (5 << 20) + 17, "root: data block 1280 does not verify"),
        (at(root) + (300 << 20), "whole image: byte"),
        (at(area(Volume::Root, Area::Hash)) + 8, "root: the superblock does not verify"),
        (at(area(Volume::Root, Area::Hash)) + 4096 + 1, "root: hash block 1 does not verify"),
        (at(area(Volume::Root, Area::Signature)), "whole image: byte"),
        (at(area(Volume::Root, Area::Fec)) + 4096, "in partition root-a-fec"),
        (at(area(Volume::Payload, Area::Data)) + 4096, "payload: data block 1 does not verify"),
        (at(area(Volume::Payload, Area::Hash)) + 4096, "payload: hash block 1 does not verify"),
        (at(area(Volume::Configuration, Area::Data)), "configuration: data block 0 does not verify"),
        (at(area(Volume::Configuration, Area::Hash)), "configuration: the superblock does not verify"),
        (at(statement), "configuration signature: not a signed statement"),
        (at(statement) + 20, "configuration signature: not signed by a trusted key"),
        (at(statement) + 60, "configuration signature: a signature does not verify"),
        (at(statement) + 130, "configuration signature: a signature does not verify"),
        (at(statement) + 5000, "configuration signature: a reserved or trailing byte is not zero"),
    ] {
        image.flipped(place).fails(4, &["does not verify", part]);
    }
    image.verify().succeeds();
}

/// A node finds a volume by UUIDs that follow from its root hash, so a partition with a different UUID is not found.
#[test]
fn a_partition_with_a_different_uuid_is_reported() {
    use kubedos_image::gpt::{SectorSize, read_from};
    use kubedos_image::guid::Guid;
    let image = Copy::new();
    let source = SparseFile::open(&image.path).unwrap();
    let found = read_from(&source, SectorSize::B512).unwrap().table;
    for (number, part) in [
        (2, "partition uuids: the table entry of seed differs from the one that the root hashes determine"),
        (
            3,
            "partition uuids: the table entry of root-a-sig differs from the one that the root hashes determine",
        ),
        (6, "root: there is no partition root-a with its root hash's UUID"),
        (9, "configuration: there is no partition configuration-a"),
    ] {
        let mut table = found.clone();
        let mut partition = table.get(number).unwrap().clone();
        partition.uuid = Guid::from_random([7; 16]);
        table.set(number, partition).unwrap();
        let file = File::options().write(true).open(&image.path).unwrap();
        for extent in table.extents() {
            file.write_all_at(&extent.bytes, extent.offset).unwrap();
        }
        image.verify().fails(4, &[part]);
    }
}

/// Content that the builder does not write is refused, even if it is well-formed.
#[test]
fn added_content_is_refused() {
    let image = Copy::new();
    let built = disk(&image.path);
    let (start, length) = partition(&built, Role::Esp);
    let shipped = built.esp().unwrap().tree().unwrap();
    let write = |tree: &esp::Tree<'_>, volume_id| {
        copy(&product().file("raw"), &image.path);
        let file = File::options().write(true).open(&image.path).unwrap();
        // Blocks of zeros are not written, so the old content is removed first.
        fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, length).unwrap();
        for_data(&tree.write(volume_id).unwrap(), 512, |at, bytes| file.write_all_at(bytes, start + at))
            .unwrap();
    };
    let volume_id = boot_partition::volume_id(env!("CARGO_PKG_VERSION"));
    for (path, part) in [
        ("EFI/Linux/kubedos_0.0.9.efi", "uki: there are several files"),
        ("loader/entries/x.conf", "esp: loader/entries/x.conf is not from the builder"),
        ("loader/credentials/x.cred", "esp: loader/credentials/x.cred is not from the builder"),
    ] {
        let mut tree = shipped.clone();
        tree.add(path, b"x".to_vec()).unwrap();
        write(&tree, volume_id);
        image.verify().fails(4, &[part]);
    }
    drop(built);
    copy(&product().file("raw"), &image.path);
    let length = fs::metadata(&image.path).unwrap().len();
    let file = File::options().write(true).open(&image.path).unwrap();
    file.set_len(length - (1 << 20)).unwrap();
    image.verify().fails(4, &["partition table"]);
}

/// `verify` checks the signing keys only if it has their public half.
#[test]
fn an_image_with_other_keys_is_refused() {
    let bench = Bench::new(&[]);
    let (mine, image) = (bench.path("mine"), product().file("raw"));
    let (mine, image) = (mine.to_str().unwrap(), image.to_str().unwrap());
    run(&["keys", "init", "mine", "--keys", mine]).succeeds();
    let ran = run(&["verify", image, "--keys", mine]).fails(4, &["does not verify"]);
    for part in ["boot loader signature", "uki signature", "boot manifest"] {
        let failed = |line: &str| line.starts_with("FAIL") && line.contains(part);
        assert!(ran.out.lines().any(failed), "{part}: {ran:?}");
    }
    let public = format!("{mine}/public");
    run(&["verify", image, "--keys", &public]).fails(4, &["does not verify"]);
    run(&["verify", image, "--keys", "keys/demo"]).succeeds();
    run(&["verify", image, "--keys", "keys/demo/public"]).succeeds();
    run(&["verify", image, "--keys", "nowhere"]).fails(2, &["nowhere"]);
}

/// A folder is compared with its manifest: each output, the checksums, the lock, and the properties of the image.
#[test]
fn a_folder_with_a_wrong_file_is_refused() {
    let bench = Bench::new(&[]);
    let folder = bench.path("out");
    fs::create_dir(&folder).unwrap();
    let refill = || {
        for name in ["raw", "qcow2", "efi"] {
            copy(&product().file(name), &folder.join(format!("{NAME}.{name}")));
        }
        let iso = folder.join(format!("{NAME}.iso"));
        if !iso.exists() {
            fs::hard_link(folder.join(format!("{NAME}.raw")), &iso).unwrap();
        }
        for name in ["manifest.json", "SHA256SUMS"] {
            fs::copy(product().folder.join(name), folder.join(name)).unwrap();
        }
    };
    refill();
    let verify = || run(&["verify", folder.to_str().unwrap()]);
    verify().succeeds();
    let manifest = folder.join("manifest.json");
    run(&["verify", manifest.to_str().unwrap()]).succeeds();

    let flip = |name: &str, at: u64| {
        let file = File::options().read(true).write(true).open(folder.join(name)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    for (name, at) in [("lab-0.1.0.qcow2", 1 << 20), ("lab-0.1.0.efi", 5000), ("lab-0.1.0.raw", 700 << 20)] {
        flip(name, at);
        let ran = verify().fails(4, &["does not verify"]);
        let failed = |line: &str| line.starts_with("FAIL") && line.contains(name);
        assert!(ran.out.lines().any(failed), "{name}: {ran:?}");
        flip(name, at);
    }
    fs::remove_file(folder.join("lab-0.1.0.efi")).unwrap();
    verify().fails(4, &["lab-0.1.0.efi: No such file"]);
    refill();
    flip("SHA256SUMS", 3);
    verify().fails(4, &["SHA256SUMS"]);
    refill();
    fs::write(folder.join("kubedos.lock"), b"version = 1\n").unwrap();
    verify().fails(4, &["kubedos.lock: not the lock that the image was built with"]);
    fs::remove_file(folder.join("kubedos.lock")).unwrap();

    let text = fs::read_to_string(&manifest).unwrap();
    for (from, to, part) in [
        (
            "\"generation\": 1",
            "\"generation\": 2",
            "manifest.json: the field generation differs from the image",
        ),
        (
            "\"cluster\": \"lab\"",
            "\"cluster\": \"bal\"",
            "manifest.json: the field cluster differs from the image",
        ),
        (
            "\"demo_keys\": true",
            "\"demo_keys\": false",
            "manifest.json: the field demo_keys differs from the image",
        ),
        (
            "\"data_blocks\": ",
            "\"data_blocks\": 1",
            "manifest.json: the field volumes differs from the image",
        ),
        ("\"version\": 1", "\"version\": 2", "manifest.json: it has version 2"),
        ("lab-0.1.0.efi", "../lab-0.1.0.efi", "is not a file name"),
        (
            "\"volumes\"",
            "\"additions\": [\"usr/bin/probe\"],\n  \"volumes\"",
            "manifest.json: the root volume contains additions of a test, so this is not a product: usr/bin/probe",
        ),
    ] {
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{from}");
        fs::write(&manifest, &edited).unwrap();
        verify().fails(4, &[part]);
    }
    fs::write(&manifest, &text).unwrap();
    fs::write(folder.join("unlisted"), b"x").unwrap();
    let ran = verify().succeeds();
    assert!(ran.out.contains("not checked: files that the manifest does not list: unlisted"), "{ran:?}");
}

/// A personalised image verifies; its seed is checked only with the keys. A damaged seed is refused.
#[test]
fn a_personalised_image_verifies_unless_its_seed_is_damaged() {
    let bench = Bench::new(&[]);
    let out = bench.path("out");
    let image = product().file("raw");
    let arguments = [
        "seed",
        "--spec",
        SPEC,
        "--node",
        "cp-1",
        "--into",
        image.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    run(&arguments).succeeds();
    let personal = out.join("seeds/cp-1.raw");
    let path = personal.to_str().unwrap();
    let ran = run(&["verify", path, "--keys", "keys/demo"]).succeeds();
    assert!(ran.out.contains("node cp-1, incarnation 1, for generation 1 and release "), "{ran:?}");
    let ran = run(&["verify", path]).succeeds();
    assert!(
        ran.out.contains(
            "not checked: whether the seed is of lab, node cp-1, incarnation 1, for generation 1 and release "
        ),
        "{ran:?}"
    );
    let (start, _) = partition(&disk(&personal), Role::Seed);
    let file = File::options().read(true).write(true).open(&personal).unwrap();
    let mut byte = [0];
    let at = start + 21 * 2048 + 200;
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    Ran::of(&mut kubedos_build(&["verify", path, "--keys", "keys/demo"])).fails(4, &["seed"]);
}
