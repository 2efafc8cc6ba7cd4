//! Verifies EFI programs: their signatures, and that a UKI has the form and the fields that the builder writes.

use std::collections::BTreeSet;

use kubedos_image::authenticode;
use kubedos_image::cpio::Entry;
use kubedos_image::pe::Pe;
use kubedos_image::pkcs7::Certificate;

use super::Checks;
use crate::artifact::{SECTIONS, Uki};
use crate::keys;
use kubedos_wire::printable::chain;

/// Verifies a program in a separate file.
pub(super) fn alone(bytes: &[u8], checks: &mut Checks<'_>) {
    const PART: &str = "program";
    signature(PART, bytes, checks);
    let Some(pe) = checks.need(PART, Pe::parse(bytes)) else { return };
    if Uki::is_one(&pe) {
        if let Some(uki) = uki("uki", &pe, checks) {
            let boot = &uki.boot;
            let (root, payload) = (boot.root.root_hash, boot.payload.root_hash);
            checks.unchecked("root", format!("the volume {root} is not in this file"));
            checks.unchecked("payload", format!("the volume {payload} is not in this file"));
        }
    } else {
        checks.unchecked(PART, "not checked: whether the lock pins this boot loader");
    }
}

/// Verifies the Authenticode signature over the program, and reports the signer.
pub(super) fn signature(part: &str, bytes: &[u8], checks: &mut Checks<'_>) {
    let part = &format!("{part} signature");
    if let Some(keys) = checks.keys {
        let trusted: Vec<&[u8]> = keys.secure_boot.db.iter().map(Vec::as_slice).collect();
        if checks.need(part, authenticode::verify(bytes, &trusted)).is_some() {
            checks.holds(part, format!("by a Secure Boot certificate of {}", keys.cluster));
        }
        return;
    }
    let claimed = match authenticode::claimed_signer(bytes) {
        Ok(Some(claimed)) => claimed,
        Ok(None) => {
            return checks.fails(
                part,
                "it is not signed, or its signature does not contain the certificate of the signer",
            );
        }
        Err(error) => return checks.fails(part, chain(&error)),
    };
    if checks.need(part, authenticode::verify(bytes, &[claimed])).is_some() {
        let name = Certificate::parse(claimed).ok().and_then(|certificate| certificate.common_name());
        checks.holds(
            part,
            format!("by {}, a certificate that the program contains", name.unwrap_or("an unnamed signer")),
        );
    }
}

/// Parses a UKI and checks that it has the form that the builder writes.
pub(super) fn uki<'a>(part: &str, pe: &Pe<'a>, checks: &mut Checks<'_>) -> Option<Uki<'a>> {
    let uki = checks.need(part, Uki::read(pe))?;
    let faults = [
        sections(pe),
        (uki.baked_cmdline() != Ok(uki.cmdline.as_bytes()))
            .then(|| "the command line in its initrd differs from the section .cmdline".to_owned()),
        initrd(&uki.initrd),
    ];
    let mut is_valid = true;
    for fault in faults.into_iter().flatten() {
        checks.fails(part, fault);
        is_valid = false;
    }
    if is_valid {
        let entries = uki.initrd.len();
        checks.holds(part, format!("kernel {}, {entries} entries in its initrd, no other data", uki.kernel));
    }
    boot_manifest(&uki, checks);
    Some(uki)
}

/// Checks that the boot manifest is one that the builder writes for a product, and that it accepts the expected configurations.
fn boot_manifest(uki: &Uki<'_>, checks: &mut Checks<'_>) {
    const PART: &str = "boot manifest";
    let Some(text) = checks.need(PART, uki.boot_text()) else { return };
    if uki.boot.additions {
        return checks.fails(PART, "the root volume contains additions of a test, so this is not a product");
    }
    match uki.boot.emit() {
        Ok(written) if written.as_bytes() == text => {}
        _ => return checks.fails(PART, "it contains data that this release does not write"),
    }
    match checks.keys {
        Some(keys) if keys.configuration != uki.boot.keys() => {
            checks.fails(PART, format!("it accepts configuration keys other than those of {}", keys.cluster));
        }
        Some(keys) if keys.identity != uki.boot.identity => checks.fails(
            PART,
            format!(
                "the image has identity {}, but the cluster {} has {}: \
                 the image would assign the configurations of this cluster to a different cluster",
                uki.boot.identity, keys.cluster, keys.identity
            ),
        ),
        Some(keys) => checks.holds(PART, format!("it accepts configurations of {} only", keys.cluster)),
        None => {
            let ids: Vec<String> = uki.boot.keys().iter().map(|key| key.id().to_string()).collect();
            checks.holds(
                PART,
                format!("release {}; it accepts configurations of {}", uki.boot.release, ids.join(", ")),
            );
            if uki.boot.keys().iter().any(|key| keys::is_demo(key.id())) {
                checks.unchecked("keys", "these are the published DEMO keys: anybody can sign with them");
            } else {
                checks.unchecked("keys", "not checked: whether these are your keys; pass --keys DIR");
            }
        }
    }
}

/// Checks the sections: the stub's sections, then those of the builder, each one once. Returns the fault.
fn sections(pe: &Pe<'_>) -> Option<String> {
    let names: Vec<&str> = pe.sections().iter().map(|section| section.name()).collect();
    let distinct: BTreeSet<&str> = names.iter().copied().collect();
    if distinct.len() != names.len() {
        return Some("it has two sections with the same name".to_owned());
    }
    let ours = names.len().checked_sub(SECTIONS.len()).and_then(|at| names.get(at..));
    (ours != Some(&SECTIONS)).then(|| format!("its sections are {}", names.join(" ")))
}

/// Checks that the initrd contains each path once and that root owns everything: the kernel unpacks later entries over earlier ones.
fn initrd(entries: &[Entry<'_>]) -> Option<String> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = entries.iter().find(|entry| !seen.insert(entry.path)) {
        return Some(format!("its initrd has {} twice", twice.path));
    }
    let foreign = entries.iter().find(|entry| (entry.uid, entry.gid) != (0, 0));
    foreign.map(|entry| format!("{} in its initrd is not owned by root", entry.path))
}
