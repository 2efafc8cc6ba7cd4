//! The structures on disk, as `fs/erofs/erofs_fs.h` of Linux 6.12 has them. Numbers are little-endian.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a block, and of a logical cluster. EROFS knows others; here there is only this one.
pub(super) const BLOCK: usize = 4096;
/// log2 of [`BLOCK`].
pub(super) const BLOCK_BITS: u8 = 12;
/// The same as the type that offsets have.
pub(super) const BLOCK_U64: u64 = 4096;

/// `EROFS_SUPER_OFFSET`: where the superblock stands, in bytes.
pub(super) const SUPER_OFFSET: usize = 1024;
/// `EROFS_SUPER_MAGIC_V1`.
pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
/// Inodes are numbered by where they stand, in units of so many bytes.
pub(super) const SLOT: usize = 32;
/// `EROFS_NAME_LEN`: the longest name in a directory.
pub(super) const NAME_MAX: usize = 255;

/// `EROFS_FEATURE_COMPAT_SB_CHKSUM`: the superblock has a checksum.
pub(super) const COMPAT_CHECKSUM: u32 = 0x1;
/// `EROFS_FEATURE_COMPAT_MTIME`: times are of modification, not of change.
pub(super) const COMPAT_MTIME: u32 = 0x2;

/// `EROFS_FEATURE_INCOMPAT_ZERO_PADDING`: compressed data ends with its cluster, zeroes stand in front.
pub(super) const INCOMPAT_ZERO_PADDING: u32 = 0x1;
/// `EROFS_FEATURE_INCOMPAT_COMPR_CFGS` and `_BIG_PCLUSTER`: compressors are described behind the superblock; clusters of several blocks.
pub(super) const INCOMPAT_BIG_PCLUSTER: u32 = 0x2;
/// `EROFS_FEATURE_INCOMPAT_CHUNKED_FILE`.
pub(super) const INCOMPAT_CHUNKED: u32 = 0x4;
/// `EROFS_FEATURE_INCOMPAT_ZTAILPACKING`.
pub(super) const INCOMPAT_TAIL_PACKING: u32 = 0x10;
/// `EROFS_FEATURE_INCOMPAT_FRAGMENTS` and `_DEDUPE`: there is a packed inode; clusters may be shared.
pub(super) const INCOMPAT_FRAGMENTS: u32 = 0x20;

/// `struct erofs_super_block`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct SuperBlock {
    pub(super) magic: U32,
    /// CRC-32C of the block from the superblock on, this field zero.
    pub(super) checksum: U32,
    pub(super) compat: U32,
    pub(super) block_bits: u8,
    /// The superblock has 16 bytes more for each.
    pub(super) extra_slots: u8,
    pub(super) root_nid: U16,
    pub(super) inodes: U64,
    /// The time of compact inodes.
    pub(super) epoch: U64,
    pub(super) epoch_nanos: U32,
    pub(super) blocks: U32,
    /// The block that inode numbers count from.
    pub(super) meta_block: U32,
    /// The block that shared attributes count from.
    pub(super) xattr_block: U32,
    pub(super) uuid: [u8; 16],
    pub(super) volume_name: [u8; 16],
    pub(super) incompat: U32,
    /// One bit for each [`Algorithm`].
    pub(super) algorithms: U16,
    pub(super) extra_devices: U16,
    pub(super) device_table: U16,
    pub(super) directory_block_bits: u8,
    pub(super) xattr_prefixes: u8,
    pub(super) xattr_prefix_start: U32,
    pub(super) packed_nid: U64,
    pub(super) xattr_filter_reserved: u8,
    pub(super) reserved: [u8; 23],
}

/// Bytes of the superblock without extra slots.
pub(super) const SUPER_LEN: usize = 128;

/// How a cluster is compressed: `Z_EROFS_COMPRESSION_*`. (LZMA is 1, DEFLATE 2: neither is known here.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// lz4, of whatever level.
    Lz4,
    /// zstd.
    Zstd,
}

impl Algorithm {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Lz4 => 0,
            Self::Zstd => 3,
        }
    }

    pub(super) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Lz4),
            3 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// `struct z_erofs_lz4_cfgs`, behind a length of 14.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Lz4Config {
    /// 0 for the usual 64 KiB.
    pub(super) max_distance: U16,
    pub(super) max_cluster_blocks: U16,
    pub(super) reserved: [u8; 10],
}

/// `struct z_erofs_zstd_cfgs`, behind a length of 6.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct ZstdConfig {
    pub(super) format: u8,
    /// Of the largest window, less 10.
    pub(super) window_log: u8,
    pub(super) reserved: [u8; 4],
}

/// The largest window that the kernel takes: 1 MiB (`Z_EROFS_ZSTD_MAX_DICT_SIZE`).
pub(super) const ZSTD_WINDOW_LOG_MAX: u8 = 20;

/// How an inode's data lies: `EROFS_INODE_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Whole blocks, one after the other.
    Plain,
    /// Compressed, eight bytes of index for each logical cluster.
    CompressedFull,
    /// Whole blocks, and what is left of the last one behind the inode.
    Inline,
    /// Compressed, two or four bytes of index for each logical cluster.
    CompressedCompact,
    /// Chunks with an address each.
    Chunked,
}

impl Layout {
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Plain => 0,
            Self::CompressedFull => 1,
            Self::Inline => 2,
            Self::CompressedCompact => 3,
            Self::Chunked => 4,
        }
    }

    pub(super) const fn from_number(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::CompressedFull),
            2 => Some(Self::Inline),
            3 => Some(Self::CompressedCompact),
            4 => Some(Self::Chunked),
            _ => None,
        }
    }
}

/// The bit of `format` that says which of the two inode structures this is: set for the extended one.
pub(super) const FORMAT_EXTENDED: u16 = 1;
/// Where the layout stands in `format`, and its width there.
pub(super) const FORMAT_LAYOUT_SHIFT: u16 = 1;
pub(super) const FORMAT_LAYOUT_MASK: u16 = 7;
/// `EROFS_I_ALL`: the bits of `format` that have a meaning.
pub(super) const FORMAT_ALL: u16 = 0xf;

/// `struct erofs_inode_compact`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct CompactInode {
    pub(super) format: U16,
    pub(super) xattr_count: U16,
    pub(super) mode: U16,
    pub(super) links: U16,
    pub(super) size: U32,
    pub(super) reserved: U32,
    /// Compressed blocks, block address, device number, or chunk format: as the layout and the mode say.
    pub(super) data: U32,
    pub(super) number: U32,
    pub(super) uid: U16,
    pub(super) gid: U16,
    pub(super) reserved2: U32,
}

/// `struct erofs_inode_extended`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct ExtendedInode {
    pub(super) format: U16,
    pub(super) xattr_count: U16,
    pub(super) mode: U16,
    pub(super) reserved: U16,
    pub(super) size: U64,
    pub(super) data: U32,
    pub(super) number: U32,
    pub(super) uid: U32,
    pub(super) gid: U32,
    pub(super) mtime: U64,
    pub(super) mtime_nanos: U32,
    pub(super) links: U32,
    pub(super) reserved2: [u8; 16],
}

/// Types in the mode of an inode (`S_IFMT` and its values).
pub(super) const MODE_TYPE: u16 = 0o170_000;
pub(super) const MODE_FIFO: u16 = 0o010_000;
pub(super) const MODE_CHARACTER: u16 = 0o020_000;
pub(super) const MODE_DIRECTORY: u16 = 0o040_000;
pub(super) const MODE_BLOCK: u16 = 0o060_000;
pub(super) const MODE_FILE: u16 = 0o100_000;
pub(super) const MODE_SYMLINK: u16 = 0o120_000;
pub(super) const MODE_SOCKET: u16 = 0o140_000;

/// `struct erofs_dirent`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Dirent {
    pub(super) nid: U64,
    /// From the start of the directory block. The first entry's says where the entries end.
    pub(super) name_offset: U16,
    pub(super) file_type: u8,
    pub(super) reserved: u8,
}

pub(super) const DIRENT_LEN: usize = 12;

/// The type of a directory entry (`FT_*`) for the type in a mode.
pub(super) const fn file_type(mode: u16) -> u8 {
    match mode & MODE_TYPE {
        MODE_FILE => 1,
        MODE_DIRECTORY => 2,
        MODE_CHARACTER => 3,
        MODE_BLOCK => 4,
        MODE_FIFO => 5,
        MODE_SOCKET => 6,
        MODE_SYMLINK => 7,
        _ => 0,
    }
}

/// `struct erofs_xattr_ibody_header`; ids of shared attributes follow, then attributes of the inode's own.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct XattrHeader {
    pub(super) name_filter: U32,
    pub(super) shared: u8,
    pub(super) reserved: [u8; 7],
}

pub(super) const XATTR_HEADER_LEN: usize = 12;
/// The unit of `xattr_count` beyond the header, of shared ids, and what attributes are aligned to.
pub(super) const XATTR_UNIT: usize = 4;

/// `struct erofs_xattr_entry`; the name without its prefix follows, then the value, then zeroes up to [`XATTR_UNIT`].
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct XattrEntry {
    pub(super) name_len: u8,
    pub(super) name_index: u8,
    pub(super) value_len: U16,
}

pub(super) const XATTR_ENTRY_LEN: usize = 4;

/// The prefixes that names of attributes are written without, by `EROFS_XATTR_INDEX_*`. Access control lists are whole names.
pub(super) const XATTR_PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

/// `struct erofs_inode_chunk_info` as one number: log2 of the blocks of a chunk.
pub(super) const CHUNK_BITS_MASK: u32 = 0x1f;
/// `EROFS_CHUNK_FORMAT_INDEXES`: eight bytes for each chunk, not four.
pub(super) const CHUNK_INDEXES: u32 = 0x20;
/// `EROFS_NULL_ADDR`: a chunk of zeroes.
pub(super) const NO_BLOCK: u32 = u32::MAX;

/// `struct erofs_inode_chunk_index`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct ChunkIndex {
    pub(super) advise: U16,
    pub(super) device: U16,
    pub(super) block: U32,
}

/// `struct z_erofs_map_header`, at the next multiple of 8 behind a compressed inode and its attributes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct MapHeader {
    /// Where the tail stands in the packed inode; or, in its upper half, the bytes of an inline tail.
    pub(super) fragment_or_inline: U32,
    pub(super) advise: U16,
    /// The two algorithms of an inode, four bits each.
    pub(super) algorithms: u8,
    /// log2 of a logical cluster less 12, and [`WHOLE_FRAGMENT`].
    pub(super) cluster_bits: u8,
}

pub(super) const MAP_HEADER_LEN: usize = 8;
/// In the highest bit of the map header: the whole file is in the packed inode, at the offset that the other 63 bits are.
pub(super) const WHOLE_FRAGMENT: u64 = 1 << 63;

/// `Z_EROFS_ADVISE_COMPACTED_2B`: packs of 16 in 32 bytes where they fit.
pub(super) const ADVISE_COMPACTED_2B: u16 = 0x01;
/// `Z_EROFS_ADVISE_BIG_PCLUSTER_1` and `_2`.
pub(super) const ADVISE_BIG_PCLUSTER: u16 = 0x06;
/// `Z_EROFS_ADVISE_INLINE_PCLUSTER`: the last cluster stands behind the index.
pub(super) const ADVISE_INLINE: u16 = 0x08;
/// `Z_EROFS_ADVISE_INTERLACED_PCLUSTER`: literal clusters are rotated.
pub(super) const ADVISE_INTERLACED: u16 = 0x10;
/// `Z_EROFS_ADVISE_FRAGMENT_PCLUSTER`: the last extent is in the packed inode.
pub(super) const ADVISE_FRAGMENT: u16 = 0x20;

/// `struct z_erofs_lcluster_index`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct FullIndex {
    pub(super) advise: U16,
    pub(super) cluster_offset: U16,
    /// The block address of a head; else the distances to the head before and after.
    pub(super) block: U32,
}

pub(super) const FULL_INDEX_LEN: usize = 8;
/// Between the map header and a full index.
pub(super) const FULL_INDEX_GAP: usize = 8;

/// Types of logical clusters: `Z_EROFS_LCLUSTER_TYPE_*`.
pub(super) const LCLUSTER_PLAIN: u16 = 0;
pub(super) const LCLUSTER_HEAD1: u16 = 1;
pub(super) const LCLUSTER_NONHEAD: u16 = 2;
pub(super) const LCLUSTER_HEAD2: u16 = 3;
/// The bits of `advise` that hold the type.
pub(super) const LCLUSTER_TYPE_MASK: u16 = 3;
/// `Z_EROFS_LI_PARTIAL_REF`: the cluster decodes to more than this extent.
pub(super) const LCLUSTER_PARTIAL: u16 = 1 << 15;
/// `Z_EROFS_LI_D0_CBLKCNT`: the distance to the head is 1, and the other bits are the blocks of its cluster.
pub(super) const BLOCK_COUNT_FLAG: u16 = 1 << 11;

/// `Z_EROFS_PCLUSTER_MAX_SIZE`: a cluster as it lies, in bytes.
pub(super) const CLUSTER_MAX: usize = 1 << 20;
/// `Z_EROFS_PCLUSTER_MAX_DSIZE`: what one cluster decodes to, in bytes.
pub(super) const DECODED_MAX: usize = 12 << 20;

/// CRC-32C as the superblock has it: not inverted at the end.
pub(super) fn checksum(superblock_to_block_end: &[u8]) -> u32 {
    const CRC32C: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    !CRC32C.checksum(superblock_to_block_end)
}

const _: () = {
    assert!(size_of::<SuperBlock>() == SUPER_LEN);
    assert!(size_of::<CompactInode>() == 32);
    assert!(size_of::<ExtendedInode>() == 64);
    assert!(size_of::<Dirent>() == DIRENT_LEN);
    assert!(size_of::<XattrHeader>() == XATTR_HEADER_LEN);
    assert!(size_of::<XattrEntry>() == XATTR_ENTRY_LEN);
    assert!(size_of::<MapHeader>() == MAP_HEADER_LEN);
    assert!(size_of::<FullIndex>() == FULL_INDEX_LEN);
    assert!(size_of::<ChunkIndex>() == 8);
    assert!(size_of::<Lz4Config>() == 14);
    assert!(size_of::<ZstdConfig>() == 6);
};
