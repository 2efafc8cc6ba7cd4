//! A5: what a hypervisor, or a writer of the unsigned ESP, hands to a node reaches neither verification nor PID 1.

use std::path::Path;

use kubedos_image::layout::Role;
use kubedos_lab::{Disk, Format};
use kubedos_tests::{Expect, Product, Rig, baseline, halts, no_failed_unit, plant, uki_name};

/// A unit that fails as soon as it is taken: then it stands among the failed units.
const PLANTED_UNIT: &str = "[Unit]\nDescription=planted\n[Service]\nExecStart=/no/such/program\n";
/// Pulls the planted unit into the boot.
const PLANTED_WANT: &str = "[Unit]\nWants=planted.service\n";

/// systemd-stub appends this string to the command line, also under Secure Boot; stage 1 compares and halts.
#[test]
fn smbios_cmdline_is_refused() {
    let rig = Rig::new("smbios_cmdline_is_refused");
    let hardware = rig
        .hardware(rig.disk("disk"))
        .smbios_string("io.systemd.stub.kernel-cmdline-extra=systemd.debug_shell=1");
    let machine = rig.boot(&hardware);
    let record = halts(&machine);
    assert!(record.error.as_deref().is_some_and(|error| error.contains("command line")), "{record:?}");
    assert!(!machine.finish().iter().any(|record| record.stage == "ValidateShard"));
}

/// Units and drop-ins as credentials, by every road that a hypervisor has.
#[test]
fn fwcfg_unit_is_ignored() {
    let rig = Rig::new("fwcfg_unit_is_ignored");
    let mut hardware = rig.hardware(rig.disk("disk"));
    // The emulator takes names of 55 characters at most, so what is pulled in by fw_cfg has a short name and hangs on the root slice.
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

/// Credentials and a system extension beside the UKI: systemd-stub hands them over in `/.extra`.
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

/// Plants them on the ESP of a copy of the image. A unit fails if they are taken.
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
