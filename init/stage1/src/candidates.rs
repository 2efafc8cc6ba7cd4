//! Chooses the partitions that may contain the volumes, and the order in which they are tried. Pure.
//!
//! The partition UUIDs of root and payload derive from their root hashes, so the UUID of a candidate determines its
//! expected content; dm-verity verifies the content. The device that firmware booted from is the first, so that volumes
//! of a USB stick and of its copy on a disk are never mixed.

use std::time::Duration;

use kubedos_image::boot::BootManifest;
use kubedos_image::guid::Guid;
use kubedos_image::layout::{Area, Role, Slot};
use kubedos_wire::hex32::RootHash;
use kubedos_wire::seal::Volume;

use super::devices::Disk;
use kubedos_wire::handover::Medium;

/// How long to wait after the last device event before a device is used that firmware did not boot from.
pub const QUIET: Duration = Duration::from_secs(3);
/// How long to wait for the device that firmware booted from if another device has the volumes too.
pub const PREFERRED: Duration = Duration::from_secs(20);
/// How long to wait for any device with the volumes.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// Maximum number of pairs that are tried on one disk: a table may repeat a UUID to delay the boot.
const PAIRS: usize = 4;

/// A pair of partitions that may be a volume.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The disk of both partitions.
    pub disk: &'a Disk,
    /// Number of the data partition.
    pub data: u32,
    /// Number of the hash partition.
    pub hash: u32,
}

/// The disks, best first: the one that firmware booted from (a CD, if firmware reported no partition), then by name.
pub fn rank<'a>(disks: impl Iterator<Item = &'a Disk>, boot_partition: Option<Guid>) -> Vec<&'a Disk> {
    let mut ranked: Vec<&Disk> = disks.collect();
    ranked.sort_by_key(|disk| {
        (!is_preferred(disk, boot_partition), disk.medium == Medium::Cd, disk.name.len(), disk.name.clone())
    });
    ranked
}

/// Whether firmware booted from this disk, as far as the firmware reports it.
pub fn is_preferred(disk: &Disk, boot_partition: Option<Guid>) -> bool {
    match boot_partition {
        Some(uuid) => disk.table.with_uuid(uuid).next().is_some(),
        None => disk.medium == Medium::Cd,
    }
}

/// The pairs that may be `volume`; those on `first`, which has the root volume, come before the others.
pub fn pairs<'a>(
    ranked: &[&'a Disk],
    first: Option<&Disk>,
    volume: Volume,
    hash: &RootHash,
) -> Vec<Candidate<'a>> {
    let mut disks = ranked.to_vec();
    if let Some(first) = first {
        disks.sort_by_key(|disk| disk.name != first.name); // the sort is stable
    }
    disks.into_iter().flat_map(|disk| pairs_on(disk, volume, hash)).collect()
}

fn pairs_on<'a>(disk: &'a Disk, volume: Volume, hash: &RootHash) -> Vec<Candidate<'a>> {
    let numbers = |area: Area| -> Vec<u32> {
        let kind = Role::Volume(volume, area, Slot::A).type_guid();
        let named = disk.table.with_uuid(area.partition_uuid(volume, hash));
        named.filter(|(_, partition)| partition.type_guid == kind).map(|(number, _)| number).collect()
    };
    let hashes = numbers(Area::Hash);
    let pairs = numbers(Area::Data).into_iter().flat_map(|data| hashes.iter().map(move |hash| (data, *hash)));
    pairs.map(|(data, hash)| Candidate { disk, data, hash }).take(PAIRS).collect()
}

/// The partitions that may contain the statement of a configuration.
pub fn statements(disk: &Disk) -> Vec<u32> {
    let kind = Role::Volume(Volume::Configuration, Area::Signature, Slot::A).type_guid();
    disk.table.of_type(kind).map(|(number, _)| number).collect()
}

/// The state of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// The volumes are present.
    Succeeds,
    /// Wait for more devices.
    Continues,
    /// The time limit has passed.
    Fails,
}

/// Whether to wait for more devices. `waited` is the time since the search began, `quiet` since the last event.
pub fn search(
    ranked: &[&Disk],
    manifest: &BootManifest,
    boot_partition: Option<Guid>,
    waited: Duration,
    quiet: Duration,
) -> Search {
    let complete = |disk: &&&Disk| {
        !pairs_on(disk, Volume::Root, &manifest.root.root_hash).is_empty()
            && !pairs_on(disk, Volume::Payload, &manifest.payload.root_hash).is_empty()
            && !statements(disk).is_empty()
    };
    let preferred_is_complete =
        ranked.iter().filter(|disk| is_preferred(disk, boot_partition)).any(|disk| complete(&disk));
    let all_are_somewhere = !pairs(ranked, None, Volume::Root, &manifest.root.root_hash).is_empty()
        && !pairs(ranked, None, Volume::Payload, &manifest.payload.root_hash).is_empty()
        && ranked.iter().any(|disk| !statements(disk).is_empty());
    let waited_enough = waited >= PREFERRED || (boot_partition.is_none() && quiet >= QUIET);
    if preferred_is_complete || (all_are_somewhere && waited_enough) {
        Search::Succeeds
    } else if waited >= DEADLINE {
        Search::Fails
    } else {
        Search::Continues
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_image::boot::BootParts;
    use kubedos_image::gpt::SectorSize;
    use kubedos_image::layout::shipped;
    use kubedos_wire::hex32::{PublicKey, Salt};
    use kubedos_wire::release::Release;
    use kubedos_wire::seal::Seal;

    const ROOT: RootHash = RootHash::new([1; 32]);
    const PAYLOAD: RootHash = RootHash::new([2; 32]);
    const CONFIGURATION: RootHash = RootHash::new([3; 32]);

    fn manifest() -> BootManifest {
        let seal = |root_hash| Seal { root_hash, salt: Salt::new([9; 32]), data_blocks: 1 };
        BootManifest::new(BootParts {
            release: Release::new(0, 1, 0),
            epoch: 1,
            identity: PublicKey::new([4; 32]),
            root: seal(ROOT),
            payload: seal(PAYLOAD),
            configuration_keys: &[PublicKey::new([4; 32])],
        })
        .unwrap()
    }

    fn esp(of: u8) -> Guid {
        Guid::from_bytes([0xe0 | of; 16])
    }

    fn disk(name: &str, esp_uuid: Guid, root: RootHash) -> Disk {
        let table = shipped(4096)
            .unwrap()
            .table(SectorSize::B512, Guid::from_bytes([7; 16]), |role| match role {
                Role::Volume(Volume::Root, area, _) => area.partition_uuid(Volume::Root, &root),
                Role::Volume(Volume::Payload, area, _) => area.partition_uuid(Volume::Payload, &PAYLOAD),
                Role::Volume(Volume::Configuration, area, _) => {
                    area.partition_uuid(Volume::Configuration, &CONFIGURATION)
                }
                Role::Esp => esp_uuid,
                _ => Guid::from_bytes([8; 16]),
            })
            .unwrap();
        let medium = if name.starts_with("sr") { Medium::Cd } else { Medium::Disk };
        Disk { name: name.into(), node: name.into(), medium, table, table_note: None }
    }

    fn names<'a>(disks: &[&'a Disk]) -> Vec<&'a str> {
        disks.iter().map(|disk| disk.name.as_str()).collect()
    }

    /// A USB stick and its copy on a disk are attached at the same time, in both orders.
    #[test]
    fn the_device_that_firmware_booted_from_is_first() {
        let disks = [disk("sda", esp(1), ROOT), disk("sdb", esp(2), ROOT), disk("sr0", esp(3), ROOT)];
        assert_eq!(names(&rank(disks.iter(), Some(esp(1)))), ["sda", "sdb", "sr0"]);
        assert_eq!(names(&rank(disks.iter(), Some(esp(2)))), ["sdb", "sda", "sr0"]);
        assert_eq!(names(&rank(disks.iter(), None)), ["sr0", "sda", "sdb"]);
        let found = pairs(&rank(disks.iter(), Some(esp(2))), None, Volume::Root, &ROOT);
        assert_eq!(
            found.iter().map(|pair| pair.disk.name.as_str()).collect::<Vec<_>>(),
            ["sdb", "sda", "sr0"]
        );
    }

    #[test]
    fn the_payload_on_the_disk_of_the_root_is_the_first_candidate() {
        let disks = [disk("sda", esp(1), ROOT), disk("sdb", esp(2), ROOT)];
        let ranked = rank(disks.iter(), Some(esp(1)));
        let found = pairs(&ranked, Some(&disks[1]), Volume::Payload, &PAYLOAD);
        assert_eq!(found.iter().map(|pair| pair.disk.name.as_str()).collect::<Vec<_>>(), ["sdb", "sda"]);
        assert_eq!((found[0].data, found[0].hash), (13, 12));
    }

    #[test]
    fn a_root_with_a_different_hash_is_refused_as_a_candidate() {
        let foreign = disk("sda", esp(1), RootHash::new([5; 32]));
        assert!(pairs(&[&foreign], None, Volume::Root, &ROOT).is_empty());
    }

    #[test]
    fn a_partition_with_the_right_uuid_and_the_wrong_type_is_refused_as_a_candidate() {
        let mut disk = disk("sda", esp(1), ROOT);
        let mut data = disk.table.get(6).unwrap().clone();
        data.type_guid = Role::Data.type_guid();
        disk.table.set(6, data).unwrap();
        assert!(pairs(&[&disk], None, Volume::Root, &ROOT).is_empty());
    }

    #[test]
    fn the_number_of_candidates_with_repeated_uuids_is_limited() {
        let mut disk = disk("sda", esp(1), ROOT);
        for number in [1, 2, 3, 4, 7, 8, 9, 10, 11] {
            let mut copy = disk.table.get(number).unwrap().clone();
            let like = disk.table.get(if number % 2 == 0 { 5 } else { 6 }).unwrap().clone();
            (copy.uuid, copy.type_guid) = (like.uuid, like.type_guid);
            disk.table.set(number, copy).unwrap();
        }
        assert_eq!(pairs(&[&disk], None, Volume::Root, &ROOT).len(), PAIRS);
    }

    #[test]
    fn the_search_waits_for_the_boot_device_for_a_limited_time() {
        let (boot, other, cd) =
            (disk("sda", esp(1), ROOT), disk("sdb", esp(2), ROOT), disk("sr0", esp(3), ROOT));
        let foreign = disk("sdc", esp(1), RootHash::new([5; 32]));
        let s = Duration::from_secs;
        type Case<'a> = (&'a [&'a Disk], Option<Guid>, u64, u64, Search);
        let cases: [Case<'_>; 9] = [
            (&[], Some(esp(1)), 0, 0, Search::Continues),
            (&[], Some(esp(1)), 90, 90, Search::Fails),
            (&[&boot], Some(esp(1)), 0, 0, Search::Succeeds),
            (&[&other], Some(esp(1)), 10, 10, Search::Continues),
            (&[&other], Some(esp(1)), 20, 0, Search::Succeeds),
            (&[&other], None, 1, 1, Search::Continues),
            (&[&other], None, 3, 3, Search::Succeeds),
            (&[&other, &cd], None, 0, 0, Search::Succeeds),
            (&[&foreign], Some(esp(1)), 89, 89, Search::Continues),
        ];
        for (disks, boot_partition, waited, quiet, expected) in cases {
            assert_eq!(
                search(disks, &manifest(), boot_partition, s(waited), s(quiet)),
                expected,
                "{:?}",
                names(disks)
            );
        }
    }
}
