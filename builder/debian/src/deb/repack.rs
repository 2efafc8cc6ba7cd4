//! Repacks a package with zstd, so that reading it is many times faster.
//!
//! The unpacked control and data archives keep their bytes; private members (names that start with `_`) are dropped. The result has another
//! digest than the pinned package, so it is useful only as a cached form of that package.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{DebError, MAX_CONTROL_BYTES, MAX_DATA_BYTES, ar, decompress, read_member};
use crate::decompress::Bounded;

/// The zstd level: half of the compression ratio of xz at a hundred times its speed.
const LEVEL: i32 = 1;

/// Reads the package from `reader` and writes the repacked one to `out`, from its start.
pub fn repack<R: Read + Seek, W: Write + Seek>(reader: &mut R, out: &mut W) -> Result<(), DebError> {
    out.write_all(ar::MAGIC)?;
    for member in ar::members(reader)?.iter().filter(|member| !member.name.starts_with('_')) {
        let Some((stem, _)) = member.name.split_once(".tar") else {
            let mut bytes = Vec::new();
            read_member(reader, member)?.read_to_end(&mut bytes)?;
            out.write_all(&ar::header(&member.name, bytes.len() as u64))?;
            out.write_all(&bytes)?;
            pad(out, bytes.len() as u64)?;
            continue;
        };
        let most = if stem == "data" { MAX_DATA_BYTES } else { MAX_CONTROL_BYTES };
        // The length is not known yet: the header is rewritten below.
        let name = format!("{stem}.tar.zst");
        let start = out.stream_position()?;
        out.write_all(&ar::header(&name, 0))?;
        let mut archive = Bounded::new(decompress(read_member(reader, member)?, &member.name)?, most);
        let mut encoder = zstd::stream::write::Encoder::new(&mut *out, LEVEL)?;
        io::copy(&mut archive, &mut encoder)?;
        encoder.finish()?;
        let end = out.stream_position()?;
        let len = end - start - ar::HEADER_LEN as u64;
        out.seek(SeekFrom::Start(start))?;
        out.write_all(&ar::header(&name, len))?;
        out.seek(SeekFrom::Start(end))?;
        pad(out, len)?;
    }
    Ok(())
}

/// Pads a member to an even length.
fn pad(out: &mut impl Write, len: u64) -> io::Result<()> {
    if len.is_multiple_of(2) { Ok(()) } else { out.write_all(b"\n") }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::sample;
    use super::*;
    use crate::deb::Deb;
    use tar::EntryType;

    #[test]
    fn a_repacked_package_has_the_same_content() {
        let bytes = sample::deb_bytes(&[("control", "Package: p\n"), ("postinst", "#!/bin/sh\n")], |b| {
            b.append_data(&mut sample::header(EntryType::Directory, 0o755, 0), "./", &b""[..]).unwrap();
            b.append_data(&mut sample::header(EntryType::Regular, 0o640, 3), "./f", &b"abc"[..]).unwrap();
            b.append_link(&mut sample::header(EntryType::Symlink, 0o777, 0), "./l", "f").unwrap();
        });
        let mut again = Cursor::new(Vec::new());
        repack(&mut Cursor::new(&bytes), &mut again).unwrap();
        assert!(again.get_ref() != &bytes);
        let (mut one, mut two) = (Deb::open(Cursor::new(bytes)).unwrap(), Deb::open(again).unwrap());
        assert_eq!(one.control_files(), two.control_files());
        assert_eq!(entries(&mut one), entries(&mut two));
        assert_eq!(entries(&mut one).len(), 2);
    }

    fn entries<R: Read + Seek>(deb: &mut Deb<R>) -> Vec<(String, Vec<u8>)> {
        let mut entries = Vec::new();
        deb.visit(|entry, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            entries.push((format!("{entry:?}"), bytes));
            Ok::<_, DebError>(())
        })
        .unwrap();
        entries
    }

    #[test]
    fn a_truncated_package_is_refused() {
        let bytes = sample::deb_bytes(&[("control", "Package: p\n")], |_| {});
        for len in [0, 7, 30, 70, bytes.len() - 1] {
            let mut out = Cursor::new(Vec::new());
            assert!(repack(&mut Cursor::new(&bytes[..len]), &mut out).is_err(), "{len}");
        }
    }
}
