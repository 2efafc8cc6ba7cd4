//! Volume descriptors and directory records (ECMA-119, 4th edition: 8.4 primary descriptor, 9.1 directory record, 7.2.3 and 7.3.3 numbers
//! in both byte orders).

use crate::width::{const_u8, const_u16, const_u32};
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian, little_endian,
};

/// A logical sector and block.
pub(super) const SECTOR: usize = 2048;
/// The length of a directory that fills one sector.
pub(super) const SECTOR_LEN: u32 = const_u32(SECTOR as u64);
/// The sector of the first volume descriptor.
pub(super) const FIRST_DESCRIPTOR: usize = 16;
pub(super) const STANDARD_ID: [u8; 5] = *b"CD001";
pub(super) const KIND_PRIMARY: u8 = 1;
pub(super) const KIND_TERMINATOR: u8 = 255;
/// File flag: a directory (9.1.6).
pub(super) const FLAG_DIRECTORY: u8 = 2;
/// 1980-01-01, which is also the first date of FAT: one fixed date in all formats.
const RECORD_DATE: [u8; 7] = [80, 1, 1, 0, 0, 0, 0];
const DATE: [u8; 17] = *b"1980010100000000\0";
const NO_DATE: [u8; 17] = *b"0000000000000000\0";

/// A 16-bit number in both byte orders.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Both16 {
    little: little_endian::U16,
    big: big_endian::U16,
}

impl Both16 {
    pub(super) fn new(value: u16) -> Self {
        Self { little: value.into(), big: value.into() }
    }

    /// The number, if both halves agree.
    pub(super) fn get(self) -> Option<u16> {
        (self.little.get() == self.big.get()).then(|| self.little.get())
    }
}

/// A 32-bit number in both byte orders.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Both32 {
    little: little_endian::U32,
    big: big_endian::U32,
}

impl Both32 {
    pub(super) fn new(value: u32) -> Self {
        Self { little: value.into(), big: value.into() }
    }

    /// The number, if both halves agree.
    pub(super) fn get(self) -> Option<u32> {
        (self.little.get() == self.big.get()).then(|| self.little.get())
    }
}

/// A directory record without the name that follows it.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Record {
    pub(super) len: u8,
    pub(super) extended: u8,
    pub(super) extent: Both32,
    pub(super) size: Both32,
    pub(super) date: [u8; 7],
    pub(super) flags: u8,
    pub(super) unit: u8,
    pub(super) gap: u8,
    pub(super) volume: Both16,
    pub(super) name_len: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Primary {
    pub(super) kind: u8,
    pub(super) id: [u8; 5],
    pub(super) version: u8,
    zero_a: u8,
    system_id: [u8; 32],
    pub(super) volume_id: [u8; 32],
    zero_b: [u8; 8],
    pub(super) sectors: Both32,
    zero_c: [u8; 32],
    set_size: Both16,
    sequence: Both16,
    pub(super) block: Both16,
    table_len: Both32,
    table_little: little_endian::U32,
    table_little_optional: little_endian::U32,
    table_big: big_endian::U32,
    table_big_optional: big_endian::U32,
    pub(super) root: Record,
    root_name: u8,
    texts: [u8; 623],
    created: [u8; 17],
    modified: [u8; 17],
    expires: [u8; 17],
    effective: [u8; 17],
    structure: u8,
    zero_d: u8,
    application: [u8; 512],
    reserved: [u8; 653],
}

/// The sectors of the two path tables, and the length of one of them.
#[derive(Clone, Copy)]
pub(super) struct PathTables {
    pub(super) len: u32,
    pub(super) little: u32,
    pub(super) big: u32,
}

/// A volume id padded with blanks to the length of its field; `None` if it is too long.
pub(super) const fn volume_id(text: &str) -> Option<[u8; 32]> {
    let mut out = [b' '; 32];
    match out.split_at_mut_checked(text.len()) {
        Some((field, _)) => field.copy_from_slice(text.as_bytes()),
        None => return None,
    }
    Some(out)
}

pub(super) fn primary(volume_id: [u8; 32], sectors: u32, root_extent: u32, tables: PathTables) -> Primary {
    Primary {
        kind: KIND_PRIMARY,
        id: STANDARD_ID,
        version: 1,
        zero_a: 0,
        system_id: [b' '; 32],
        volume_id,
        zero_b: [0; 8],
        sectors: Both32::new(sectors),
        zero_c: [0; 32],
        set_size: Both16::new(1),
        sequence: Both16::new(1),
        block: Both16::new(const { const_u16(SECTOR as u64) }),
        table_len: Both32::new(tables.len),
        table_little: tables.little.into(),
        table_little_optional: 0.into(),
        table_big: tables.big.into(),
        table_big_optional: 0.into(),
        root: record::<1>(root_extent, SECTOR_LEN, FLAG_DIRECTORY),
        root_name: 0,
        texts: [b' '; 623],
        created: DATE,
        modified: DATE,
        expires: NO_DATE,
        effective: NO_DATE,
        structure: 1,
        zero_d: 0,
        application: [0; 512],
        reserved: [0; 653],
    }
}

/// The head of a record whose name has `NAME` bytes; the record as a whole has an even length.
fn record<const NAME: usize>(extent: u32, size: u32, flags: u8) -> Record {
    Record {
        len: const { const_u8((size_of::<Record>() + NAME).next_multiple_of(2) as u64) },
        extended: 0,
        extent: Both32::new(extent),
        size: Both32::new(size),
        date: RECORD_DATE,
        flags,
        unit: 0,
        gap: 0,
        volume: Both16::new(1),
        name_len: const { const_u8(NAME as u64) },
    }
}

/// A record with its name, padded to an even length.
pub(super) fn push_record<const NAME: usize>(
    directory: &mut Vec<u8>,
    extent: u32,
    size: u32,
    flags: u8,
    name: &[u8; NAME],
) {
    directory.extend_from_slice(record::<NAME>(extent, size, flags).as_bytes());
    directory.extend_from_slice(name);
    directory.resize(directory.len().next_multiple_of(2), 0);
}

/// The length in bytes of the path table of a volume with only a root directory.
pub(super) const PATH_TABLE_LEN: u32 = 10;

/// The path table of a volume with only a root directory (9.4): one record, with the extent in the byte order of the caller.
pub(super) fn path_table([a, b, c, d]: [u8; 4], [e, f]: [u8; 2]) -> [u8; PATH_TABLE_LEN as usize] {
    [1, 0, a, b, c, d, e, f, 0, 0]
}

/// The header that all descriptors have, padded to a sector.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(super) struct Terminator {
    pub(super) kind: u8,
    pub(super) id: [u8; 5],
    pub(super) version: u8,
    rest: [u8; 2041],
}

pub(super) fn terminator() -> Terminator {
    Terminator { kind: KIND_TERMINATOR, id: STANDARD_ID, version: 1, ..Terminator::new_zeroed() }
}
