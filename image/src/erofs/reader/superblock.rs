//! The superblock, and the records of the compressors.

use zerocopy::FromBytes;

use super::super::format::{
    Algorithm, BLOCK, BLOCK_BITS, BLOCK_U64, CLUSTER_MAX, COMPAT_CHECKSUM, INCOMPAT_BIG_PCLUSTER,
    INCOMPAT_CHUNKED, INCOMPAT_FRAGMENTS, INCOMPAT_TAIL_PACKING, INCOMPAT_ZERO_PADDING, Lz4Config, MAGIC,
    SUPER_LEN, SUPER_OFFSET, SuperBlock, ZSTD_WINDOW_LOG_MAX, ZstdConfig, checksum,
};
use super::error::ErofsError;
use crate::source::Source;

/// `EROFS_FEATURE_INCOMPAT_DEVICE_TABLE` and `_COMPR_HEAD2`, which share a bit: several devices, or two compressors in one file.
const INCOMPAT_DEVICES_OR_HEAD2: u32 = 0x8;
/// `EROFS_FEATURE_INCOMPAT_XATTR_PREFIXES`.
const INCOMPAT_XATTR_PREFIXES: u32 = 0x40;
const KNOWN: u32 = INCOMPAT_ZERO_PADDING
    | INCOMPAT_BIG_PCLUSTER
    | INCOMPAT_CHUNKED
    | INCOMPAT_DEVICES_OR_HEAD2
    | INCOMPAT_TAIL_PACKING
    | INCOMPAT_FRAGMENTS;

/// The length of an additional slot after the superblock, in bytes.
const EXTRA_SLOT: usize = 16;

/// The fields of the superblock that the reader needs.
#[derive(Debug, Clone)]
pub(super) struct Super {
    /// The length of the volume, in bytes.
    pub(super) len: u64,
    /// The byte at which inode number 0 starts.
    pub(super) meta: u64,
    /// The byte at which the shared attributes start.
    pub(super) xattrs: u64,
    pub(super) root: u64,
    /// The packed inode, which contains the fragments.
    pub(super) packed: Option<u64>,
    pub(super) inodes: u64,
    /// The time of compact inodes.
    pub(super) epoch: i64,
    pub(super) epoch_nanos: u32,
    pub(super) uuid: [u8; 16],
    /// Compressed data is at the end of its cluster.
    pub(super) zero_padding: bool,
    /// Clusters may have several blocks.
    pub(super) big_clusters: bool,
    /// The maximum number of blocks of an lz4 cluster, if lz4 is used.
    pub(super) lz4_blocks: Option<u32>,
    /// log2 of the maximum window of zstd, if zstd is used.
    pub(super) zstd_window: Option<u8>,
}

impl Super {
    pub(super) fn read(source: &dyn Source) -> Result<Self, ErofsError> {
        let mut block = [0; BLOCK];
        if source.len() < BLOCK_U64 {
            return Err(ErofsError::NotErofs);
        }
        source.read_exact_at(&mut block, 0).map_err(|source| ErofsError::Read { at: 0, source })?;
        let (_, area) = block.split_at_mut(SUPER_OFFSET);
        let (sb, _) = SuperBlock::read_from_prefix(area).map_err(|_| ErofsError::NotErofs)?;
        if sb.magic.get() != MAGIC {
            return Err(ErofsError::NotErofs);
        }
        if sb.block_bits != BLOCK_BITS {
            let what = match sb.block_bits {
                9..=16 => format!("blocks of {} bytes", 1_u32 << sb.block_bits),
                bits => format!("blocks of 2^{bits} bytes"),
            };
            return Err(ErofsError::Unsupported(what.into()));
        }
        if sb.compat.get() & COMPAT_CHECKSUM != 0 {
            let field = std::mem::offset_of!(SuperBlock, checksum);
            area.split_at_mut(field).1.split_at_mut(4).0.fill(0);
            if checksum(area) != sb.checksum.get() {
                return Err(damaged("its checksum is wrong"));
            }
        }
        check_features(&sb)?;
        let len = u64::from(sb.blocks.get()) * BLOCK_U64;
        if len < BLOCK_U64 || len > source.len() {
            let what =
                format!("it declares {} blocks, but there are {}", sb.blocks, source.len() / BLOCK_U64);
            return Err(ErofsError::Superblock(what.into()));
        }
        let fragments = sb.incompat.get() & INCOMPAT_FRAGMENTS != 0;
        let mut read = Self {
            len,
            meta: u64::from(sb.meta_block.get()) * BLOCK_U64,
            xattrs: u64::from(sb.xattr_block.get()) * BLOCK_U64,
            root: u64::from(sb.root_nid.get()),
            packed: Some(sb.packed_nid.get()).filter(|nid| fragments && *nid != 0),
            inodes: sb.inodes.get(),
            epoch: sb.epoch.get().cast_signed(),
            epoch_nanos: sb.epoch_nanos.get(),
            uuid: sb.uuid,
            zero_padding: sb.incompat.get() & INCOMPAT_ZERO_PADDING != 0,
            big_clusters: sb.incompat.get() & INCOMPAT_BIG_PCLUSTER != 0,
            lz4_blocks: None,
            zstd_window: None,
        };
        read.compressors(&sb, area)?;
        Ok(read)
    }

    /// Reads the records after the superblock, in the order of the algorithm bits: a length of two bytes, then the data of this length.
    /// Each record is aligned to four bytes. A volume without this feature has lz4 clusters of one block.
    fn compressors(&mut self, sb: &SuperBlock, area: &[u8]) -> Result<(), ErofsError> {
        if !self.big_clusters {
            self.lz4_blocks = Some(1);
            return Ok(());
        }
        let mut at = SUPER_LEN + usize::from(sb.extra_slots) * EXTRA_SLOT;
        for number in 0..16 {
            if sb.algorithms.get() & 1 << number == 0 {
                continue;
            }
            let algorithm = u8::try_from(number).ok().and_then(Algorithm::from_number);
            let algorithm = algorithm.ok_or_else(|| unsupported(number))?;
            let past = || damaged("the compressor records do not end in its block");
            let (len, rest) = area.get(at..).and_then(|rest| rest.split_first_chunk()).ok_or_else(past)?;
            let len = usize::from(u16::from_le_bytes(*len));
            let record = rest.get(..len).ok_or_else(past)?;
            match algorithm {
                Algorithm::Lz4 => self.lz4(record)?,
                Algorithm::Zstd => self.zstd(record)?,
            }
            at = (at + 2 + len).next_multiple_of(4);
        }
        Ok(())
    }

    fn lz4(&mut self, record: &[u8]) -> Result<(), ErofsError> {
        let (config, _) =
            Lz4Config::read_from_prefix(record).map_err(|_| damaged("the lz4 record is too short"))?;
        let blocks = u32::from(config.max_cluster_blocks.get()).max(1);
        if u64::from(blocks) * BLOCK_U64 > CLUSTER_MAX as u64 {
            return Err(damaged("the maximum lz4 cluster is larger than 1 MiB"));
        }
        self.lz4_blocks = Some(blocks);
        Ok(())
    }

    fn zstd(&mut self, record: &[u8]) -> Result<(), ErofsError> {
        let (config, _) =
            ZstdConfig::read_from_prefix(record).map_err(|_| damaged("the zstd record is too short"))?;
        if config.format != 0 {
            return Err(ErofsError::Unsupported("unknown zstd format".into()));
        }
        let window = config.window_log.saturating_add(10);
        if window > ZSTD_WINDOW_LOG_MAX {
            return Err(damaged("the zstd window is larger than 1 MiB"));
        }
        self.zstd_window = Some(window);
        Ok(())
    }

    /// Whether the volume may contain clusters of this algorithm with this number of blocks.
    pub(super) fn allows(&self, algorithm: Algorithm, blocks: u32) -> bool {
        match algorithm {
            Algorithm::Lz4 => self.lz4_blocks.is_some_and(|most| blocks <= most),
            Algorithm::Zstd => self.zstd_window.is_some(),
        }
    }
}

fn check_features(sb: &SuperBlock) -> Result<(), ErofsError> {
    let incompat = sb.incompat.get();
    let unsupported = |what: &'static str| Err(ErofsError::Unsupported(what.into()));
    if incompat & INCOMPAT_XATTR_PREFIXES != 0 {
        return unsupported("long attribute prefixes");
    }
    if incompat & !KNOWN != 0 {
        return Err(ErofsError::Unsupported(format!("feature bits {:#x}", incompat & !KNOWN).into()));
    }
    if sb.extra_devices.get() != 0 {
        return unsupported("several devices");
    }
    if sb.directory_block_bits != 0 {
        return unsupported("directories with blocks of a different size");
    }
    Ok(())
}

/// The error for an algorithm that the format defines but this reader cannot decode.
pub(super) fn unsupported(algorithm: u16) -> ErofsError {
    ErofsError::Unsupported(match algorithm {
        1 => "LZMA clusters".into(),
        2 => "DEFLATE clusters".into(),
        number => format!("clusters with compression algorithm {number}").into(),
    })
}

fn damaged(what: &'static str) -> ErofsError {
    ErofsError::Superblock(what.into())
}

#[cfg(test)]
mod tests {
    use super::super::Volume;
    use super::super::test::superblock;
    use super::*;

    fn message(change: &dyn Fn(&mut SuperBlock)) -> String {
        let mut volume = superblock(change);
        volume.resize(4096 * 4096, 0);
        Volume::open(&volume).err().map_or("valid".to_owned(), |error| error.to_string())
    }

    #[test]
    fn unsupported_and_invalid_superblocks_have_specific_errors() {
        assert_eq!(message(&|_| {}), "valid");
        type Change<'c> = &'c dyn Fn(&mut SuperBlock);
        let cases: &[(Change<'_>, &str)] = &[
            (&|sb| sb.magic = 7.into(), "not an EROFS volume: no magic number at byte 1024"),
            (&|sb| sb.block_bits = 14, "unsupported EROFS feature: blocks of 16384 bytes"),
            (&|sb| sb.block_bits = 200, "unsupported EROFS feature: blocks of 2^200 bytes"),
            (&|sb| sb.incompat = 0x80.into(), "unsupported EROFS feature: feature bits 0x80"),
            (&|sb| sb.incompat = 0x40.into(), "unsupported EROFS feature: long attribute prefixes"),
            (&|sb| sb.extra_devices = 1.into(), "unsupported EROFS feature: several devices"),
            (&|sb| sb.algorithms = 0b11.into(), "unsupported EROFS feature: LZMA clusters"),
            (&|sb| sb.algorithms = 0b100.into(), "unsupported EROFS feature: DEFLATE clusters"),
            (
                &|sb| sb.algorithms = 0b1_0000.into(),
                "unsupported EROFS feature: clusters with compression algorithm 4",
            ),
            (&|sb| sb.blocks = 4097.into(), "EROFS superblock: it declares 4097 blocks, but there are 4096"),
            (&|sb| sb.blocks = 0.into(), "EROFS superblock: it declares 0 blocks, but there are 4096"),
            (&|sb| sb.extra_slots = 255, "EROFS superblock: the compressor records do not end in its block"),
        ];
        for (change, expected) in cases {
            assert_eq!(message(*change), *expected);
        }
    }

    #[test]
    fn a_flipped_bit_is_found_by_the_checksum() {
        for bit in [1024 * 8 + 40, 1024 * 8 + 500, 3000 * 8] {
            let mut volume = superblock(&|_| {});
            volume.resize(4096 * 4096, 0);
            volume[bit / 8] ^= 1 << (bit % 8);
            let error = Volume::open(&volume).err().unwrap();
            assert_eq!(error.to_string(), "EROFS superblock: its checksum is wrong");
        }
        assert!(matches!(Volume::open(&vec![0; 100]), Err(ErofsError::NotErofs)));
    }
}
