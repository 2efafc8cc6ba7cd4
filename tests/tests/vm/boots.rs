//! A2, A4, D1, S3: the same file boots from every medium, says so, and the second boot changes nothing.

use kubedos_lab::{Attachment, Disk, Format};
use kubedos_spec::record::Outcome;
use kubedos_spec::stage::Stage;
use kubedos_tests::{Expect, Product, Rig, baseline, status_page};

use crate::adopted::adopted;

fn no_failed_unit(page: &[String]) {
    assert!(page.iter().any(|line| line.contains("units     none failed")), "{page:#?}");
}

fn boots_as(test: &str, attachment: Attachment) {
    let rig = Rig::new(test);
    let disk = rig.disk("disk").attached(attachment);
    let mut machine = rig.boot(&rig.hardware(disk));
    baseline(&machine, Expect::Baseline);
    no_failed_unit(&status_page(&mut machine));
}

/// A2: as a virtio disk, which is the first boot that other tests start from.
#[test]
fn boots_as_virtio_disk() {
    let adopted = adopted();
    no_failed_unit(&adopted.page);
    let disks = adopted.records.iter().rfind(|record| record.stage == Stage::Disks.name()).unwrap();
    assert_eq!(disks.outcome, Outcome::Done, "a first boot creates the disks");
}

/// A2.
#[test]
fn boots_as_sata_disk() {
    boots_as("boots_as_sata_disk", Attachment::Sata);
}

/// A2.
#[test]
fn boots_as_nvme_disk() {
    boots_as("boots_as_nvme_disk", Attachment::Nvme);
}

/// A2: the qcow2 is the same disk, grown.
#[test]
fn boots_as_qcow2() {
    let rig = Rig::new("boots_as_qcow2");
    let image = Disk::new(Product::built().output("qcow2"), Format::Qcow2);
    let mut machine = rig.boot(&rig.hardware(rig.overlay("disk", &image)));
    baseline(&machine, Expect::Baseline);
    no_failed_unit(&status_page(&mut machine));
}

fn boots_as_cd(test: &str, attachment: Attachment) {
    let rig = Rig::new(test);
    let cd = Disk::cd(Product::built().raw(), attachment);
    let mut machine = rig.boot(&rig.hardware(cd));
    baseline(&machine, Expect::Baseline);
    let volatile = |record: &kubedos_spec::record::Record| {
        record.stage == Stage::Disks.name()
            && record.outcome == Outcome::Waiting
            && record.on.as_deref() == Some("disk")
    };
    assert!(machine.console().records().iter().any(volatile), "volatile state is said");
    no_failed_unit(&status_page(&mut machine));
}

/// A2: the raw file is the ISO.
#[test]
fn boots_as_scsi_cd() {
    boots_as_cd("boots_as_scsi_cd", Attachment::ScsiCd);
}

/// A2.
#[test]
fn boots_as_ahci_cd() {
    boots_as_cd("boots_as_ahci_cd", Attachment::AhciCd);
}

/// S3: a second boot of an adopted disk has nothing to do, and the seed's disk is needed no second time to find the node's own.
#[test]
fn second_boot_says_unchanged() {
    let first = adopted();
    let rig = Rig::new("second_boot_says_unchanged");
    let mut machine = rig.boot(&rig.hardware(rig.overlay("disk", &first.disk)));
    baseline(&machine, Expect::BaselineUnchanged);
    no_failed_unit(&status_page(&mut machine));
}
