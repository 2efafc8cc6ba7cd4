//! A machine in memory: disks as the real Disks code sees them, and one boot of them.

use std::collections::BTreeMap;

use kubedos_image::gpt::{self, SectorSize, Table};
use kubedos_image::guid::Guid;
use kubedos_image::layout::{self, Role};
use kubedos_image::release::Release;
use kubedos_image::source::Source;
use kubedos_init::handover::Medium as BootMedium;
use kubedos_init::stages::disks::choose::Boot;
use kubedos_init::stages::disks::node_record::{self, Machine, NodeRecord};
use kubedos_init::stages::disks::replica::{Medium, Replica};
use kubedos_init::stages::disks::survey::{Disk, Stretch};
use kubedos_init::stages::disks::{DisksError, Patience, Settled, Wish, keep_anchors, settle};
use zeroize::Zeroizing;

pub const GIB: u64 = 1 << 30;
pub const BYTES: u64 = 20 * GIB;

/// A medium of [`BYTES`], as our readers want it.
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

/// What the kernel finds when it starts: the primary copy, else the backup, as stage 1 does.
pub fn kernel(disk: &Disk, medium: &Medium) -> BTreeMap<u32, Stretch> {
    let Ok(table) = table(medium, disk.bytes) else { return BTreeMap::new() };
    let place = |partition| Stretch { start: table.start_bytes(partition), len: table.len_bytes(partition) };
    table.partitions().map(|(number, partition)| (number, place(partition))).collect()
}

pub fn disk(name: &str, bytes: u64) -> Disk {
    Disk { serials: vec![format!("serial-{name}")], ..Disk::new(name, bytes) }
}

/// A shipped image of a small payload, written to a larger disk; each sealed volume's first bytes are its own.
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
    Guid::from_bytes(kubedos_image::hex32::sha256(&[role.to_string().as_bytes()])[..16].try_into().unwrap())
}

/// What a node of this generation remembers.
pub fn record(generation: u64) -> NodeRecord {
    NodeRecord {
        version: node_record::VERSION,
        node: "cp-1".into(),
        cluster_id: "33".repeat(32),
        incarnation: 1,
        generation_floor: generation,
        release_floor: None,
        clock_floor: 1,
        machine: Machine::default(),
        unknown: toml::Table::new(),
    }
}

pub fn wish(key: u8) -> Wish {
    Wish {
        boot: Boot { device: "vda".into(), medium: BootMedium::Disk },
        booted: None,
        now: record(1),
        release: Release::this(),
        system: None,
        allow_destroy: vec![],
        key: Zeroizing::new([key; 32]),
        rename: false,
        patience: Patience::Over,
    }
}

/// One boot, with the anchors that belong to it: what they remember is merged with what this boot brings, as the stage does it.
pub fn try_boot(replica: &mut Replica, wish: &Wish, seed: u8) -> Result<Settled, DisksError> {
    let mut count = seed;
    let mut random = || {
        count = count.wrapping_add(1);
        [count; 16]
    };
    let mut settled = settle(replica, wish, &mut random)?;
    let then = settled.remembered.as_ref();
    let record = then.map_or_else(|| wish.now.clone(), |then| node_record::merged(then, &wish.now));
    if keep_anchors(replica, &settled.storage, wish, &record)? {
        settled.lasting.push("anchors".into());
    }
    Ok(settled)
}

pub fn boot(replica: &mut Replica, wish: &Wish, seed: u8) -> Settled {
    try_boot(replica, wish, seed).unwrap()
}

/// The machine after a restart, with nothing changed on its disks.
pub fn restarted(replica: &Replica) -> Replica {
    replica.restarted(replica.media.clone(), kernel)
}

pub fn machine(medium: Medium) -> Replica {
    let mut disk = disk("vda", BYTES);
    disk.partitions = kernel(&disk, &medium);
    let mut replica = Replica::default();
    replica.add(disk, medium);
    replica
}
