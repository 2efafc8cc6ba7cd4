//! A5: add-ons of systemd-stub. An add-on is a signed PE file in a folder next to the UKI; systemd-stub appends its `.cmdline` and
//! `.initrd` to those of the UKI.

use std::path::{Path, PathBuf};

use kubedos_builder::keys::KeyDir;
use kubedos_image::layout::Role;
use kubedos_image::{authenticode, pe};
use kubedos_lab::{Attachment, Disk, Format};
use kubedos_tests::{
    Expect, Product, Rig, baseline, halts, key_directory, no_failed_unit, plant, project, uki_name,
};

use crate::foreign;
use crate::planted::extensions_and_credentials;
use crate::secure_boot::{boot_loader, enrolled};

/// The command line that an add-on appends.
const APPENDED: &str = "rdinit=/none root=/dev/nvme0n1 rootwait init=/sbin/init";

/// An unsigned add-on with these sections. Every PE program without a kernel section is an add-on.
fn addon(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let program = authenticode::detach(&boot_loader()).unwrap().0;
    pe::uki(&program, sections).unwrap()
}

fn signed(program: &[u8], keys: &Path) -> Vec<u8> {
    let signer = KeyDir::open(keys).unwrap().secure_boot_signer().unwrap();
    authenticode::sign(program, &signer).unwrap()
}

/// A copy of the image with these add-ons in both folders: the one of this UKI and the one of all UKIs.
fn image_with(rig: &Rig, addons: &[(&str, Vec<u8>)]) -> PathBuf {
    let copy = rig.copy("image");
    let esp = Product::built().partition(Role::Esp);
    let uki = uki_name(&copy, esp.clone());
    for folder in [format!("EFI/Linux/{uki}.extra.d"), "loader/addons".to_owned()] {
        for (name, content) in addons {
            plant(&copy, esp.clone(), &format!("{folder}/{name}.addon.efi"), content);
        }
    }
    copy
}

fn disk(rig: &Rig, copy: PathBuf) -> Disk {
    rig.overlay("disk", &Disk::new(copy, Format::Raw))
}

fn foreign_root(rig: &Rig) -> Disk {
    foreign::root(rig.bench(), "foreign").attached(Attachment::Nvme)
}

fn console(machine: &kubedos_lab::Machine) -> String {
    String::from_utf8_lossy(&std::fs::read(machine.log()).unwrap()).into_owned()
}

/// Firmware refuses each add-on, systemd-stub ignores it, and the node boots normally. The node also ignores credentials and extensions,
/// which are not signed.
#[test]
fn foreign_addons_are_ignored_under_secure_boot() {
    let rig = Rig::new("foreign_addons");
    let initrd = foreign::initrd();
    let cmdline = addon(&[(".cmdline", APPENDED.as_bytes())]);
    let both = addon(&[(".cmdline", APPENDED.as_bytes()), (".initrd", &initrd), (".ucode", &initrd)]);
    let addons = [
        ("unsigned", both.clone()),
        ("foreign", signed(&both, &key_directory("second"))),
        ("foreign-cmdline", signed(&cmdline, &key_directory("second"))),
    ];
    let copy = image_with(&rig, &addons);
    extensions_and_credentials(&copy);
    let mut machine = rig.boot(&enrolled(&rig, disk(&rig, copy)).disk(foreign_root(&rig)));
    baseline(&machine, Expect::Baseline);
    let console = console(&machine);
    for (name, _) in &addons {
        assert!(console.contains(&format!("{name}.addon.efi")), "systemd-stub did not try to load {name}");
    }
    assert!(!console.contains(foreign::MARK));
    no_failed_unit(&mut machine);
}

fn halts_at_the_command_line(machine: &kubedos_lab::Machine) {
    let record = halts(machine);
    let error = record.error.as_deref().unwrap();
    assert!(error.contains(&format!("appended: \" {APPENDED}")), "{error}");
    assert!(!console(machine).contains(foreign::MARK));
}

/// An add-on that is signed with our key is appended, and stage 1 halts as it does for an SMBIOS string.
#[test]
fn an_addon_signed_with_our_key_halts() {
    let rig = Rig::new("own_addon");
    let own = signed(&addon(&[(".cmdline", APPENDED.as_bytes())]), &project().join("keys/demo"));
    let copy = image_with(&rig, &[("own", own)]);
    halts_at_the_command_line(&rig.boot(&enrolled(&rig, disk(&rig, copy)).disk(foreign_root(&rig))));
}

/// Without Secure Boot the command line of an unsigned add-on is appended.
#[test]
fn an_unsigned_addon_without_secure_boot_halts() {
    let rig = Rig::new("unsigned_addon");
    let copy = image_with(&rig, &[("unsigned", addon(&[(".cmdline", APPENDED.as_bytes())]))]);
    halts_at_the_command_line(&rig.boot(&rig.hardware(disk(&rig, copy)).disk(foreign_root(&rig))));
}

/// A boot entry that passes another initrd and options to the UKI: under Secure Boot neither reaches the kernel.
#[test]
fn initrd_and_options_of_a_boot_entry_are_ignored_under_secure_boot() {
    let rig = Rig::new("entry_initrd");
    let copy = rig.copy("image");
    let esp = Product::built().partition(Role::Esp);
    let uki = uki_name(&copy, esp.clone());
    let entry = format!("title evil\nefi /EFI/Linux/{uki}\ninitrd /evil.cpio\noptions {APPENDED}\n");
    plant(&copy, esp.clone(), "evil.cpio", &foreign::initrd());
    plant(&copy, esp.clone(), "loader/entries/evil.conf", entry.as_bytes());
    plant(&copy, esp, "loader/loader.conf", b"timeout 0\ndefault evil.conf\n");
    let machine = rig.boot(&enrolled(&rig, disk(&rig, copy)).disk(foreign_root(&rig)));
    baseline(&machine, Expect::Baseline);
    assert!(!console(&machine).contains(foreign::MARK));
}
