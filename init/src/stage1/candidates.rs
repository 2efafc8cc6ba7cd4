//! Which partitions may hold the volumes, and in which order they are tried: pure.
//!
//! Root and payload have partition UUIDs made of their root hashes, so a candidate is named by what it must contain; whether it does is
//! for dm-verity to say. The device that firmware booted from comes first, so that a stick and the disk it was copied to never mix.

use std::time::Duration;

use kubedos_image::boot::BootManifest;
use kubedos_image::guid::Guid;
use kubedos_image::hex32::RootHash;
use kubedos_image::layout::{Area, Role, Slot, Volume};

use super::devices::Disk;
use crate::handover::Medium;

/// How long the devices must be quiet before a device that firmware did not boot from is taken.
pub const QUIET: Duration = Duration::from_secs(3);
/// How long the device that firmware booted from is waited for when another one has the volumes as well.
pub const PREFERRED: Duration = Duration::from_secs(20);
/// How long any volumes at all are waited for.
pub const DEADLINE: Duration = Duration::from_secs(90);
/// A table may repeat a UUID to keep us busy; more pairs than this are not tried on one disk.
const PAIRS: usize = 4;

/// A pair of partitions that may be a volume.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Where both lie.
    pub disk: &'a Disk,
    /// Number of the data partition.
    pub data: u32,
    /// Number of the hash partition.
    pub hash: u32,
}

/// The disks, best first: the one that firmware booted from; where firmware named none, it booted from a CD; then by name.
pub fn rank<'a>(disks: impl Iterator<Item = &'a Disk>, boot_partition: Option<Guid>) -> Vec<&'a Disk> {
    let mut ranked: Vec<&Disk> = disks.collect();
    ranked.sort_by_key(|disk| {
        (!is_preferred(disk, boot_partition), disk.medium == Medium::Cd, disk.name.len(), disk.name.clone())
    });
    ranked
}

/// Whether firmware booted from this disk, as far as it said.
pub fn is_preferred(disk: &Disk, boot_partition: Option<Guid>) -> bool {
    match boot_partition {
        Some(uuid) => disk.table.with_uuid(uuid).next().is_some(),
        None => disk.medium == Medium::Cd,
    }
}

/// The pairs that may be `volume`, on `first` (where the root volume was found) before the others.
pub fn pairs<'a>(
    ranked: &[&'a Disk],
    first: Option<&Disk>,
    volume: Volume,
    hash: &RootHash,
) -> Vec<Candidate<'a>> {
    let mut disks = ranked.to_vec();
    if let Some(first) = first {
        disks.sort_by_key(|disk| disk.name != first.name); // stable
    }
    disks.into_iter().flat_map(|disk| pairs_on(disk, volume, hash)).collect()
}

fn pairs_on<'a>(disk: &'a Disk, volume: Volume, hash: &RootHash) -> Vec<Candidate<'a>> {
    let numbers = |area: Area| -> Vec<u32> {
        let kind = Role::Volume(volume, area, Slot::A).type_guid();
        let named = disk.table.with_uuid(volume.partition_uuid(area, hash));
        named.filter(|(_, partition)| partition.type_guid == kind).map(|(number, _)| number).collect()
    };
    let hashes = numbers(Area::Hash);
    let pairs = numbers(Area::Data).into_iter().flat_map(|data| hashes.iter().map(move |hash| (data, *hash)));
    pairs.map(|(data, hash)| Candidate { disk, data, hash }).take(PAIRS).collect()
}

/// The partitions that may hold a configuration's statement.
pub fn statements(disk: &Disk) -> Vec<u32> {
    let kind = Role::Volume(Volume::Configuration, Area::Signature, Slot::A).type_guid();
    disk.table.of_type(kind).map(|(number, _)| number).collect()
}

/// What the search has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// Enough is there.
    Ends,
    /// Wait for more devices.
    GoesOn,
    /// Time is up.
    Fails,
}

/// Whether to wait for more devices; `waited` since the search began, `quiet` since the last event.
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
        Search::Ends
    } else if waited >= DEADLINE {
        Search::Fails
    } else {
        Search::GoesOn
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_image::boot::{BootParts, Seal};
    use kubedos_image::gpt::SectorSize;
    use kubedos_image::hex32::{PublicKey, Salt};
    use kubedos_image::layout::shipped;
    use kubedos_image::release::Release;

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
                Role::Volume(Volume::Root, area, _) => Volume::Root.partition_uuid(area, &root),
                Role::Volume(Volume::Payload, area, _) => Volume::Payload.partition_uuid(area, &PAYLOAD),
                Role::Volume(Volume::Configuration, area, _) => {
                    Volume::Configuration.partition_uuid(area, &CONFIGURATION)
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

    /// A stick and its copy on disk, attached together, in both orders.
    #[test]
    fn the_device_that_firmware_booted_from_comes_first() {
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
    fn the_payload_is_taken_from_beside_the_root() {
        let disks = [disk("sda", esp(1), ROOT), disk("sdb", esp(2), ROOT)];
        let ranked = rank(disks.iter(), Some(esp(1)));
        let found = pairs(&ranked, Some(&disks[1]), Volume::Payload, &PAYLOAD);
        assert_eq!(found.iter().map(|pair| pair.disk.name.as_str()).collect::<Vec<_>>(), ["sdb", "sda"]);
        assert_eq!((found[0].data, found[0].hash), (13, 12));
    }

    #[test]
    fn a_foreign_root_is_no_candidate() {
        let foreign = disk("sda", esp(1), RootHash::new([5; 32]));
        assert!(pairs(&[&foreign], None, Volume::Root, &ROOT).is_empty());
    }

    #[test]
    fn a_partition_of_the_right_name_and_the_wrong_type_is_no_candidate() {
        let mut disk = disk("sda", esp(1), ROOT);
        let mut data = disk.table.get(6).unwrap().clone();
        data.type_guid = Role::Data.type_guid();
        disk.table.set(6, data).unwrap();
        assert!(pairs(&[&disk], None, Volume::Root, &ROOT).is_empty());
    }

    #[test]
    fn a_table_full_of_repeated_names_is_not_tried_for_ever() {
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
    fn the_search_waits_for_the_boot_device_and_not_for_ever() {
        let (boot, other, cd) =
            (disk("sda", esp(1), ROOT), disk("sdb", esp(2), ROOT), disk("sr0", esp(3), ROOT));
        let foreign = disk("sdc", esp(1), RootHash::new([5; 32]));
        let s = Duration::from_secs;
        type Case<'a> = (&'a [&'a Disk], Option<Guid>, u64, u64, Search);
        let cases: [Case<'_>; 9] = [
            (&[], Some(esp(1)), 0, 0, Search::GoesOn),
            (&[], Some(esp(1)), 90, 90, Search::Fails),
            (&[&boot], Some(esp(1)), 0, 0, Search::Ends),
            (&[&other], Some(esp(1)), 10, 10, Search::GoesOn),
            (&[&other], Some(esp(1)), 20, 0, Search::Ends),
            (&[&other], None, 1, 1, Search::GoesOn),
            (&[&other], None, 3, 3, Search::Ends),
            (&[&other, &cd], None, 0, 0, Search::Ends),
            (&[&foreign], Some(esp(1)), 89, 89, Search::GoesOn),
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
