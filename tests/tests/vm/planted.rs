//! A5: data from a hypervisor, or from an attacker who can write to the unsigned ESP, affects neither verification nor PID 1.

use std::path::Path;

use kubedos_image::layout::Role;
use kubedos_lab::{Disk, Format};
use kubedos_tests::{Expect, Product, Rig, baseline, halts, no_failed_unit, plant, uki_name};

/// A unit that fails if systemd loads it, so that the status page shows it as failed.
const PLANTED_UNIT: &str = "[Unit]\nDescription=planted\n[Service]\nExecStart=/no/such/program\n";
/// Pulls the planted unit into the boot.
const PLANTED_WANT: &str = "[Unit]\nWants=planted.service\n";

/// systemd-stub appends this string to the command line, also under Secure Boot; stage 1 compares the command line and halts.
#[test]
fn an_smbios_command_line_is_refused() {
    let rig = Rig::new("an_smbios_command_line_is_refused");
    let hardware = rig
        .hardware(rig.disk("disk"))
        .smbios_string("io.systemd.stub.kernel-cmdline-extra=systemd.debug_shell=1");
    let machine = rig.boot(&hardware);
    let record = halts(&machine);
    assert!(record.error.as_deref().is_some_and(|error| error.contains("command line")), "{record:?}");
    assert!(!machine.finish().iter().any(|record| record.stage == "ValidateShard"));
}

/// Units and drop-ins as credentials, through every interface that a hypervisor has.
#[test]
fn units_from_fw_cfg_and_smbios_are_ignored() {
    let rig = Rig::new("units_from_fw_cfg_and_smbios_are_ignored");
    let mut hardware = rig.hardware(rig.disk("disk"));
    // The emulator accepts names of at most 55 characters. The unit from fw_cfg therefore has a short name, and the root slice pulls it in.
    for (name, text) in [
        ("systemd.extra-unit.p.service", PLANTED_UNIT),
        ("systemd.unit-dropin.-.slice", "[Unit]\nWants=p.service\n"),
    ] {
        hardware = hardware.fw_cfg(format!("opt/io.systemd.credentials/{name}"), text);
    }
    for (name, text) in [
        ("systemd.extra-unit.planted.service", PLANTED_UNIT),
        ("systemd.unit-dropin.multi-user.target", PLANTED_WANT),
        ("systemd.unit-dropin.basic.target", PLANTED_WANT),
    ] {
        let text = text.replace('\n', "\\n");
        hardware = hardware.smbios_string(format!("io.systemd.credential:{name}={text}"));
    }
    let mut machine = rig.boot(&hardware);
    baseline(&machine, Expect::Baseline);
    no_failed_unit(&mut machine);
}

/// Credentials and a system extension next to the UKI: systemd-stub passes them to the initrd in `/.extra`.
#[test]
fn planted_sysext_and_credentials_are_ignored() {
    let rig = Rig::new("planted_sysext_and_credentials_are_ignored");
    let copy = rig.copy("image");
    extensions_and_credentials(&copy);
    let disk = rig.overlay("disk", &Disk::new(copy, Format::Raw));
    let mut machine = rig.boot(&rig.hardware(disk));
    baseline(&machine, Expect::Baseline);
    no_failed_unit(&mut machine);
}

/// Plants extensions and credentials on the ESP of a copy of the image. A unit fails if the node uses them.
pub(crate) fn extensions_and_credentials(copy: &Path) {
    let esp = Product::built().partition(Role::Esp);
    let uki = uki_name(copy, esp.clone());
    plant(copy, esp.clone(), &format!("EFI/Linux/{uki}.extra.d/planted.sysext.raw"), &[0x5a; 8192]);
    plant(copy, esp.clone(), &format!("EFI/Linux/{uki}.extra.d/planted.confext.raw"), &[0x5a; 8192]);
    for folder in [format!("EFI/Linux/{uki}.extra.d"), "loader/credentials".into()] {
        let unit = format!("{folder}/systemd.extra-unit.planted.service.cred");
        plant(copy, esp.clone(), &unit, PLANTED_UNIT.as_bytes());
        let want = format!("{folder}/systemd.unit-dropin.multi-user.target.cred");
        plant(copy, esp.clone(), &want, PLANTED_WANT.as_bytes());
    }
}
