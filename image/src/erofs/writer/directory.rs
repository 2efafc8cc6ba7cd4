//! The content of directories: blocks of entries, each followed by its names (`fs/erofs/dir.c`, `namei.c`). The names, including `.` and
//! `..`, are sorted over all blocks, because a lookup is a binary search over the blocks.

use std::collections::BTreeMap;

use crate::erofs::format::{BLOCK, DIRENT_LEN, Dirent};
use zerocopy::IntoBytes;

/// The inode number and the file type of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) nid: u64,
    pub(super) file_type: u8,
}

/// The length of the content of a directory whose names, in order, have these lengths. An entry that does not fit starts a new block.
pub(super) fn data_len(names: impl Iterator<Item = usize>) -> u64 {
    let (mut full, mut used) = (0, 0);
    for name in names {
        let entry = DIRENT_LEN + name;
        if used + entry > BLOCK {
            full += BLOCK as u64;
            used = 0;
        }
        used += entry;
    }
    full + used as u64
}

/// Encodes the content of a directory.
pub(super) fn encode(entries: &BTreeMap<&[u8], Target>) -> Vec<u8> {
    let mut data = Vec::new();
    let mut block: Vec<(&[u8], Target)> = Vec::new();
    let mut used = 0;
    for (name, target) in entries {
        let entry = DIRENT_LEN + name.len();
        if used + entry > BLOCK {
            encode_block(&block, &mut data);
            data.resize(data.len().next_multiple_of(BLOCK), 0);
            block.clear();
            used = 0;
        }
        used += entry;
        block.push((name, *target));
    }
    encode_block(&block, &mut data);
    data
}

#[expect(clippy::expect_used, reason = "the entries of a block and their names fit into it")]
fn encode_block(block: &[(&[u8], Target)], data: &mut Vec<u8>) {
    let mut name_offset = block.len() * DIRENT_LEN;
    for (name, target) in block {
        let entry = Dirent {
            nid: target.nid.into(),
            name_offset: u16::try_from(name_offset).expect("within a block of 4096 bytes").into(),
            file_type: target.file_type,
            reserved: 0,
        };
        data.extend_from_slice(entry.as_bytes());
        name_offset += name.len();
    }
    block.iter().for_each(|(name, _)| data.extend_from_slice(name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calculated_length_is_that_of_the_encoded_content() {
        for (count, len) in [(1, 1), (1, 255), (15, 255), (16, 255), (300, 3), (1000, 17)] {
            let names: Vec<Vec<u8>> = (0..count).map(|n| format!("{n:0len$}").into_bytes()).collect();
            let target = Target { nid: 7, file_type: 1 };
            let entries: BTreeMap<&[u8], Target> =
                names.iter().map(|name| (name.as_slice(), target)).collect();
            let data = encode(&entries);
            assert_eq!(
                data_len(entries.keys().map(|name| name.len())),
                data.len() as u64,
                "{count} of {len}"
            );
        }
    }
}
