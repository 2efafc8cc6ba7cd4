//! C0, C1, A5: which configuration a node accepts, and how it refuses all others.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use kubedos_image::layout::{Area, Role, Slot};
use kubedos_lab::{Disk, Format, Patience};
use kubedos_tests::{
    DISK, Expect, Product, Rig, Variant, baseline, halts, halts_at, kubedos_build, last, no_failed_unit,
    oracles, powers_off, project, rotated_keys, status_page, succeeds, tools, transplant,
};
use kubedos_wire::record::Outcome;
use kubedos_wire::seal::Volume;
use kubedos_wire::stage::{EarlyStage, Stage};

const AREAS: [Area; 3] = [Area::Signature, Area::Hash, Area::Data];

fn variant(number: u64) -> Variant {
    let names = ["generation-1", "generation-2", "generation-3"];
    Variant::new(names[usize::try_from(number).unwrap() - 1]).generation(number)
}

fn generation(number: u64) -> &'static Product {
    static BUILT: [OnceLock<Product>; 3] = [const { OnceLock::new() }; 3];
    BUILT[usize::try_from(number).unwrap() - 1].get_or_init(|| variant(number).build())
}

fn foreign() -> &'static Product {
    static FOREIGN: OnceLock<Product> = OnceLock::new();
    FOREIGN.get_or_init(|| Variant::new("foreign").keys("second").build())
}

fn place(product: &Product, area: Area) -> std::ops::Range<u64> {
    product.partition(Role::Volume(Volume::Configuration, area, Slot::A))
}

/// Copies areas of one image's configuration into a copy of another image. Both have the same layout.
fn give(from: &Product, to: &Path, areas: &[Area]) {
    for area in areas {
        let range = place(from, *area);
        transplant(from.raw(), range.clone(), to, range.start);
    }
}

/// Copies a whole configuration, as an upgrade does, including the partition UUIDs, which are derived from the root hash.
fn give_all(from: &Product, to: &Path) {
    give(from, to, &AREAS);
    for area in AREAS {
        let (number, uuid) = from.name_of(Role::Volume(Volume::Configuration, area, Slot::A));
        let mut rename = oracles().command("usr/sbin/sgdisk").unwrap();
        succeeds(rename.arg(format!("--partition-guid={number}:{uuid}")).arg(to));
    }
}

/// Boots a changed copy of generation 2; checks that stage 1 halts at the configuration with an error that contains `because`.
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

/// The configuration is valid, but its key does not belong to the cluster.
#[test]
fn a_foreign_configuration_halts() {
    halts_in_stage_1(
        "a_foreign_configuration",
        |copy| give_all(foreign(), copy),
        "no acceptable configuration",
    );
}

/// The statement without its signature: the header has a count of zero, and the body follows immediately.
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

/// The volume of one generation with the statement of a different generation.
#[test]
fn a_swapped_configuration_halts() {
    let change = |copy: &Path| give(generation(3), copy, &[Area::Hash, Area::Data]);
    halts_in_stage_1("a_swapped_configuration", change, "no acceptable configuration");
}

/// A disk that has run generation 2, as a raw file. The boot needs a place for a machine, so a test calls this before it creates its rig.
fn has_run_generation_2() -> &'static Path {
    static RUN: OnceLock<PathBuf> = OnceLock::new();
    RUN.get_or_init(|| {
        let rig = Rig::kept_of(generation(2), "has_run_generation_2");
        let disk = rig.disk("disk");
        let mut machine = rig.boot(&rig.hardware(disk.clone()));
        baseline(&machine, Expect::Baseline);
        powers_off(&mut machine);
        rig.bench().raw_copy(tools(), "raw", &disk).unwrap()
    })
}

/// A rig with a copy of that disk. If `given` is set, the copy gets the configuration of that generation.
fn rig_with(test: &str, given: Option<u64>) -> (Rig, Disk) {
    let run = has_run_generation_2();
    let rig = Rig::of(generation(2), test);
    let disk = rig.bench().copy("disk", run).unwrap();
    if let Some(given) = given {
        give_all(generation(given), &disk);
    }
    (rig, Disk::new(disk, Format::Raw))
}

/// A node refuses a generation below the highest one that it has booted, even if the floor of the seed allows it.
#[test]
fn an_older_configuration_is_refused_by_the_floor_in_state() {
    let (rig, disk) = rig_with("an_older_configuration", Some(1));
    let seed = variant(2).mint("cp-1", &["--generation-floor", "1"], rig.bench().path("lower").as_path());
    let machine = rig.boot(&rig.unseeded(disk).disk(seed));
    halts_at(&machine, Stage::Disks, "this node accepts only generation 2");
}

/// On a new disk without STATE, the floor of the seed applies: an old image with a valid signature is refused.
#[test]
fn an_older_image_on_a_new_disk_is_refused_by_the_floor_of_the_seed() {
    let newer = generation(2).seed("cp-1");
    let rig = Rig::of(generation(1), "an_older_image_on_a_new_disk");
    let machine = rig.boot(&rig.unseeded(rig.disk("disk")).disk(newer));
    halts_at(&machine, Stage::ValidateShard, "has generation 1, below the floor 2 of the seed");
    assert_eq!(machine.writes(0).unwrap(), 0, "the disk was written to");
}

/// A release below the floor of the seed is refused. The message has both versions.
#[test]
fn a_release_below_the_floor_of_the_seed_is_refused() {
    let rig = Rig::of(generation(2), "a_release_below_the_floor");
    let seed = variant(2).mint("cp-1", &["--minimum-release", "99.1.0"], rig.bench().path("later").as_path());
    let machine = rig.boot(&rig.unseeded(rig.disk("disk")).disk(seed));
    let release = env!("CARGO_PKG_VERSION");
    halts_at(&machine, Stage::ValidateShard, &format!("this is release {release}, below the floor 99.1.0"));
    assert_eq!(machine.writes(0).unwrap(), 0, "the disk was written to");
}

/// The cluster after cp-1 was replaced.
fn replaced() -> &'static Product {
    static REPLACED: OnceLock<Product> = OnceLock::new();
    REPLACED.get_or_init(|| {
        Variant::new("replaced").edit("name: cp-1", "name: cp-1\n        incarnation: 2").build()
    })
}

/// An image that was built before the node was replaced has the node's old keys in its roster.
#[test]
fn the_seed_of_a_later_incarnation_boots_and_says_that_the_peers_ignore_the_node() {
    let rig = Rig::new("a_later_incarnation");
    // The demo keys, which a roster needs, serve only examples next to them.
    let (keys, examples) = (rig.bench().path("project/keys"), rig.bench().path("project/examples"));
    for folder in [&keys, &examples] {
        std::fs::create_dir_all(folder).unwrap();
    }
    succeeds(Command::new("cp").arg("-r").arg(project().join("keys/demo")).arg(&keys));
    let example = std::fs::read_to_string(project().join("examples/lab.yaml")).unwrap();
    let spec = examples.join("lab.yaml");
    std::fs::write(&spec, example.replacen("name: cp-1", "name: cp-1\n        incarnation: 2", 1)).unwrap();
    std::fs::copy(project().join("examples/lab.alloc.toml"), examples.join("lab.alloc.toml")).unwrap();
    let out = rig.bench().path("project/out");
    let mut seed = kubedos_build();
    seed.args(["seed", "--node", "cp-1", "--spec"]).arg(&spec).arg("--keys").arg(keys.join("demo"));
    succeeds(seed.arg("--out").arg(&out));
    let seed = Disk::new(out.join("seeds/cp-1.img"), Format::Raw).read_only().not_bootable();

    let machine = rig.boot(&rig.unseeded(rig.disk("disk")).disk(seed));
    baseline(&machine, Expect::Baseline);
    let record = machine.wait_for_stage(Stage::Backplanes.name(), Outcome::Waiting, Patience::STEP).unwrap();
    let note = record.note.unwrap_or_default();
    assert!(note.contains("the roster has other keys of this node on wg1, wg2, wg3"), "{note}");
}

/// The seed of a replaced node is refused, even with an empty disk and new STATE.
#[test]
fn the_seed_of_an_earlier_incarnation_is_refused_on_a_new_disk() {
    let old = generation(1).seed("cp-1");
    let rig = Rig::of(replaced(), "an_earlier_incarnation");
    let machine = rig.boot(&rig.unseeded(rig.disk("disk")).disk(old));
    halts_at(
        &machine,
        Stage::ValidateShard,
        "has incarnation 1, but the configuration expects incarnation 2",
    );
    assert_eq!(machine.writes(0).unwrap(), 0, "the disk was written to");
}

fn after_drop() -> &'static Product {
    static AFTER: OnceLock<Product> = OnceLock::new();
    AFTER.get_or_init(|| Variant::new("after-drop").keys(rotated_keys().1).generation(2).build())
}

/// C0: images after `keys rotate configuration --drop-old` boot on the node's old disk, as the same node of the same cluster.
#[test]
fn an_image_without_the_first_configuration_key_boots_on_the_old_disk() {
    static BEFORE: OnceLock<Product> = OnceLock::new();
    let before = BEFORE.get_or_init(|| Variant::new("before-drop").keys(rotated_keys().0).build());
    let key = |page: &[String]| page.iter().find(|line| line.contains("node key")).cloned().unwrap();
    let (old, was) = {
        let rig = Rig::kept_of(before, "before_drop");
        let disk = rig.disk("disk");
        let mut machine = rig.boot(&rig.hardware(disk.clone()));
        baseline(&machine, Expect::Baseline);
        let was = key(&status_page(&mut machine));
        powers_off(&mut machine);
        (rig.bench().raw_copy(tools(), "raw", &disk).unwrap(), was)
    };
    // As an upgrade does: copies the new boot files and the new configuration; root and payload are the same.
    let esp = after_drop().partition(Role::Esp);
    transplant(after_drop().raw(), esp.clone(), &old, esp.start);
    give_all(after_drop(), &old);
    let rig = Rig::of(after_drop(), "after_drop");
    let mut machine = rig.boot(&rig.hardware(Disk::new(old, Format::Raw)));
    let records = baseline(&machine, Expect::Baseline);
    let note = last(&records, Stage::Disks).note.clone().unwrap_or_default();
    let page = status_page(&mut machine); // once, because the node shows at most one page per second
    assert_eq!(key(&page), was, "STATE was kept: {note}");
    assert!(page.iter().any(|line| line.contains("units     none failed")), "{page:#?}");
}

/// C0: a configuration that is signed with the dropped key is refused even if it is newer, and stage 1 reports the cause.
#[test]
fn a_configuration_signed_by_the_dropped_key_halts() {
    let leaked = Variant::new("by-dropped").keys(rotated_keys().0).generation(3).build();
    let rig = Rig::of(after_drop(), "by_dropped_key");
    let copy = rig.copy("image");
    give_all(&leaked, &copy);
    let machine = rig.boot(&rig.hardware(Disk::new(copy, Format::Raw)));
    let record = halts(&machine);
    assert_eq!(record.stage, EarlyStage::OpenConfiguration.name(), "{record:?}");
    let error = record.error.unwrap_or_default();
    assert!(error.contains("not signed by a trusted key (trusted keys: 1)"), "{error}");
}

/// C1: a newer configuration is accepted, with the same UKI, root and payload.
#[test]
fn a_newer_configuration_is_accepted() {
    let (rig, disk) = rig_with("a_newer_configuration", Some(3));
    let mut machine = rig.boot(&rig.hardware(disk));
    let records = baseline(&machine, Expect::Baseline);
    assert_eq!(last(&records, Stage::Disks).outcome, Outcome::Done, "the new floor is recorded");
    no_failed_unit(&mut machine);
}

/// C0: a configuration on a disk that does not belong to the node is ignored, even if it is newer.
#[test]
fn a_newer_configuration_on_another_disk_is_ignored() {
    let (rig, disk) = rig_with("a_newer_configuration_beside", None);
    let other = rig.bench().overlay(tools(), "beside", &generation(3).disk(), DISK).unwrap();
    let machine = rig.boot(&rig.hardware(disk).disk(other.not_bootable()));
    let records = baseline(&machine, Expect::BaselineUnchanged);
    let opened = EarlyStage::OpenConfiguration.name();
    let record = records.iter().find(|r| r.stage == opened && r.outcome == Outcome::Done).unwrap();
    assert!(record.note.as_deref().unwrap().contains("generation 2"), "{record:?}");
}
