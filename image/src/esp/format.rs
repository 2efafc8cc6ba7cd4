//! Geometry and structures ("FAT32 File System Specification" 1.03: boot sector and BPB, FSInfo, directory entries, long names).

use super::ESP_BYTES;
use crate::width::{const_u16, const_u32, halves_of_u32};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const SECTOR: u64 = 512;
/// FAT32 requires at least 65,525 clusters. Clusters of 2 KiB give about 130,000 in 256 MiB.
pub(super) const CLUSTER: u64 = 2048;
pub(super) const CLUSTER_BYTES: usize = 2048;
const TOTAL_SECTORS: u64 = ESP_BYTES / SECTOR;
const RESERVED_SECTORS: u64 = 32;
/// Sectors of one file allocation table: the minimum for an entry of four bytes per data cluster and the two reserved entries.
pub(super) const FAT_SECTORS: u64 = 1020;
/// The offsets of the two file allocation tables.
pub(super) const FATS_AT: [u64; 2] = [RESERVED_SECTORS * SECTOR, (RESERVED_SECTORS + FAT_SECTORS) * SECTOR];
/// The offset of cluster 2, a multiple of 4 KiB.
pub(super) const DATA_AT: u64 = (RESERVED_SECTORS + 2 * FAT_SECTORS) * SECTOR;
#[expect(clippy::cast_possible_truncation, reason = "asserted to be below 2^28")]
pub(super) const CLUSTERS: u32 = {
    let clusters = (ESP_BYTES - DATA_AT) / CLUSTER;
    assert!(clusters >= 65_525 && (clusters + 2) * 4 <= FAT_SECTORS * SECTOR && clusters < 1 << 28);
    assert!(DATA_AT.is_multiple_of(4096));
    clusters as u32
};
/// The first cluster of the root directory. Clusters are numbered from 2.
pub(super) const ROOT: u32 = 2;
/// The largest cluster number.
pub(super) const LAST: u32 = CLUSTERS + 1;
/// Only 28 bits of a table entry are significant.
pub(super) const FAT_MASK: u32 = 0x0fff_ffff;
/// The end-of-chain mark that the writer uses.
pub(super) const END: u32 = 0x0fff_ffff;
/// The lowest value that the reader accepts as an end-of-chain mark.
pub(super) const FIRST_END: u32 = 0x0fff_fff8;
const MEDIA: u8 = 0xf8;
/// The table's first two entries: media byte, and "cleanly unmounted, no errors".
pub(super) const FAT_HEAD: [u32; 2] = [0x0fff_ff00 | MEDIA as u32, 0x0fff_ffff];
pub(super) const INFO_SECTOR: u64 = 1;
pub(super) const BACKUP_SECTOR: u64 = 6;
pub(super) const LABEL: [u8; 11] = *b"KUBEDOS ESP";
/// 1980-01-01, the first day of FAT's calendar.
const DATE: u16 = 1 << 5 | 1;

pub(super) const ATTRIBUTE_LABEL: u8 = 0x08;
pub(super) const ATTRIBUTE_DIRECTORY: u8 = 0x10;
pub(super) const ATTRIBUTE_ARCHIVE: u8 = 0x20;
/// A piece of a long name.
pub(super) const ATTRIBUTE_LONG: u8 = 0x0f;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Boot {
    jump: [u8; 3],
    oem: [u8; 8],
    sector_bytes: U16,
    cluster_sectors: u8,
    reserved_sectors: U16,
    fats: u8,
    root_entries: U16,
    total_sectors_16: U16,
    media: u8,
    fat_sectors_16: U16,
    track_sectors: U16,
    heads: U16,
    hidden_sectors: U32,
    total_sectors: U32,
    fat_sectors: U32,
    flags: U16,
    version: U16,
    root: U32,
    info: U16,
    backup: U16,
    zero: [u8; 12],
    drive: u8,
    /// Linux and Windows set a "dirty" flag here while the file system is mounted.
    state: u8,
    extended: u8,
    volume_id: U32,
    label: [u8; 11],
    kind: [u8; 8],
    code: [u8; 420],
    signature: [u8; 2],
}

impl Boot {
    /// Whether all fields have the values that [`boot`] writes, except the fields that other systems change: the name of the formatting
    /// system, the state, the serial number, the label, and the BIOS code.
    pub(super) fn has_our_geometry(&self) -> bool {
        let expected = boot(self.volume_id.get());
        *self == Self { oem: self.oem, state: self.state, label: self.label, code: self.code, ..expected }
    }
}

pub(super) fn boot(volume_id: u32) -> Boot {
    Boot {
        jump: [0xeb, 0x58, 0x90],
        oem: *b"KUBEDOS ",
        sector_bytes: U16::new(const { const_u16(SECTOR) }),
        cluster_sectors: 4,
        reserved_sectors: U16::new(const { const_u16(RESERVED_SECTORS) }),
        fats: 2,
        root_entries: U16::ZERO,
        total_sectors_16: U16::ZERO,
        media: MEDIA,
        fat_sectors_16: U16::ZERO,
        track_sectors: U16::new(63),
        heads: U16::new(255),
        hidden_sectors: U32::new(const { const_u32(crate::layout::FIRST_PARTITION / SECTOR) }),
        total_sectors: U32::new(const { const_u32(TOTAL_SECTORS) }),
        fat_sectors: U32::new(const { const_u32(FAT_SECTORS) }),
        flags: U16::ZERO,
        version: U16::ZERO,
        root: U32::new(ROOT),
        info: U16::new(const { const_u16(INFO_SECTOR) }),
        backup: U16::new(const { const_u16(BACKUP_SECTOR) }),
        zero: [0; 12],
        drive: 0x80,
        state: 0,
        extended: 0x29,
        volume_id: U32::new(volume_id),
        label: LABEL,
        kind: *b"FAT32   ",
        code: [0; 420],
        signature: [0x55, 0xaa],
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Info {
    lead: [u8; 4],
    zero_a: [u8; 480],
    signature: [u8; 4],
    free: U32,
    next: U32,
    zero_b: [u8; 12],
    trail: [u8; 4],
}

pub(super) fn info(used: u32) -> Info {
    Info {
        lead: *b"RRaA",
        signature: *b"rrAa",
        free: U32::new(CLUSTERS.saturating_sub(used)),
        next: U32::new(ROOT.saturating_add(used).min(LAST)),
        trail: [0, 0, 0x55, 0xaa],
        ..Info::new_zeroed()
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Short {
    pub(super) name: [u8; 11],
    pub(super) attributes: u8,
    /// Bits 3 and 4: base and extension are lower case.
    pub(super) case: u8,
    created_hundredths: u8,
    created_time: U16,
    created_date: U16,
    accessed_date: U16,
    pub(super) cluster_high: U16,
    written_time: U16,
    written_date: U16,
    pub(super) cluster_low: U16,
    pub(super) size: U32,
}

pub(super) fn short(name: [u8; 11], attributes: u8, cluster: u32, size: u32) -> Short {
    let [low, high] = halves_of_u32(cluster);
    Short {
        name,
        attributes,
        created_date: U16::new(DATE),
        accessed_date: U16::new(DATE),
        written_date: U16::new(DATE),
        cluster_high: U16::new(high),
        cluster_low: U16::new(low),
        size: U32::new(size),
        ..Short::new_zeroed()
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Long {
    /// From 1; bit 6 marks the last piece, which comes first.
    pub(super) order: u8,
    pub(super) name_a: [U16; 5],
    pub(super) attributes: u8,
    pub(super) kind: u8,
    pub(super) checksum: u8,
    pub(super) name_b: [U16; 6],
    pub(super) cluster: U16,
    pub(super) name_c: [U16; 2],
}

pub(super) const LONG_LAST: u8 = 0x40;
/// UTF-16 units in one piece of a long name.
pub(super) const LONG_UNITS: usize = 13;
/// The bytes of every directory entry.
pub(super) const ENTRY: usize = size_of::<Short>();

impl Long {
    pub(super) fn units(&self) -> impl Iterator<Item = u16> {
        let [a, b, c]: [&[U16]; 3] = [&self.name_a, &self.name_b, &self.name_c];
        a.iter().chain(b).chain(c).map(|unit| unit.get())
    }

    pub(super) fn units_mut(&mut self) -> impl Iterator<Item = &mut U16> {
        self.name_a.iter_mut().chain(&mut self.name_b).chain(&mut self.name_c)
    }
}

/// The checksum of a short name that each piece of its long name contains.
pub(super) fn checksum(short: &[u8; 11]) -> u8 {
    short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// The offset of a cluster. The caller must check the number.
pub(super) fn offset_of(cluster: u32) -> u64 {
    DATA_AT + u64::from(cluster.saturating_sub(ROOT)) * CLUSTER
}
