//! Rollback: no sequence of boots brings a node below a floor in the record of an attached disk (C0).

use std::collections::BTreeMap;

use kubedos_agent::stages::disks::choose::Boot;
use kubedos_agent::stages::disks::fake_disks::Medium;
use kubedos_agent::stages::disks::node_record::NodeRecord;
use kubedos_agent::stages::disks::{Desired, Settled, Storage};
use kubedos_image::layout::Role;
use kubedos_wire::node::{self, DiskIdentity, DiskPurpose, DiskRule};
use kubedos_wire::release::Release;
use proptest::prelude::*;

use crate::machine::{BYTES, desired, disk, imaged, kernel, machine, record, shipped_uuid, try_boot};

/// One boot of an image of some generation.
#[derive(Debug, Clone)]
struct Attempt {
    generation: u64,
    /// Its release is 0.N.0; `demands` is the N of the lowest release that the configuration allows from now on.
    release: u64,
    demands: u64,
    /// The attached disks.
    attached: Vec<usize>,
    /// The disk that firmware boots.
    boots: usize,
    /// The image's spec names a disk by a rule.
    rule: Option<usize>,
    /// The image's spec allows a disk to be destroyed.
    destroys: Option<usize>,
    /// Before the boot, the first bytes of STATE on this disk are overwritten.
    wipes: Option<usize>,
}

const DISKS: usize = 3;

fn attempt() -> impl Strategy<Value = Attempt> {
    (
        1u64..5,
        (0u64..4, 0u64..4),
        proptest::collection::btree_set(0..DISKS, 1..=DISKS),
        0..DISKS,
        proptest::option::of(0..DISKS),
        proptest::option::weighted(0.3, 0..DISKS),
        proptest::option::weighted(0.2, 0..DISKS),
    )
        .prop_map(|(generation, (release, demands), attached, boots, rule, destroys, wipes)| {
            let attached: Vec<usize> = attached.into_iter().collect();
            let boots = attached[boots % attached.len()];
            // ValidateShard refuses an image that demands a later release than its own.
            let demands = demands.min(release);
            Attempt { generation, release, demands, attached, boots, rule, destroys, wipes }
        })
}

fn name(index: usize) -> String {
    format!("vd{}", (b'a' + u8::try_from(index).unwrap()) as char)
}

fn serial(index: usize) -> Option<String> {
    Some(format!("serial-{}", name(index)))
}

/// Overwrites the first 128 KiB of STATE.
fn wipe(medium: &mut Medium) {
    let start = kubedos_image::layout::adopted(BYTES).unwrap().place(Role::State).unwrap().start;
    medium.write(start, &vec![0x77; 128 * 1024]);
}

fn run(media: &mut BTreeMap<String, Medium>, step: &Attempt) -> Option<Settled> {
    let mut fake = machine(Medium::default());
    fake.disks.clear();
    fake.media.clear();
    for index in &step.attached {
        let medium = media[&name(*index)].clone();
        let mut disk = disk(&name(*index), BYTES);
        disk.partitions = kernel(&disk, &medium);
        fake.add(disk, medium);
    }
    let rule = step.rule.map(|index| node::Disk {
        name: "system".parse().unwrap(),
        purpose: DiskPurpose::System,
        size_gib: None,
        rule: Some(DiskRule { serial: serial(index), ..DiskRule::default() }),
    });
    let destroys =
        step.destroys.map(|index| DiskIdentity { serial: serial(index), ..DiskIdentity::default() });
    let desired = Desired {
        boot: Boot { device: name(step.boots), ..desired(7).boot },
        booted: Some(shipped_uuid(Role::Esp)),
        now: NodeRecord { release_floor: Some(Release::new(0, step.demands, 0)), ..record(step.generation) },
        release: Release::new(0, step.release, 0),
        system: rule,
        allow_destroy: destroys.into_iter().collect(),
        ..desired(7)
    };
    let settled = try_boot(&mut fake, &desired, 1).ok();
    media.extend(fake.media);
    settled
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Attack: old and new images, disks in any combination, and rules and `allowDestroy` in the spec of the booted
    /// image.
    #[test]
    fn no_sequence_of_boots_goes_below_a_floor_on_an_attached_disk(
        steps in proptest::collection::vec(attempt(), 1..8)
    ) {
        let mut media: BTreeMap<String, Medium> = (0..DISKS).map(|index| (name(index), imaged())).collect();
        // For each disk with STATE, the accepted generation and lowest release.
        let mut floors: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for step in &steps {
            if let Some(index) = step.wipes {
                wipe(media.get_mut(&name(index)).unwrap());
            }
            let attached: Vec<(u64, u64)> =
                step.attached.iter().filter_map(|index| floors.get(&name(*index)).copied()).collect();
            let others = floors.clone();
            let settled = run(&mut media, step);
            if let Some(settled) = &settled {
                for (generation, release) in &attached {
                    prop_assert!(step.generation >= *generation, "{step:?} booted below generation {generation}");
                    prop_assert!(step.release >= *release, "{step:?} booted below release {release}");
                }
                if let Storage::Disk { stores, .. } = &settled.storage {
                    let on = stores[0].1.trim_end_matches(|digit: char| digit.is_ascii_digit()).to_owned();
                    let elsewhere = step.attached.iter().map(|index| name(*index)).any(|name| name != on && others.contains_key(&name));
                    prop_assert!(!elsewhere || others.contains_key(&on), "STATE moved: {step:?}");
                    let least = floors.get(&on).map_or(0, |(_, release)| *release).max(step.demands);
                    floors.insert(on, (step.generation, least));
                }
            }
        }
    }
}
