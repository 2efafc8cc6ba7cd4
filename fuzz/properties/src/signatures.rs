//! EFI programs and signed data for firmware: PE, Authenticode, PKCS #7, signature lists, variable stores.

use std::sync::LazyLock;

use kubedos_builder::artifact::{SECTIONS, Uki};
use kubedos_image::authenticode;
use kubedos_image::boot::{BootManifest, CMDLINE_PATH, MANIFEST_PATH};
use kubedos_image::cpio::Archive;
use kubedos_image::der::{Reader, element};
use kubedos_image::efi_signatures::format::OWNER;
use kubedos_image::efi_signatures::varstore::{self, Keys};
use kubedos_image::efi_signatures::{
    AuthenticatedVariable, EfiSignatureError, Timestamp, Variable, certificates, signature_list,
};
use kubedos_image::pe::{self, Pe};
use kubedos_image::pkcs7::{Certificate, SignedData, Signer};

use crate::documents::{self, TOML};
use crate::frugal::{LITTLE, Most, NOTHING, frugal};
use crate::{Seed, Target, keys};

pub(crate) const TARGETS: [Target; 4] = [
    Target { name: "pe", property: pe, seeds: pe_seeds, mutants: 50_000 },
    Target { name: "pkcs7", property: pkcs7, seeds: pkcs7_seeds, mutants: 100_000 },
    Target {
        name: "efi_signatures",
        property: efi_signatures,
        seeds: efi_signatures_seeds,
        mutants: 100_000,
    },
    Target { name: "varstore", property: varstore, seeds: varstore_seeds, mutants: 20_000 },
];

/// Every byte of a program belongs to the headers, to a section, or to the certificate table. Sections can be added, and a signature can be
/// detached and attached again without a change. A signature by the demo key is valid only for the program that was signed with it.
fn pe(input: &[u8]) {
    let Ok(pe) = frugal(LITTLE, input.len(), || Pe::parse(input)) else {
        assert!(authenticode::digest(input).is_err());
        return;
    };
    let headers = pe.optional().headers_size.get() as usize;
    let raw: usize = pe.sections().iter().map(|section| section.header.raw_size.get() as usize).sum();
    let certificates = pe.certificate_table().map_or(0, <[u8]>::len);
    assert_eq!(headers + raw + certificates, input.len());
    match authenticode::detach(input) {
        Ok((unsigned, table)) => {
            assert_eq!(authenticode::digest(&unsigned).unwrap(), authenticode::digest(input).unwrap());
            assert_eq!(table.len(), certificates);
            add_sections(&unsigned);
        }
        Err(error) => {
            assert!(matches!(error, authenticode::AuthenticodeError::Unsigned), "{error}");
            add_sections(input);
        }
    }
    if let Ok(ours) = frugal(TOML, input.len(), || Uki::read(&pe)) {
        let manifest = BootManifest::parse(ours.boot_text().unwrap()).unwrap();
        assert_eq!(manifest, ours.boot);
    }
    if let Ok(Some(claimed)) = authenticode::claimed_signer(input) {
        assert!(input.windows(claimed.len()).any(|window| window == claimed));
    }
    let signer = &*keys::PROGRAMS;
    if authenticode::verify(input, &[signer.certificate()]).is_ok() {
        assert_eq!(authenticode::digest(input).unwrap(), authenticode::digest(&program()).unwrap());
        let (unsigned, table) = authenticode::detach(input).unwrap();
        assert_eq!(authenticode::graft(&unsigned, &table, &[signer.certificate()]).unwrap(), input);
    }
}

fn add_sections(program: &[u8]) {
    let sections: [(&str, &[u8]); 2] = [(".fuzz-a", b"a"), (".fuzz-b", &[7; 700])];
    let Ok(uki) = pe::uki(program, &sections) else { return };
    let pe = Pe::parse(&uki).unwrap();
    for (name, content) in sections {
        assert_eq!(pe.section(name), Some(content));
    }
}

/// The smallest program: DOS header, PE headers, one section.
fn stub() -> Vec<u8> {
    let mut out = vec![0; 0x400];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &[64]);
    put(64, b"PE\0\0");
    put(68, &[0x64, 0x86, 1, 0]); // amd64, one section
    put(84, &[112 + 16 * 8, 0, 0x2e, 0x02]); // size of the optional header
    let optional = 88;
    put(optional, &0x20b_u16.to_le_bytes());
    for (at, value) in [
        (4, 0x200_u32), // code
        (16, 0x1000),   // entry
        (20, 0x1000),
        (32, 0x1000), // alignment in memory
        (36, 0x200),  // in the file
        (56, 0x2000), // size of the image
        (60, 0x400),  // of the headers
        (68, 10),     // subsystem: EFI application
        (108, 16),    // data directories
    ] {
        put(optional + at, &value.to_le_bytes());
    }
    let section = optional + 112 + 16 * 8;
    put(section, b".text\0\0\0");
    for (at, value) in [(8, 0x123_u32), (12, 0x1000), (16, 0x200), (20, 0x400), (36, 0x6000_0020)] {
        put(section + at, &value.to_le_bytes());
    }
    out.resize(0x600, 0xcc);
    out
}

/// A UKI with the sections of a kubedOS UKI.
fn uki() -> Vec<u8> {
    let mut initrd = Archive::new(0);
    initrd.add_file(CMDLINE_PATH, 0o444, b"quiet".as_slice()).unwrap();
    initrd.add_file(MANIFEST_PATH, 0o444, documents::boot_manifest_text().into_bytes()).unwrap();
    let initrd = initrd.write().unwrap();
    let contents: [&[u8]; 5] = [b"ID=kubedos\n", b"quiet", b"6.12", &initrd, b"kernel"];
    pe::uki(&stub(), &SECTIONS.into_iter().zip(contents).collect::<Vec<_>>()).unwrap()
}

/// A small program.
fn program() -> Vec<u8> {
    pe::uki(&stub(), &[(".linux", b"kernel"), (".cmdline", b"quiet")]).unwrap()
}

fn pe_seeds() -> Vec<Seed> {
    let signed = authenticode::sign(&program(), &*keys::PROGRAMS).unwrap();
    vec![("stub", stub()), ("two-sections", program()), ("uki", uki()), ("signed", signed)]
}

/// The writer writes the same bytes from each DER element. The parts of a signature are slices of the input. A signature by a demo key
/// does not verify for other content.
fn pkcs7(input: &[u8]) {
    let mut reader = Reader::new(input);
    while let Ok(read) = reader.any() {
        assert_eq!(element(read.tag, &[read.content]), read.encoded);
    }
    if let Ok(certificate) = frugal(NOTHING, 0, || Certificate::parse(input)) {
        assert_eq!(certificate.encoded, input);
        let name = frugal(NOTHING, 0, || certificate.common_name());
        assert!(name.is_none_or(|name| !name.contains(char::is_control)));
    }
    let signer = &*keys::PROGRAMS;
    if let Ok((signed, rest)) = frugal(LITTLE, input.len(), || SignedData::parse_prefix(input)) {
        assert!(input.ends_with(rest));
        assert!(signed.certificates.iter().map(|encoded| encoded.len()).sum::<usize>() < input.len());
        assert!(signed.verify(b"other content", &[signer.certificate()]).is_err());
    }
}

fn pkcs7_seeds() -> Vec<Seed> {
    let signer = &*keys::PROGRAMS;
    let signed = authenticode::sign(&program(), signer).unwrap();
    let signature = authenticode::signature(&signed).unwrap().unwrap().to_vec();
    vec![("certificate", signer.certificate().to_vec()), ("signature", signature)]
}

/// Round trip: read signature lists, write them, and read them again; both are equal. An authenticated variable that verifies contains
/// the signed list.
fn efi_signatures(input: &[u8]) {
    if let Ok(found) = frugal(LITTLE, input.len(), || certificates(input)) {
        let lists: Vec<u8> = found
            .iter()
            .flat_map(|(owner, certificate)| signature_list(*owner, &[certificate]).unwrap())
            .collect();
        assert_eq!(certificates(&lists).unwrap(), found);
    }
    static KEK: LazyLock<Vec<u8>> = LazyLock::new(|| demo("KEK.esl"));
    let trusted = certificates(&KEK).unwrap()[0].1;
    if let Ok(variable) = frugal(LITTLE, input.len(), || AuthenticatedVariable::parse(input))
        && variable.verify(Variable::Db, &[trusted]).is_ok()
    {
        assert_eq!(variable.list, demo("db.esl"));
    }
}

fn demo(name: &str) -> Vec<u8> {
    std::fs::read(crate::project().join("keys/demo/public").join(name)).unwrap()
}

fn efi_signatures_seeds() -> Vec<Seed> {
    let two = signature_list(OWNER, &[b"one", b"two"]).unwrap();
    vec![("two-certificates", two), ("db.esl", demo("db.esl")), ("db.auth", demo("db.auth"))]
}

/// Enrolling the keys keeps all variables that do not belong to Secure Boot, in their order. Enrolling them a second time has no effect.
fn varstore(input: &[u8]) {
    // The result for a variable is only a little longer than its header.
    let Ok(before) = frugal(LITTLE, input.len(), || varstore::variables(input)) else { return };
    let time = Timestamp::from_unix(1_790_000_000).unwrap();
    let ours = Keys { pk: b"PK", kek: b"KEK", db: &[b"db"], time };
    let store =
        match frugal(Most { factor: 8, constant: 4096 }, input.len(), || varstore::enrol(input, &ours)) {
            Ok(store) => store,
            Err(error) => {
                assert!(matches!(error, EfiSignatureError::TooLarge(_)), "{error}");
                return;
            }
        };
    assert_eq!(store.len(), input.len());
    assert_eq!(varstore::enrol(&store, &ours).unwrap(), store);
    let after = varstore::variables(&store).unwrap();
    let (kept, new) = after.split_at(after.len() - 5);
    let names = [Variable::Db, Variable::Kek, Variable::Pk];
    assert!(new.iter().zip(names).all(|(stored, variable)| stored.is(variable.name(), variable.vendor())));
    let mut old = before.iter();
    assert!(kept.iter().all(|kept| old.any(|old| old == kept)));
}

fn varstore_seeds() -> Vec<Seed> {
    let mut store = vec![0; 16];
    store.extend_from_slice(&hex("8d2bf1ff96768b4ca9852747075b4f50"));
    store.extend_from_slice(&0x600_u64.to_le_bytes());
    store.extend_from_slice(b"_FVH\xff\xfe\x04\x00\x48\x00\x00\x00\x00\x00\x00\x02");
    store.extend_from_slice(&[3, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let sum =
        store.chunks(2).fold(0_u16, |sum, pair| sum.wrapping_add(u16::from_le_bytes([pair[0], pair[1]])));
    store[0x32..0x34].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    store.extend_from_slice(&hex("782cf3aa7b949a43a1802e144ec37792"));
    store.extend_from_slice(&0x3b8_u32.to_le_bytes());
    store.extend_from_slice(&[0x5a, 0xfe, 0, 0, 0, 0, 0, 0]);
    store.resize(0x400, 0xff);
    store.resize(0x600, 0x77);
    let time = Timestamp::from_unix(1_790_000_000).unwrap();
    let enrolled = varstore::enrol(&store, &Keys { pk: b"PK", kek: b"KEK", db: &[b"db"], time }).unwrap();
    vec![("empty", store), ("enrolled", enrolled)]
}

fn hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}
