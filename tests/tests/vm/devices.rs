//! O1, P2, D1: the hardware that a node needs, the disks that it reports but does not use, and the console of a healthy node.

use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use kubedos_lab::{Attachment, Disk, Format, Hardware, Machine, Patience};
use kubedos_tests::{
    DISK, Expect, Product, Rig, Variant, baseline, halts, healthy_console, last, no_failed_unit, status_page,
};
use kubedos_wire::record::{MAX_BYTES, Outcome};
use kubedos_wire::stage::{EarlyStage, Stage};

/// An image whose first node has its system disk selected by `rule`.
fn named(name: &'static str, rule: &str) -> Product {
    let rule = format!("          - sizeGiB: 14\n            match:\n              {rule}\n");
    Variant::new(name).edit("          - sizeGiB: 14\n", rule).build()
}

fn by_serial() -> &'static Product {
    static PRODUCT: OnceLock<Product> = OnceLock::new();
    PRODUCT.get_or_init(|| named("by-serial", "serial: target"))
}

/// A machine that boots the image as a CD, with the seed and without a system disk.
fn from_cd(rig: &Rig, product: &Product) -> Hardware {
    let cd = Disk::cd(product.raw(), Attachment::ScsiCd);
    rig.unseeded(cd).disk(product.seed("cp-1"))
}

/// The text of the page, with the lines of one field joined.
fn joined(page: &[String]) -> String {
    page.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n").replace("\n          ", " ")
}

/// P2: the default processor of older Proxmox versions has no SSSE3, AES, SSE 4.2 and RDRAND, and the machine has no source of randomness.
#[test]
fn a_processor_without_any_extension_boots_and_keeps_its_disk() {
    let rig = Rig::new("a_processor_without_any_extension");
    let disk = rig.disk("disk");
    let hardware = |disk| rig.hardware(disk).processor("kvm64,-cx16").without_entropy();
    let mut machine = rig.boot(&hardware(disk.clone()));
    let records = baseline(&machine, Expect::Baseline);
    let modules = records
        .iter()
        .find(|record| record.stage == EarlyStage::Modules.name() && record.outcome == Outcome::Done);
    let note = modules.unwrap().note.clone().unwrap();
    assert!(!note.contains("refused"), "{note}");
    no_failed_unit(&mut machine);
    machine.cut_power().unwrap();
    let machine = rig.boot(&hardware(disk));
    baseline(&machine, Expect::BaselineUnchanged);
}

/// P2: the smallest machine of `docs/limits.md` boots.
#[test]
fn the_smallest_documented_machine_boots() {
    let rig = Rig::new("the_smallest_documented_machine");
    let mut machine = rig.boot(&rig.hardware(rig.disk("disk")).memory_mib(512));
    baseline(&machine, Expect::Baseline);
    no_failed_unit(&mut machine);
}

/// P2: a machine with less memory than documented halts with an error and not with a panic.
#[test]
fn too_little_memory_is_reported() {
    let rig = Rig::new("too_little_memory");
    let machine = rig.boot(&rig.hardware(rig.disk("disk")).memory_mib(384));
    let record = halts(&machine);
    assert_eq!(record.stage, EarlyStage::Modules.name(), "{record:?}");
    let error = record.error.unwrap();
    assert!(error.contains("MiB of usable memory") && error.contains("at least 512 MiB"), "{error}");
}

/// P2: a USB stick on a controller for which the cloud kernel has no driver: the error has the controller and the solution.
#[test]
fn a_controller_without_a_driver_is_reported() {
    let rig = Rig::new("a_controller_without_a_driver");
    let stick = Disk::new(rig.copy("stick"), Format::Raw).attached(Attachment::Usb);
    let machine = rig.boot(&rig.unseeded(stick));
    let patience = Patience { silence: std::time::Duration::from_secs(300), ..Patience::BOOT };
    let record = machine.wait_for("a halt", patience, |record| record.outcome == Outcome::Halted).unwrap();
    assert_eq!(record.stage, EarlyStage::FindVolumes.name(), "{record:?}");
    let error = record.error.unwrap();
    for words in ["no driver in this image for: USB controller at PCI 0000:00:", "substrate.type: metal"] {
        assert!(error.contains(words), "{error}");
    }
}

/// O1: if no disk matches, the record has the reason for each disk, the status page lists the disks in full, and no disk is written to.
#[test]
fn when_no_disk_matches_every_disk_is_listed_with_the_reason() {
    let rig = Rig::of(by_serial(), "no_disk_matches");
    let blank = |name: &str| rig.bench().blank(name, DISK).unwrap().not_bootable();
    let hardware = from_cd(&rig, by_serial())
        .disk(blank("other").serial("Target"))
        .disk(blank("sata").attached(Attachment::Sata).serial("S3Z1NB0K1"))
        .disk(blank("nvme").attached(Attachment::Nvme).serial("nothing-like-it"));
    let mut machine = rig.boot(&hardware);
    let records = baseline(&machine, Expect::BaselineVolatile);
    let record = last(&records, Stage::Disks);
    assert!(record.outcome == Outcome::Waiting && record.on.as_deref() == Some("disk"), "{record:?}");
    let note = record.note.clone().unwrap();
    for words in [
        "no disk matches the spec's disk `disk-0` (serial \"target\"): ",
        "serial \"Target\" path \"",
        "serial differs in upper and lower case",
        "different serial",
        "model \"QEMU HARDDISK\"",
        "STATE and DATA are in memory",
    ] {
        assert!(note.contains(words), "not {words:?}: {note}");
    }
    let lines = machine.console().lines();
    assert!(
        lines
            .iter()
            .filter(|line| line.text.contains("kubedos: {"))
            .all(|line| line.text.len() < MAX_BYTES + 40)
    );
    let page = joined(&status_page(&mut machine));
    for words in [
        "serial \"nothing-like-it\"",
        "wwn \"",
        "path \"",
        "14.0 GiB",
        "has the seed; vda",
        "units     none failed",
    ] {
        assert!(page.contains(words), "not {words:?}: {page}");
    }
    for disk in 2..5 {
        assert_eq!(machine.writes(disk).unwrap(), 0, "disk {disk} was written to");
    }
}

/// Adds an NVMe controller with two namespaces of [`DISK`] bytes to the machine.
fn with_namespaces(rig: &Rig, mut hardware: Hardware, serial: &str) -> Hardware {
    hardware = hardware.extra("-device").extra(format!("nvme,id=twice,serial={serial}"));
    for number in 1..=2 {
        let file = rig.bench().blank(&format!("namespace-{number}"), DISK).unwrap();
        let node = format!("namespace{number}");
        let drive = serde_json::json!({
            "driver": "raw", "node-name": node, "file": { "driver": "file", "filename": file.file() },
        });
        hardware = hardware
            .extra("-blockdev")
            .extra(drive.to_string())
            .extra("-device")
            .extra(format!("nvme-ns,bus=twice,drive={node},nsid={number}"));
    }
    hardware
}

/// S3: the namespaces of one NVMe controller have the same serial number. The node uses neither, and reports how to distinguish them.
#[test]
fn namespaces_with_one_serial_number_are_refused_and_distinguished() {
    let rig = Rig::of(by_serial(), "namespaces_that_share_a_serial_number");
    let machine = rig.boot(&with_namespaces(&rig, from_cd(&rig, by_serial()), "target"));
    let record = halts(&machine);
    assert_eq!(record.stage, Stage::Disks.name(), "{record:?}");
    let error = record.error.unwrap();
    for words in ["2 disks match", "nvme0n1", "nvme0n2", "name one by its `wwn`"] {
        assert!(error.contains(words), "not {words:?}: {error}");
    }
}

/// S3: the same two namespaces, and a spec with the world-wide name of one of them. (The kernel ignores QEMU's EUI-64, and generates a
/// name from vendor, serial number, model and namespace.)
#[test]
fn a_namespace_is_found_by_its_world_wide_name() {
    static PRODUCT: OnceLock<Product> = OnceLock::new();
    let product = PRODUCT
        .get_or_init(|| named("by-wwn", "wwn: nvme.1b36-746172676574-51454d55204e564d65204374726c-00000002"));
    let rig = Rig::of(product, "a_namespace_is_found_by_its_world_wide_name");
    let machine = rig.boot(&with_namespaces(&rig, from_cd(&rig, product), "target"));
    baseline(&machine, Expect::Baseline);
    machine.cut_power().unwrap();
    // The kernel scans namespaces in parallel, so either of them can be nvme0n1. The blocks of the files show which one was written.
    let written =
        |number: u32| std::fs::metadata(rig.bench().path(&format!("namespace-{number}"))).unwrap().blocks();
    assert!(written(2) > 0 && written(1) == 0);
}

/// S3: virtio transports only 20 bytes of a serial number; a spec with the full number still finds the disk.
#[test]
fn a_serial_number_truncated_by_virtio_finds_its_disk() {
    static PRODUCT: OnceLock<Product> = OnceLock::new();
    let product = PRODUCT.get_or_init(|| named("by-long-serial", "serial: 0123456789ABCDEFGHIJKLMNO"));
    let rig = Rig::of(product, "a_serial_number_that_virtio_cuts");
    let target = rig.bench().blank("target", DISK).unwrap().not_bootable();
    let other = rig.bench().blank("other", DISK).unwrap().not_bootable();
    let hardware = from_cd(&rig, product)
        .disk(other.serial("0123456789ABCDEFGHIX"))
        .disk(target.serial("0123456789ABCDEFGHIJKLMNO"));
    let machine = rig.boot(&hardware);
    let records = baseline(&machine, Expect::Baseline);
    let note = last(&records, Stage::Disks).note.clone().unwrap();
    assert!(note.contains("vdc"), "{note}");
}

/// D1: a healthy boot from CD without a disk shows no fault on the console.
#[test]
fn a_boot_without_a_disk_shows_no_fault() {
    let rig = Rig::new("a_boot_without_a_disk");
    let cd = Disk::cd(Product::built().raw(), Attachment::AhciCd);
    let machine: Machine = rig.boot(&rig.hardware(cd));
    baseline(&machine, Expect::BaselineVolatile);
    healthy_console(&machine);
}
