//! O1: a node recovers by itself from a power cut while a first boot writes to its disk.
//!
//! One first boot is recorded, write by write. Each test cuts the power after a write of one class, and loses a random part of the writes
//! that were not flushed. The random seeds are constants, so that a failure can be reproduced. The next boot must reach Baseline.

use std::fs::File;
use std::ops::Range;

use kubedos_image::layout::{Role, adopted as adopted_layout};
use kubedos_lab::write_log::{Action, Entry, Loss, WriteLog};
use kubedos_lab::{Disk, Format};
use kubedos_tests::{DISK, Expect, Rig, baseline, no_failed_unit};

use crate::adopted::adopted;

/// The class of the last write before the power cut.
#[derive(Debug, Clone, Copy)]
enum Class {
    BackupTable,
    PrimaryTable,
    StateHeader,
    StateFileSystem,
    DataHeader,
    DataFileSystem,
}

/// LUKS2 keeps its header and key slots in the first 16 MiB.
const LUKS_HEADER: u64 = 16 << 20;

impl Class {
    const ALL: [Self; 6] = [
        Self::BackupTable,
        Self::PrimaryTable,
        Self::StateHeader,
        Self::StateFileSystem,
        Self::DataHeader,
        Self::DataFileSystem,
    ];

    fn range(self) -> Range<u64> {
        let layout = adopted_layout(DISK).unwrap();
        let place = |role| {
            let place = layout.place(role).unwrap();
            place.start..place.start + place.len
        };
        match self {
            Self::BackupTable => DISK - (33 * 512)..DISK,
            Self::PrimaryTable => 0..34 * 512,
            Self::StateHeader => place(Role::State).start..place(Role::State).start + LUKS_HEADER,
            Self::StateFileSystem => place(Role::State).start + LUKS_HEADER..place(Role::State).end,
            Self::DataHeader => place(Role::Data).start..place(Role::Data).start + LUKS_HEADER,
            Self::DataFileSystem => place(Role::Data).start + LUKS_HEADER..place(Role::Data).end,
        }
    }

    fn has(self, entry: &Entry) -> bool {
        let range = self.range();
        matches!(entry.action, Action::Write { .. })
            && entry.offset < range.end
            && entry.offset + entry.length > range.start
    }
}

fn survives_a_cut(test: &str, class: Class, seed: u64) {
    let first = adopted();
    let rig = Rig::new(test);
    let log = WriteLog::open(&first.write_log).unwrap();
    let of_class: Vec<usize> = log
        .entries()
        .iter()
        .enumerate()
        .filter(|(_, entry)| class.has(entry))
        .map(|(index, _)| index)
        .collect();
    assert!(!of_class.is_empty(), "the first boot has no write of class {class:?}");
    let at = of_class[usize::try_from(seed).unwrap() % of_class.len()] + 1;
    println!("cut after write {at} of {}, {class:?}, seed {seed}", log.entries().len());

    let disk = rig.copy("disk");
    let file = File::options().write(true).open(&disk).unwrap();
    file.set_len(DISK).unwrap();
    log.replay(&file, at, Loss::Some { seed }).unwrap();
    let mut machine = rig.boot(&rig.hardware(Disk::new(disk, Format::Raw)));
    baseline(&machine, Expect::Baseline);
    no_failed_unit(&mut machine);
}

/// Twelve more cuts of each class.
#[test]
#[ignore = "long: make drill runs it"]
fn many_more_power_cuts_are_survived() {
    for class in Class::ALL {
        for seed in 100..112 {
            survives_a_cut(&format!("power_cut_{class:?}_{seed}"), class, seed);
        }
    }
}

#[test]
fn power_cut_in_the_backup_table_is_survived() {
    survives_a_cut("power_cut_in_the_backup_table", Class::BackupTable, 1);
}

#[test]
fn power_cut_in_the_primary_table_is_survived() {
    survives_a_cut("power_cut_in_the_primary_table", Class::PrimaryTable, 2);
}

#[test]
fn power_cut_in_the_header_of_state_is_survived() {
    survives_a_cut("power_cut_in_the_header_of_state", Class::StateHeader, 3);
}

#[test]
fn power_cut_in_the_file_system_of_state_is_survived() {
    survives_a_cut("power_cut_in_the_file_system_of_state", Class::StateFileSystem, 4);
}

#[test]
fn power_cut_in_the_header_of_data_is_survived() {
    survives_a_cut("power_cut_in_the_header_of_data", Class::DataHeader, 5);
}

#[test]
fn power_cut_in_the_file_system_of_data_is_survived() {
    survives_a_cut("power_cut_in_the_file_system_of_data", Class::DataFileSystem, 6);
}
