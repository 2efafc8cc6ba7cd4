//! A5, T6: EFI variables that would add keys to the kernel's keyring or options to the command line of PID 1. An attacker with access to
//! the firmware's variable store can create them.

use kubedos_image::efi_signatures::varstore;
use kubedos_image::guid::Guid;
use kubedos_lab::{Firmware, Hardware};
use kubedos_tests::{Expect, Product, Rig, baseline, halts, no_failed_unit, project, tools};
use kubedos_wire::stage::EarlyStage;

use crate::secure_boot;

/// `EFI_SHIM_LOCK_GUID`.
const SHIM: &str = "605dab50-e046-4300-abb6-3dd810dd8b23";
/// `EFI_VENDOR_SYSTEMD`.
const SYSTEMD: &str = "8cf2644b-4b0b-428f-9387-6d876050dc67";

/// `NON_VOLATILE | BOOTSERVICE_ACCESS`, and with `RUNTIME_ACCESS`.
const BOOT: u32 = 3;
const RUNTIME: u32 = 7;

struct Planted {
    name: &'static str,
    vendor: &'static str,
    attributes: u32,
    data: Vec<u8>,
}

fn planted(name: &'static str, vendor: &'static str, data: impl Into<Vec<u8>>) -> Planted {
    Planted { name, vendor, attributes: RUNTIME, data: data.into() }
}

/// A signature list that the kernel accepts.
fn keys() -> Vec<u8> {
    std::fs::read(project().join("keys/demo/public/db.esl")).unwrap()
}

/// A variable store without enrolled keys, so that Secure Boot is off.
fn empty() -> Vec<u8> {
    std::fs::read(tools().file("usr/share/OVMF/OVMF_VARS_4M.fd").unwrap()).unwrap()
}

/// A machine whose firmware has the variables of `store` and `planted`.
fn with(rig: &Rig, store: Vec<u8>, planted: &[Planted]) -> Hardware {
    let store = planted.iter().fold(store, |store, variable| {
        let vendor: Guid = variable.vendor.parse().unwrap();
        varstore::add(&store, variable.name, vendor, variable.attributes, &variable.data).unwrap()
    });
    let path = rig.bench().path("planted.fd");
    std::fs::write(&path, store).unwrap();
    let nodes = Product::built().nodes();
    let seed = Product::built().seed(&nodes[0]);
    Hardware::new(Firmware::SecureBoot { varstore: path }).watchdog().disk(rig.disk("disk")).disk(seed)
}

fn halts_and_reports(rig: &Rig, store: Vec<u8>, variable: Planted) {
    let file = format!("{}-{}", variable.name, variable.vendor);
    let machine = rig.boot(&with(rig, store, &[variable]));
    let record = halts(&machine);
    assert_eq!(record.stage, EarlyStage::Modules.name(), "{record:?}");
    let error = record.error.as_deref().unwrap();
    for words in [format!("variable {file} exists"), "remove: ".to_owned()] {
        assert!(error.contains(&words), "{words} is not in: {error}");
    }
}

#[test]
fn a_planted_mok_list_halts() {
    halts_and_reports(&Rig::new("mok_list"), empty(), planted("MokListRT", SHIM, keys()));
}

/// With Secure Boot on, the kernel would trust the keys in this list.
#[test]
fn a_planted_mok_list_halts_under_secure_boot() {
    let rig = Rig::new("mok_list_secure");
    let store = std::fs::read(secure_boot::varstore(&rig, &[])).unwrap();
    halts_and_reports(&rig, store, planted("MokListRT", SHIM, keys()));
}

/// The other variables. Their content and length do not matter.
#[test]
fn every_other_variable_that_changes_trust_halts() {
    for (name, vendor, data) in [
        ("MokListTrustedRT", SHIM, vec![1]),
        ("MokListXRT", SHIM, vec![0x5a; 6000]),
        ("MokListRT1", SHIM, keys()),
        ("MokIgnoreDB", SHIM, vec![0]),
        ("MokSBStateRT", SHIM, vec![0]),
        ("SystemdOptions", SYSTEMD, b"systemd.debug_shell=1".to_vec()),
    ] {
        halts_and_reports(&Rig::new(&format!("variable_{name}")), empty(), planted(name, vendor, data));
    }
}

/// Variables that the kernel does not read do not prevent the boot: other variables of shim, other spellings and vendors, and variables
/// without runtime access.
#[test]
fn harmless_variables_do_not_halt() {
    let rig = Rig::new("harmless_variables");
    let harmless = [
        planted("moklistrt", SHIM, keys()),
        planted("MokListRT", "8be4df61-93ca-11d2-aa0d-00e098032b8c", keys()),
        planted("SbatPolicy", SHIM, [1]),
        planted("MokNew", SHIM, keys()),
        Planted { name: "MokListRT", vendor: SHIM, attributes: BOOT, data: keys() },
    ];
    let mut machine = rig.boot(&with(&rig, empty(), &harmless));
    baseline(&machine, Expect::Baseline);
    no_failed_unit(&mut machine);
}
