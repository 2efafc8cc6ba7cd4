//! O1, S3: the agent sets up the disks, and destroys data only if the spec permits it.

use std::path::Path;
use std::sync::OnceLock;

use kubedos_image::layout::Role;
use kubedos_lab::{Attachment, Disk, Fault, Firmware, Format, Hardware, Machine, Patience};
use kubedos_tests::{
    DISK, Expect, Product, Rig, Variant, baseline, halts_at, kubedos_build, last, no_failed_unit, oracles,
    succeeds, tools, transplant,
};
use kubedos_wire::record::Outcome;
use kubedos_wire::stage::Stage;

use crate::adopted::adopted;

/// An image whose first node has its system disk selected by the serial number `target`, so that the image can run from a CD.
fn installer() -> &'static Product {
    static INSTALLER: OnceLock<Product> = OnceLock::new();
    INSTALLER.get_or_init(|| on_target(Variant::new("installer"), "").build())
}

fn on_target(variant: Variant, more: &str) -> Variant {
    variant.edit(
        "          - sizeGiB: 14\n",
        format!("          - sizeGiB: 14\n            match:\n              serial: target\n{more}"),
    )
}

/// A machine that boots the image as a CD, with a target disk.
fn from_cd(rig: &Rig, product: &Product, target: Disk) -> Hardware {
    let cd = Disk::cd(product.raw(), Attachment::ScsiCd);
    rig.unseeded(cd).disk(product.seed("cp-1")).disk(target.serial("target").not_bootable())
}

/// A blank target gets the layout of a node. The second boot recognises it and keeps it.
#[test]
fn a_blank_target_is_partitioned_and_then_kept() {
    let rig = Rig::of(installer(), "a_blank_target");
    let target = rig.bench().blank("target", DISK).unwrap();
    let machine = rig.boot(&from_cd(&rig, installer(), target.clone()));
    let records = baseline(&machine, Expect::Baseline);
    assert_eq!(last(&records, Stage::Disks).outcome, Outcome::Done);
    machine.cut_power().unwrap();
    let mut machine = rig.boot(&from_cd(&rig, installer(), target));
    baseline(&machine, Expect::BaselineUnchanged);
    no_failed_unit(&mut machine);
}

/// Boots with a target whose content `make` writes; checks that the node refuses the target and does not change it.
fn is_refused_and_untouched(test: &str, make: impl FnOnce(&Path)) {
    let rig = Rig::of(installer(), test);
    let target = rig.bench().blank("target", DISK).unwrap();
    make(target.file());
    let before = kept_bytes(target.file());
    let machine = rig.boot(&from_cd(&rig, installer(), target.clone()));
    halts_at(&machine, Stage::Disks, "allowDestroy does not name it");
    assert_eq!(machine.writes(2).unwrap(), 0, "the target was written to");
    machine.cut_power().unwrap();
    assert!(kept_bytes(target.file()) == before, "the target was changed");
}

/// The digest of a sparse file.
fn kept_bytes(path: &Path) -> String {
    let mut command = oracles().command("usr/bin/openssl").unwrap();
    succeeds(command.args(["dgst", "-sha256"]).arg(path))
}

#[test]
fn a_foreign_file_system_is_refused_and_untouched() {
    is_refused_and_untouched("a_foreign_file_system", |path| {
        let mut make = oracles().command("usr/sbin/mke2fs").unwrap();
        succeeds(make.args(["-q", "-t", "ext4", "-F"]).arg(path));
    });
}

#[test]
fn foreign_partitions_are_refused_and_untouched() {
    is_refused_and_untouched("foreign_partitions", |path| {
        let mut make = oracles().command("usr/sbin/sgdisk").unwrap();
        succeeds(make.args(["--new=1:2048:+1G", "--typecode=1:8300"]).arg(path));
    });
}

/// A disk with unknown content is not blank.
#[test]
fn unknown_bytes_are_refused_and_untouched() {
    is_refused_and_untouched("unknown_bytes", |path| {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"a user's data", 700_000).unwrap();
    });
}

/// A swap partition that was added next to ours: it is not used, and the disk is refused and not changed.
#[test]
fn an_added_swap_partition_is_refused_and_not_used() {
    let rig = Rig::new("an_added_swap_partition");
    let copy = rig.copy("disk");
    std::fs::File::options().write(true).open(&copy).unwrap().set_len(DISK).unwrap();
    let mut add = oracles().command("usr/sbin/sgdisk").unwrap();
    succeeds(add.args(["--move-second-header", "--new=14:0:+1G", "--typecode=14:8200"]).arg(&copy));
    let before = kept_bytes(&copy);
    let machine = rig.boot(&rig.hardware(Disk::new(&copy, Format::Raw)));
    halts_at(&machine, Stage::Disks, "allowDestroy does not name it");
    machine.cut_power().unwrap();
    assert!(kept_bytes(&copy) == before, "the disk was changed");
}

/// S3: the agent overwrites a disk that the spec names in `allowDestroy`, and no other disk.
#[test]
fn allow_destroy_permits_the_named_disk_and_no_other() {
    static TAKER: OnceLock<Product> = OnceLock::new();
    let taker = TAKER.get_or_init(|| {
        on_target(Variant::new("taker"), "        allowDestroy:\n          - serial: target\n").build()
    });
    let rig = Rig::of(taker, "a_foreign_disk_is_taken");
    let foreign = |name: &str| {
        let disk = rig.bench().blank(name, DISK).unwrap();
        succeeds(
            oracles().command("usr/sbin/mke2fs").unwrap().args(["-q", "-t", "ext4", "-F"]).arg(disk.file()),
        );
        disk
    };
    let (target, other) = (foreign("target"), foreign("other"));
    let before = kept_bytes(other.file());
    let hardware = from_cd(&rig, taker, target).disk(other.clone().serial("other").not_bootable());
    let mut machine = rig.boot(&hardware);
    let records = baseline(&machine, Expect::Baseline);
    assert_eq!(last(&records, Stage::Disks).outcome, Outcome::Done);
    no_failed_unit(&mut machine);
    machine.cut_power().unwrap();
    assert!(kept_bytes(other.file()) == before, "the other disk was changed");
}

/// The containers of a node do not open with the secrets of a different node, and are not created again.
#[test]
fn a_disk_of_a_different_node_is_refused_and_kept() {
    let first = adopted();
    let rig = Rig::new("a_disk_of_another_node");
    let hardware = rig.unseeded(rig.overlay("disk", &first.disk)).disk(Product::built().seed("w-1"));
    let machine = rig.boot(&hardware);
    halts_at(&machine, Stage::Disks, "the key of this node's seed does not open");
    drop(machine);
    let mut machine = rig.boot(&rig.hardware(rig.overlay("again", &first.disk)));
    baseline(&machine, Expect::BaselineUnchanged);
    no_failed_unit(&mut machine);
}

/// A node whose disk was copied to another machine is a new node there, and gets new keys.
#[test]
fn a_clone_gets_new_keys() {
    let first = adopted();
    let rig = Rig::new("a_clone");
    let hardware =
        rig.hardware(rig.overlay("disk", &first.disk)).uuid("7e0f2b64-15a7-4d29-8e8c-0a37d4c1be02");
    let mut machine = rig.boot(&hardware);
    let records = baseline(&machine, Expect::Baseline);
    let note = last(&records, Stage::Disks).note.clone().unwrap();
    assert!(note.contains("set up in another machine"), "{note}");
    let key = |page: &[String]| page.iter().find(|line| line.contains("node key")).cloned().unwrap();
    assert_ne!(key(&kubedos_tests::status_page(&mut machine)), key(&first.page));
}

/// A5, field testing: `verify` finds no error on the disk of a healthy node, and reports the parts that belong to the node. It does so also
/// after the disk was enlarged, and for a qcow2 backup. The overlay itself is refused with the command that converts it.
#[test]
fn the_disk_of_a_healthy_node_verifies() {
    let first = adopted();
    let rig = Rig::new("the_disk_of_a_healthy_node_verifies");
    let raw = rig.bench().raw_copy(tools(), "raw", &first.disk).unwrap();
    let backup = rig.bench().path("backup.qcow2");
    let mut convert = tools().command("usr/bin/qemu-img").unwrap();
    succeeds(convert.args(["convert", "-c", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(&backup));
    for grown in [false, true] {
        if grown {
            std::fs::File::options().write(true).open(&raw).unwrap().set_len(DISK + (4 << 30)).unwrap();
        }
        let printed = succeeds(kubedos_build().args(["verify", "--keys", "keys/demo"]).arg(&raw));
        for words in ["a disk that a node has adopted", "belong to the node", "verify against root hash"] {
            assert!(printed.contains(words), "{words}: {printed}");
        }
        assert!(!printed.contains("FAIL"), "{printed}");
    }
    let printed = succeeds(kubedos_build().args(["verify", "--keys", "keys/demo", "--json"]).arg(&backup));
    assert!(printed.contains("\"verdict\": \"sealed\""), "{printed}");
    let refused = kubedos_build().arg("verify").arg(first.disk.file()).output().unwrap();
    let printed = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && printed.contains("qemu-img convert -O raw"), "{printed}");
}

/// Oracles accept the partition table and both LUKS2 containers that the agent created.
#[test]
fn other_tools_accept_the_adopted_disk() {
    let first = adopted();
    let rig = Rig::new("other_tools_and_the_adopted_disk");
    let raw = rig.bench().raw_copy(tools(), "raw", &first.disk).unwrap();
    let printed = succeeds(oracles().command("usr/sbin/sgdisk").unwrap().arg("--verify").arg(&raw));
    assert!(printed.contains("No problems found"), "{printed}");
    let layout = kubedos_image::layout::adopted(DISK).unwrap();
    for role in [Role::State, Role::Data] {
        let place = layout.place(role).unwrap();
        let header = rig.bench().path(&role.to_string());
        std::fs::File::create(&header).unwrap().set_len(32 << 20).unwrap();
        transplant(&raw, place.start..place.start + (16 << 20), &header, 0);
        let printed =
            succeeds(oracles().command("usr/sbin/cryptsetup").unwrap().arg("luksDump").arg(&header));
        for words in ["Version:       \t2", "aes-xts-plain64", "0: luks2", "PBKDF:      pbkdf2"] {
            let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(squeezed(&printed).contains(&squeezed(words)), "{role}: not {words:?} in {printed}");
        }
        let json = oracles()
            .command("usr/sbin/cryptsetup")
            .unwrap()
            .args(["luksDump", "--dump-json-metadata"])
            .arg(&header)
            .output()
            .unwrap();
        assert!(json.status.success());
        let metadata: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(metadata["keyslots"].as_object().unwrap().len(), 1, "{role} has one key slot");
    }
}

/// P2: a node with a disk that is too small for STATE and DATA runs, and reports that both are in memory.
#[test]
fn a_disk_that_is_too_small_leaves_state_in_memory() {
    let rig = Rig::new("a_disk_that_is_too_small");
    let small = rig.bench().overlay(tools(), "disk", &Product::built().disk(), 8 << 30).unwrap();
    let mut machine = rig.boot(&rig.hardware(small));
    baseline(&machine, Expect::BaselineVolatile);
    no_failed_unit(&mut machine);
}

#[test]
fn a_grown_disk_enlarges_data() {
    let first = adopted();
    let rig = Rig::new("a_disk_that_has_grown");
    let grown = rig.bench().overlay(tools(), "disk", &first.disk, DISK + (2 << 30)).unwrap();
    let mut machine = rig.boot(&rig.hardware(grown));
    let records = baseline(&machine, Expect::Baseline);
    let note = last(&records, Stage::Disks).note.clone().unwrap();
    assert!(note.contains("data grown"), "{note}");
    no_failed_unit(&mut machine);
}

/// P2: a disk with 4096-byte sectors is refused with this reason, and not changed.
#[test]
fn a_target_with_4096_byte_sectors_is_refused() {
    let rig = Rig::of(installer(), "a_target_with_4096_byte_sectors");
    let target = rig.bench().blank("target", DISK).unwrap().block_size(4096);
    let machine = rig.boot(&from_cd(&rig, installer(), target));
    halts_at(&machine, Stage::Disks, "4096");
    assert_eq!(machine.writes(2).unwrap(), 0);
}

/// P2: a machine that boots with a BIOS shows that UEFI is required.
#[test]
fn a_bios_boot_shows_that_uefi_is_required() {
    let rig = Rig::new("a_bios");
    let machine = rig.boot(&Hardware::new(Firmware::Bios).disk(rig.disk("disk")));
    let refused = |line: &str| line.contains("kubedOS: this machine started in BIOS mode");
    machine.wait_for_line("the refusal", Patience::BOOT, refused).unwrap();
}

/// A write that always fails is retried; then the node halts with the error of the operation.
#[test]
fn a_permanent_write_error_halts() {
    let rig = Rig::new("a_disk_that_fails_a_write_for_good");
    let state = kubedos_image::layout::adopted(DISK).unwrap().place(Role::State).unwrap().start;
    let disk = rig.disk("disk").fault(Fault::WriteAt { sector: state / 512 });
    let machine = rig.boot(&rig.hardware(disk));
    halts_at(&machine, Stage::Disks, "cryptsetup on vda25");
    let records = machine.finish();
    assert!(records.iter().any(|record| record.outcome == Outcome::Retry), "{records:#?}");
}

/// A write that fails once is retried, and the disk is complete.
#[test]
fn a_single_write_error_is_retried() {
    let rig = Rig::new("a_write_that_fails_once");
    // The first sector of the primary entries: written when the disk is adopted.
    let mut machine = rig.boot(&rig.hardware(rig.disk("disk").fault(Fault::FirstWriteAt { sector: 2 })));
    let records = baseline(&machine, Expect::Baseline);
    assert!(records.iter().any(|record| record.outcome == Outcome::Retry), "{records:#?}");
    no_failed_unit(&mut machine);
}

/// The note of stage 1 about the device that the root volume was found on.
fn root_device(machine: &Machine) -> String {
    let records = machine.console().records();
    records
        .iter()
        .find(|record| record.stage == "OpenRoot" && record.outcome == Outcome::Done)
        .unwrap()
        .note
        .clone()
        .unwrap()
}

/// A5: a node uses either a USB stick or the disk that the stick was copied to, and never parts of both.
#[test]
fn a_usb_stick_next_to_its_copy_is_not_used() {
    let first = adopted();
    let rig = Rig::new("a_stick_beside_its_copy");
    let stick = Disk::new(rig.copy("stick"), Format::Raw);
    let machine = rig.boot(&rig.hardware(rig.overlay("disk", &first.disk)).disk(stick));
    baseline(&machine, Expect::BaselineUnchanged);
    assert!(root_device(&machine).contains("vda"), "{}", root_device(&machine));
    assert_eq!(machine.writes(2).unwrap(), 0, "the stick was written to");
}

#[test]
fn a_disk_next_to_the_booted_usb_stick_is_not_used() {
    let first = adopted();
    let rig = Rig::new("a_disk_beside_the_stick");
    let stick = Disk::new(rig.copy("stick"), Format::Raw);
    let machine = rig.boot(&rig.hardware(stick).disk(rig.overlay("disk", &first.disk).not_bootable()));
    baseline(&machine, Expect::BaselineVolatile);
    assert!(root_device(&machine).contains("vda"), "{}", root_device(&machine));
    assert_eq!(machine.writes(2).unwrap(), 0, "the disk was written to");
}
