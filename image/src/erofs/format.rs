//! The structures on disk, from `fs/erofs/erofs_fs.h` of Linux 6.12. Numbers are little-endian.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The size of a block and of a logical cluster, in bytes. EROFS allows other sizes; kubedOS uses only this one.
pub(super) const BLOCK: usize = 4096;
/// log2 of [`BLOCK`].
pub(super) const BLOCK_BITS: u8 = 12;
/// [`BLOCK`] as the type of offsets.
pub(super) const BLOCK_U64: u64 = 4096;

/// `EROFS_SUPER_OFFSET`: the offset of the superblock, in bytes.
pub(super) const SUPER_OFFSET: usize = 1024;
/// `EROFS_SUPER_MAGIC_V1`.
pub(super) const MAGIC: u32 = 0xe0f5_e1e2;
/// The unit of inode numbers in bytes: the number of an inode is its offset in this unit.
pub(super) const SLOT: usize = 32;
/// `EROFS_NAME_LEN`: the longest name in a directory.
pub(super) const NAME_MAX: usize = 255;

/// `EROFS_FEATURE_COMPAT_SB_CHKSUM`: the superblock has a checksum.
pub(super) const COMPAT_CHECKSUM: u32 = 0x1;
/// `EROFS_FEATURE_COMPAT_MTIME`: times are those of the last modification (mtime), not of the last change (ctime).
pub(super) const COMPAT_MTIME: u32 = 0x2;

/// `EROFS_FEATURE_INCOMPAT_ZERO_PADDING`: compressed data ends with its cluster, and zeroes are before it.
pub(super) const INCOMPAT_ZERO_PADDING: u32 = 0x1;
/// `EROFS_FEATURE_INCOMPAT_COMPR_CFGS` and `_BIG_PCLUSTER`: compressor records follow the superblock; clusters may have several blocks.
pub(super) const INCOMPAT_BIG_PCLUSTER: u32 = 0x2;
/// `EROFS_FEATURE_INCOMPAT_CHUNKED_FILE`.
pub(super) const INCOMPAT_CHUNKED: u32 = 0x4;
/// `EROFS_FEATURE_INCOMPAT_ZTAILPACKING`.
pub(super) const INCOMPAT_TAIL_PACKING: u32 = 0x10;
/// `EROFS_FEATURE_INCOMPAT_FRAGMENTS` and `_DEDUPE`: the volume has a packed inode; clusters may be shared.
pub(super) const INCOMPAT_FRAGMENTS: u32 = 0x20;

/// `struct erofs_super_block`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct SuperBlock {
    pub(super) magic: U32,
    /// CRC-32C of the block from the superblock on, with this field zero.
    pub(super) checksum: U32,
    pub(super) compat: U32,
    pub(super) block_bits: u8,
    /// The number of additional slots of 16 bytes after the superblock.
    pub(super) extra_slots: u8,
    pub(super) root_nid: U16,
    pub(super) inodes: U64,
    /// The time of compact inodes.
    pub(super) epoch: U64,
    pub(super) epoch_nanos: U32,
    pub(super) blocks: U32,
    /// The block at which inode number 0 starts.
    pub(super) meta_block: U32,
    /// The block at which the shared attributes start.
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

/// The length of the superblock without additional slots, in bytes.
pub(super) const SUPER_LEN: usize = 128;

/// The compression algorithm of a cluster: `Z_EROFS_COMPRESSION_*`. LZMA (1) and DEFLATE (2) are not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// lz4, including lz4hc.
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

/// `struct z_erofs_lz4_cfgs`, after a length field of 14.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Lz4Config {
    /// 0 means the default of 64 KiB.
    pub(super) max_distance: U16,
    pub(super) max_cluster_blocks: U16,
    pub(super) reserved: [u8; 10],
}

/// `struct z_erofs_zstd_cfgs`, after a length field of 6.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct ZstdConfig {
    pub(super) format: u8,
    /// log2 of the maximum window, minus 10.
    pub(super) window_log: u8,
    pub(super) reserved: [u8; 4],
}

/// log2 of the maximum window of the kernel: 1 MiB (`Z_EROFS_ZSTD_MAX_DICT_SIZE`).
pub(super) const ZSTD_WINDOW_LOG_MAX: u8 = 20;

/// The data layout of an inode: `EROFS_INODE_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Contiguous whole blocks.
    Plain,
    /// Compressed, with eight bytes of index per logical cluster.
    CompressedFull,
    /// Contiguous whole blocks, and the incomplete last block after the inode.
    Inline,
    /// Compressed, with two or four bytes of index per logical cluster.
    CompressedCompact,
    /// Chunks, each with its own address.
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

/// The bit of `format` for the inode structure: set for the extended one, clear for the compact one.
pub(super) const FORMAT_EXTENDED: u16 = 1;
/// The position and the mask of the layout in `format`.
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
    /// The number of compressed blocks, a block address, a device number, or a chunk format. It depends on the layout and the mode.
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

/// The file types in the mode of an inode (`S_IFMT` and its values).
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
    /// The offset of the name from the start of the directory block. For the first entry, it is also the end of the entries.
    pub(super) name_offset: U16,
    pub(super) file_type: u8,
    pub(super) reserved: u8,
}

pub(super) const DIRENT_LEN: usize = 12;

/// The type of a directory entry (`FT_*`) for a mode.
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

/// `struct erofs_xattr_ibody_header`. The ids of shared attributes follow, then the inline attributes of the inode.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct XattrHeader {
    pub(super) name_filter: U32,
    pub(super) shared: u8,
    pub(super) reserved: [u8; 7],
}

pub(super) const XATTR_HEADER_LEN: usize = 12;
/// The unit of `xattr_count` after the header, the length of a shared id, and the alignment of attributes.
pub(super) const XATTR_UNIT: usize = 4;

/// `struct erofs_xattr_entry`. The name without its prefix follows, then the value, then zeroes up to a multiple of [`XATTR_UNIT`].
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct XattrEntry {
    pub(super) name_len: u8,
    pub(super) name_index: u8,
    pub(super) value_len: U16,
}

pub(super) const XATTR_ENTRY_LEN: usize = 4;

/// The prefixes that are stored as a number instead of text (`EROFS_XATTR_INDEX_*`). Those of access control lists are whole names.
pub(super) const XATTR_PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

/// `struct erofs_inode_chunk_info` as one number: the bits for log2 of the number of blocks of a chunk.
pub(super) const CHUNK_BITS_MASK: u32 = 0x1f;
/// `EROFS_CHUNK_FORMAT_INDEXES`: each chunk has an index of eight bytes instead of an address of four bytes.
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

/// `struct z_erofs_map_header`, at the next multiple of 8 after a compressed inode and its attributes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct MapHeader {
    /// The lower 32 bits of the offset of the tail in the packed inode; or, in the upper half, the length of an inline tail.
    pub(super) fragment_or_inline: U32,
    pub(super) advise: U16,
    /// The two algorithms of an inode, four bits each.
    pub(super) algorithms: u8,
    /// log2 of the size of a logical cluster, minus 12, and the bit of [`WHOLE_FRAGMENT`].
    pub(super) cluster_bits: u8,
}

pub(super) const MAP_HEADER_LEN: usize = 8;
/// The highest bit of the map header: the whole file is in the packed inode, and the other 63 bits are its offset.
pub(super) const WHOLE_FRAGMENT: u64 = 1 << 63;

/// `Z_EROFS_ADVISE_COMPACTED_2B`: the index has packs of 16 entries in 32 bytes where they fit.
pub(super) const ADVISE_COMPACTED_2B: u16 = 0x01;
/// `Z_EROFS_ADVISE_BIG_PCLUSTER_1` and `_2`.
pub(super) const ADVISE_BIG_PCLUSTER: u16 = 0x06;
/// `Z_EROFS_ADVISE_INLINE_PCLUSTER`: the last cluster is after the index.
pub(super) const ADVISE_INLINE: u16 = 0x08;
/// `Z_EROFS_ADVISE_INTERLACED_PCLUSTER`: plain clusters are rotated.
pub(super) const ADVISE_INTERLACED: u16 = 0x10;
/// `Z_EROFS_ADVISE_FRAGMENT_PCLUSTER`: the last extent is in the packed inode.
pub(super) const ADVISE_FRAGMENT: u16 = 0x20;

/// `struct z_erofs_lcluster_index`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct FullIndex {
    pub(super) advise: U16,
    pub(super) cluster_offset: U16,
    /// The block address of a head; otherwise the distances to the previous and the next head.
    pub(super) block: U32,
}

pub(super) const FULL_INDEX_LEN: usize = 8;
/// The number of bytes between the map header and a full index.
pub(super) const FULL_INDEX_GAP: usize = 8;

/// Types of logical clusters: `Z_EROFS_LCLUSTER_TYPE_*`.
pub(super) const LCLUSTER_PLAIN: u16 = 0;
pub(super) const LCLUSTER_HEAD1: u16 = 1;
pub(super) const LCLUSTER_NONHEAD: u16 = 2;
pub(super) const LCLUSTER_HEAD2: u16 = 3;
/// The bits of `advise` for the type.
pub(super) const LCLUSTER_TYPE_MASK: u16 = 3;
/// `Z_EROFS_LI_PARTIAL_REF`: the cluster decodes to more bytes than this extent has.
pub(super) const LCLUSTER_PARTIAL: u16 = 1 << 15;
/// `Z_EROFS_LI_D0_CBLKCNT`: the distance to the head is 1, and the other bits are the number of blocks of its cluster.
pub(super) const BLOCK_COUNT_FLAG: u16 = 1 << 11;

/// `Z_EROFS_PCLUSTER_MAX_SIZE`: the maximum size of a cluster on disk, in bytes.
pub(super) const CLUSTER_MAX: usize = 1 << 20;
/// `Z_EROFS_PCLUSTER_MAX_DSIZE`: the maximum decoded size of a cluster, in bytes.
pub(super) const DECODED_MAX: usize = 12 << 20;

/// The CRC-32C of the superblock, which has no final inversion.
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
