//! The entry point of the Disks stage: settles the disks, then compares the node's record with this boot.
//!
//! A clone (the disk was set up in another machine) and a new incarnation get new keys; the previous keys are set aside.
//! The record is written last, in STATE and then in the anchors. After a power cut before that, the next boot repeats
//! the work.

use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};
use zeroize::Zeroizing;

use super::choose::Boot;
use super::node_keys::{self, Exchanged, KeyError, Owner};
use super::node_record::{self, Machine, NodeRecord, RecordError, Verdict};
use super::ops::DiskOps;
use super::survey::Store;
use super::{Desired, DisksError, Patience, Settled, Storage, keep_anchors, settle};
use crate::stages::validate_shard::Identity;
use kubedos_base::outcome::{Class, Classified, Step};
use kubedos_wire::handover::Handover;

/// The results that later stages need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where STATE and DATA are stored.
    pub storage: Storage,
    /// The lower bound of the clock, in seconds since 1970.
    pub clock_floor: u64,
    /// SHA-256 of the node's public key, hexadecimal.
    pub fingerprint: String,
}

/// Why the stage failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The disks could not be settled.
    #[error(transparent)]
    Disks(#[from] DisksError),
    /// The node's record is unusable, or forbids this boot.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The node's own key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Classified for StageError {
    fn class(&self) -> Class {
        match self {
            Self::Disks(error) => error.class(),
            Self::Record(RecordError::Access(..)) | Self::Key(_) => Class::Retry,
            Self::Record(
                RecordError::Parse(_)
                | RecordError::Compose(_)
                | RecordError::Version(_)
                | RecordError::OtherCluster { .. }
                | RecordError::OtherNode { .. }
                | RecordError::OldIncarnation { .. }
                | RecordError::OldGeneration { .. }
                | RecordError::OldRelease { .. },
            ) => Class::Halt,
        }
    }
}

/// The state that the stage has to establish on this node.
pub fn desired(handover: &Handover, identity: &Identity, machine: Machine, patience: Patience) -> Desired {
    Desired {
        boot: Boot { device: handover.boot_device.clone(), medium: handover.medium },
        booted: handover.boot_partuuid.as_deref().and_then(|uuid| uuid.parse().ok()),
        now: record_of(handover, identity, machine),
        release: identity.release.clone(),
        system: identity.shard.system_disk().cloned(),
        allow_destroy: identity.shard.allow_destroy.clone(),
        key: Zeroizing::new(*identity.seed.disk_key.expose()),
        renew_uuids: false,
        patience,
    }
}

/// The record that this boot contributes.
fn record_of(handover: &Handover, identity: &Identity, machine: Machine) -> NodeRecord {
    NodeRecord {
        version: node_record::VERSION,
        node: identity.shard.node.to_string(),
        cluster_id: handover.cluster_id.clone(),
        incarnation: identity.seed.incarnation,
        generation_floor: identity.floors.generation,
        release_floor: Some(identity.floors.release.clone()),
        clock_floor: handover.epoch,
        machine,
        unknown: toml::Table::new(),
    }
}

/// One attempt. `state` is where STATE is mounted.
pub fn attempt(
    ops: &mut dyn DiskOps,
    mut desired: Desired,
    state: &Path,
    random: &mut dyn FnMut() -> [u8; 16],
) -> Result<Step<Stored>, StageError> {
    let mut settled = settle(ops, &desired, random)?;
    let now = desired.now.clone();
    let inner = node_record::load(state)?;
    let then = node_record::newest(inner.as_ref(), settled.recorded.as_ref());
    if let Some(then) = &then {
        node_record::accept(then, &now, &desired.release)?;
    }
    let verdict = node_record::judge(then.as_ref(), &now);
    let mut notes = Vec::new();
    if let (Verdict::Clone | Verdict::NewIncarnation, Some(then)) = (&verdict, &then) {
        let why = match verdict {
            Verdict::Clone => "this disk was set up in another machine: the disk got new UUIDs, ",
            _ => "the seed has a new incarnation: ",
        };
        let keys = match node_keys::exchange(state, &Owner::of(then), &Owner::of(&now))? {
            Exchanged::Returned => "the node's earlier keys were restored",
            Exchanged::New => "the node got new keys",
        };
        notes.push(format!("{why}{keys}, and the previous keys were set aside"));
    }
    let fingerprint = node_keys::fingerprint(state, &Owner::of(&now))?;
    if verdict == Verdict::Clone {
        desired.renew_uuids = true;
        settled.persistent.extend(settle(ops, &desired, random)?.persistent);
    }
    let record = then.as_ref().map_or_else(|| now.clone(), |then| node_record::merged(then, &now));
    if inner.as_ref() != Some(&record) {
        node_record::store(state, &record)?;
    }
    let anchored = keep_anchors(ops, &settled.storage, &desired, &record)?;
    if verdict == Verdict::Changed || (anchored && verdict == Verdict::Same) {
        notes.push("the node's record was updated".to_owned());
    }
    settled.persistent.extend(notes);
    let Settled { storage, persistent, .. } = settled;
    Ok(step(Stored { storage, clock_floor: record.clock_floor, fingerprint }, &persistent))
}

fn step(stored: Stored, persistent: &[String]) -> Step<Stored> {
    match stored.storage.clone() {
        Storage::Memory { why } => Step::Degraded {
            output: stored,
            on: "disk".into(),
            note: Some(format!("{why}; STATE and DATA are in memory until the next boot")),
        },
        storage @ Storage::Disk { .. } if persistent.is_empty() => {
            Step::Unchanged { output: stored, note: Some(located(&storage)) }
        }
        Storage::Disk { .. } => Step::Done { output: stored, note: Some(persistent.join(", ")) },
    }
}

fn located(storage: &Storage) -> String {
    match storage {
        Storage::Memory { why } => why.clone(),
        Storage::Disk { stores, .. } => {
            let places =
                stores.iter().map(|(store, partition, _)| format!("{} on {partition}", store.name()));
            places.collect::<Vec<_>>().join(", ")
        }
    }
}

/// The lines of the status page about the storage: name and text.
pub fn lines(storage: &Storage) -> Vec<(String, String)> {
    match storage {
        Storage::Memory { .. } => vec![("disks".into(), "none: STATE and DATA are in memory".into())],
        Storage::Disk { line, stores } => {
            let system = ("system".to_owned(), line.clone());
            let stores = stores.iter().map(|(store, partition, bytes)| {
                (
                    store.name().to_owned(),
                    format!(
                        "{partition}, {}, LUKS2 ext4 on {}",
                        super::survey::size(*bytes),
                        store.mount_point()
                    ),
                )
            });
            std::iter::once(system).chain(stores).collect()
        }
    }
}

/// Sixteen random bytes from the kernel, which blocks until its generator is seeded.
pub fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    while !matches!(getrandom(&mut bytes, GetRandomFlags::empty()), Ok(16)) {} // only an interrupted call returns fewer bytes (getrandom(2))
    bytes
}

/// Where STATE is mounted.
pub fn state_folder() -> &'static Path {
    Path::new(Store::State.mount_point())
}

#[cfg(test)]
mod tests {
    use super::super::fake_disks::{FakeDisks, Medium, record};
    use super::super::survey::{Disk, GIB};
    use super::*;
    use kubedos_wire::handover::Medium as BootMedium;
    use kubedos_wire::release::Release;

    fn fake() -> FakeDisks {
        let mut fake = FakeDisks::default();
        let disk = Disk::new("vda", 20 * GIB);
        fake.add(disk, Medium::default());
        fake
    }

    fn a_desired(now: &NodeRecord) -> Desired {
        Desired {
            boot: Boot { device: "vda".into(), medium: BootMedium::Disk },
            booted: None,
            now: now.clone(),
            release: Release::this(),
            system: None,
            allow_destroy: vec![],
            key: Zeroizing::new([7; 32]),
            renew_uuids: false,
            patience: Patience::Over,
        }
    }

    fn now(uuid: &str, incarnation: u32) -> NodeRecord {
        NodeRecord {
            incarnation,
            clock_floor: 1,
            machine: Machine { product_uuid: Some(uuid.into()), ..Machine::default() },
            ..record()
        }
    }

    fn run(ops: &mut FakeDisks, state: &Path, now: &NodeRecord, from: u8) -> Step<Stored> {
        let mut count = from;
        let mut random = || {
            count += 1;
            [count; 16]
        };
        attempt(ops, a_desired(now), state, &mut random).unwrap()
    }

    fn fingerprint(step: &Step<Stored>) -> String {
        match step {
            Step::Done { output, .. } | Step::Unchanged { output, .. } | Step::Degraded { output, .. } => {
                output.fingerprint.clone()
            }
            Step::Waiting { .. } => panic!("waiting"),
        }
    }

    /// S3: the first boot changes the disks, the second one does not.
    #[test]
    fn the_first_boot_is_done_and_the_second_one_unchanged() {
        let (mut ops, state) = (fake(), tempfile::tempdir().unwrap());
        let first = run(&mut ops, state.path(), &now("u-1", 1), 0);
        assert!(matches!(first, Step::Done { .. }), "{first:?}");
        let media = ops.media.clone();
        let second = run(&mut ops, state.path(), &now("u-1", 1), 50);
        assert!(matches!(second, Step::Unchanged { .. }), "{second:?}");
        assert_eq!(fingerprint(&first), fingerprint(&second));
        assert_eq!(ops.media, media);
    }

    /// A clone of the disk in another machine gets new UUIDs and a new key, once.
    #[test]
    fn a_clone_gets_new_keys() {
        let (mut ops, state) = (fake(), tempfile::tempdir().unwrap());
        let first = run(&mut ops, state.path(), &now("u-1", 1), 0);
        let before = ops.media.clone();
        let clone = run(&mut ops, state.path(), &now("u-2", 1), 50);
        assert!(
            matches!(&clone, Step::Done { note: Some(note), .. } if note.contains("another machine") && note.contains("set aside")),
            "{clone:?}"
        );
        assert_ne!(fingerprint(&first), fingerprint(&clone));
        assert_ne!(ops.media, before, "the table has new UUIDs");
        let again = run(&mut ops, state.path(), &now("u-2", 1), 90);
        assert!(matches!(again, Step::Unchanged { .. }));
        assert_eq!(fingerprint(&clone), fingerprint(&again));
        let back = run(&mut ops, state.path(), &now("u-1", 1), 120);
        assert_eq!(fingerprint(&first), fingerprint(&back), "the previous keys were set aside, not deleted");
    }

    #[test]
    fn a_new_incarnation_gets_new_keys_and_an_old_seed_is_refused() {
        let (mut ops, state) = (fake(), tempfile::tempdir().unwrap());
        let first = run(&mut ops, state.path(), &now("u-1", 1), 0);
        let second = run(&mut ops, state.path(), &now("u-1", 2), 50);
        assert_ne!(fingerprint(&first), fingerprint(&second));
        let mut random = || [0; 16];
        let refused = attempt(&mut ops, a_desired(&now("u-1", 1)), state.path(), &mut random).unwrap_err();
        assert_eq!(refused.class(), Class::Halt);
    }

    #[test]
    fn a_node_without_a_disk_runs_in_memory_and_reports_it() {
        let (mut ops, state) = (fake(), tempfile::tempdir().unwrap());
        let desired = Desired {
            boot: Boot { device: "sr0".into(), medium: BootMedium::Cd },
            ..a_desired(&now("u-1", 1))
        };
        let step = attempt(&mut ops, desired, state.path(), &mut || [0; 16]).unwrap();
        assert!(
            matches!(&step, Step::Degraded { on, note: Some(note), .. } if on == "disk" && note.contains("CD")),
            "{step:?}"
        );
        assert_eq!(ops.operations, ["MountMemory state", "MountMemory data"]);
        assert!(ops.log.is_empty(), "a disk was written");
    }

    /// The stage waits for a disk that the kernel has not found yet, and does not mount anything before.
    #[test]
    fn the_stage_waits_for_an_absent_disk() {
        let (mut ops, state) = (fake(), tempfile::tempdir().unwrap());
        let absent = |patience| {
            let desired = a_desired(&now("u-1", 1));
            Desired { boot: Boot { device: "sda".into(), ..desired.boot.clone() }, patience, ..desired }
        };
        for patience in [Patience::Fresh, Patience::Tried] {
            let error = attempt(&mut ops, absent(patience), state.path(), &mut || [0; 16]).unwrap_err();
            assert_eq!(
                (error.class(), error.to_string().as_str()),
                (Class::Wait, "disk: the boot disk sda is not attached")
            );
        }
        assert!(ops.operations.is_empty());
        let step = attempt(&mut ops, absent(Patience::Over), state.path(), &mut || [0; 16]).unwrap();
        assert!(matches!(step, Step::Degraded { .. }));
    }

    /// O1: the error of a failed write contains the disk, and the stage can be tried again.
    #[test]
    fn a_failed_write_reports_the_disk_and_is_retried() {
        let (mut ops, state) = (fake(), tempfile::tempdir().unwrap());
        ops.failing = Some("vda".into());
        let error = attempt(&mut ops, a_desired(&now("u-1", 1)), state.path(), &mut || [0; 16]).unwrap_err();
        assert_eq!(error.class(), Class::Retry);
        assert!(
            kubedos_wire::printable::chain(&error).contains("write to vda25: Input/output error"),
            "{error}"
        );
        ops.failing = None;
        assert!(matches!(run(&mut ops, state.path(), &now("u-1", 1), 0), Step::Done { .. }));
    }
}
