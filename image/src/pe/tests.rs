//! Tests of the PE reader and writer.

use object::read::pe::PeFile64;
use object::{Object, ObjectSection};
use proptest::prelude::*;
use ring::digest::{SHA256, digest};

use super::sample::{stub, stub_with_headers};
use super::{Pe, PeError, uki};

/// Offsets in the sample: the COFF header, the optional header and the section headers.
const COFF: usize = 68;
const OPTIONAL: usize = 88;
const SECTIONS: usize = OPTIONAL + 112 + 128;

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut out = stub();
    out[at..at + bytes.len()].copy_from_slice(bytes);
    out
}

#[test]
fn sections_are_read_back_by_this_reader_and_by_an_independent_one() {
    let long = vec![7; 70_000];
    let sections: [(&str, &[u8]); 3] =
        [(".osrel", b"ID=kubedos\n"), (".cmdline", b"quiet"), (".linux", &long)];
    let bytes = uki(&stub(), &sections).unwrap();
    let ours = Pe::parse(&bytes).unwrap();
    let theirs = PeFile64::parse(&*bytes).unwrap();
    for (name, content) in sections {
        assert_eq!(ours.section(name), Some(content), "{name}");
        let section = theirs.section_by_name(name).unwrap();
        assert_eq!(&section.data().unwrap()[..content.len()], content, "{name}");
        assert_eq!(section.size(), content.len() as u64, "{name}");
        assert_eq!(section.address() % 0x1000, 0, "{name}");
    }
    assert_eq!(ours.section(".sbat").map(<[u8]>::len), Some(0x123), "the sections of the stub are kept");
    assert_eq!(ours.optional().image_size.get(), 0x4000 + 0x1000 + 0x1000 + 0x12000);
    assert_eq!(ours.optional().data_size.get(), 0x400 + 0x200 + 0x200 + 70_144);
    assert_eq!(bytes.len() % 0x200, 0);
}

/// A4: the bytes depend only on the inputs. A changed digest means that the writer changed.
#[test]
fn the_same_inputs_give_the_pinned_bytes() {
    let bytes = uki(&stub(), &[(".osrel", b"ID=kubedos\n"), (".linux", b"MZ")]).unwrap();
    assert_eq!(hex(&bytes), "05c0e91a6394910119898819d57edc2cbdcf178be3419d84625dfd5d59d9c5a1");
}

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_stub_without_header_space_is_refused() {
    // The headers use 328 + 3 * 40 = 448 of 0x200 bytes, so that one header fits and two do not.
    let tight = stub_with_headers(0x200);
    uki(&tight, &[(".linux", b"x")]).unwrap();
    let error = uki(&tight, &[(".linux", b"x"), (".initrd", b"x")]).unwrap_err();
    assert_eq!(error, PeError::NoHeaderSpace { needed: 2, room: 1 });
    // Bytes after the section headers that are not zero are in use.
    let mut used = stub();
    used[SECTIONS + 3 * 40 + 50] = 1;
    assert_eq!(
        uki(&used, &[(".a", b"x"), (".b", b"x")]).unwrap_err(),
        PeError::NoHeaderSpace { needed: 2, room: 1 }
    );
}

#[test]
fn names_that_the_stub_would_not_find_are_refused() {
    for name in ["", ".", "linux", ".much-too-long", ".a\0", ".ä"] {
        assert_eq!(uki(&stub(), &[(name, b"x")]).unwrap_err(), PeError::Name(name.into()));
    }
    assert_eq!(uki(&stub(), &[(".sbat", b"x")]).unwrap_err(), PeError::Duplicate(".sbat".into()));
    assert_eq!(
        uki(&stub(), &[(".linux", b"x"), (".linux", b"y")]).unwrap_err(),
        PeError::Duplicate(".linux".into())
    );
    assert_eq!(uki(&stub(), &[(".linux", b"")]).unwrap_err(), PeError::Empty(".linux".into()));
}

#[test]
fn programs_with_an_invalid_form_are_refused() {
    let section = |index: usize, field: usize| SECTIONS + index * 40 + field;
    let refused: Vec<(&str, Vec<u8>)> = vec![
        ("no DOS magic", patched(0, b"ZM")),
        ("no PE magic", patched(64, b"NE")),
        ("PE offset outside", patched(0x3c, &[0xff; 4])),
        ("PE32, not PE32+", patched(OPTIONAL, &[0x0b, 0x01])),
        ("COFF symbol table", patched(COFF + 8, &[1])),
        ("COFF symbols", patched(COFF + 12, &[1])),
        ("no sections", patched(COFF + 2, &[0, 0])),
        ("too many sections", patched(COFF + 2, &[97, 0])),
        ("more sections than headers", patched(COFF + 2, &[40, 0])),
        ("optional header size", patched(COFF + 16, &[0])),
        ("no certificate directory", patched(OPTIONAL + 108, &[4])),
        ("file alignment", patched(OPTIONAL + 36, &[1, 2])),
        ("section alignment below file alignment", patched(OPTIONAL + 32, &[0, 1])),
        ("headers past the end", patched(OPTIONAL + 60, &[0, 0, 1])),
        ("headers not aligned", patched(OPTIONAL + 60, &[1])),
        ("address not aligned", patched(section(1, 12), &[1])),
        ("addresses overlap", patched(section(1, 12), &[0, 0x10])),
        ("address past the image", patched(section(2, 8), &[0, 0x20])),
        ("gap in the file", patched(section(1, 20), &[0, 0x0a])),
        ("overlap in the file", patched(section(1, 20), &[0, 0x06])),
        ("raw size not aligned", patched(section(2, 16), &[1])),
        ("raw size past the end", patched(section(2, 16), &[0, 0x04])),
        ("name not ASCII", patched(section(0, 0), &[0xff])),
        ("empty name", patched(section(0, 0), &[0])),
        ("trailing bytes", [stub(), vec![0]].concat()),
        ("certificate table outside", patched(OPTIONAL + 112 + 32, &[0, 1, 0, 0, 8])),
        ("truncated", stub()[..stub().len() - 1].to_vec()),
        ("empty", Vec::new()),
    ];
    for (why, bytes) in refused {
        assert!(Pe::parse(&bytes).is_err(), "{why}");
        assert!(uki(&bytes, &[(".linux", b"x")]).is_err(), "{why}");
    }
    Pe::parse(&stub()).unwrap();
}

/// The file offset of a section without bytes is ignored, so that the section cannot cover bytes that belong to no section.
#[test]
fn a_section_without_bytes_cannot_hide_trailing_bytes() {
    let mut bytes = stub();
    let last = SECTIONS + 2 * 40;
    let at = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    bytes[last + 16..last + 20].fill(0);
    bytes[last + 20..last + 24].copy_from_slice(&at);
    assert_eq!(Pe::parse(&bytes).unwrap_err(), PeError::Trailing(0x200));
    bytes.truncate(bytes.len() - 0x200);
    assert_eq!(Pe::parse(&bytes).unwrap().sections()[2].data(), b"");
}

/// A signature of the stub would not cover the added sections.
#[test]
fn a_signed_stub_is_refused() {
    let mut signed = stub();
    let length = u32::try_from(signed.len()).unwrap();
    signed.extend_from_slice(&[8, 0, 0, 0, 0, 2, 2, 0]);
    signed[OPTIONAL + 112 + 32..][..8].copy_from_slice(&[length.to_le_bytes(), 8u32.to_le_bytes()].concat());
    let pe = Pe::parse(&signed).unwrap();
    assert_eq!(pe.certificate_table().map(<[u8]>::len), Some(8));
    assert_eq!(pe.without_certificates().len(), stub().len());
    assert_eq!(uki(&signed, &[(".linux", b"x")]).unwrap_err(), PeError::SignedStub);
}

proptest! {
    #[test]
    fn any_contents_round_trip(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..3000), 1..20)) {
        let names: Vec<String> = (0..contents.len()).map(|index| format!(".s{index}")).collect();
        let sections: Vec<(&str, &[u8])> =
            names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
        let bytes = uki(&stub(), &sections).unwrap();
        let pe = Pe::parse(&bytes).unwrap();
        prop_assert_eq!(pe.sections().len(), 3 + contents.len());
        for (name, content) in sections {
            prop_assert_eq!(pe.section(name), Some(content));
        }
    }

    #[test]
    fn a_truncated_file_never_panics(length in 0usize..0xc00) {
        let bytes = stub();
        prop_assert_eq!(Pe::parse(&bytes[..length]).is_ok(), length == bytes.len());
    }
}
