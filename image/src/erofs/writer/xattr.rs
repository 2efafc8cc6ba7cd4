//! Extended attributes. An attribute of several inodes is stored once, in an area to which the inodes refer. Other attributes are stored
//! after their inode (`fs/erofs/xattr.c`).

use std::collections::BTreeMap;

use crate::erofs::format::{XATTR_HEADER_LEN, XATTR_UNIT, XattrEntry, XattrHeader};
use crate::erofs::tree::split_xattr;
use zerocopy::IntoBytes;

/// The attributes of an inode by full name.
pub(super) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The attributes exceed the limits of an inode: 255 shared attributes, and 262 KB of inline attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

/// The attributes of more than one inode.
#[derive(Debug, Default)]
pub(super) struct Shared<'t> {
    ids: BTreeMap<(&'t [u8], &'t [u8]), u32>,
    /// The content of the area.
    pub(super) bytes: Vec<u8>,
}

impl<'t> Shared<'t> {
    pub(super) fn of(inodes: impl Iterator<Item = &'t Xattrs>) -> Self {
        let mut counts: BTreeMap<(&[u8], &[u8]), usize> = BTreeMap::new();
        for (name, value) in inodes.flatten() {
            *counts.entry((name, value)).or_default() += 1;
        }
        let mut shared = Self::default();
        for ((name, value), count) in counts {
            // An id is an offset in units of four bytes, and has 32 bits.
            let Ok(id) = u32::try_from(shared.bytes.len() / XATTR_UNIT) else { break };
            if count > 1 {
                push(name, value, &mut shared.bytes);
                shared.ids.insert((name, value), id);
            }
        }
        shared
    }

    /// The bytes after an inode for its attributes; empty if it has no attributes.
    pub(super) fn body(&self, xattrs: &Xattrs) -> Result<Vec<u8>, TooMany> {
        if xattrs.is_empty() {
            return Ok(Vec::new());
        }
        let (mut ids, mut own) = (Vec::new(), Vec::new());
        let mut count = 0_u8;
        for (name, value) in xattrs {
            match (self.ids.get(&(name.as_slice(), value.as_slice())), count.checked_add(1)) {
                (Some(id), Some(more)) => {
                    ids.extend_from_slice(&id.to_le_bytes());
                    count = more;
                }
                _ => push(name, value, &mut own),
            }
        }
        let header = XattrHeader { name_filter: 0.into(), shared: count, reserved: [0; 7] };
        let body = [header.as_bytes(), &ids, &own].concat();
        count_of(body.len()).map(|_| body)
    }
}

/// The length field of a body: one for the header, and one for each following unit.
pub(super) fn count_of(body_len: usize) -> Result<u16, TooMany> {
    match body_len.checked_sub(XATTR_HEADER_LEN) {
        None => Ok(0),
        Some(rest) => u16::try_from(rest / XATTR_UNIT + 1).map_err(|_| TooMany),
    }
}

#[expect(clippy::expect_used, reason = "the tree refuses attributes that cannot be written (`writable`)")]
fn push(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let (name_index, rest) = split_xattr(name).expect("EROFS supports the prefix of the name");
    let entry = XattrEntry {
        name_len: u8::try_from(rest.len()).expect("a name has at most 255 bytes"),
        name_index,
        value_len: u16::try_from(value.len()).expect("a value has at most 65535 bytes").into(),
    };
    out.extend_from_slice(entry.as_bytes());
    out.extend_from_slice(rest);
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(XATTR_UNIT), 0);
}
