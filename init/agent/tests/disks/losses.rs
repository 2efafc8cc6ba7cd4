//! A store that can no longer be read: the stage waits for it, restores it from its backup, or refuses and reports its
//! partition. It never creates the store again without permission (O1).

use kubedos_agent::stages::disks::anchor;
use kubedos_agent::stages::disks::fake_disks::{FakeDisks, Medium, luks_area, luks_area_of};
use kubedos_agent::stages::disks::luks;
use kubedos_agent::stages::disks::survey::Store;
use kubedos_agent::stages::disks::{Desired, Patience, Storage};
use kubedos_base::outcome::{Class, Classified};
use kubedos_image::layout::{self, Role};
use kubedos_wire::node::{self, DiskIdentity, DiskPurpose, DiskRule};

use crate::machine::{BYTES, GIB, boot, desired, disk, imaged, kernel, machine, record, restarted, try_boot};

fn start(store: Store) -> u64 {
    layout::adopted(BYTES).unwrap().place(store.role()).unwrap().start
}

/// A node after its first boot, restarted, with data in DATA.
fn adopted() -> FakeDisks {
    let mut first = machine(imaged());
    boot(&mut first, &desired(7), 0);
    let mut next = restarted(&first);
    next.media.get_mut("vda").unwrap().write(start(Store::Data) + (64 << 20), b"the user's data");
    next
}

fn overwrite(fake: &mut FakeDisks, at: u64, len: usize, byte: u8) {
    fake.media.get_mut("vda").unwrap().write(at, &vec![byte; len]);
}

fn named() -> Desired {
    let own = DiskIdentity { serial: Some("serial-vda".into()), ..DiskIdentity::default() };
    Desired { allow_destroy: vec![own], ..desired(7) }
}

/// Both copies of the header of either store are zeroed or overwritten: the header is restored, and the content is
/// unchanged.
#[test]
fn a_lost_header_is_restored_from_the_anchor() {
    for store in Store::ALL {
        for byte in [0, 0x5a, 0xff] {
            for len in [luks::HEAD_BYTES, luks::AREA_BYTES, 16 << 20] {
                let mut node = adopted();
                let before = node.media["vda"].read(start(store), luks::AREA_BYTES);
                overwrite(&mut node, start(store), len, byte);
                let settled = boot(&mut node, &desired(7), 50);
                let note = settled.persistent.join(", ");
                assert!(note.contains(&format!("header of {} on vda", store.name())), "{note}");
                assert!(
                    node.media["vda"].read(start(store), luks::AREA_BYTES) == before,
                    "{store:?} {byte} {len}"
                );
                assert_eq!(node.media["vda"].read(start(Store::Data) + (64 << 20), 15), b"the user's data");
                let mut again = restarted(&node);
                assert_eq!(boot(&mut again, &desired(7), 80).persistent, Vec::<String>::new());
            }
        }
    }
}

/// Without a backup the node halts and reports the partition; no disk is written.
#[test]
fn a_lost_header_without_a_backup_halts_the_node_without_a_write() {
    for store in Store::ALL {
        for content in [
            vec![0; luks::AREA_BYTES],
            vec![0xa5; luks::AREA_BYTES],
            luks_area_of(store, luks::UNFINISHED, 9),
        ] {
            let mut node = adopted();
            for other in Store::ALL {
                overwrite(&mut node, start(other) + anchor::PLACE, anchor::MAX_BYTES, 0);
            }
            node.media.get_mut("vda").unwrap().write(start(store), &content);
            let error = try_boot(&mut node, &desired(7), 50).unwrap_err();
            let number = if store == Store::State { "vda25" } else { "vda26" };
            let text = error.to_string();
            assert_eq!(error.class(), Class::Halt);
            assert!(
                text.contains(number) && text.contains("allowDestroy") && text.contains("incarnation"),
                "{text}"
            );
            assert!(node.log.is_empty(), "{store:?}");
            // With permission the store is created again, and the record describes what is lost.
            let mut asked = restarted(&node);
            let note = boot(&mut asked, &named(), 60).persistent.join(", ");
            assert!(note.contains(&format!("{} created on {number}, replacing", store.name())), "{note}");
            let mut again = restarted(&asked);
            assert_eq!(boot(&mut again, &named(), 80).persistent, Vec::<String>::new());
        }
    }
}

/// A backup takes precedence over `allowDestroy`.
#[test]
fn allow_destroy_does_not_destroy_a_store_that_can_be_restored() {
    let mut node = adopted();
    overwrite(&mut node, start(Store::Data), luks::AREA_BYTES, 0);
    boot(&mut node, &named(), 50);
    assert_eq!(node.media["vda"].read(start(Store::Data) + (64 << 20), 15), b"the user's data");
}

/// A backup that the node's key does not authenticate or open is not restored.
#[test]
fn a_forged_backup_is_not_restored() {
    let mut foreign = machine(imaged());
    boot(&mut foreign, &desired(8), 0);
    let theirs = foreign.media["vda"].read(start(Store::State) + anchor::PLACE, anchor::MAX_BYTES);
    let mut node = adopted();
    for store in Store::ALL {
        node.media.get_mut("vda").unwrap().write(start(store) + anchor::PLACE, &theirs);
    }
    overwrite(&mut node, start(Store::State), luks::AREA_BYTES, 0);
    let before = node.media["vda"].clone();
    let error = try_boot(&mut node, &desired(7), 50).unwrap_err();
    assert!(error.to_string().contains("vda25"), "{error}");
    assert!(node.media["vda"] == before);
}

/// A5, attack: an intact header with a kubedOS label and a different cipher is written to the disk. It is not passed to
/// cryptsetup.
#[test]
fn a_forged_header_is_not_opened_and_not_replaced() {
    let template = luks_area_of(Store::State, luks::FINISHED, 1);
    let json = &template[luks::BINARY_BYTES..luks::COPY_BYTES];
    let json = String::from_utf8(json.iter().copied().take_while(|byte| *byte != 0).collect()).unwrap();
    let forged = luks_area(
        "kubedos-state",
        luks::FINISHED,
        99,
        &json.replacen("aes-xts-plain64", "cipher_null-ecb", 1),
    );
    let mut node = adopted();
    node.media.get_mut("vda").unwrap().write(start(Store::State), &forged);
    let error = try_boot(&mut node, &desired(7), 50).unwrap_err();
    let chain = kubedos_wire::printable::chain(&error);
    assert!(chain.contains("vda25") && chain.contains("cipher_null-ecb"), "{chain}");
    assert!(
        node.log.is_empty() && !node.operations.iter().any(|operation| operation.starts_with("Open state")),
        "{:?}",
        node.operations
    );
}

/// Storage that is not ready is read as zeroes. The stage reads it again before it restores or refuses a store.
#[test]
fn a_missing_header_is_read_again_before_a_decision() {
    let mut node = adopted();
    overwrite(&mut node, start(Store::State), luks::AREA_BYTES, 0);
    let before = node.media["vda"].clone();
    for patience in [Patience::Fresh, Patience::Tried] {
        let error = try_boot(&mut node, &Desired { patience, ..desired(7) }, 50).unwrap_err();
        assert_eq!(error.class(), Class::Wait, "{error}");
        assert!(error.to_string().contains("vda"), "{error}");
        node = restarted(&node);
    }
    assert!(node.media["vda"] == before);
}

/// The spec's rule names a disk by its serial number.
fn by_rule(serial: &str) -> Option<node::Disk> {
    let rule = Some(DiskRule { serial: Some(serial.into()), ..DiskRule::default() });
    Some(node::Disk { name: "system".parse().unwrap(), purpose: DiskPurpose::System, size_gib: None, rule })
}

/// O1: a disk that is not ready is read as zeroes, like an empty disk.
#[test]
fn a_disk_that_is_not_ready_is_not_partitioned() {
    let mut node = adopted();
    node.not_ready.insert("vda".into(), usize::MAX);
    let fresh = Desired { system: by_rule("serial-vda"), patience: Patience::Fresh, ..desired(7) };
    let error = try_boot(&mut node, &fresh, 50).unwrap_err();
    assert_eq!(error.class(), Class::Wait);
    assert!(error.to_string().contains("seems to be empty"), "{error}");
    assert!(node.log.is_empty());
    node.not_ready.clear();
    assert_eq!(boot(&mut node, &fresh, 60).persistent, Vec::<String>::new());
}

/// Both copies of the partition table are lost, the anchors are not: the disk belongs to this node, and no new table is
/// written.
#[test]
fn a_disk_with_a_lost_table_is_not_treated_as_empty() {
    let mut node = adopted();
    overwrite(&mut node, 0, 1 << 20, 0);
    overwrite(&mut node, BYTES - (1 << 20), 1 << 20, 0);
    let mut node = restarted(&node);
    let ruled = Desired { system: by_rule("serial-vda"), ..desired(7) };
    let error = try_boot(&mut node, &ruled, 50).unwrap_err();
    assert_eq!(error.class(), Class::Halt);
    assert!(error.to_string().contains("vda") && error.to_string().contains("no partition table"), "{error}");
    assert!(node.log.is_empty());
}

/// The same image is on two disks: the firmware may boot either of them next time, so STATE is not created on any of them.
#[test]
fn the_same_image_on_two_disks_is_refused_with_both_names() {
    let mut two = machine(imaged());
    two.add(disk("vdb", BYTES), imaged());
    let booted = Some(crate::machine::shipped_uuid(Role::Esp));
    let duplicates = Desired { booted, ..desired(7) };
    let error = try_boot(&mut two, &duplicates, 0).unwrap_err();
    assert_eq!(error.class(), Class::Halt);
    let text = error.to_string();
    assert!(text.contains("disk vda") && text.contains("disk vdb") && text.contains("match"), "{text}");
    assert!(two.log.is_empty());
    // A rule selects one of them. With only one disk attached, no rule is needed.
    let mut ruled = two.clone();
    boot(&mut ruled, &Desired { system: by_rule("serial-vdb"), booted, ..desired(7) }, 0);
    let mut single = machine(imaged());
    boot(&mut single, &duplicates, 0);
}

/// STATE is on the first disk; the machine boots from the second one, which also contains the image: STATE does not move.
#[test]
fn state_never_moves_to_the_disk_that_was_booted() {
    let mut node = adopted();
    node.add(disk("vdb", BYTES), imaged());
    let second = |rule| Desired {
        boot: kubedos_agent::stages::disks::choose::Boot { device: "vdb".into(), ..desired(7).boot },
        booted: Some(crate::machine::shipped_uuid(Role::Esp)),
        system: rule,
        ..desired(7)
    };
    let before = node.media.clone();
    for rule in [None, by_rule("serial-vdb")] {
        let error = try_boot(&mut node, &second(rule), 50).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.class(), Class::Halt, "{text}");
        assert!(text.contains("STATE is on disk vda") && text.contains("create it on disk vdb"), "{text}");
        assert!(node.media == before);
    }
    // STATE of a different node on the other disk has no effect.
    let mut other = node.clone();
    let other_node = Desired { key: zeroize::Zeroizing::new([9; 32]), ..second(by_rule("serial-vdb")) };
    boot(&mut other, &other_node, 50);
    assert!(other.media["vda"] == before["vda"]);
}

/// The same for a first disk without anchors: an earlier release wrote it, or the anchors were wiped.
#[test]
fn state_without_an_anchor_does_not_move() {
    let mut node = adopted();
    for store in Store::ALL {
        overwrite(&mut node, start(store) + anchor::PLACE, anchor::MAX_BYTES, 0);
    }
    node.add(disk("vdb", BYTES), Medium::default());
    let moved = Desired { system: by_rule("serial-vdb"), ..desired(7) };
    let error = try_boot(&mut node, &moved, 50).unwrap_err();
    assert!(error.to_string().contains("STATE is on disk vda"), "{error}");
    // A boot from the disk itself succeeds and writes its anchors.
    assert_eq!(boot(&mut node, &desired(7), 60).persistent, ["anchors"]);
}

/// An unreadable disk does not count as empty: it may have STATE.
#[test]
fn state_is_not_created_while_another_disk_cannot_be_read() {
    let mut node = machine(imaged());
    node.add(disk("vdb", BYTES), Medium::default());
    node.unreadable = Some("vdb".into());
    let error = try_boot(&mut node, &desired(7), 0).unwrap_err();
    assert_eq!(error.class(), Class::Retry);
    assert!(kubedos_wire::printable::chain(&error).contains("vdb"));
    assert!(node.log.is_empty());
    // If the disk with STATE is found, another unreadable disk has no effect.
    let mut node = adopted();
    node.add(disk("vdb", BYTES), Medium::default());
    node.unreadable = Some("vdb".into());
    boot(&mut node, &desired(7), 0);
}

/// A copy of the node's disk stays attached while the record of the node changes; the copy is not used afterwards.
#[test]
fn an_older_copy_of_the_disk_is_not_used() {
    let node = adopted();
    let copy = node.media["vda"].clone();
    let mut next = restarted(&node);
    boot(&mut next, &Desired { now: record(2), ..desired(7) }, 50);
    let mut both = restarted(&next);
    let mut older = disk("vdb", BYTES);
    older.partitions = kernel(&older, &copy);
    both.add(older, copy);
    let from_copy = Desired { system: by_rule("serial-vdb"), now: record(2), ..desired(7) };
    let error = try_boot(&mut both, &from_copy, 60).unwrap_err();
    assert!(error.to_string().contains("an older copy is on disk vdb"), "{error}");
    let ruled = Desired { system: by_rule("serial-vda"), now: record(2), ..desired(7) };
    boot(&mut both, &ruled, 70);
}

/// The machine boots from a USB stick while the node's disk is attached: the disk is not written, and the record
/// contains its name.
#[test]
fn a_boot_from_a_small_stick_does_not_change_the_nodes_disk() {
    let mut node = adopted();
    node.add(disk("vdb", GIB), imaged());
    let before = node.media["vda"].clone();
    let stick = Desired {
        boot: kubedos_agent::stages::disks::choose::Boot { device: "vdb".into(), ..desired(7).boot },
        ..desired(7)
    };
    let settled = boot(&mut node, &stick, 50);
    assert!(
        matches!(&settled.storage, Storage::Memory { why } if why.contains("STATE is on disk vda")),
        "{settled:?}"
    );
    assert!(node.media["vda"] == before);
}

/// C0: both stores are created again with permission, and the power is cut at any moment: the recorded floor stays on
/// the disk.
#[test]
fn a_power_cut_while_stores_are_created_again_does_not_lose_the_floor() {
    let mut node = adopted();
    boot(&mut node, &Desired { now: record(5), ..desired(7) }, 20);
    let mut node = restarted(&node);
    for store in Store::ALL {
        node.media.get_mut("vda").unwrap().write(start(store), b"XFSB");
        overwrite(&mut node, start(store) + 4, luks::HEAD_BYTES, 0);
    }
    let mut again = node.clone();
    boot(&mut again, &Desired { now: record(5), ..named() }, 40);
    assert!(again.log.len() > 20);
    for entries in 0..=again.log.len() {
        for lost in [false, true] {
            let media = again.cut(&node.media, entries, |_| lost);
            let mut old = node.restarted(media.clone(), kernel);
            assert!(
                try_boot(&mut old, &Desired { now: record(4), ..named() }, 60).is_err(),
                "cut after {entries}"
            );
            let mut on = node.restarted(media, kernel);
            boot(&mut on, &Desired { now: record(5), ..named() }, 80);
        }
    }
}
