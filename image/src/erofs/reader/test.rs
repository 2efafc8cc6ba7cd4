//! Volumes for the tests of the reader: a superblock, and one inode near the end, so that any data may follow it.

use zerocopy::{FromZeros, IntoBytes};

use super::super::format::{
    BLOCK_U64, COMPAT_CHECKSUM, ExtendedInode, INCOMPAT_BIG_PCLUSTER, INCOMPAT_FRAGMENTS,
    INCOMPAT_ZERO_PADDING, Layout, MAGIC, MODE_DIRECTORY, MODE_FILE, SUPER_LEN, SUPER_OFFSET, SuperBlock,
    checksum,
};
use super::super::index;
use super::Volume;
use crate::sparse::Runs;

/// The number of blocks of the volumes.
const BLOCKS: u32 = 4096;

/// The place of the inode.
pub(super) struct Place {
    at: u64,
}

pub(super) const FILE: Place = Place { at: (BLOCKS as u64 - 16) * BLOCK_U64 + 96 };

impl Place {
    pub(super) const fn nid(&self) -> u64 {
        self.at / 32
    }

    pub(super) const fn index_at(&self) -> u64 {
        index::index_at(self.at, size_of::<ExtendedInode>() as u64)
    }

    /// A volume in which the inode is a file, followed by the bytes `data`.
    pub(super) fn volume(&self, layout: Layout, size: u64, data: &[u8]) -> Runs<'static> {
        self.with(MODE_FILE | 0o644, layout, size, 0, data)
    }

    pub(super) fn directory(&self, content: &[u8]) -> Runs<'static> {
        self.with(MODE_DIRECTORY | 0o755, Layout::Inline, content.len() as u64, 0, content)
    }

    pub(super) fn with(
        &self,
        mode: u16,
        layout: Layout,
        size: u64,
        xattrs: u16,
        data: &[u8],
    ) -> Runs<'static> {
        let mut inode = ExtendedInode::new_zeroed();
        inode.format = (layout.number() << 1 | 1).into();
        inode.mode = mode.into();
        inode.size = size.into();
        inode.xattr_count = xattrs.into();
        inode.links = 1.into();
        let mut runs = Runs::new(u64::from(BLOCKS) * BLOCK_U64);
        runs.add_bytes(0, superblock(&|_| {})).unwrap();
        runs.add_bytes(self.at, [inode.as_bytes(), data].concat()).unwrap();
        runs
    }
}

/// A first block that enables all supported features.
pub(super) fn superblock(change: &dyn Fn(&mut SuperBlock)) -> Vec<u8> {
    let mut sb = SuperBlock::new_zeroed();
    sb.magic = MAGIC.into();
    sb.compat = COMPAT_CHECKSUM.into();
    sb.block_bits = 12;
    sb.blocks = BLOCKS.into();
    sb.xattr_block = (BLOCKS - 1).into();
    sb.incompat = (INCOMPAT_ZERO_PADDING | INCOMPAT_BIG_PCLUSTER | INCOMPAT_FRAGMENTS).into();
    // lz4 and zstd: clusters of 256 blocks, windows of 1 MiB.
    sb.algorithms = 0b1001.into();
    change(&mut sb);
    let mut block = vec![0; 4096];
    block[SUPER_OFFSET..SUPER_OFFSET + SUPER_LEN].copy_from_slice(sb.as_bytes());
    let records = SUPER_OFFSET + SUPER_LEN;
    block[records..records + 6].copy_from_slice(&[14, 0, 0, 0, 0, 1]);
    block[records + 16..records + 20].copy_from_slice(&[6, 0, 0, 10]);
    let sum = checksum(&block[SUPER_OFFSET..]);
    block[SUPER_OFFSET + 4..SUPER_OFFSET + 8].copy_from_slice(&sum.to_le_bytes());
    block
}

pub(super) fn volume<'s>(source: &'s Runs<'static>) -> Volume<'s> {
    Volume::open(source).unwrap()
}
