//! C0, T2: a seed names its node, and only the cluster's own are believed.

use std::sync::OnceLock;

use kubedos_image::layout::Role;
use kubedos_lab::{Disk, Format, Patience};
use kubedos_spec::record::{Outcome, Record};
use kubedos_spec::stage::Stage;
use kubedos_tests::{
    DISK, Expect, Product, Rig, Variant, baseline, flip, halts_at, kubedos_build, no_failed_unit,
    status_page, succeeds, tools,
};

/// The same cluster as the variants' others, with the worker under another name.
fn renamed() -> &'static Product {
    static RENAMED: OnceLock<Product> = OnceLock::new();
    RENAMED.get_or_init(|| Variant::new("renamed").edit("name: w-1", "name: w-9").build())
}

/// A node without a seed shows the fingerprint of its key, and waits.
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

fn halts_with(test: &str, seeds: Vec<Disk>, error: &str) {
    let rig = Rig::new(test);
    let hardware =
        seeds.into_iter().fold(rig.unseeded(rig.disk("disk")), |hardware, seed| hardware.disk(seed));
    let machine = rig.boot(&hardware);
    halts_at(&machine, Stage::ValidateShard, error);
    assert_eq!(machine.writes(0).unwrap(), 0, "the disk was written to");
}

#[test]
fn a_seed_of_another_cluster_is_refused() {
    halts_with("a_seed_of_another_cluster", vec![renamed().seed("cp-1")], "is refused");
}

#[test]
fn two_different_seeds_are_refused() {
    let seeds = vec![Product::built().seed("cp-1"), Product::built().seed("w-1")];
    halts_with("two_different_seeds", seeds, "two different seeds");
}

#[test]
fn a_seed_with_a_flipped_bit_is_refused() {
    let rig = Rig::new("a_seed_with_a_flipped_bit");
    let copy = rig.bench().copy("seed", &Product::built().seed_file("cp-1")).unwrap();
    let bytes = std::fs::read(&copy).unwrap();
    let statement = bytes.windows(8).position(|window| window == b"KUBEDST1").unwrap();
    flip(&copy, u64::try_from(statement).unwrap() + 16 + 96 + 10);
    let seed = Disk::new(copy, Format::Raw).read_only().not_bootable();
    let machine = rig.boot(&rig.unseeded(rig.disk("disk")).disk(seed));
    halts_at(&machine, Stage::ValidateShard, "is refused");
}

/// Rightly signed, for a node that the configuration does not have.
#[test]
fn a_seed_of_a_node_without_a_shard_is_refused() {
    static OTHER: OnceLock<Product> = OnceLock::new();
    let other = OTHER.get_or_init(|| Variant::new("variant").build());
    let rig = Rig::of(renamed(), "a_seed_of_a_node_without_a_shard");
    let machine = rig.boot(&rig.unseeded(rig.disk("disk")).disk(other.seed("w-1")));
    halts_at(&machine, Stage::ValidateShard, "has no shard");
}

/// P2: a personalised copy of the image carries its seed itself.
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
    // The image that it was made from still has an empty place there.
    let place = Product::built().partition(Role::Seed);
    assert!(place.end > place.start);
}
