//! The writer of a table. The order of the writes makes a power cut harmless: at any time, at least one of the two copies is valid, so a
//! reader gets either the old table or the new table.

use super::format::{
    BOOT_CODE_LEN, ENTRIES_BYTES, ENTRY_COUNT, ENTRY_LEN, Entry, HEADER_LEN, Header, MBR_PROTECTIVE,
    MBR_SIGNATURE, Mbr, MbrRecord, NAME_UNITS, REVISION, SIGNATURE,
};
use super::table::{Partition, Table};
use crate::guid::Guid;
use crate::width::to_usize;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromZeros, IntoBytes};

/// Bytes and their offset on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// The offset from the start of the disk, in bytes.
    pub offset: u64,
    /// The bytes, a whole number of sectors.
    pub bytes: Vec<u8>,
}

/// One step of a write of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write these bytes.
    Write(Extent),
    /// Flush: all previous writes must be on the medium before the next step.
    Flush,
}

impl Table {
    /// The steps that write this table to its disk: backup entries, backup header, flush, primary entries, primary header, flush,
    /// protective MBR, flush. They do not change the ISO 9660 area after the primary entries.
    pub fn steps(&self) -> Vec<Step> {
        let last = self.sectors.saturating_sub(1);
        let backup_entries = last.saturating_sub(self.sector_size.entries_sectors());
        let entries = self.encode_entries();
        let crc = crc32fast::hash(&entries);
        let at = |lba: u64, bytes: Vec<u8>| {
            Step::Write(Extent { offset: lba.saturating_mul(self.sector_size.bytes()), bytes })
        };
        vec![
            at(backup_entries, entries.clone()),
            at(last, self.encode_header(last, 1, backup_entries, crc)),
            Step::Flush,
            at(2, entries),
            at(1, self.encode_header(1, last, 2, crc)),
            Step::Flush,
            at(0, self.encode_mbr()),
            Step::Flush,
        ]
    }

    /// The same writes without the flushes, for a file that no other process reads in the meantime.
    pub fn extents(&self) -> impl Iterator<Item = Extent> {
        self.steps().into_iter().filter_map(|step| match step {
            Step::Write(extent) => Some(extent),
            Step::Flush => None,
        })
    }

    fn encode_entries(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ENTRIES_BYTES as usize);
        for number in 1..=ENTRY_COUNT {
            let entry = self.partitions.get(&number).map_or_else(Entry::new_zeroed, encode_entry);
            bytes.extend_from_slice(entry.as_bytes());
        }
        self.pad(bytes)
    }

    fn encode_header(&self, my_lba: u64, alternate_lba: u64, entries_lba: u64, entries_crc: u32) -> Vec<u8> {
        let mut header = Header {
            signature: SIGNATURE,
            revision: U32::new(REVISION),
            header_len: U32::new(HEADER_LEN),
            header_crc: U32::ZERO,
            reserved: U32::ZERO,
            my_lba: U64::new(my_lba),
            alternate_lba: U64::new(alternate_lba),
            first_usable: U64::new(self.first_usable),
            last_usable: U64::new(self.last_usable),
            disk_guid: self.disk_guid.to_disk(),
            entries_lba: U64::new(entries_lba),
            entry_count: U32::new(ENTRY_COUNT),
            entry_len: U32::new(ENTRY_LEN),
            entries_crc: U32::new(entries_crc),
        };
        header.header_crc = U32::new(crc32fast::hash(header.as_bytes()));
        self.pad(header.as_bytes().to_vec())
    }

    /// The protective MBR: one record of type 0xEE for the whole disk, limited by its 32-bit field.
    fn encode_mbr(&self) -> Vec<u8> {
        let mut mbr = Mbr::new_zeroed();
        let [record, ..] = &mut mbr.records;
        *record = MbrRecord {
            boot: 0,
            first_chs: [0, 2, 0],
            kind: MBR_PROTECTIVE,
            last_chs: [0xff; 3],
            first_lba: U32::new(1),
            sectors: U32::new(u32::try_from(self.sectors.saturating_sub(1)).unwrap_or(u32::MAX)),
        };
        mbr.boot_code = refusal_of_bios();
        mbr.signature = MBR_SIGNATURE;
        self.pad(mbr.as_bytes().to_vec())
    }

    fn pad(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let sector = to_usize(self.sector_size.bytes());
        bytes.resize(bytes.len().next_multiple_of(sector), 0);
        bytes
    }
}

/// The boot code in the first sector for a BIOS (16-bit real mode, loaded at 0x7c00). It prints why the machine does not start, and halts.
/// UEFI never runs it (UEFI specification 2.10, table 5-4).
fn refusal_of_bios() -> [u8; BOOT_CODE_LEN] {
    const CODE: &[u8] = &[
        0xfa, // cli
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0x8e, 0xd0, // mov ss, ax
        0xbc, 0x00, 0x7c, // mov sp, 0x7c00
        0xfb, // sti
        0xfc, // cld
        0xbe, 0x1f, 0x7c, // mov si, 0x7c1f: the text after these 31 bytes
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x08, // jz end
        0xb4, 0x0e, // mov ah, 0x0e: write one character
        0x31, 0xdb, // xor bx, bx
        0xcd, 0x10, // int 0x10
        0xeb, 0xf3, // jmp next
        0xf4, // end: hlt
        0xeb, 0xfd, // jmp end
    ];
    const TEXT: &[u8] =
        b"\r\nkubedOS: this machine started in BIOS mode; the disk boots under UEFI only.\r\n\
        Switch the firmware to UEFI.\r\n";
    const { assert!(CODE.len() + TEXT.len() < BOOT_CODE_LEN, "the text must end with a zero byte") };
    let mut code = [0; BOOT_CODE_LEN];
    for (to, byte) in code.iter_mut().zip(CODE.iter().chain(TEXT)) {
        *to = *byte;
    }
    code
}

fn encode_entry(partition: &Partition) -> Entry {
    debug_assert!(partition.type_guid != Guid::ZERO);
    let mut name = [U16::ZERO; NAME_UNITS];
    for (to, unit) in name.iter_mut().zip(partition.name.encode_utf16()) {
        *to = U16::new(unit);
    }
    Entry {
        type_guid: partition.type_guid.to_disk(),
        uuid: partition.uuid.to_disk(),
        first_lba: U64::new(partition.first_lba),
        last_lba: U64::new(partition.last_lba),
        attributes: U64::new(partition.attributes),
        name,
    }
}
