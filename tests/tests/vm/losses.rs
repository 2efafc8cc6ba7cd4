//! O1, C0: a node does not create STATE and DATA again if it cannot read them, STATE stays on its disk, and no disk or image can bring a
//! node below a floor.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kubedos_image::layout::{self, Role};
use kubedos_lab::{Disk, Format};
use kubedos_tests::{
    DISK, Expect, Product, Rig, Variant, baseline, halts, halts_at, last, no_failed_unit, powers_off,
    status_page, tools,
};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;

use crate::adopted::adopted;

/// The bytes of a container before its data: both LUKS2 headers, the key slots, and the anchor.
const BEFORE_DATA: u64 = 16 << 20;

fn start(role: Role) -> u64 {
    layout::adopted(DISK).unwrap().place(role).unwrap().start
}

/// The disk of a node after its first boot, as a file that can be damaged.
fn damaged(rig: &Rig, damage: impl FnOnce(&Path)) -> Disk {
    let raw = rig.bench().raw_copy(tools(), "damaged", &adopted().disk).unwrap();
    damage(&raw);
    Disk::new(raw, Format::Raw)
}

fn overwrite(path: &Path, at: u64, len: u64, byte: u8) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(&vec![byte; usize::try_from(len).unwrap()], at).unwrap();
}

/// The note of the record with which Disks succeeded.
fn disks_note(records: &[Record]) -> String {
    let record = last(records, Stage::Disks);
    assert_eq!(record.outcome, Outcome::Done, "{record:?}");
    record.note.clone().unwrap()
}

fn node_key(page: &[String]) -> String {
    page.iter().find(|line| line.contains("node key")).cloned().unwrap()
}

/// Both copies of both headers are overwritten. The node restores them from the anchor, so that STATE and the node's key are kept.
#[test]
fn overwritten_headers_are_restored_and_state_is_kept() {
    let rig = Rig::new("overwritten_headers");
    let disk = damaged(&rig, |raw| {
        overwrite(raw, start(Role::State), 128 << 10, 0);
        overwrite(raw, start(Role::Data), 1 << 20, 0xa5);
    });
    let mut machine = rig.boot(&rig.hardware(disk.clone()));
    let note = disks_note(&baseline(&machine, Expect::Baseline));
    for words in ["the header of state on vda25 was restored", "the header of data on vda26 was restored"] {
        assert!(note.contains(words), "{note}");
    }
    assert_eq!(node_key(&status_page(&mut machine)), node_key(&adopted().page));
    machine.cut_power().unwrap();
    let mut machine = rig.boot(&rig.hardware(disk));
    baseline(&machine, Expect::BaselineUnchanged);
    no_failed_unit(&mut machine);
}

/// Headers and their backups are overwritten: the node halts, reports the partition, and does not write to the disk.
#[test]
fn lost_headers_without_a_backup_halt_the_node() {
    for (test, role, named) in [
        ("a_lost_state", Role::State, "vda25 contained state"),
        ("a_lost_data", Role::Data, "vda26 contained data"),
    ] {
        let rig = Rig::new(test);
        let disk = damaged(&rig, |raw| {
            overwrite(raw, start(role), BEFORE_DATA, 0);
            let other = if role == Role::State { Role::Data } else { Role::State };
            overwrite(raw, start(other) + (8 << 20), 8 << 20, 0);
        });
        let machine = rig.boot(&rig.hardware(disk));
        halts_at(&machine, Stage::Disks, named);
        let error = halts(&machine).error.unwrap();
        for words in ["luksHeaderRestore", "allowDestroy", "new incarnation"] {
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(machine.writes(0).unwrap(), 0, "the disk was written to");
    }
}

/// A5, attack: a complete header with a cipher that does not encrypt.
#[test]
fn a_forged_header_without_a_cipher_is_not_opened() {
    let rig = Rig::new("a_forged_header");
    let disk = damaged(&rig, |raw| {
        for copy in 0..2 {
            forge(raw, start(Role::State) + copy * COPY, "aes-xts-plain64", "cipher_null-ecb");
        }
    });
    let machine = rig.boot(&rig.hardware(disk));
    halts_at(&machine, Stage::Disks, "the header of state on vda25 is not a header that kubedOS writes");
    assert!(halts(&machine).error.unwrap().contains("cipher_null-ecb"));
    assert_eq!(machine.writes(0).unwrap(), 0);
}

/// The size of one copy of a LUKS2 header, and the range of its SHA-256 (LUKS2 On-Disk Format Specification, section 2.1).
const COPY: u64 = 16 << 10;
const CHECKSUM: std::ops::Range<usize> = 448..512;

/// Replaces every `from` in one copy of a header and updates its checksum.
fn forge(raw: &Path, at: u64, from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    let file = File::options().read(true).write(true).open(raw).unwrap();
    let mut copy = vec![0; usize::try_from(COPY).unwrap()];
    file.read_exact_at(&mut copy, at).unwrap();
    let places: Vec<usize> = copy
        .windows(from.len())
        .enumerate()
        .filter(|(_, text)| *text == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 2, "the key slot's cipher and the segment's");
    for place in places {
        copy[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    copy[CHECKSUM].fill(0);
    let sum = kubedos_wire::hex32::sha256(&[&copy]);
    copy[CHECKSUM.start..CHECKSUM.start + sum.len()].copy_from_slice(&sum);
    file.write_all_at(&copy, at).unwrap();
}

/// The same image on two disks that are not adopted: firmware may boot from either disk next time.
#[test]
fn the_same_image_on_two_disks_is_refused_with_both_names() {
    let rig = Rig::new("one_image_on_two_disks");
    let machine = rig.boot(&rig.hardware(rig.disk("first")).disk(rig.disk("second")));
    halts_at(&machine, Stage::Disks, "disk vda");
    let error = halts(&machine).error.unwrap();
    assert!(error.contains("disk vdc") && error.contains("detach all but one"), "{error}");
    assert_eq!([machine.writes(0).unwrap(), machine.writes(2).unwrap()], [0, 0]);
}

/// STATE is on the first disk, and firmware boots from the second one, which also has the image: STATE does not move.
#[test]
fn state_does_not_move_to_the_disk_that_firmware_booted() {
    let rig = Rig::new("state_does_not_move");
    let first = rig.overlay("first", &adopted().disk).not_bootable();
    let machine = rig.boot(&rig.unseeded(first).disk(Product::built().seed("cp-1")).disk(rig.disk("second")));
    halts_at(&machine, Stage::Disks, "this node's STATE is on disk vda");
    assert!(halts(&machine).error.unwrap().contains("disk vdc"));
    assert_eq!([machine.writes(0).unwrap(), machine.writes(2).unwrap()], [0, 0]);
}

/// The machine's SMBIOS UUID changes and then changes back, as after a repair. The node gets its first key again.
#[test]
fn a_node_keeps_its_key_when_the_machine_identity_changes_back() {
    let rig = Rig::new("a_changed_machine_identity");
    let disk = rig.overlay("disk", &adopted().disk);
    let changed = rig.hardware(disk.clone()).uuid("7e0f2b64-15a7-4d29-8e8c-0a37d4c1be02");
    let mut machine = rig.boot(&changed);
    baseline(&machine, Expect::Baseline);
    let other = node_key(&status_page(&mut machine));
    powers_off(&mut machine);
    let mut machine = rig.boot(&rig.hardware(disk));
    let note = disks_note(&baseline(&machine, Expect::Baseline));
    assert!(note.contains("the node's earlier keys were restored"), "{note}");
    let key = node_key(&adopted().page);
    assert_eq!(node_key(&status_page(&mut machine)), key);
    assert_ne!(other, key);
}

/// The default example with this generation and a system disk selected by this serial number.
fn image(name: &'static str, generation: u64, serial: &str) -> Product {
    let system = format!("          - sizeGiB: 14\n            match:\n              serial: {serial}\n");
    Variant::new(name).generation(generation).edit("          - sizeGiB: 14\n", system).build()
}

/// Attack: an old signed image that selects another disk. The floor on the first disk applies.
#[test]
fn an_old_image_for_another_disk_is_refused_by_the_floor() {
    static NEW: OnceLock<Product> = OnceLock::new();
    static OLD: OnceLock<Product> = OnceLock::new();
    let new = NEW.get_or_init(|| image("floor-2", 2, "one"));
    let old = OLD.get_or_init(|| image("floor-1", 1, "two"));
    let rig = Rig::of(new, "an_old_image_that_names_another_disk");
    let blank = |name: &str| rig.bench().blank(name, DISK).unwrap().serial(name).not_bootable();
    let (one, two) = (blank("one"), blank("two"));
    let cd = |product: &Product| Disk::cd(PathBuf::from(product.raw()), kubedos_lab::Attachment::ScsiCd);
    let hardware = |product: &Product| {
        rig.unseeded(cd(product)).disk(product.seed("cp-1")).disk(one.clone()).disk(two.clone())
    };
    let machine = rig.boot(&hardware(new));
    baseline(&machine, Expect::Baseline);
    machine.cut_power().unwrap();
    let machine = rig.boot(&hardware(old));
    halts_at(&machine, Stage::Disks, "contains this node's STATE");
    let error = halts(&machine).error.unwrap();
    assert!(error.contains("generation 1") && error.contains("generation 2"), "{error}");
    assert_eq!([machine.writes(2).unwrap(), machine.writes(3).unwrap()], [0, 0]);
}
