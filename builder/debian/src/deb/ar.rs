//! The outer `ar` archive of a package (deb(5), ar(5)): a magic, then for each member a 60-byte text header and its bytes, padded to an
//! even length.
//!
//! Only name and size of a header are used. Owner, mode and time are ignored when reading, and fixed when writing.

use std::io::{Read, Seek, SeekFrom};

use super::DebError;

/// The first bytes of an archive.
pub const MAGIC: &[u8; 8] = b"!<arch>\n";
pub(super) const HEADER_LEN: usize = 60;
/// The maximum number of members. deb(5) requires three and permits private ones.
const MAX_MEMBERS: usize = 16;

/// The name of a member, and the offset and size of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Lists the members and checks that each one is completely inside the file.
pub(super) fn members<R: Read + Seek>(reader: &mut R) -> Result<Vec<Member>, DebError> {
    let end = reader.seek(SeekFrom::End(0))?;
    reader.seek(SeekFrom::Start(0))?;
    let mut magic = [0; 8];
    if end < 8 || {
        reader.read_exact(&mut magic)?;
        &magic != MAGIC
    } {
        return Err(DebError::Ar("the outer archive has no magic"));
    }
    let mut members = Vec::new();
    let mut at = 8;
    while at < end {
        if members.len() == MAX_MEMBERS {
            return Err(DebError::Ar("the outer archive has too many members"));
        }
        if end - at < HEADER_LEN as u64 {
            return Err(DebError::Ar("the outer archive is truncated"));
        }
        reader.seek(SeekFrom::Start(at))?;
        let mut header = [0; HEADER_LEN];
        reader.read_exact(&mut header)?;
        let (name, size) = parse_header(&header)?;
        let offset = at + HEADER_LEN as u64;
        if size > end - offset {
            return Err(DebError::Ar("the outer archive is truncated"));
        }
        members.push(Member { name, offset, size });
        at = offset + size + size % 2;
    }
    Ok(members)
}

/// Formats a member header with owner root, mode 100644 and time 0.
pub fn header(name: &str, size: u64) -> Vec<u8> {
    format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, "100644").into_bytes()
}

/// Parses name and size of a member header. The name is padded with spaces; some writers put a slash after it.
fn parse_header(header: &[u8; HEADER_LEN]) -> Result<(String, u64), DebError> {
    const BROKEN: DebError = DebError::Ar("a member header of the outer archive is malformed");
    let text = std::str::from_utf8(header).map_err(|_| BROKEN)?;
    let (Some(name), Some(size), Some("`\n")) = (text.get(..16), text.get(48..58), text.get(58..)) else {
        return Err(BROKEN);
    };
    let size = size.trim_end().parse().map_err(|_| BROKEN)?;
    Ok((name.trim_end().trim_end_matches('/').to_owned(), size))
}
