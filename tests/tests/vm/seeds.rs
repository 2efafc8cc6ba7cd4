//! C0, T2: a seed determines the node, and a node accepts only seeds of its cluster.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

use kubedos_builder::keys::KeyDir;
use kubedos_image::iso::seed as volume;
use kubedos_image::layout::Role;
use kubedos_lab::{Disk, Format, Hardware, Patience};
use kubedos_tests::{
    DISK, Expect, Product, Rig, Variant, baseline, flip, halts, halts_at, kubedos_build, last,
    no_failed_unit, project, status_page, succeeds, tools,
};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::Stage;
use kubedos_wire::statement::{self, Domain, Seed};

/// The cluster of the other variants, with another name for the worker.
fn renamed() -> &'static Product {
    static RENAMED: OnceLock<Product> = OnceLock::new();
    RENAMED.get_or_init(|| Variant::new("renamed").edit("name: w-1", "name: w-9").build())
}

/// A node without a seed shows the fingerprint of its UnenrolledKey, and waits.
#[test]
fn a_node_without_a_seed_shows_its_fingerprint_and_waits() {
    let rig = Rig::new("a_node_without_a_seed");
    let mut machine = rig.boot(&rig.unseeded(rig.disk("disk")));
    let waits = |record: &Record| {
        record.stage == Stage::ValidateShard.name()
            && record.outcome == Outcome::Waiting
            && record.on.as_deref() == Some("seed")
    };
    let record = machine.wait_for("waiting for a seed", Patience::BOOT, waits).unwrap();
    let page = status_page(&mut machine);
    let line = page.iter().find(|line| line.contains("node key")).unwrap_or_else(|| panic!("{page:#?}"));
    let fingerprint = line.split_whitespace().last().unwrap();
    assert_eq!(fingerprint.len(), 64);
    assert!(record.note.unwrap().contains(fingerprint));
    assert_eq!(machine.writes(0).unwrap(), 0, "the disk was written to");
}

/// A machine with these seeds, in this order of devices.
fn seeded(rig: &Rig, seeds: Vec<Disk>) -> Hardware {
    seeds.into_iter().fold(rig.unseeded(rig.disk("disk")), Hardware::disk)
}

/// Checks that a node with these seeds waits for a seed, that its record has the first device and the reason, and that the disk is not
/// written to.
fn waits_because(test: &str, seeds: Vec<Disk>, reason: &str) {
    let rig = Rig::new(test);
    let machine = rig.boot(&seeded(&rig, seeds));
    let waits =
        |record: &Record| record.stage == Stage::ValidateShard.name() && record.outcome == Outcome::Waiting;
    let record = machine.wait_for("waiting for a seed", Patience::BOOT, waits).unwrap();
    assert_eq!(record.on.as_deref(), Some("seed"));
    let note = record.note.unwrap();
    assert!(note.contains("skipped: vdb ") && note.contains(reason), "{note}");
    assert_eq!(machine.writes(0).unwrap(), 0, "the disk was written to");
}

/// A changed copy of the first node's seed.
fn changed_seed(rig: &Rig, name: &str, change: impl FnOnce(&Path)) -> Disk {
    let copy = rig.bench().copy(name, &Product::built().seed_file("cp-1")).unwrap();
    change(&copy);
    Disk::new(copy, Format::Raw).read_only().not_bootable()
}

/// The offset of the statement in a seed file.
fn statement_in(seed: &Path) -> u64 {
    let bytes = std::fs::read(seed).unwrap();
    u64::try_from(bytes.windows(8).position(|window| window == b"KUBEDST1").unwrap()).unwrap()
}

fn one_bit_in_the_body(seed: &Path) {
    flip(seed, statement_in(seed) + 16 + 96 + 10);
}

fn without_its_signature(seed: &Path) {
    let at = statement_in(seed) + 12;
    File::options().write(true).open(seed).unwrap().write_all_at(&[0, 0], at).unwrap();
}

#[test]
fn a_seed_of_a_different_cluster_is_skipped_and_reported() {
    let foreign = vec![renamed().seed("cp-1")];
    waits_because("a_seed_of_another_cluster", foreign, "not signed by a trusted key (trusted keys: 1)");
}

#[test]
fn a_seed_with_a_flipped_bit_is_skipped_and_reported() {
    let rig = Rig::new("a_flipped_seed");
    let seed = changed_seed(&rig, "flipped", one_bit_in_the_body);
    let machine = rig.boot(&seeded(&rig, vec![seed]));
    let waits = |record: &Record| record.outcome == Outcome::Waiting;
    let record = machine.wait_for("waiting for a seed", Patience::BOOT, waits).unwrap();
    let note = record.note.unwrap();
    assert!(note.contains("skipped: vdb ") && note.contains("a signature does not verify"), "{note}");
}

#[test]
fn two_different_seeds_are_refused_with_both_descriptions() {
    let rig = Rig::new("two_different_seeds");
    let machine = rig.boot(&seeded(&rig, vec![Product::built().seed("cp-1"), Product::built().seed("w-1")]));
    let record = halts(&machine);
    let error = record.error.unwrap_or_default();
    assert_eq!(record.stage, Stage::ValidateShard.name(), "{error}");
    for part in
        ["two different seeds", "cp-1 incarnation 1", "on vdb", "w-1 incarnation 1", "on vdc: remove one"]
    {
        assert!(error.contains(part), "not {part:?}: {error}");
    }
    assert_eq!(machine.writes(0).unwrap(), 0, "the disk was written to");
}

/// An attacker who can attach devices cannot prevent the boot: a foreign, an unsigned and a damaged seed before and after the node's own.
#[test]
fn planted_seeds_do_not_prevent_the_boot() {
    let rig = Rig::new("planted_seeds");
    let planted = vec![
        renamed().seed("cp-1"),
        changed_seed(&rig, "unsigned", without_its_signature),
        Product::built().seed("cp-1"),
        changed_seed(&rig, "flipped", one_bit_in_the_body),
    ];
    let mut machine = rig.boot(&seeded(&rig, planted));
    let records = baseline(&machine, Expect::Baseline);
    let note = last(&records, Stage::ValidateShard).note.clone().unwrap();
    for part in
        ["seed on vdd", "skipped: vdb ", "not signed by a trusted key", "; vdc ", "; vde ", "does not verify"]
    {
        assert!(note.contains(part), "not {part:?}: {note}");
    }
    no_failed_unit(&mut machine);
}

/// A seed of version 1, which has no floors, is still accepted, because seeds of earlier releases remain in use.
#[test]
fn a_seed_of_version_1_is_accepted() {
    let rig = Rig::new("a_seed_of_version_1");
    let keys = KeyDir::open(&project().join("keys/demo")).unwrap();
    let own = std::fs::read(Product::built().seed_file("cp-1")).unwrap();
    let read = statement::read(volume::read(&own).unwrap()).unwrap();
    let seed = Seed::parse(&read.verify(Domain::Seed, &keys.public().seed).unwrap()).unwrap();
    let body = Seed { floors: None, ..seed }.emit().unwrap();
    assert!(body.starts_with("version = 1\n"));
    let signed = statement::write(Domain::Seed, &body, &[&keys.seed_signer().unwrap()]).unwrap();
    let file = rig.bench().path("version-1");
    std::fs::write(&file, volume::write(&signed).unwrap()).unwrap();
    let seed = Disk::new(file, Format::Raw).read_only().not_bootable();
    let machine = rig.boot(&seeded(&rig, vec![seed]));
    baseline(&machine, Expect::Baseline);
}

/// A seed with a valid signature for a node that the configuration does not have.
#[test]
fn a_seed_of_a_node_without_a_shard_is_refused() {
    static OTHER: OnceLock<Product> = OnceLock::new();
    let other = OTHER.get_or_init(|| Variant::new("variant").build());
    let rig = Rig::of(renamed(), "a_seed_of_a_node_without_a_shard");
    let machine = rig.boot(&rig.unseeded(rig.disk("disk")).disk(other.seed("w-1")));
    halts_at(&machine, Stage::ValidateShard, "has no shard");
}

/// P2: a personalised copy of the image contains the seed.
#[test]
fn a_personalised_copy_needs_no_second_medium() {
    let rig = Rig::new("a_personalised_copy");
    let out = rig.bench().path("out");
    let mut seed = kubedos_build();
    seed.args(["seed", "--spec", "examples/lab.yaml", "--node", "w-1", "--into"]).arg(Product::built().raw());
    succeeds(seed.arg("--out").arg(&out));
    let copy = Disk::new(out.join("seeds/w-1.raw"), Format::Raw);
    let disk = rig.bench().overlay(tools(), "disk", &copy, DISK).unwrap();
    let mut machine = rig.boot(&rig.unseeded(disk));
    let records = baseline(&machine, Expect::Baseline);
    assert!(records.iter().rev().any(|record| record.node.as_deref() == Some("w-1")));
    no_failed_unit(&mut machine);
    // The image itself has an empty partition for the seed.
    let place = Product::built().partition(Role::Seed);
    assert!(place.end > place.start);
}
