//! A5: a flipped bit in anything that is read between firmware and PID 1 is detected before its content is used.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use kubedos_image::layout::{Area, Role, Slot};
use kubedos_lab::{Disk, Format, Patience};
use kubedos_tests::{Product, Rig, Variant, flip, halts};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::seal::Volume;
use kubedos_wire::stage::{EarlyStage, Stage};

/// The offset of the first block of the hash tree, the root, in a verity hash device. A superblock of one block precedes it.
const ROOT_OF_TREE: u64 = 4096;
/// The offset of the EROFS superblock (`fs/erofs/erofs_fs.h`, `EROFS_SUPER_OFFSET`).
const EROFS_SUPERBLOCK: u64 = 1024;

fn area(volume: Volume, area: Area) -> u64 {
    Product::built().partition(Role::Volume(volume, area, Slot::A)).start
}

/// Boots a copy with one flipped bit; returns the record with which it halts.
fn flipped_halts(test: &str, offset: u64) -> Record {
    flipped_halts_of(Product::built(), test, offset)
}

fn flipped_halts_of(product: &'static Product, test: &str, offset: u64) -> Record {
    let rig = Rig::of(product, test);
    let copy = rig.copy("image");
    flip(&copy, offset);
    let machine = rig.boot(&rig.hardware(Disk::new(copy, Format::Raw)));
    let record = halts(&machine);
    let late = [Stage::ValidateShard, Stage::Disks, Stage::Baseline].map(Stage::name);
    assert!(!machine.finish().iter().any(|record| late.contains(&record.stage.as_str())), "PID 1 ran");
    record
}

fn names(record: &Record, step: EarlyStage, volume: Volume) {
    assert_eq!(record.stage, step.name(), "{record:?}");
    let named =
        format!("{} {}", record.volume.as_deref().unwrap_or(""), record.error.as_deref().unwrap_or(""));
    assert!(named.contains(volume.name()), "{record:?}");
}

#[test]
fn tampered_root_superblock_halts() {
    let record =
        flipped_halts("tampered_root_superblock_halts", area(Volume::Root, Area::Data) + EROFS_SUPERBLOCK);
    names(&record, EarlyStage::OpenRoot, Volume::Root);
}

#[test]
fn tampered_root_hash_tree_halts() {
    let record =
        flipped_halts("tampered_root_hash_tree_halts", area(Volume::Root, Area::Hash) + ROOT_OF_TREE);
    names(&record, EarlyStage::OpenRoot, Volume::Root);
}

#[test]
fn tampered_payload_superblock_halts() {
    let record = flipped_halts(
        "tampered_payload_superblock_halts",
        area(Volume::Payload, Area::Data) + EROFS_SUPERBLOCK,
    );
    names(&record, EarlyStage::OpenPayload, Volume::Payload);
}

#[test]
fn tampered_payload_hash_tree_halts() {
    let record =
        flipped_halts("tampered_payload_hash_tree_halts", area(Volume::Payload, Area::Hash) + ROOT_OF_TREE);
    names(&record, EarlyStage::OpenPayload, Volume::Payload);
}

/// A bit in the statement's body, so that its signature does not verify.
#[test]
fn tampered_configuration_statement_halts() {
    let body = 16 + 96 + 20;
    let record = flipped_halts(
        "tampered_configuration_statement_halts",
        area(Volume::Configuration, Area::Signature) + body,
    );
    names(&record, EarlyStage::OpenConfiguration, Volume::Configuration);
}

#[test]
fn tampered_configuration_signature_halts() {
    let signature = 16 + 32 + 20;
    let record = flipped_halts(
        "tampered_configuration_signature_halts",
        area(Volume::Configuration, Area::Signature) + signature,
    );
    names(&record, EarlyStage::OpenConfiguration, Volume::Configuration);
}

/// The default example's configuration has one block, so its root hash is the hash of that block, and there is no hash tree.
#[test]
fn tampered_configuration_superblock_halts() {
    let record = flipped_halts(
        "tampered_configuration_superblock_halts",
        area(Volume::Configuration, Area::Data) + EROFS_SUPERBLOCK,
    );
    names(&record, EarlyStage::OpenConfiguration, Volume::Configuration);
}

/// The default example with sixty more workers. Its configuration has several blocks, so there is a hash tree.
fn of_many_nodes() -> &'static Product {
    static PRODUCT: OnceLock<Product> = OnceLock::new();
    PRODUCT.get_or_init(|| {
        let worker = |number: u32| {
            format!(
                "      - name: w-{number}\n        role: worker\n        domain: host-b\n        disks:\n          - sizeGiB: 14\n        \
                 underlay:\n          interfaces:\n            - name: uplink\n              \
                 addresses: [\"192.168.77.{}/24\"]\n",
                20 + number
            )
        };
        let workers: String = (2..=61).map(worker).collect();
        Variant::new("many-nodes").edit("\n  networking:", format!("{workers}\n  networking:")).build()
    })
}

#[test]
fn tampered_configuration_hash_tree_halts() {
    let product = of_many_nodes();
    let tree = product.partition(Role::Volume(Volume::Configuration, Area::Hash, Slot::A));
    let root_of_tree = std::fs::File::open(product.raw()).and_then(|file| {
        let mut block = [0; 4096];
        file.read_exact_at(&mut block, tree.start + ROOT_OF_TREE).map(|()| block)
    });
    // The root block has a hash of 32 bytes for each data block. There is a tree if there is more than one.
    let blocks = root_of_tree.unwrap().chunks(32).filter(|hash| hash.iter().any(|byte| *byte != 0)).count();
    assert!(blocks > 1, "{blocks} blocks");
    let record =
        flipped_halts_of(product, "tampered_configuration_hash_tree_halts", tree.start + ROOT_OF_TREE);
    names(&record, EarlyStage::OpenConfiguration, Volume::Configuration);
}

/// Boots a copy with one flipped bit in its partition table; checks that the same verified bytes run, or that the boot fails.
fn boots_the_same_bytes_or_fails(test: &str, offset: u64) {
    let rig = Rig::new(test);
    let copy: PathBuf = rig.copy("image");
    flip(&copy, offset);
    let machine = rig.boot(&rig.hardware(Disk::new(copy, Format::Raw)));
    let ends = |line: &str| {
        let refused = line.contains("EFI Internal Shell") || line.contains("No bootable option");
        let record = Record::find(line);
        refused
            || record.is_some_and(|record| {
                record.outcome == Outcome::Halted
                    || (record.stage == EarlyStage::SwitchRoot.name() && record.outcome == Outcome::Done)
            })
    };
    machine.wait_for_line("the result of the boot", Patience::BOOT, ends).unwrap();
    let records = machine.console().records();
    let corrupt = records.iter().find(|record| record.outcome == Outcome::Corrupt);
    assert!(corrupt.is_none(), "{corrupt:?}");
}

/// The checksum of the primary header.
#[test]
fn tampered_primary_partition_table_boots_the_same_bytes_or_fails() {
    boots_the_same_bytes_or_fails("tampered_primary_partition_table", 512 + 16);
}

/// A bit in a partition's UUID in the primary table, by which stage 1 finds a volume.
#[test]
fn tampered_primary_partition_entry_boots_the_same_bytes_or_fails() {
    let root = 5;
    boots_the_same_bytes_or_fails("tampered_primary_partition_entry", 1024 + root * 128 + 16);
}

#[test]
fn tampered_backup_partition_table_boots_the_same_bytes_or_fails() {
    boots_the_same_bytes_or_fails("tampered_backup_partition_table", Product::built().length() - 512 + 16);
}
