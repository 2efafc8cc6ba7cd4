//! The table in memory, and the rules that hold for it whether it is about to be written or was just read.

use super::format::{ENTRIES_BYTES, ENTRY_COUNT, NAME_UNITS};
use crate::guid::Guid;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The bytes of a logical sector: what firmware and kernel count in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SectorSize {
    /// 512 bytes: the shipped file, and most disks.
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

    /// The sector size of that many bytes, if it is one that is known here.
    pub const fn from_bytes(bytes: u64) -> Option<Self> {
        match bytes {
            512 => Some(Self::B512),
            4096 => Some(Self::B4096),
            _ => None,
        }
    }

    /// Sectors that the entries of one copy take.
    pub(super) const fn entries_sectors(self) -> u64 {
        (ENTRIES_BYTES as u64).div_ceil(self.bytes())
    }
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What kind of content it holds.
    pub type_guid: Guid,
    /// Its own name among all partitions; all zeroes for a slot whose content is free.
    pub uuid: Guid,
    /// First sector.
    pub first_lba: u64,
    /// Last sector, itself part of the partition.
    pub last_lba: u64,
    /// Attribute bits (UEFI specification 2.10, table 5-8).
    pub attributes: u64,
    /// The label: at most 36 UTF-16 units, no NUL.
    pub name: String,
}

/// A rule of partition tables is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Entries are numbered from 1 to 128.
    #[error("partition number {0} is not between 1 and 128")]
    Number(u32),
    /// A type of zeroes means an unused entry.
    #[error("partition {0} has the type of an unused entry")]
    NoType(u32),
    /// It ends before it starts, or leaves the usable area.
    #[error("partition {0} (sectors {1} to {2}) is not inside the usable sectors {3} to {4}")]
    Bounds(u32, u64, u64, u64, u64),
    /// Two partitions share a sector.
    #[error("partitions {0} and {1} overlap")]
    Overlap(u32, u32),
    /// The label is too long, or holds a NUL.
    #[error("the name of partition {0} is longer than 36 UTF-16 units, or holds a NUL")]
    Name(u32),
    /// The disk cannot even hold the table and one MiB before it.
    #[error("a disk of {0} bytes is too small for a partition table")]
    DiskTooSmall(u64),
}

/// A partition table: 128 numbered places on a disk of a known size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub(super) sector_size: SectorSize,
    pub(super) disk_guid: Guid,
    /// Of the disk that the table describes: the backup header is in the last one.
    pub(super) sectors: u64,
    pub(super) first_usable: u64,
    pub(super) last_usable: u64,
    pub(super) partitions: BTreeMap<u32, Partition>,
}

/// The first MiB is never part of a partition: table and ISO 9660 area lie there.
const FIRST_USABLE_BYTE: u64 = 1 << 20;

impl Table {
    /// An empty table for a disk of `disk_bytes` (a part of a last sector does not count).
    pub fn new(sector_size: SectorSize, disk_bytes: u64, disk_guid: Guid) -> Result<Self, TableError> {
        let sectors = disk_bytes / sector_size.bytes();
        let first_usable = FIRST_USABLE_BYTE / sector_size.bytes();
        let last_usable = sectors
            .checked_sub(sector_size.entries_sectors() + 2)
            .filter(|last| *last >= first_usable)
            .ok_or(TableError::DiskTooSmall(disk_bytes))?;
        Ok(Self { sector_size, disk_guid, sectors, first_usable, last_usable, partitions: BTreeMap::new() })
    }

    /// Puts a partition at entry `number` (from 1), in place of what was there.
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

    /// Frees entry `number`.
    pub fn remove(&mut self, number: u32) -> Option<Partition> {
        self.partitions.remove(&number)
    }

    /// The same partitions on a disk of another size: how a file's table is taken to a larger disk.
    pub fn resized(&self, disk_bytes: u64) -> Result<Self, TableError> {
        let mut table = Self::new(self.sector_size, disk_bytes, self.disk_guid)?;
        for (number, partition) in &self.partitions {
            table.set(*number, partition.clone())?;
        }
        Ok(table)
    }

    /// Gives the disk another name.
    pub fn set_disk_guid(&mut self, disk_guid: Guid) {
        self.disk_guid = disk_guid;
    }

    /// The disk's own name.
    pub fn disk_guid(&self) -> Guid {
        self.disk_guid
    }

    /// What the table counts in.
    pub fn sector_size(&self) -> SectorSize {
        self.sector_size
    }

    /// The size of the disk that the table describes; the disk itself may have grown since.
    pub fn disk_bytes(&self) -> u64 {
        self.sectors.saturating_mul(self.sector_size.bytes())
    }

    /// The sectors in which partitions may lie.
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

    /// All partitions with that UUID, in order of number: a hostile table may hold several.
    pub fn with_uuid(&self, uuid: Guid) -> impl Iterator<Item = (u32, &Partition)> {
        self.partitions().filter(move |(_, partition)| partition.uuid == uuid)
    }

    /// Where a partition of this table starts, in bytes.
    pub fn start_bytes(&self, partition: &Partition) -> u64 {
        partition.first_lba.saturating_mul(self.sector_size.bytes())
    }

    /// How long a partition of this table is, in bytes.
    pub fn len_bytes(&self, partition: &Partition) -> u64 {
        let sectors = partition.last_lba.saturating_sub(partition.first_lba).saturating_add(1);
        sectors.saturating_mul(self.sector_size.bytes())
    }
}
