//! Tests with packages that are built byte by byte, so that each defect is exactly known.

use std::io::{Cursor, Write};

use super::*;

fn tar_of(entries: &[(&str, EntrySpec)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, spec) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(1_700_000_000);
        header.set_uid(0);
        header.set_gid(42);
        // The setter of the tar crate refuses hostile names, so the test copies the bytes.
        let name = path.as_bytes();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        let content: &[u8] = match spec {
            EntrySpec::File(content, mode) => {
                header.set_entry_type(tar::EntryType::Regular);
                header.set_mode(*mode);
                header.set_size(content.len() as u64);
                content
            }
            EntrySpec::Link(kind, target) => {
                header.set_entry_type(*kind);
                header.set_mode(0o777);
                header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
                header.set_size(0);
                b""
            }
            EntrySpec::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                b""
            }
        };
        header.set_cksum();
        builder.append(&header, content).unwrap();
    }
    builder.into_inner().unwrap()
}

enum EntrySpec {
    File(&'static [u8], u32),
    Link(tar::EntryType, &'static str),
    Directory,
}
use EntrySpec::{Directory, File, Link};

fn ar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        writeln!(out, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, "100644", bytes.len()).unwrap();
        out.extend_from_slice(bytes);
        if bytes.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

fn compress(bytes: &[u8], how: &str) -> Vec<u8> {
    match how {
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zst" => zstd::encode_all(bytes, 1).unwrap(),
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        _ => bytes.to_vec(),
    }
}

fn control_tar() -> Vec<u8> {
    tar_of(&[
        ("./", Directory),
        ("./control", File(b"Package: a\nVersion: 1\nDescription: x\n y\n", 0o644)),
        ("./postinst", File(b"#!/bin/sh\nexit 0\n", 0o755)),
        ("./conffiles", File(b"/etc/a\nremove-on-upgrade /etc/b\n", 0o644)),
    ])
}

fn package(data: &[(&str, EntrySpec)], how: &str) -> Vec<u8> {
    let suffix = if how.is_empty() { String::new() } else { format!(".{how}") };
    let (control, data) = (compress(&control_tar(), how), compress(&tar_of(data), how));
    ar_of(&[
        ("debian-binary", b"2.0\n"),
        (&format!("control.tar{suffix}"), &control),
        (&format!("data.tar{suffix}"), &data),
    ])
}

fn listing(bytes: Vec<u8>) -> Result<Vec<(Entry, Vec<u8>)>, DebError> {
    let mut seen = Vec::new();
    Deb::open(Cursor::new(bytes))?.visit(|entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        seen.push((entry.clone(), bytes));
        Ok::<(), DebError>(())
    })?;
    Ok(seen)
}

#[test]
fn a_package_of_each_compression_reads_the_same() {
    for how in ["", "gz", "xz", "zst"] {
        let data = [
            ("./", Directory),
            ("./usr/", Directory),
            ("./usr/bin", File(b"hello", 0o4755)),
            ("./usr/link", Link(tar::EntryType::Symlink, "/etc/x")),
            ("./usr/hard", Link(tar::EntryType::Link, "./usr/bin")),
        ];
        let bytes = package(&data, how);
        let deb = Deb::open(Cursor::new(bytes.clone())).unwrap();
        assert_eq!(deb.control().unwrap().get("Package"), Some("a"));
        assert_eq!(deb.scripts().collect::<Vec<_>>(), [("postinst", b"#!/bin/sh\nexit 0\n".as_slice())]);
        assert_eq!(deb.conffiles().unwrap(), ["/etc/a"]);
        let seen = listing(bytes).unwrap();
        let paths: Vec<_> = seen.iter().map(|(entry, _)| entry.path.as_str()).collect();
        assert_eq!(paths, ["usr", "usr/bin", "usr/link", "usr/hard"], "{how}");
        let (file, content) = &seen[1];
        assert_eq!((file.mode, file.uid, file.gid, file.mtime), (0o4755, 0, 42, 1_700_000_000));
        assert_eq!(content, b"hello");
        assert_eq!(seen[2].0.kind, Kind::Symlink { target: "/etc/x".to_owned() });
        assert_eq!(seen[3].0.kind, Kind::Hardlink { target: "usr/bin".to_owned() });
    }
}

#[test]
fn paths_that_leave_the_tree_are_refused() {
    for bad in ["../etc/shadow", "/etc/shadow", "./a/../../b"] {
        let error = listing(package(&[(bad, File(b"x", 0o644))], "")).unwrap_err();
        assert!(matches!(error, DebError::Path(_)), "{bad}: {error}");
    }
    let error = listing(package(&[("./a", Link(tar::EntryType::Link, "../b"))], "")).unwrap_err();
    assert!(matches!(error, DebError::Path(_)), "{error}");
}

#[test]
fn links_without_a_target_are_refused() {
    for kind in [tar::EntryType::Symlink, tar::EntryType::Link] {
        let bytes = with_data(|data| {
            let mut header = gnu_header(kind, 0);
            header.set_path("./link").unwrap();
            header.set_cksum();
            data.append(&header, &b""[..]).unwrap();
        });
        let error = listing(bytes).unwrap_err();
        assert!(matches!(&error, DebError::NoTarget(path) if path == "link"), "{error}");
    }
}

/// Builds a package whose data archive is written by `write`.
fn with_data(write: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    write(&mut builder);
    let data = builder.into_inner().unwrap();
    ar_of(&[("debian-binary", b"2.0\n".as_slice()), ("control.tar", &control_tar()), ("data.tar", &data)])
}

fn gnu_header(kind: tar::EntryType, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header.set_path("extension").unwrap();
    header.set_cksum();
    header
}

#[test]
fn long_paths_and_links_are_read() {
    let (path, target) = (["long"; 60].join("/"), ["target"; 40].join("/"));
    let bytes = with_data(|data| {
        data.append_data(&mut gnu_header(tar::EntryType::Regular, 1), format!("./{path}"), &b"x"[..])
            .unwrap();
        data.append_link(&mut gnu_header(tar::EntryType::Symlink, 0), "./link", &target).unwrap();
        data.append_data(&mut gnu_header(tar::EntryType::Regular, 1), "./short", &b"y"[..]).unwrap();
    });
    let seen = listing(bytes).unwrap();
    assert_eq!(
        seen.iter().map(|(entry, _)| entry.path.as_str()).collect::<Vec<_>>(),
        [&path, "link", "short"]
    );
    assert_eq!(seen[1].0.kind, Kind::Symlink { target });
}

/// A long name is read into memory, so its length is limited to `PATH_MAX`. Duplicate long names and a long name without an entry after
/// it are errors, as are other tar extensions.
#[test]
fn invalid_long_names_are_refused() {
    let long = |data: &mut tar::Builder<Vec<u8>>, kind, name: &[u8]| {
        data.append(&gnu_header(kind, name.len()), name).unwrap();
    };
    let file = |data: &mut tar::Builder<Vec<u8>>| {
        data.append_data(&mut gnu_header(tar::EntryType::Regular, 1), "./a", &b"x"[..]).unwrap();
    };
    use tar::EntryType::{GNULongLink, GNULongName, XHeader};
    let refused = |write: &dyn Fn(&mut tar::Builder<Vec<u8>>)| listing(with_data(write)).unwrap_err();
    let too_long = refused(&|data| {
        long(data, GNULongName, &[b'n'; 4097]);
        file(data);
    });
    assert!(matches!(too_long, DebError::LongName), "{too_long}");
    let twice = refused(&|data| {
        long(data, GNULongLink, b"one");
        long(data, GNULongLink, b"two");
        file(data);
    });
    assert!(matches!(twice, DebError::LongName), "{twice}");
    let without_entry = refused(&|data| long(data, GNULongName, b"name"));
    assert!(matches!(without_entry, DebError::LongName), "{without_entry}");
    let with_nul = refused(&|data| {
        long(data, GNULongLink, b"a\0b");
        file(data);
    });
    assert!(matches!(with_nul, DebError::Path(_)), "{with_nul}");
    let pax = refused(&|data| {
        long(data, XHeader, b"14 path=./etc\n");
        file(data);
    });
    assert!(matches!(pax, DebError::EntryType { kind: 'x', .. }), "{pax}");
}

#[test]
fn a_package_truncated_at_any_byte_is_refused() {
    let whole = package(&[("./a", File(b"some content that is long enough", 0o644))], "xz");
    assert!(listing(whole.clone()).is_ok());
    for length in 0..whole.len() - 1 {
        assert!(listing(whole[..length].to_vec()).is_err(), "{length} of {} bytes accepted", whole.len());
    }
}

#[test]
fn a_flipped_bit_in_the_compressed_data_is_detected() {
    let whole = package(&[("./a", File(b"some content that is long enough", 0o644))], "xz");
    let data = whole.windows(6).rposition(|window| window == b"\xfd7zXZ\0").unwrap();
    for at in data..whole.len() - 1 {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        assert!(listing(bytes).is_err(), "a flip at {at} was not detected");
    }
}

#[test]
fn members_missing_or_out_of_order_are_refused() {
    let (control, data) = (control_tar(), tar_of(&[]));
    for members in [
        vec![("control.tar", control.as_slice()), ("data.tar", &data)],
        vec![("debian-binary", b"2.0\n".as_slice()), ("data.tar", &data), ("control.tar", &control)],
        vec![("debian-binary", b"2.0\n".as_slice()), ("control.tar", &control)],
        vec![("debian-binary", b"3.0\n".as_slice()), ("control.tar", &control), ("data.tar", &data)],
        vec![("debian-binary", b"2.0\n".as_slice()), ("control.tar", &control), ("data.tar.bz2", &data)],
    ] {
        assert!(listing(ar_of(&members)).is_err());
    }
    let private = [
        ("debian-binary", b"2.0\n".as_slice()),
        ("_x", b"y"),
        ("control.tar", &control),
        ("data.tar", &data),
    ];
    assert!(listing(ar_of(&private)).is_ok(), "members that begin with an underscore are skipped");
}
