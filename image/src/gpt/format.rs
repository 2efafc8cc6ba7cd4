//! The structures on disk (UEFI specification 2.10: table 5-5 header, table 5-6 entry, table 5-4 protective MBR).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const SIGNATURE: [u8; 8] = *b"EFI PART";
/// Revision 1.0 of the header, the only revision that exists.
pub(super) const REVISION: u32 = 0x0001_0000;
pub(super) const HEADER_LEN: u32 = 92;
pub(super) const ENTRY_COUNT: u32 = 128;
pub(super) const ENTRY_LEN: u32 = 128;
/// The entries of one copy, in bytes.
pub(super) const ENTRIES_BYTES: u32 = ENTRY_COUNT * ENTRY_LEN;
/// The number of UTF-16 units of a name.
pub(super) const NAME_UNITS: usize = 36;

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Header {
    pub(super) signature: [u8; 8],
    pub(super) revision: U32,
    pub(super) header_len: U32,
    pub(super) header_crc: U32,
    pub(super) reserved: U32,
    pub(super) my_lba: U64,
    pub(super) alternate_lba: U64,
    pub(super) first_usable: U64,
    pub(super) last_usable: U64,
    pub(super) disk_guid: [u8; 16],
    pub(super) entries_lba: U64,
    pub(super) entry_count: U32,
    pub(super) entry_len: U32,
    pub(super) entries_crc: U32,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) type_guid: [u8; 16],
    pub(super) uuid: [u8; 16],
    pub(super) first_lba: U64,
    pub(super) last_lba: U64,
    pub(super) attributes: U64,
    pub(super) name: [U16; NAME_UNITS],
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct MbrRecord {
    pub(super) boot: u8,
    pub(super) first_chs: [u8; 3],
    pub(super) kind: u8,
    pub(super) last_chs: [u8; 3],
    pub(super) first_lba: U32,
    pub(super) sectors: U32,
}

/// The first 512 bytes of the disk.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Mbr {
    pub(super) boot_code: [u8; BOOT_CODE_LEN],
    pub(super) disk_signature: [u8; 4],
    pub(super) reserved: [u8; 2],
    pub(super) records: [MbrRecord; 4],
    pub(super) signature: [u8; 2],
}

/// The length of the boot code for a BIOS, in bytes.
pub(super) const BOOT_CODE_LEN: usize = 440;
pub(super) const MBR_SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// The type of the only record of a protective MBR.
pub(super) const MBR_PROTECTIVE: u8 = 0xee;
