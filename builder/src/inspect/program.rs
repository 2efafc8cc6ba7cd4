//! Inspects EFI programs: sections, signature, and the content of a UKI.

use kubedos_image::authenticode;
use kubedos_image::boot::BootManifest;
use kubedos_image::cpio::{Entry, Node};
use kubedos_image::layout::Area;
use kubedos_image::pe::Pe;
use kubedos_image::pkcs7::Certificate;
use kubedos_image::verity;
use kubedos_wire::hex32::sha256;
use kubedos_wire::seal::Seal;
use kubedos_wire::seal::Volume;

use super::report::{
    BootReport, EntryReport, Problem, ProgramReport, SectionReport, SignatureReport, UkiReport,
};
use super::statement::signer;
use crate::artifact::Uki;

/// Describes a program; `path` is its name in the document.
pub fn program(path: &str, bytes: &[u8], problems: &mut Vec<Problem>) -> ProgramReport {
    let mut report = ProgramReport {
        path: path.to_owned(),
        bytes: bytes.len() as u64,
        sha256: hex_digest(bytes),
        authenticode: String::new(),
        sections: Vec::new(),
        signature: None,
        uki: None,
    };
    let pe = match Pe::parse(bytes) {
        Ok(pe) => pe,
        Err(error) => {
            problems.push(Problem::new(path, &error));
            return report;
        }
    };
    match authenticode::digest(bytes) {
        Ok(digest) => report.authenticode = hex::encode(digest),
        Err(error) => problems.push(Problem::new(path, &error)),
    }
    let section = |section: &kubedos_image::pe::Section<'_>| SectionReport {
        name: section.name().to_owned(),
        bytes: section.data().len() as u64,
        sha256: hex_digest(section.data()),
    };
    report.sections = pe.sections().iter().map(section).collect();
    match signature(bytes) {
        Ok(found) => report.signature = found,
        Err(error) => problems.push(Problem::new(format!("signature of {path}"), &error)),
    }
    if Uki::is_one(&pe) {
        match Uki::read(&pe) {
            Ok(uki) => report.uki = Some(uki_report(&uki)),
            Err(error) => problems.push(Problem::new(path, &error)),
        }
    }
    report
}

/// Describes the signature of a program.
fn signature(bytes: &[u8]) -> Result<Option<SignatureReport>, authenticode::AuthenticodeError> {
    if authenticode::signature(bytes)?.is_none() {
        return Ok(None);
    }
    let claimed = authenticode::claimed_signer(bytes)?;
    let name = claimed.and_then(|certificate| Certificate::parse(certificate).ok()?.common_name());
    Ok(Some(SignatureReport {
        signer: name.map(str::to_owned),
        certificate: claimed.map(hex_digest),
        holds: claimed.is_some_and(|certificate| authenticode::verify(bytes, &[certificate]).is_ok()),
    }))
}

fn uki_report(uki: &Uki<'_>) -> UkiReport {
    UkiReport {
        kernel: uki.kernel.to_owned(),
        cmdline: uki.cmdline.to_owned(),
        os_release: uki.os_release.to_owned(),
        boot: boot_report(&uki.boot),
        initrd: uki.initrd.iter().map(entry).collect(),
    }
}

fn boot_report(boot: &BootManifest) -> BootReport {
    BootReport {
        release: boot.release.clone(),
        epoch: boot.epoch,
        additions: boot.additions,
        root: boot.root,
        payload: boot.payload,
        root_table: dm_table(Volume::Root, &boot.root),
        payload_table: dm_table(Volume::Payload, &boot.payload),
        identity: boot.identity,
        configuration_keys: boot.keys().into_iter().map(|key| signer(key.id(), &[key])).collect(),
    }
}

/// The dm table of a volume. It refers to the devices by their partition UUIDs.
fn dm_table(volume: Volume, seal: &Seal) -> String {
    let device = |area: Area| format!("PARTUUID={}", area.partition_uuid(volume, &seal.root_hash));
    let line = verity::table_line(seal, &device(Area::Data), &device(Area::Hash));
    format!("0 {} verity {line}", verity::data_sectors(seal))
}

fn entry(entry: &Entry<'_>) -> EntryReport {
    let (kind, mode, bytes, content) = match &entry.node {
        Node::Directory { mode } => ("directory", *mode, 0, String::new()),
        Node::File { mode, content } => ("file", *mode, content.len() as u64, hex_digest(content)),
        Node::Link(target) => ("link", 0o777, 0, target.clone()),
        Node::Character { mode, major, minor } => ("device", *mode, 0, format!("{major}:{minor}")),
    };
    EntryReport { path: entry.path.to_owned(), kind, mode: format!("{mode:04o}"), bytes, content }
}

/// SHA-256 in hexadecimal digits.
pub(super) fn hex_digest(bytes: &[u8]) -> String {
    hex::encode(sha256(&[bytes]))
}
