//! The table in memory, and its rules, which apply both before writing and after reading.

use super::format::{ENTRIES_BYTES, ENTRY_COUNT, NAME_UNITS};
use crate::guid::Guid;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The size of a logical sector, which is the unit of firmware and kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SectorSize {
    /// 512 bytes: the shipped file and most disks.
    B512,
    /// 4096 bytes: "4Kn" disks.
    B4096,
}

impl SectorSize {
    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }

    /// The sector size of `bytes` bytes; `None` if it is not supported.
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        match bytes {
            512 => Some(Self::B512),
            4096 => Some(Self::B4096),
            _ => None,
        }
    }

    /// The number of sectors of the entries of one copy.
    pub(super) const fn entries_sectors(self) -> u64 {
        (ENTRIES_BYTES as u64).div_ceil(self.bytes())
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The type of its content.
    pub type_guid: Guid,
    /// The UUID that identifies the partition; all zeroes for a partition of an unused slot.
    pub uuid: Guid,
    /// The first sector.
    pub first_lba: u64,
    /// The last sector, inclusive.
    pub last_lba: u64,
    /// Attribute bits (UEFI specification 2.10, table 5-8).
    pub attributes: u64,
    /// The label: at most 36 UTF-16 units, no NUL.
    pub name: String,
}

/// A partition or a table violates a rule of partition tables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The number is not from 1 to 128.
    #[error("partition number {0} is not between 1 and 128")]
    Number(u32),
    /// The type is all zeroes, which means an unused entry.
    #[error("partition {0} has the type of an unused entry")]
    NoType(u32),
    /// The partition ends before it starts, or is not inside the usable area.
    #[error("partition {0} (sectors {1} to {2}) is not inside the usable sectors {3} to {4}")]
    Bounds(u32, u64, u64, u64, u64),
    /// Two partitions share a sector.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u32, u32),
    /// The label is too long, or contains a NUL.
    #[error("the name of partition {0} is longer than 36 UTF-16 units, or contains a NUL")]
    Name(u32),
    /// The disk is too small for the first MiB and the backup table.
    #[error("a disk of {0} bytes is too small for a partition table")]
    DiskTooSmall(u64),
}

/// A partition table: 128 numbered entries on a disk of a known size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub(super) sector_size: SectorSize,
    pub(super) disk_guid: Guid,
    /// The number of sectors of the described disk. The backup header is in the last sector.
    pub(super) sectors: u64,
    pub(super) first_usable: u64,
    pub(super) last_usable: u64,
    pub(super) partitions: BTreeMap<u32, Partition>,
}

/// The first MiB is never part of a partition: it contains the table and the ISO 9660 area.
const FIRST_USABLE_BYTE: u64 = 1 << 20;

impl Table {
    /// Creates an empty table for a disk of `disk_bytes`. An incomplete last sector is ignored.
    pub fn new(sector_size: SectorSize, disk_bytes: u64, disk_guid: Guid) -> Result<Self, TableError> {
        let sectors = disk_bytes / sector_size.bytes();
        let first_usable = FIRST_USABLE_BYTE / sector_size.bytes();
        let last_usable = sectors
            .checked_sub(sector_size.entries_sectors() + 2)
            .filter(|last| *last >= first_usable)
            .ok_or(TableError::DiskTooSmall(disk_bytes))?;
        Ok(Self { sector_size, disk_guid, sectors, first_usable, last_usable, partitions: BTreeMap::new() })
    }

    /// Sets entry `number` (from 1), and replaces a partition that was there.
    pub fn set(&mut self, number: u32, partition: Partition) -> Result<(), TableError> {
        if number == 0 || number > ENTRY_COUNT {
            return Err(TableError::Number(number));
        }
        if partition.type_guid == Guid::ZERO {
            return Err(TableError::NoType(number));
        }
        let Partition { first_lba, last_lba, .. } = partition;
        if first_lba > last_lba || first_lba < self.first_usable || last_lba > self.last_usable {
            return Err(TableError::Bounds(number, first_lba, last_lba, self.first_usable, self.last_usable));
        }
        if partition.name.encode_utf16().count() > NAME_UNITS || partition.name.contains('\0') {
            return Err(TableError::Name(number));
        }
        let shares_a_sector = |other: &Partition| other.first_lba <= last_lba && first_lba <= other.last_lba;
        if let Some((other, _)) =
            self.partitions.iter().find(|(at, other)| **at != number && shares_a_sector(other))
        {
            return Err(TableError::Overlap(number.min(*other), number.max(*other)));
        }
        self.partitions.insert(number, partition);
        Ok(())
    }

    /// Removes the partition at entry `number`, and returns it.
    pub fn remove(&mut self, number: u32) -> Option<Partition> {
        self.partitions.remove(&number)
    }

    /// The same partitions on a disk with a different size, for example after a file was copied to a larger disk.
    pub fn resized(&self, disk_bytes: u64) -> Result<Self, TableError> {
        let mut table = Self::new(self.sector_size, disk_bytes, self.disk_guid)?;
        for (number, partition) in &self.partitions {
            table.set(*number, partition.clone())?;
        }
        Ok(table)
    }

    /// Sets the disk GUID.
    pub fn set_disk_guid(&mut self, disk_guid: Guid) {
        self.disk_guid = disk_guid;
    }

    /// The disk GUID.
    pub fn disk_guid(&self) -> Guid {
        self.disk_guid
    }

    /// The sector size, which is the unit of all sector numbers in the table.
    pub fn sector_size(&self) -> SectorSize {
        self.sector_size
    }

    /// The size in bytes of the disk that the table describes. The disk itself may have grown since.
    pub fn disk_bytes(&self) -> u64 {
        self.sectors.saturating_mul(self.sector_size.bytes())
    }

    /// The sectors that partitions may use.
    pub fn usable(&self) -> RangeInclusive<u64> {
        self.first_usable..=self.last_usable
    }

    /// The partition at entry `number`.
    pub fn get(&self, number: u32) -> Option<&Partition> {
        self.partitions.get(&number)
    }

    /// All partitions with their numbers, in order of number.
    pub fn partitions(&self) -> impl Iterator<Item = (u32, &Partition)> {
        self.partitions.iter().map(|(number, partition)| (*number, partition))
    }

    /// All partitions of one type, in order of number.
    pub fn of_type(&self, type_guid: Guid) -> impl Iterator<Item = (u32, &Partition)> {
        self.partitions().filter(move |(_, partition)| partition.type_guid == type_guid)
    }

    /// All partitions with this UUID, in order of number. A hostile table may contain several.
    pub fn with_uuid(&self, uuid: Guid) -> impl Iterator<Item = (u32, &Partition)> {
        self.partitions().filter(move |(_, partition)| partition.uuid == uuid)
    }

    /// The offset of a partition of this table, in bytes.
    pub fn start_bytes(&self, partition: &Partition) -> u64 {
        partition.first_lba.saturating_mul(self.sector_size.bytes())
    }

    /// The length of a partition of this table, in bytes.
    pub fn len_bytes(&self, partition: &Partition) -> u64 {
        let sectors = partition.last_lba.saturating_sub(partition.first_lba).saturating_add(1);
        sectors.saturating_mul(self.sector_size.bytes())
    }
}
