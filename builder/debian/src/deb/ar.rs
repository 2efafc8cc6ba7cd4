//! The `ar` archive around a package: a magic, then a 60-byte text header and the bytes of each member, padded to two (deb(5), ar(5)).

use std::io::{Read, Seek, SeekFrom};

use super::DebError;

/// The first bytes of an archive.
pub const MAGIC: &[u8; 8] = b"!<arch>\n";
pub(super) const HEADER_LEN: usize = 60;
/// deb(5) has three members and room for private ones; nobody has more than a few.
const MAX_MEMBERS: usize = 16;

/// Where a member's bytes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Lists the members, checking that each lies within the file.
pub(super) fn members<R: Read + Seek>(reader: &mut R) -> Result<Vec<Member>, DebError> {
    let end = reader.seek(SeekFrom::End(0))?;
    reader.seek(SeekFrom::Start(0))?;
    let mut magic = [0; 8];
    if end < 8 || {
        reader.read_exact(&mut magic)?;
        &magic != MAGIC
    } {
        return Err(DebError::Ar("the magic of its outer archive is missing"));
    }
    let mut members = Vec::new();
    let mut at = 8;
    while at < end {
        if members.len() == MAX_MEMBERS {
            return Err(DebError::Ar("its outer archive has too many members"));
        }
        if end - at < HEADER_LEN as u64 {
            return Err(DebError::Ar("its outer archive is cut short"));
        }
        reader.seek(SeekFrom::Start(at))?;
        let mut header = [0; HEADER_LEN];
        reader.read_exact(&mut header)?;
        let (name, size) = parse_header(&header)?;
        let offset = at + HEADER_LEN as u64;
        if size > end - offset {
            return Err(DebError::Ar("its outer archive is cut short"));
        }
        members.push(Member { name, offset, size });
        at = offset + size + size % 2;
    }
    Ok(members)
}

/// The header of a member of root's, from 1970.
pub fn header(name: &str, size: u64) -> Vec<u8> {
    format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").into_bytes()
}

/// Name and size of a member header. The name ends in spaces, and in some writers' output in a slash.
fn parse_header(header: &[u8; HEADER_LEN]) -> Result<(String, u64), DebError> {
    const BROKEN: DebError = DebError::Ar("a member header of its outer archive is malformed");
    let text = std::str::from_utf8(header).map_err(|_| BROKEN)?;
    let (Some(name), Some(size), Some("`\n")) = (text.get(..16), text.get(48..58), text.get(58..)) else {
        return Err(BROKEN);
    };
    let size = size.trim_end().parse().map_err(|_| BROKEN)?;
    Ok((name.trim_end().trim_end_matches('/').to_owned(), size))
}
