//! C0, C1, A5: which configuration a node takes, and what it does with every other one.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use kubedos_image::layout::{Area, Role, Slot, Volume};
use kubedos_lab::{Disk, Format, Patience};
use kubedos_spec::record::Outcome;
use kubedos_spec::stage::{EarlyStage, Stage};
use kubedos_tests::{
    DISK, Expect, Product, Rig, Variant, baseline, halts, halts_at, last, no_failed_unit, oracles, succeeds,
    tools, transplant,
};

const AREAS: [Area; 3] = [Area::Signature, Area::Hash, Area::Data];

fn generation(number: u64) -> &'static Product {
    static BUILT: [OnceLock<Product>; 3] = [const { OnceLock::new() }; 3];
    let names = ["generation-1", "generation-2", "generation-3"];
    let index = usize::try_from(number).unwrap() - 1;
    BUILT[index].get_or_init(|| Variant::new(names[index]).generation(number).build())
}

fn foreign() -> &'static Product {
    static FOREIGN: OnceLock<Product> = OnceLock::new();
    FOREIGN.get_or_init(|| Variant::new("foreign").keys("second").build())
}

fn place(product: &Product, area: Area) -> std::ops::Range<u64> {
    product.partition(Role::Volume(Volume::Configuration, area, Slot::A))
}

/// Puts areas of one image's configuration into a copy of another's: same layout, same places.
fn give(from: &Product, to: &Path, areas: &[Area]) {
    for area in areas {
        let range = place(from, *area);
        transplant(from.raw(), range.clone(), to, range.start);
    }
}

/// Puts a whole configuration there, as an upgrade does: its partitions are named by its root hash.
fn give_all(from: &Product, to: &Path) {
    give(from, to, &AREAS);
    for area in AREAS {
        let (number, uuid) = from.name_of(Role::Volume(Volume::Configuration, area, Slot::A));
        let mut rename = oracles().command("usr/sbin/sgdisk").unwrap();
        succeeds(rename.arg(format!("--partition-guid={number}:{uuid}")).arg(to));
    }
}

/// Boots a changed copy of generation 2; stage 1 halts at the configuration, and says why.
fn halts_in_stage_1(test: &str, change: impl FnOnce(&Path), because: &str) {
    let rig = Rig::of(generation(2), test);
    let copy = rig.copy("image");
    change(&copy);
    let machine = rig.boot(&rig.hardware(Disk::new(copy, Format::Raw)));
    let record = halts(&machine);
    assert_eq!(record.stage, EarlyStage::OpenConfiguration.name(), "{record:?}");
    assert_eq!(record.volume.as_deref(), Some(Volume::Configuration.name()), "{record:?}");
    assert!(
        record.error.as_deref().is_some_and(|error| error.contains(because)),
        "not {because:?}: {record:?}"
    );
}

#[test]
fn a_missing_configuration_halts() {
    let change = |copy: &Path| {
        let file = File::options().write(true).open(copy).unwrap();
        for area in AREAS {
            let range = place(generation(2), area);
            file.write_all_at(&vec![0; usize::try_from(range.end - range.start).unwrap()], range.start)
                .unwrap();
        }
    };
    halts_in_stage_1("a_missing_configuration", change, "no acceptable configuration");
}

/// Everything about it is sound, but who signed it.
#[test]
fn a_foreign_configuration_halts() {
    halts_in_stage_1(
        "a_foreign_configuration",
        |copy| give_all(foreign(), copy),
        "no acceptable configuration",
    );
}

/// The statement without its signature: the header's count says none, the body follows at once.
#[test]
fn an_unsigned_configuration_halts() {
    let change = |copy: &Path| {
        let file = File::options().read(true).write(true).open(copy).unwrap();
        let start = place(generation(2), Area::Signature).start;
        let mut statement = vec![0; 64 << 10];
        file.read_exact_at(&mut statement, start).unwrap();
        statement[12..14].copy_from_slice(&[0, 0]);
        statement.drain(16..16 + 96);
        file.write_all_at(&statement, start).unwrap();
    };
    halts_in_stage_1("an_unsigned_configuration", change, "no acceptable configuration");
}

/// The volume of one generation under the statement of another.
#[test]
fn a_swapped_configuration_halts() {
    let change = |copy: &Path| give(generation(3), copy, &[Area::Hash, Area::Data]);
    halts_in_stage_1("a_swapped_configuration", change, "no acceptable configuration");
}

/// A disk that has run generation 2, as a raw file. It takes a place for a machine, so it is asked for before a rig is made.
fn has_run_generation_2() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let rig = Rig::kept_of(generation(2), "has_run_generation_2");
        let disk = rig.disk("disk");
        let mut machine = rig.boot(&rig.hardware(disk.clone()));
        baseline(&machine, Expect::Baseline);
        machine.press_power().unwrap();
        machine.wait_for_end(Patience::STEP).unwrap();
        rig.bench().raw_copy(tools(), "raw", &disk).unwrap()
    })
}

/// A rig with a copy of that disk, whose configuration is of another generation.
fn rig_with(test: &str, given: Option<u64>) -> (Rig, Disk) {
    let run = has_run_generation_2();
    let rig = Rig::of(generation(2), test);
    let disk = rig.bench().copy("disk", run).unwrap();
    if let Some(given) = given {
        give_all(generation(given), &disk);
    }
    (rig, Disk::new(disk, Format::Raw))
}

/// What the node has seen once it does not go below.
#[test]
fn an_older_configuration_is_refused() {
    let (rig, disk) = rig_with("an_older_configuration", Some(1));
    let machine = rig.boot(&rig.hardware(disk));
    halts_at(&machine, Stage::Disks, "this node has seen generation 2");
}

/// C1: a newer one is taken, with the same UKI, root and payload.
#[test]
fn a_newer_configuration_is_taken() {
    let (rig, disk) = rig_with("a_newer_configuration", Some(3));
    let mut machine = rig.boot(&rig.hardware(disk));
    let records = baseline(&machine, Expect::Baseline);
    assert_eq!(last(&records, Stage::Disks).outcome, Outcome::Done, "the new floor is remembered");
    no_failed_unit(&mut machine);
}

/// C0: what is attached beside the node's disk does not decide, however new it is.
#[test]
fn a_newer_configuration_on_another_disk_does_not_decide() {
    let (rig, disk) = rig_with("a_newer_configuration_beside", None);
    let beside = rig.bench().overlay(tools(), "beside", &generation(3).disk(), DISK).unwrap();
    let machine = rig.boot(&rig.hardware(disk).disk(beside.not_bootable()));
    let records = baseline(&machine, Expect::BaselineUnchanged);
    let opened = EarlyStage::OpenConfiguration.name();
    let record = records.iter().find(|r| r.stage == opened && r.outcome == Outcome::Done).unwrap();
    assert!(record.note.as_deref().unwrap().contains("generation 2"), "{record:?}");
}
