//! The disk layout of ADR 0001 as data: the partitions, their order, sizes and types, and how their UUIDs are derived from their
//! content. The functions are pure: this module reads no disk.
//!
//! The numbers and GUIDs in this file never change: a node that was installed by the first release keeps them.

use crate::gpt::{Partition, SectorSize, Table, TableError};
use crate::guid::Guid;
use kubedos_wire::hex32::{RootHash, sha256};
use kubedos_wire::seal::Volume;
use std::fmt;

mod recognise;

pub use recognise::{Recognised, State, lies_at, recognise};

/// One mebibyte: the alignment of the start and the end of every partition.
pub const MIB: u64 = 1 << 20;

/// The smallest disk that can be adopted.
pub const MINIMUM_DISK: u64 = 10 * 1024 * MIB;

/// The offset of the first partition. The partition table and the ISO 9660 area are before it.
pub const FIRST_PARTITION: u64 = MIB;

/// The maximum size of the payload volume.
pub const PAYLOAD_MAX: u64 = Volume::Payload.max_data_bytes();

/// The minimum size of DATA.
pub const DATA_MIN: u64 = 1024 * MIB;

/// A place for one set of volumes. "A" and "B" are places, not roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// In the shipped file.
    A,
    /// Created when a disk is adopted.
    B,
}

/// The partitions that belong to one volume in one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// A signature: the statement of the configuration; reserved in the other volumes.
    Signature,
    /// Forward error correction: reserved.
    Fec,
    /// The dm-verity hash tree.
    Hash,
    /// The file system.
    Data,
}

/// The purpose of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The EFI system partition.
    Esp,
    /// Space for the seed of a personalised copy.
    Seed,
    /// Part of a sealed volume.
    Volume(Volume, Area, Slot),
    /// The agent's own state, encrypted.
    State,
    /// Workload data, encrypted.
    Data,
}

impl Area {
    /// Derives the UUID of one of the volume's partitions from the root hash of the volume.
    ///
    /// Data and hash areas of root and payload follow systemd's verity generator (first and last 128 bits of the root hash);
    /// everything else is the first 128 bits of SHA-256(`"kubedos partition\0" + name without slot + "\0" + root hash`).
    pub fn partition_uuid(self, volume: Volume, root_hash: &RootHash) -> Guid {
        match (volume, self) {
            (Volume::Root | Volume::Payload, Area::Data) => Guid::from_digest_head(root_hash.as_bytes()),
            (Volume::Root | Volume::Payload, Area::Hash) => Guid::from_digest_tail(root_hash.as_bytes()),
            _ => {
                let suffix = self.suffix();
                let parts: [&[u8]; 5] = [
                    b"kubedos partition\0",
                    volume.name().as_bytes(),
                    suffix.as_bytes(),
                    b"\0",
                    root_hash.as_bytes(),
                ];
                Guid::from_digest_head(&sha256(&parts))
            }
        }
    }

    /// The size in bytes of one of the volume's partitions on an adopted disk; `None` if the volume has no such area.
    pub const fn full_size(self, volume: Volume) -> Option<u64> {
        let mib = match (volume, self) {
            (_, Area::Signature) => 1,
            (Volume::Root, Area::Fec | Area::Hash) => 8,
            (Volume::Configuration, Area::Fec) => return None,
            (Volume::Configuration, Area::Hash) => 1,
            (Volume::Payload, Area::Fec | Area::Hash) => 32,
            (_, Area::Data) => return Some(volume.max_data_bytes()),
        };
        Some(mib * MIB)
    }

    /// The part of a partition's name after volume and slot.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Signature => "-sig",
            Self::Fec => "-fec",
            Self::Hash => "-hash",
            Self::Data => "",
        }
    }
}

impl Role {
    /// The partition type.
    pub const fn type_guid(self) -> Guid {
        /// The types that kubedOS defines differ in the last byte only.
        const fn own(last: u8) -> Guid {
            Guid::from_u128(0xb7d0a1c5_6f0e_4f7e_9f62_5b1f6f5ad000 | last as u128)
        }
        match self {
            Self::Esp => Guid::from_u128(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b),
            Self::Seed => own(0xe1),
            Self::Volume(Volume::Root, Area::Signature, _) => {
                Guid::from_u128(0x41092b05_9fc8_4523_994f_2def0408b176)
            }
            Self::Volume(Volume::Root, Area::Fec, _) => {
                Guid::from_u128(0x2f3d5c0e_58a4_4a59_8a3b_0d7d0e6a8c11)
            }
            Self::Volume(Volume::Root, Area::Hash, _) => {
                Guid::from_u128(0x2c7357ed_ebd2_46d9_aec1_23d437ec2bf5)
            }
            Self::Volume(Volume::Root, Area::Data, _) => {
                Guid::from_u128(0x4f68bce3_e8cd_4db1_96e7_fbcaf984b709)
            }
            Self::Volume(Volume::Configuration, Area::Data, _) => own(0xe2),
            Self::Volume(Volume::Configuration, Area::Hash, _) => own(0xe3),
            // There is no `configuration-fec` partition; the match arm only makes the function total.
            Self::Volume(Volume::Configuration, Area::Signature | Area::Fec, _) => own(0xe4),
            Self::Volume(Volume::Payload, Area::Data, _) => own(0xe5),
            Self::Volume(Volume::Payload, Area::Hash, _) => own(0xe6),
            Self::Volume(Volume::Payload, Area::Fec, _) => own(0xe7),
            Self::Volume(Volume::Payload, Area::Signature, _) => own(0xe8),
            Self::State => own(0xf0),
            Self::Data => own(0xf1),
        }
    }
}

impl fmt::Display for Role {
    /// The partition's name: its GPT label.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Esp => f.write_str("esp"),
            Self::Seed => f.write_str("seed"),
            Self::Volume(volume, area, slot) => {
                let slot = match slot {
                    Slot::A => "a",
                    Slot::B => "b",
                };
                write!(f, "{}-{slot}{}", volume.name(), area.suffix())
            }
            Self::State => f.write_str("state"),
            Self::Data => f.write_str("data"),
        }
    }
}

/// A partition's place, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The entry of the partition table, from 1.
    pub number: u32,
    /// The purpose of the partition.
    pub role: Role,
    /// The offset from the start of the disk, in bytes.
    pub start: u64,
    /// The size, in bytes.
    pub len: u64,
}

/// All partitions of a file or disk, in disk order, which is also the order of their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    places: Vec<Place>,
    disk_bytes: u64,
}

/// The payload volume does not fit into its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a payload of {bytes} bytes does not fit into its slot of {PAYLOAD_MAX}")]
pub struct PayloadTooLarge {
    /// The requested size.
    pub bytes: u64,
}

/// The disk cannot be adopted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a disk of {bytes} bytes is too small: {MINIMUM_DISK} are needed")]
pub struct TooSmall {
    /// The disk's size.
    pub bytes: u64,
}

/// The partitions of one slot in disk order. The payload's file system is last, so that it can grow in place.
const SLOT_ORDER: [(Volume, Area); 11] = [
    (Volume::Root, Area::Signature),
    (Volume::Root, Area::Fec),
    (Volume::Root, Area::Hash),
    (Volume::Root, Area::Data),
    (Volume::Configuration, Area::Signature),
    (Volume::Configuration, Area::Hash),
    (Volume::Configuration, Area::Data),
    (Volume::Payload, Area::Signature),
    (Volume::Payload, Area::Fec),
    (Volume::Payload, Area::Hash),
    (Volume::Payload, Area::Data),
];

const ESP_SIZE: u64 = 256 * MIB;
/// The size of the `seed` partition and the maximum size of a seed volume.
pub const SEED_SIZE: u64 = 4 * MIB;
const STATE_SIZE: u64 = 1024 * MIB;
/// The maximum size of the backup table (4096-byte sectors: one for the header, four for the entries).
const BACKUP_TABLE: u64 = 5 * 4096;

/// The layout of the shipped file: slot A, where the payload partition has the size of the payload rounded up to a MiB. One MiB after the
/// last partition is for the backup table, so that the size of the file is a whole number of MiB.
pub fn shipped(payload_bytes: u64) -> Result<Layout, PayloadTooLarge> {
    if payload_bytes > PAYLOAD_MAX {
        return Err(PayloadTooLarge { bytes: payload_bytes });
    }
    let mut layout = Layout { places: Vec::new(), disk_bytes: FIRST_PARTITION };
    layout.push_slot_a(payload_bytes.max(1).next_multiple_of(MIB));
    layout.disk_bytes += MIB;
    Ok(layout)
}

/// The layout of an adopted disk of `disk_bytes`: both slots at full size, STATE, and DATA in the remaining space.
pub fn adopted(disk_bytes: u64) -> Result<Layout, TooSmall> {
    if disk_bytes < MINIMUM_DISK {
        return Err(TooSmall { bytes: disk_bytes });
    }
    let mut layout = Layout { places: Vec::new(), disk_bytes: FIRST_PARTITION };
    layout.push_slot_a(PAYLOAD_MAX);
    layout.push_slot(Slot::B, PAYLOAD_MAX);
    layout.push(Role::State, STATE_SIZE);
    let end = (disk_bytes - BACKUP_TABLE) / MIB * MIB;
    layout.push(Role::Data, end - layout.disk_bytes);
    layout.disk_bytes = disk_bytes;
    Ok(layout)
}

impl Layout {
    fn push_slot_a(&mut self, payload: u64) {
        self.push(Role::Esp, ESP_SIZE);
        self.push(Role::Seed, SEED_SIZE);
        self.push_slot(Slot::A, payload);
    }

    #[expect(clippy::expect_used, reason = "`SLOT_ORDER` names only areas that their volumes have")]
    fn push_slot(&mut self, slot: Slot, payload: u64) {
        for (volume, area) in SLOT_ORDER {
            let full = area.full_size(volume).expect("every area of a slot has a size");
            let len = if (volume, area) == (Volume::Payload, Area::Data) { payload } else { full };
            self.push(Role::Volume(volume, area, slot), len);
        }
    }

    /// Appends a partition. Meanwhile, `disk_bytes` is the end of the last partition.
    fn push(&mut self, role: Role, len: u64) {
        let number = self.places.last().map_or(1, |last| last.number + 1);
        self.places.push(Place { number, role, start: self.disk_bytes, len });
        self.disk_bytes += len;
    }

    /// The partitions in disk order.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The size of the file or disk, in bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.disk_bytes
    }

    /// The place of one partition, if this layout has it.
    pub fn place(&self, role: Role) -> Option<&Place> {
        self.places.iter().find(|place| place.role == role)
    }

    /// The partition table of this layout. `uuid` returns the UUID of each partition ([`Guid::ZERO`] in an unused slot).
    pub fn table(
        &self,
        sector_size: SectorSize,
        disk_guid: Guid,
        mut uuid: impl FnMut(Role) -> Guid,
    ) -> Result<Table, TableError> {
        let sector = sector_size.bytes();
        let mut table = Table::new(sector_size, self.disk_bytes, disk_guid)?;
        for place in &self.places {
            let partition = Partition {
                type_guid: place.role.type_guid(),
                uuid: uuid(place.role),
                first_lba: place.start / sector,
                last_lba: (place.start + place.len) / sector - 1,
                attributes: 0,
                name: place.role.to_string(),
            };
            table.set(place.number, partition)?;
        }
        Ok(table)
    }
}

/// The root hashes of the three volumes of a shipped file, from which the UUIDs of its partitions are derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names {
    /// The root hash of the root volume.
    pub root: RootHash,
    /// The root hash of the configuration volume.
    pub configuration: RootHash,
    /// The root hash of the payload volume.
    pub payload: RootHash,
}

impl Names {
    /// The UUID of a partition of the shipped file; [`Guid::ZERO`] for a partition that only the agent creates.
    pub fn uuid(&self, role: Role) -> Guid {
        match role {
            Role::Esp => self.derived("esp"),
            Role::Seed => self.derived("seed"),
            Role::Volume(volume, area, Slot::A) => area.partition_uuid(volume, self.of(volume)),
            Role::Volume(_, _, Slot::B) | Role::State | Role::Data => Guid::ZERO,
        }
    }

    /// The disk GUID of the shipped file.
    pub fn disk_guid(&self) -> Guid {
        self.derived("disk")
    }

    fn of(&self, volume: Volume) -> &RootHash {
        match volume {
            Volume::Root => &self.root,
            Volume::Configuration => &self.configuration,
            Volume::Payload => &self.payload,
        }
    }

    /// The first 128 bits of SHA-256(`"kubedos disk\0" + what + "\0" + root hash of root + root hash of payload`).
    fn derived(&self, what: &str) -> Guid {
        let parts: [&[u8]; 5] =
            [b"kubedos disk\0", what.as_bytes(), b"\0", self.root.as_bytes(), self.payload.as_bytes()];
        Guid::from_digest_head(&sha256(&parts))
    }
}

#[cfg(test)]
mod tests;
