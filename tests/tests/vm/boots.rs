//! A2, A4, D1, S3: the same file boots from every medium, the console shows no fault, and the second boot makes no change.

use std::sync::OnceLock;

use kubedos_lab::{Attachment, Disk, Format, Patience};
use kubedos_tests::{Expect, Product, Rig, baseline, healthy_console, healthy_lines, last, no_failed_unit};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;

use crate::adopted::adopted;

fn boots_as(product: &'static Product, test: &str, attachment: Attachment, processors: u32) {
    let rig = Rig::of(product, test);
    let disk = rig.disk("disk").attached(attachment);
    let mut machine = rig.boot(&rig.hardware(disk).processors(processors));
    baseline(&machine, Expect::Baseline);
    // The last record appears even if no other line follows it.
    let is_last = |line: &str| Record::find(line).is_some_and(|record| record.stage == Stage::Seal.name());
    machine.wait_for_line("the last stage's record", Patience::BOOT, is_last).unwrap();
    no_failed_unit(&mut machine);
}

/// A2: as a virtio disk. Other tests start from this first boot.
#[test]
fn boots_as_virtio_disk() {
    let adopted = adopted();
    assert!(adopted.page.iter().any(|line| line.contains("units     none failed")), "{:#?}", adopted.page);
    assert_eq!(last(&adopted.records, Stage::Disks).outcome, Outcome::Done, "a first boot creates the disks");
    healthy_lines(&adopted.console);
}

/// A2.
#[test]
fn boots_as_sata_disk() {
    boots_as(Product::built(), "boots_as_sata_disk", Attachment::Sata, 1);
}

/// A2.
#[test]
fn boots_as_nvme_disk() {
    boots_as(Product::built(), "boots_as_nvme_disk", Attachment::Nvme, 1);
}

/// The bare-metal example: the generic kernel with its drivers.
fn bare_metal() -> &'static Product {
    static BARE_METAL: OnceLock<Product> = OnceLock::new();
    BARE_METAL.get_or_init(|| Product::example("bare-metal"))
}

/// A2, P2: the generic kernel from a USB stick, which is the node's system disk.
#[test]
fn bare_metal_boots_as_usb_stick() {
    boots_as(bare_metal(), "bare_metal_boots_as_usb_stick", Attachment::Usb, 1);
}

/// A2, P2.
#[test]
fn bare_metal_boots_as_sata_disk() {
    boots_as(bare_metal(), "bare_metal_boots_as_sata_disk", Attachment::Sata, 1);
}

#[test]
#[ignore = "long: make drill runs it"]
fn bare_metal_boots_from_every_other_medium() {
    for attachment in [Attachment::Virtio, Attachment::Nvme] {
        boots_as(bare_metal(), &format!("bare_metal_boots_as_{attachment:?}"), attachment, 2);
    }
    for attachment in [Attachment::ScsiCd, Attachment::AhciCd] {
        let test = format!("bare_metal_boots_as_{attachment:?}");
        let rig = Rig::of(bare_metal(), &test);
        let mut machine = rig.boot(&rig.hardware(Disk::cd(bare_metal().raw(), attachment)).processors(2));
        baseline(&machine, Expect::BaselineVolatile);
        no_failed_unit(&mut machine);
    }
}

/// A2: the qcow2 file, enlarged, boots as the same disk.
#[test]
fn boots_as_qcow2() {
    let rig = Rig::new("boots_as_qcow2");
    let image = Disk::new(Product::built().output("qcow2"), Format::Qcow2);
    let mut machine = rig.boot(&rig.hardware(rig.overlay("disk", &image)));
    baseline(&machine, Expect::Baseline);
    no_failed_unit(&mut machine);
}

fn boots_as_cd(test: &str, attachment: Attachment) {
    let rig = Rig::new(test);
    let cd = Disk::cd(Product::built().raw(), attachment);
    let mut machine = rig.boot(&rig.hardware(cd));
    baseline(&machine, Expect::BaselineVolatile);
    no_failed_unit(&mut machine);
    healthy_console(&machine);
}

/// A2: the raw file is also the ISO.
#[test]
fn boots_as_scsi_cd() {
    boots_as_cd("boots_as_scsi_cd", Attachment::ScsiCd);
}

/// A2.
#[test]
fn boots_as_ahci_cd() {
    boots_as_cd("boots_as_ahci_cd", Attachment::AhciCd);
}

/// S3: a second boot of an adopted disk makes no change.
#[test]
fn second_boot_reports_unchanged() {
    let first = adopted();
    let rig = Rig::new("second_boot_reports_unchanged");
    let mut machine = rig.boot(&rig.hardware(rig.overlay("disk", &first.disk)));
    baseline(&machine, Expect::BaselineUnchanged);
    no_failed_unit(&mut machine);
    healthy_console(&machine);
}
