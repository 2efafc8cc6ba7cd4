//! The reader: reads a table from the start and the end of a disk. It uses the primary copy if that is valid, otherwise the backup copy. It
//! uses no bytes that are not covered by a checksum, and accepts no sector number outside the disk.

use super::format::{
    ENTRIES_BYTES, ENTRY_COUNT, ENTRY_LEN, Entry, HEADER_LEN, Header, MBR_PROTECTIVE, MBR_SIGNATURE, Mbr,
    REVISION, SIGNATURE,
};
use super::table::{Partition, SectorSize, Table};
use super::{EDGE_BYTES, LONGEST_TAIL, ReadError};
use crate::guid::Guid;
use crate::source::Source;
use crate::width::to_usize;
use std::collections::BTreeMap;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

/// The copy that a table was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// The copy after sector 0.
    Primary,
    /// The copy at the end of the disk.
    Backup,
}

/// The state of the copy that was not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OtherCopy {
    /// It is equal to the used copy.
    Same,
    /// It is valid, but different: a change of the table was interrupted.
    Differs(Box<Table>),
    /// It is invalid or missing, for example because the disk grew.
    Damaged(ReadError),
}

/// A partition table that was found on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The table.
    pub table: Table,
    /// The copy that the table was read from.
    pub copy: Copy,
    /// The state of the other copy.
    pub other: OtherCopy,
    /// Sector 0 contains a protective MBR. Without it, the kernel does not look for a GPT.
    pub protective_mbr: bool,
}

impl Found {
    /// Whether both copies are valid and equal, and sector 0 contains a protective MBR.
    pub fn is_consistent(&self) -> bool {
        self.other == OtherCopy::Same && self.protective_mbr
    }
}

/// Reads the table of a disk of `disk_bytes` from its first and its last bytes: at least [`EDGE_BYTES`] of each, or the whole disk if it
/// is shorter.
pub fn read(head: &[u8], tail: &[u8], disk_bytes: u64, sector_size: SectorSize) -> Result<Found, ReadError> {
    let sectors = disk_bytes / sector_size.bytes();
    // An incomplete last sector is not part of the disk.
    let spare = to_usize(disk_bytes % sector_size.bytes());
    let (tail, _) = tail.split_at(tail.len().saturating_sub(spare));
    let edges = Edges { head, tail, sectors, sector_size };
    let primary = edges.copy(1);
    let backup = edges.copy(sectors.saturating_sub(1));
    let protective_mbr = is_protective(head);
    match (primary, backup) {
        (Ok(table), backup) => {
            let other = match backup {
                Ok(backup) if backup == table => OtherCopy::Same,
                Ok(backup) => OtherCopy::Differs(Box::new(backup)),
                Err(error) => OtherCopy::Damaged(error),
            };
            Ok(Found { table, copy: Copy::Primary, other, protective_mbr })
        }
        (Err(error), Ok(table)) => {
            Ok(Found { table, copy: Copy::Backup, other: OtherCopy::Damaged(error), protective_mbr })
        }
        (Err(primary), Err(backup)) => {
            Err(ReadError::NoCopy { primary: Box::new(primary), backup: Box::new(backup) })
        }
    }
}

/// Reads the table of a disk or an image file.
pub fn read_from(disk: &dyn Source, sector_size: SectorSize) -> Result<Found, ReadError> {
    let len = to_usize(disk.len()).min(EDGE_BYTES);
    let mut head = vec![0; len];
    let mut tail = vec![0; len];
    let tail_at = disk.len().saturating_sub(len as u64);
    disk.read_exact_at(&mut head, 0).map_err(|_| ReadError::Io(0))?;
    disk.read_exact_at(&mut tail, tail_at).map_err(|_| ReadError::Io(tail_at / sector_size.bytes()))?;
    if let Some(entries_at) = distant_entries(&tail, disk.len(), sector_size) {
        tail = vec![0; to_usize(disk.len() - entries_at)];
        disk.read_exact_at(&mut tail, entries_at)
            .map_err(|_| ReadError::Io(entries_at / sector_size.bytes()))?;
    }
    read(&head, &tail, disk.len(), sector_size)
}

/// The offset of the entries of the backup copy if they are before the tail. `sgdisk -e` aligns the end of the usable area to a MiB and
/// writes the entries directly after it, up to 2048 sectors before the header.
fn distant_entries(tail: &[u8], disk_bytes: u64, sector_size: SectorSize) -> Option<u64> {
    let sector = sector_size.bytes();
    let tail_at = disk_bytes - tail.len() as u64;
    let header_at = (disk_bytes / sector).checked_sub(1)?.checked_mul(sector)?.checked_sub(tail_at)?;
    let (header, _) = Header::read_from_prefix(tail.get(usize::try_from(header_at).ok()?..)?).ok()?;
    let entries_at = header.entries_lba.get().checked_mul(sector)?;
    let is_near = entries_at < tail_at && disk_bytes - entries_at <= LONGEST_TAIL as u64;
    (header.signature == SIGNATURE && is_near).then_some(entries_at)
}

fn is_protective(head: &[u8]) -> bool {
    Mbr::read_from_prefix(head).is_ok_and(|(mbr, _)| {
        mbr.signature == MBR_SIGNATURE && mbr.records.iter().any(|record| record.kind == MBR_PROTECTIVE)
    })
}

struct Edges<'a> {
    head: &'a [u8],
    tail: &'a [u8],
    sectors: u64,
    sector_size: SectorSize,
}

impl Edges<'_> {
    /// The `len` bytes from sector `lba` on, if the head or the tail contains them.
    fn bytes(&self, lba: u64, len: usize) -> Option<&[u8]> {
        let within = |edge: &'_ [u8], offset: u64| -> Option<std::ops::Range<usize>> {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(len)?;
            (end <= edge.len()).then_some(start..end)
        };
        let offset = lba.checked_mul(self.sector_size.bytes())?;
        if let Some(range) = within(self.head, offset) {
            return self.head.get(range);
        }
        let tail_at =
            self.sectors.checked_mul(self.sector_size.bytes())?.checked_sub(self.tail.len() as u64)?;
        self.tail.get(within(self.tail, offset.checked_sub(tail_at)?)?)
    }

    /// Reads the copy whose header is in sector `lba`.
    fn copy(&self, lba: u64) -> Result<Table, ReadError> {
        let sector = usize::try_from(self.sector_size.bytes()).map_err(|_| ReadError::Truncated)?;
        let bytes = self.bytes(lba, sector).ok_or(ReadError::Truncated)?;
        let (header, _) = Header::read_from_prefix(bytes).map_err(|_| ReadError::Truncated)?;
        check_header(&header, lba)?;
        self.check_bounds(&header, lba)?;
        let entries = self
            .bytes(header.entries_lba.get(), ENTRIES_BYTES as usize)
            .ok_or(ReadError::OutOfBounds("the list of entries"))?;
        if crc32fast::hash(entries) != header.entries_crc.get() {
            return Err(ReadError::EntriesChecksum);
        }
        let mut table = Table {
            sector_size: self.sector_size,
            disk_guid: Guid::from_disk(header.disk_guid),
            sectors: header.my_lba.get().max(header.alternate_lba.get()).saturating_add(1),
            first_usable: header.first_usable.get(),
            last_usable: header.last_usable.get(),
            partitions: BTreeMap::new(),
        };
        for (number, entry) in (1u8..).zip(entries.chunks_exact(ENTRY_LEN as usize)) {
            let entry = Entry::read_from_bytes(entry).map_err(|_| ReadError::Truncated)?;
            if entry.type_guid != [0; 16] {
                table.set(number.into(), decode_entry(number, &entry)?)?;
            }
        }
        Ok(table)
    }

    fn check_bounds(&self, header: &Header, lba: u64) -> Result<(), ReadError> {
        let entries = header.entries_lba.get();
        let (first, last) = (header.first_usable.get(), header.last_usable.get());
        let alternate = header.alternate_lba.get();
        let (low, high) = (lba.min(alternate), lba.max(alternate));
        let list = self.sector_size.entries_sectors();
        if high >= self.sectors || low != 1 {
            return Err(ReadError::OutOfBounds("the other header"));
        }
        // A list of entries fits after the first header and before the last header.
        if first > last || first < list.saturating_add(2) || last.saturating_add(list) >= high {
            return Err(ReadError::OutOfBounds("the usable area"));
        }
        let end = entries.saturating_add(list);
        let in_place = if lba == low { entries > low && end <= first } else { entries > last && end <= high };
        if !in_place {
            return Err(ReadError::OutOfBounds("the list of entries"));
        }
        Ok(())
    }
}

fn check_header(header: &Header, lba: u64) -> Result<(), ReadError> {
    if header.signature != SIGNATURE {
        return Err(ReadError::Absent);
    }
    for (field, value, ours) in [
        ("revision", header.revision.get(), REVISION),
        ("header length", header.header_len.get(), HEADER_LEN),
        ("reserved field", header.reserved.get(), 0),
    ] {
        if value != ours {
            return Err(ReadError::Unsupported(field, value.into()));
        }
    }
    let unsummed = Header { header_crc: U32::ZERO, ..*header };
    if crc32fast::hash(unsummed.as_bytes()) != header.header_crc.get() {
        return Err(ReadError::HeaderChecksum);
    }
    for (field, value, ours) in [
        ("number of entries", header.entry_count.get(), ENTRY_COUNT),
        ("length of an entry", header.entry_len.get(), ENTRY_LEN),
    ] {
        if value != ours {
            return Err(ReadError::Unsupported(field, value.into()));
        }
    }
    if header.my_lba.get() != lba {
        return Err(ReadError::Misplaced { stated: header.my_lba.get(), actual: lba });
    }
    Ok(())
}

fn decode_entry(number: u8, entry: &Entry) -> Result<Partition, ReadError> {
    let units = entry.name.iter().map(|unit| unit.get()).take_while(|unit| *unit != 0);
    let name: Result<String, _> = char::decode_utf16(units).collect();
    Ok(Partition {
        type_guid: Guid::from_disk(entry.type_guid),
        uuid: Guid::from_disk(entry.uuid),
        first_lba: entry.first_lba.get(),
        last_lba: entry.last_lba.get(),
        attributes: entry.attributes.get(),
        name: name.map_err(|_| ReadError::Name(number))?,
    })
}
