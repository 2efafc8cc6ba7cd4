//! A machine in memory: disks for the real Disks code, and one boot with them.

use std::collections::BTreeMap;

use kubedos_agent::stages::disks::choose::Boot;
use kubedos_agent::stages::disks::fake_disks::{self, FakeDisks, Medium};
use kubedos_agent::stages::disks::node_record::{self, Machine, NodeRecord};
use kubedos_agent::stages::disks::survey::{ByteRange, Disk};
use kubedos_agent::stages::disks::{Desired, DisksError, Patience, Settled, keep_anchors, settle};
use kubedos_image::gpt::{self, SectorSize, Table};
use kubedos_image::guid::Guid;
use kubedos_image::layout::{self, Role};
use kubedos_image::source::Source;
use kubedos_wire::handover::Medium as BootMedium;
use kubedos_wire::release::Release;
use zeroize::Zeroizing;

pub const GIB: u64 = 1 << 30;
pub const BYTES: u64 = 20 * GIB;

/// A medium of [`BYTES`], with the interface that the readers need.
pub struct Whole<'a>(pub &'a Medium, pub u64);

impl Source for Whole<'_> {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        buffer.copy_from_slice(&self.0.read(offset, buffer.len()));
        Ok(())
    }
}

pub fn table(medium: &Medium, bytes: u64) -> Result<Table, gpt::ReadError> {
    gpt::read_from(&Whole(medium, bytes), SectorSize::B512).map(|found| found.table)
}

/// The partitions that the kernel finds: from the primary copy, otherwise from the backup, as in stage 1.
pub fn kernel(disk: &Disk, medium: &Medium) -> BTreeMap<u32, ByteRange> {
    let Ok(table) = table(medium, disk.bytes) else { return BTreeMap::new() };
    let place =
        |partition| ByteRange { start: table.start_bytes(partition), len: table.len_bytes(partition) };
    table.partitions().map(|(number, partition)| (number, place(partition))).collect()
}

pub fn disk(name: &str, bytes: u64) -> Disk {
    Disk { serials: vec![format!("serial-{name}")], ..Disk::new(name, bytes) }
}

/// A shipped image with a small payload, written to a larger disk; the first bytes of each sealed volume are unique.
pub fn imaged() -> Medium {
    let layout = layout::shipped(64 << 20).unwrap();
    let mut medium = Medium::default();
    let table = layout.table(SectorSize::B512, Guid::from_u128(1), shipped_uuid).unwrap();
    for extent in table.extents() {
        medium.write(extent.offset, &extent.bytes);
    }
    for place in layout.places() {
        medium.write(place.start, &[u8::try_from(place.number).unwrap(); 8192]);
        medium.write(place.start + place.len - 8192, &[u8::try_from(place.number).unwrap(); 8192]);
    }
    medium
}

pub fn shipped_uuid(role: Role) -> Guid {
    Guid::from_bytes(kubedos_wire::hex32::sha256(&[role.to_string().as_bytes()])[..16].try_into().unwrap())
}

/// The record of a node at this generation.
pub fn record(generation: u64) -> NodeRecord {
    NodeRecord {
        incarnation: 1,
        generation_floor: generation,
        clock_floor: 1,
        machine: Machine::default(),
        ..fake_disks::record()
    }
}

pub fn desired(key: u8) -> Desired {
    Desired {
        boot: Boot { device: "vda".into(), medium: BootMedium::Disk },
        booted: None,
        now: record(1),
        release: Release::this(),
        system: None,
        allow_destroy: vec![],
        key: Zeroizing::new([key; 32]),
        renew_uuids: false,
        patience: Patience::Over,
    }
}

/// One boot including its anchors: the record in the anchor is merged with the record of this boot, as in the stage.
pub fn try_boot(fake: &mut FakeDisks, desired: &Desired, seed: u8) -> Result<Settled, DisksError> {
    let mut count = seed;
    let mut random = || {
        count = count.wrapping_add(1);
        [count; 16]
    };
    let mut settled = settle(fake, desired, &mut random)?;
    let then = settled.recorded.as_ref();
    let record = then.map_or_else(|| desired.now.clone(), |then| node_record::merged(then, &desired.now));
    if keep_anchors(fake, &settled.storage, desired, &record)? {
        settled.persistent.push("anchors".into());
    }
    Ok(settled)
}

pub fn boot(fake: &mut FakeDisks, desired: &Desired, seed: u8) -> Settled {
    try_boot(fake, desired, seed).unwrap()
}

/// The machine after a restart, with unchanged disks.
pub fn restarted(fake: &FakeDisks) -> FakeDisks {
    fake.restarted(fake.media.clone(), kernel)
}

pub fn machine(medium: Medium) -> FakeDisks {
    let mut disk = disk("vda", BYTES);
    disk.partitions = kernel(&disk, &medium);
    let mut fake = FakeDisks::default();
    fake.add(disk, medium);
    fake
}
