//! Builds small packages in memory, for the tests of this crate and of the crates that unpack packages.

#![expect(clippy::unwrap_used, reason = "for tests")]

use std::io::Cursor;

use super::{Deb, ar};

/// A tar header with owner 0:42.
pub fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(42);
    header.set_mtime(5);
    header.set_size(size);
    header.set_device_major(8).unwrap();
    header.set_device_minor(0).unwrap();
    header
}

/// Builds a package from control files and the data entries that `data` appends.
pub fn deb(control: &[(&str, &str)], data: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Deb<Cursor<Vec<u8>>> {
    Deb::open(Cursor::new(deb_bytes(control, data))).unwrap()
}

/// The bytes of the package that [`deb`] opens.
pub fn deb_bytes(control: &[(&str, &str)], data: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut files = tar::Builder::new(Vec::new());
    for (name, text) in control {
        let mut header = header(tar::EntryType::Regular, 0o755, text.len() as u64);
        files.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    let mut builder = tar::Builder::new(Vec::new());
    data(&mut builder);
    let mut out = ar::MAGIC.to_vec();
    let members: [(&str, Vec<u8>); 3] = [
        ("debian-binary", b"2.0\n".to_vec()),
        ("control.tar", files.into_inner().unwrap()),
        ("data.tar", builder.into_inner().unwrap()),
    ];
    for (name, bytes) in members {
        out.extend(ar::header(name, bytes.len() as u64));
        out.extend_from_slice(&bytes);
        if bytes.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}
