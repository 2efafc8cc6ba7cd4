//! Extended attributes: inline attributes after the inode, and attributes that several inodes share.

use std::collections::BTreeMap;

use zerocopy::FromBytes;

use super::super::format::{
    XATTR_ENTRY_LEN, XATTR_HEADER_LEN, XATTR_PREFIXES, XATTR_UNIT, XattrEntry, XattrHeader,
};
use super::error::{ErofsError, Part, Place};
use super::inode::Inode;
use super::volume::Volume;

/// Extended attributes by their full names.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The prefixes that are whole names: access control lists.
const WHOLE_NAMES: [u8; 2] = [2, 3];

pub(super) fn read(volume: &Volume<'_>, inode: &Inode) -> Result<Xattrs, ErofsError> {
    let mut found = Found { volume, xattrs: Xattrs::new(), bytes: 0 };
    if inode.xattr_len == 0 {
        return Ok(found.xattrs);
    }
    let start = inode.at + inode.head_len;
    let end = inode.data_start();
    let place = inode.place(Part::Attribute, start);
    let mut header = [0; XATTR_HEADER_LEN];
    volume.fill(&mut header, start, place)?;
    let header =
        XattrHeader::read_from_bytes(&header).map_err(|_| place.damaged("the header is too short"))?;
    let mut at = start + XATTR_HEADER_LEN as u64;
    for _ in 0..header.shared {
        let mut id = [0; XATTR_UNIT];
        let place = inode.place(Part::Attribute, at);
        if at + XATTR_UNIT as u64 > end {
            return Err(place.damaged("the ids of its shared attributes exceed its attribute area"));
        }
        volume.fill(&mut id, at, place)?;
        // No overflow: at most 2^44 plus at most 2^34.
        let shared = volume.sb.xattrs + u64::from(u32::from_le_bytes(id)) * XATTR_UNIT as u64;
        found.add(inode.place(Part::Attribute, shared), volume.sb.len)?;
        at += XATTR_UNIT as u64;
    }
    while at < end {
        at += found.add(inode.place(Part::Attribute, at), end)?;
    }
    Ok(found.xattrs)
}

struct Found<'v> {
    volume: &'v Volume<'v>,
    xattrs: Xattrs,
    /// The total length of all names and values. It is limited to the length of the volume.
    bytes: u64,
}

impl Found<'_> {
    /// Adds the attribute at `place`, which must not extend beyond `end`. Returns its length, including padding.
    fn add(&mut self, place: Place, end: u64) -> Result<u64, ErofsError> {
        let past = || place.damaged("it extends beyond its attribute area");
        let mut entry = [0; XATTR_ENTRY_LEN];
        let inner = place.at.checked_add(XATTR_ENTRY_LEN as u64).filter(|inner| *inner <= end);
        let inner = inner.ok_or_else(past)?;
        self.volume.fill(&mut entry, place.at, place)?;
        let entry =
            XattrEntry::read_from_bytes(&entry).map_err(|_| place.damaged("the entry is too short"))?;
        let (name_len, value_len) = (usize::from(entry.name_len), usize::from(entry.value_len.get()));
        let len = (name_len + value_len) as u64;
        if len > end - inner {
            return Err(past());
        }
        self.bytes += len;
        if self.bytes > self.volume.sb.len {
            return Err(place.damaged("the attributes are larger than the volume"));
        }
        let prefix = XATTR_PREFIXES.iter().find(|(index, _)| *index == entry.name_index);
        let Some((index, prefix)) = prefix else {
            return Err(place.damaged(format!("its name has the unknown prefix {}", entry.name_index)));
        };
        if WHOLE_NAMES.contains(index) != (name_len == 0) {
            return Err(place.damaged("its name has an invalid length"));
        }
        let mut name = prefix.to_vec();
        let start = name.len();
        name.resize(start + name_len, 0);
        self.volume.fill(name.split_at_mut(start).1, inner, place)?;
        if name.contains(&0) {
            return Err(place.damaged("its name contains a NUL"));
        }
        let mut value = vec![0; value_len];
        self.volume.fill(&mut value, inner + name_len as u64, place)?;
        if self.xattrs.insert(name, value).is_some() {
            return Err(place.damaged("another attribute has the same name"));
        }
        Ok((XATTR_ENTRY_LEN as u64 + len).next_multiple_of(XATTR_UNIT as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::format::{Layout, MODE_FILE};
    use super::super::test::{FILE, volume};
    use super::*;
    use zerocopy::IntoBytes;

    fn entry(index: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
        let (name_len, value_len) = (u8::try_from(name.len()).unwrap(), u16::try_from(value.len()).unwrap());
        let head = XattrEntry { name_len, name_index: index, value_len: value_len.into() };
        let mut bytes = [head.as_bytes(), name, value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// Reads an inode with inline attributes, and with ids of shared attributes, which are at the end of the volume.
    fn message(ids: &[u32], own: &[u8], shared: &[u8]) -> String {
        let mut body = vec![0; XATTR_HEADER_LEN];
        body[4] = u8::try_from(ids.len()).unwrap();
        ids.iter().for_each(|id| body.extend_from_slice(&id.to_le_bytes()));
        body.extend_from_slice(own);
        let count = u16::try_from((body.len() - XATTR_HEADER_LEN) / 4 + 1).unwrap();
        let mut bytes = FILE.with(MODE_FILE | 0o644, Layout::Plain, 0, count, &body);
        bytes.add_bytes(4095 * 4096, shared.to_vec()).unwrap();
        let volume = volume(&bytes);
        match volume.xattrs(&volume.inode(FILE.nid()).unwrap()) {
            Ok(found) => {
                let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
                let list = found.iter().map(|(name, value)| format!("{}={}", text(name), text(value)));
                list.collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn inline_and_shared_attributes_have_full_names() {
        let own = [entry(1, b"a", b"1"), entry(6, b"capability", b"\x01\xff")].concat();
        let shared = [entry(4, b"t", b""), entry(2, b"", b"acl")].concat();
        assert_eq!(
            message(&[0, 2], &own, &shared),
            "security.capability=\\x01\\xff system.posix_acl_access=acl trusted.t= user.a=1"
        );
    }

    #[test]
    fn invalid_attributes_are_refused() {
        let own = entry(1, b"a", b"1");
        for (ids, own, shared, expected) in [
            (&[0, 0][..], &own[..], &entry(4, b"t", b"")[..], "another attribute has the same name"),
            (&[], &[own.clone(), own.clone()].concat(), &[], "another attribute has the same name"),
            (&[], &entry(5, b"lustre", b""), &[], "unknown prefix 5"),
            (&[], &entry(0x81, b"long", b""), &[], "unknown prefix 129"),
            (&[], &entry(1, b"", b"1"), &[], "an invalid length"),
            (&[], &entry(2, b"x", b"1"), &[], "an invalid length"),
            (&[], &entry(1, b"a\0b", b"1"), &[], "contains a NUL"),
            (&[], &[&own[..], &[9, 1, 9, 0]].concat(), &[], "extends beyond its attribute area"),
            (&[u32::MAX], &[], &[], "extends beyond its attribute area"),
            (&[1023], &[], &[], "its name has the unknown prefix 0"),
        ] {
            let message = message(ids, own, shared);
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }
}
