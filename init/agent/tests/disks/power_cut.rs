//! Power cuts during the first boot: the real Disks code runs on disks in memory. The power is cut after every write and
//! flush, with torn writes and with lost unflushed writes; then the machine boots again. The checks use this project's
//! readers. The tests in `tests/` save the same log to files and check it with other programs.
//!
//! Evidence for O1 and for the order of writes of ADR 0001.

use std::collections::BTreeMap;

use kubedos_agent::stages::disks::containers::{Content, content};
use kubedos_agent::stages::disks::fake_disks::{FakeDisks, Logged, Medium};
use kubedos_agent::stages::disks::luks;
use kubedos_agent::stages::disks::survey::Store;
use kubedos_agent::stages::disks::{Desired, settle};
use kubedos_image::gpt::{self, SectorSize};
use kubedos_image::layout::{self, Area, Role, Slot, State, recognise};
use kubedos_wire::node::DiskIdentity;
use kubedos_wire::seal::Volume;

use crate::machine::{BYTES, GIB, Whole, boot, desired, disk, imaged, kernel, machine, shipped_uuid, table};

/// The shipped partitions have their old offsets, UUIDs and bytes.
fn sealed_is_untouched(medium: &Medium, at: &str) {
    let table = table(medium, BYTES).unwrap_or_else(|error| panic!("{at}: no table: {error}"));
    for place in layout::shipped(64 << 20).unwrap().places() {
        let partition = table.get(place.number).unwrap_or_else(|| panic!("{at}: {} is missing", place.role));
        assert_eq!(table.start_bytes(partition), place.start, "{at}");
        assert!(table.len_bytes(partition) >= place.len, "{at}");
        let byte = u8::try_from(place.number).unwrap();
        assert_eq!(medium.read(place.start, 8192), [byte; 8192], "{at}: {}", place.role);
        assert_eq!(medium.read(place.start + place.len - 8192, 8192), [byte; 8192], "{at}: {}", place.role);
        if matches!(
            place.role,
            Role::Volume(Volume::Root | Volume::Payload, Area::Data | Area::Hash, Slot::A)
        ) {
            assert_eq!(
                partition.uuid,
                shipped_uuid(place.role),
                "{at}: stage 1 would not find {}",
                place.role
            );
        }
    }
}

/// The state is the same as after an undisturbed first boot.
fn is_whole(fake: &FakeDisks, at: &str) {
    let medium = &fake.media["vda"];
    let found = gpt::read_from(&Whole(medium, BYTES), SectorSize::B512).unwrap();
    assert!(found.is_consistent(), "{at}: {found:?}");
    assert_eq!(recognise(&found.table).unwrap().state, State::Adopted, "{at}");
    for store in Store::ALL {
        let place = *layout::adopted(BYTES).unwrap().place(store.role()).unwrap();
        let content = content(store, &medium.read(place.start, luks::AREA_BYTES));
        assert!(matches!(content, Content::Finished(_)), "{at}: {content:?}");
    }
    sealed_is_untouched(medium, at);
}

/// Boots after a cut, and boots once more: the second boot makes no change.
fn recovers(before: &FakeDisks, media: BTreeMap<String, Medium>, at: &str) {
    sealed_is_untouched(&media["vda"], at);
    let mut next = before.restarted(media, kernel);
    boot(&mut next, &desired(7), 100);
    is_whole(&next, at);
    let mut second = next.restarted(next.media.clone(), kernel);
    assert_eq!(
        boot(&mut second, &desired(7), 200).persistent,
        Vec::<String>::new(),
        "{at}: the second boot changed something"
    );
    assert!(second.log.is_empty(), "{at}: the second boot wrote");
}

#[test]
fn a_boot_after_any_power_cut_of_the_first_boot_completes_the_disk() {
    let before = machine(imaged());
    let mut first = before.clone();
    boot(&mut first, &desired(7), 0);
    is_whole(&first, "no cut");
    assert!(first.log.len() > 40, "the log has {} entries", first.log.len());
    for entries in 0..=first.log.len() {
        recovers(&before, first.cut(&before.media, entries, |_| false), &format!("cut after {entries}"));
        recovers(
            &before,
            first.cut(&before.media, entries, |_| true),
            &format!("cut after {entries}, cache lost"),
        );
        let alternate = first.cut(&before.media, entries, |index| index % 2 == 0);
        recovers(&before, alternate, &format!("cut after {entries}, every other cached write lost"));
    }
}

/// A write of several sectors is cut in the middle.
#[test]
fn a_boot_after_any_torn_write_of_the_first_boot_completes_the_disk() {
    let before = machine(imaged());
    let mut first = before.clone();
    boot(&mut first, &desired(7), 0);
    for (index, entry) in first.log.iter().enumerate() {
        let Logged::Write { disk, at, bytes } = entry else { continue };
        for part in [512, bytes.len() / 2 / 512 * 512, bytes.len().saturating_sub(512)] {
            if (1..bytes.len()).contains(&part) {
                let mut media = first.cut(&before.media, index, |_| false);
                media.get_mut(disk).unwrap().write(*at, &bytes[..part]);
                recovers(&before, media, &format!("write {index} torn after {part} bytes"));
            }
        }
    }
}

/// Power fails a second time, during the recovery from the first power cut.
#[test]
fn a_boot_after_a_second_power_cut_completes_the_disk() {
    let before = machine(imaged());
    let mut first = before.clone();
    boot(&mut first, &desired(7), 0);
    for entries in (0..first.log.len()).step_by(5) {
        let once = before.restarted(first.cut(&before.media, entries, |_| false), kernel);
        let mut second = once.clone();
        boot(&mut second, &desired(7), 100);
        for later in (0..=second.log.len()).step_by(3) {
            recovers(
                &once,
                second.cut(&once.media, later, |_| true),
                &format!("cut after {entries}, then after {later}"),
            );
        }
    }
}

/// The image is written over a node's disk again: STATE and DATA keep their offsets and content.
#[test]
fn state_and_data_are_kept_when_the_image_is_written_again() {
    let mut first = machine(imaged());
    boot(&mut first, &desired(7), 0);
    let data = layout::adopted(BYTES).unwrap().place(Role::Data).unwrap().start + (64 << 20);
    let mut medium = first.media["vda"].clone();
    medium.write(data, b"the user's data");
    let fresh = imaged();
    medium.write(0, &fresh.read(0, 960 << 20));
    let mut again = machine(medium.clone());
    let settled = boot(&mut again, &desired(7), 50);
    assert_eq!(settled.persistent, ["vda adopted"]);
    assert_eq!(again.media["vda"].read(data, 15), b"the user's data");
    let mut other = machine(medium.clone());
    let error = settle(&mut other, &desired(8), &mut || [9; 16]).unwrap_err();
    assert!(error.to_string().starts_with("the key of this node's seed does not open vda25"), "{error}");
    assert_eq!(other.media["vda"].read(data, 15), b"the user's data");
}

/// S3: a foreign disk is refused and its bytes are unchanged; with allowDestroy only the named disk is written.
#[test]
fn a_foreign_disk_is_not_written_and_allow_destroy_permits_only_the_named_disk() {
    let mut foreign = Medium::default();
    foreign.write(0, b"XFSB");
    foreign.write(5 * GIB, b"years of photographs");
    let machine = |medium: &Medium| {
        let mut fake = FakeDisks::default();
        fake.add(disk("vda", BYTES), medium.clone());
        fake.add(disk("vdb", BYTES), medium.clone());
        fake
    };
    let mut refused = machine(&foreign);
    let error = settle(&mut refused, &desired(7), &mut || [1; 16]).unwrap_err().to_string();
    assert!(
        error.contains("vda") && error.contains("an XFS file system") && error.contains("allowDestroy"),
        "{error}"
    );
    let other = DiskIdentity { serial: Some("serial-vdb".into()), ..DiskIdentity::default() };
    let named_other = Desired { allow_destroy: vec![other], ..desired(7) };
    assert!(
        settle(&mut refused, &named_other, &mut || [1; 16]).is_err(),
        "an entry for another disk has no effect"
    );
    assert!(refused.log.is_empty() && refused.media["vda"] == foreign);
    let own = DiskIdentity { serial: Some("serial-vda".into()), ..DiskIdentity::default() };
    let named = Desired { allow_destroy: vec![own], ..desired(7) };
    let mut taken = machine(&foreign);
    boot(&mut taken, &named, 0);
    assert_eq!(taken.media["vdb"], foreign, "only the named disk was written");
    assert_eq!(recognise(&table(&taken.media["vda"], BYTES).unwrap()).unwrap().state, State::Adopted);
    let before = machine(&foreign);
    for entries in 0..=taken.log.len() {
        let mut next = before.restarted(taken.cut(&before.media, entries, |_| false), kernel);
        boot(&mut next, &named, 100);
        assert_eq!(
            recognise(&table(&next.media["vda"], BYTES).unwrap()).unwrap().state,
            State::Adopted,
            "cut after {entries}"
        );
    }
}

/// O1: DATA grows to the end of a grown disk, also after a power cut at any moment of growing.
#[test]
fn data_grows_with_the_disk_and_keeps_its_content() {
    let mut first = machine(imaged());
    boot(&mut first, &desired(7), 0);
    let larger = 30 * GIB;
    let mut before = FakeDisks::default();
    let mut grown = disk("vda", larger);
    grown.partitions = kernel(&disk("vda", larger), &first.media["vda"]);
    before.add(grown, first.media["vda"].clone());
    let mut run = before.clone();
    let settled = boot(&mut run, &desired(7), 50);
    assert_eq!(settled.persistent, ["vda changed", "data grown"]);
    for entries in 0..=run.log.len() {
        let mut next = before.restarted(run.cut(&before.media, entries, |_| true), kernel);
        boot(&mut next, &desired(7), 100);
        let found = gpt::read_from(&Whole(&next.media["vda"], larger), SectorSize::B512).unwrap();
        assert!(found.is_consistent() && found.table.disk_bytes() == larger, "cut after {entries}");
        let old = table(&first.media["vda"], BYTES).unwrap();
        assert_eq!(found.table.get(26).unwrap().uuid, old.get(26).unwrap().uuid);
    }
}
