//! The superblock, and what it says about compressors.

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

/// Bytes that one more slot adds to the superblock.
const EXTRA_SLOT: usize = 16;

/// What the rest of the reader needs of it.
#[derive(Debug, Clone)]
pub(super) struct Super {
    /// Bytes of the volume: nothing lies behind.
    pub(super) len: u64,
    /// The byte that inode numbers count from.
    pub(super) meta: u64,
    /// The byte that shared attributes count from.
    pub(super) xattrs: u64,
    pub(super) root: u64,
    /// The inode that holds fragments.
    pub(super) packed: Option<u64>,
    pub(super) inodes: u64,
    /// The time of compact inodes.
    pub(super) epoch: i64,
    pub(super) epoch_nanos: u32,
    pub(super) uuid: [u8; 16],
    /// Compressed data stands at the end of its cluster.
    pub(super) zero_padding: bool,
    /// Clusters of several blocks.
    pub(super) big_clusters: bool,
    /// Blocks of the largest cluster of lz4, if there may be any.
    pub(super) lz4_blocks: Option<u32>,
    /// log2 of the largest window of zstd, if there may be any.
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
            let what = format!("it counts {} blocks, there are {}", sb.blocks, source.len() / BLOCK_U64);
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

    /// The records behind the superblock, in order of the algorithms that its bits name: a length of two bytes, then so many bytes, each
    /// record aligned to four. A volume without that feature has clusters of one block of lz4.
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
            let past = || damaged("what it says about compressors does not end in its block");
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
            Lz4Config::read_from_prefix(record).map_err(|_| damaged("its record about lz4 is too short"))?;
        let blocks = u32::from(config.max_cluster_blocks.get()).max(1);
        if u64::from(blocks) * BLOCK_U64 > CLUSTER_MAX as u64 {
            return Err(damaged("its clusters of lz4 are larger than 1 MiB"));
        }
        self.lz4_blocks = Some(blocks);
        Ok(())
    }

    fn zstd(&mut self, record: &[u8]) -> Result<(), ErofsError> {
        let (config, _) = ZstdConfig::read_from_prefix(record)
            .map_err(|_| damaged("its record about zstd is too short"))?;
        if config.format != 0 {
            return Err(ErofsError::Unsupported("another format of zstd".into()));
        }
        let window = config.window_log.saturating_add(10);
        if window > ZSTD_WINDOW_LOG_MAX {
            return Err(damaged("its windows of zstd are larger than 1 MiB"));
        }
        self.zstd_window = Some(window);
        Ok(())
    }

    /// May there be clusters of that algorithm and so many blocks?
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
        return unsupported("long prefixes of attributes");
    }
    if incompat & !KNOWN != 0 {
        return Err(ErofsError::Unsupported(format!("the features {:#x}", incompat & !KNOWN).into()));
    }
    if sb.extra_devices.get() != 0 {
        return unsupported("several devices");
    }
    if sb.directory_block_bits != 0 {
        return unsupported("directories with blocks of another size");
    }
    Ok(())
}

/// An algorithm that the format has a number for, and this reader no decoder.
pub(super) fn unsupported(algorithm: u16) -> ErofsError {
    ErofsError::Unsupported(match algorithm {
        1 => "clusters of LZMA".into(),
        2 => "clusters of DEFLATE".into(),
        number => format!("clusters of algorithm {number}").into(),
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

    fn said(change: &dyn Fn(&mut SuperBlock)) -> String {
        let mut volume = superblock(change);
        volume.resize(4096 * 4096, 0);
        Volume::open(&volume).err().map_or("sound".to_owned(), |error| error.to_string())
    }

    #[test]
    fn what_is_not_supported_has_its_name() {
        assert_eq!(said(&|_| {}), "sound");
        type Change<'c> = &'c dyn Fn(&mut SuperBlock);
        let cases: &[(Change<'_>, &str)] = &[
            (&|sb| sb.magic = 7.into(), "there is no erofs: no magic number at byte 1024"),
            (&|sb| sb.block_bits = 14, "this erofs has blocks of 16384 bytes, which is not supported"),
            (&|sb| sb.block_bits = 200, "this erofs has blocks of 2^200 bytes, which is not supported"),
            (&|sb| sb.incompat = 0x80.into(), "this erofs has the features 0x80, which is not supported"),
            (
                &|sb| sb.incompat = 0x40.into(),
                "this erofs has long prefixes of attributes, which is not supported",
            ),
            (&|sb| sb.extra_devices = 1.into(), "this erofs has several devices, which is not supported"),
            (&|sb| sb.algorithms = 0b11.into(), "this erofs has clusters of LZMA, which is not supported"),
            (
                &|sb| sb.algorithms = 0b100.into(),
                "this erofs has clusters of DEFLATE, which is not supported",
            ),
            (
                &|sb| sb.algorithms = 0b1_0000.into(),
                "this erofs has clusters of algorithm 4, which is not supported",
            ),
            (&|sb| sb.blocks = 4097.into(), "superblock of the erofs: it counts 4097 blocks, there are 4096"),
            (&|sb| sb.blocks = 0.into(), "superblock of the erofs: it counts 0 blocks, there are 4096"),
            (
                &|sb| sb.extra_slots = 255,
                "superblock of the erofs: what it says about compressors does not end in its block",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(said(*change), *expected);
        }
    }

    #[test]
    fn a_flipped_bit_is_found_by_the_checksum() {
        for bit in [1024 * 8 + 40, 1024 * 8 + 500, 3000 * 8] {
            let mut volume = superblock(&|_| {});
            volume.resize(4096 * 4096, 0);
            volume[bit / 8] ^= 1 << (bit % 8);
            let error = Volume::open(&volume).err().unwrap();
            assert_eq!(error.to_string(), "superblock of the erofs: its checksum is wrong");
        }
        assert!(matches!(Volume::open(&vec![0; 100]), Err(ErofsError::NotErofs)));
    }
}
