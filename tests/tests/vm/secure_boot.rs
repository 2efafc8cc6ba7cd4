//! A5, T6: under Secure Boot with our keys only, firmware starts only programs that we signed.

use std::path::PathBuf;

use kubedos_builder::keys::KeyDir;
use kubedos_image::authenticode;
use kubedos_image::efi_signatures::Timestamp;
use kubedos_image::efi_signatures::varstore;
use kubedos_image::layout::Role;
use kubedos_image::pe::Pe;
use kubedos_lab::{Disk, Firmware, Format, Hardware, Machine, Patience};
use kubedos_tests::{
    Expect, Product, Rig, baseline, key_directory, no_failed_unit, plant, project, read_esp, tools, uki_name,
};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::EarlyStage;

/// A machine whose firmware trusts the certificates of the demo keys only.
pub(crate) fn enrolled(rig: &Rig, disk: Disk) -> Hardware {
    let nodes = Product::built().nodes();
    let seed = Product::built().seed(&nodes[0]);
    Hardware::new(Firmware::SecureBoot { varstore: varstore(rig, &[]) }).watchdog().disk(disk).disk(seed)
}

/// A variable store with Secure Boot enabled, the certificates of the demo keys, and `others` in `db`.
pub(crate) fn varstore(rig: &Rig, others: &[&[u8]]) -> PathBuf {
    let public = KeyDir::open(&project().join("keys/demo")).unwrap().public().secure_boot.clone();
    let template = std::fs::read(tools().file("usr/share/OVMF/OVMF_VARS_4M.fd").unwrap()).unwrap();
    let db: Vec<&[u8]> = public.db.iter().map(Vec::as_slice).chain(others.iter().copied()).collect();
    let keys = varstore::Keys {
        pk: &public.pk,
        kek: &public.kek,
        db: &db,
        time: Timestamp::from_unix(1_763_300_000).unwrap(),
    };
    let path = rig.bench().path("enrolled.fd");
    std::fs::write(&path, varstore::enrol(&template, &keys).unwrap()).unwrap();
    path
}

#[test]
fn boots_under_secure_boot_with_our_keys_only() {
    let rig = Rig::new("boots_under_secure_boot");
    let mut machine = rig.boot(&enrolled(&rig, rig.disk("disk")));
    let records = baseline(&machine, Expect::Baseline);
    let modules =
        records.iter().find(|r| r.stage == EarlyStage::Modules.name() && r.outcome == Outcome::Done);
    let note = modules.unwrap().note.as_deref().unwrap();
    assert!(note.contains("Secure Boot on"), "{note}");
    no_failed_unit(&mut machine);
}

/// Boots a copy of the image with one changed program in the ESP; checks that firmware or the boot loader refuses it and no stage runs.
fn is_refused(test: &str, change: impl FnOnce(&str, &str) -> (String, Vec<u8>)) {
    let rig = Rig::new(test);
    let copy = rig.copy("image");
    let esp = Product::built().partition(Role::Esp);
    let uki = format!("EFI/Linux/{}", uki_name(&copy, esp.clone()));
    let (path, content) = change(&uki, "EFI/BOOT/BOOTX64.EFI");
    plant(&copy, esp, &path, &content);
    let machine = rig.boot(&enrolled(&rig, Disk::new(copy, Format::Raw)));
    refusal(&machine);
    let records = machine.finish();
    assert!(records.is_empty(), "{records:#?}");
}

fn refusal(machine: &Machine) {
    let refused = |line: &str| {
        ["Access Denied", "Access denied", "Security Violation"].iter().any(|words| line.contains(words))
            || Record::find(line).is_some()
    };
    let line = machine.wait_for_line("a refusal", Patience::BOOT, refused).unwrap();
    assert!(Record::find(&line).is_none(), "it started: {line}");
}

fn uki() -> Vec<u8> {
    std::fs::read(Product::built().output("efi")).unwrap()
}

pub(crate) fn boot_loader() -> Vec<u8> {
    read_esp(Product::built().raw(), Product::built().partition(Role::Esp), "EFI/BOOT/BOOTX64.EFI")
}

/// The changed bit is in the kernel.
#[test]
fn tampered_uki_is_refused_by_firmware() {
    is_refused("tampered_uki", |path, _| {
        let mut bytes = uki();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        (path.to_owned(), bytes)
    });
}

#[test]
fn tampered_boot_loader_is_refused_by_firmware() {
    is_refused("tampered_boot_loader", |_, path| {
        let mut bytes = boot_loader();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        (path.to_owned(), bytes)
    });
}

#[test]
fn unsigned_uki_is_refused_by_firmware() {
    is_refused("unsigned_uki", |path, _| {
        let signed = uki();
        let unsigned = authenticode::detach(&signed).unwrap().0;
        assert!(Pe::parse(&unsigned).unwrap().certificate_table().is_none());
        (path.to_owned(), unsigned)
    });
}

/// A valid signature with a key of a different cluster.
#[test]
fn uki_of_a_foreign_key_is_refused_by_firmware() {
    is_refused("foreign_uki", |path, _| {
        let unsigned = authenticode::detach(&uki()).unwrap().0;
        let foreign = KeyDir::open(&key_directory("second")).unwrap().secure_boot_signer().unwrap();
        (path.to_owned(), authenticode::sign(&unsigned, &foreign).unwrap())
    });
}
