//! The Disks stage as the walk sees it: settle the disks, then compare what STATE remembers with what was booted.
//!
//! A clone (the disk was made in another machine) and a new incarnation get new keys of their own. The memory is written last: a
//! power cut before that repeats the work, so keys are never kept by halves.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kubedos_image::hex32::sha256;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use super::choose::Boot;
use super::memory::{self, Machine, Memory, MemoryError, Verdict, keep};
use super::ops::DiskOps;
use super::survey::Store;
use super::{DisksError, Settled, Storage, Wish, settle};
use crate::agent::walk::{Class, Classified, Step};
use crate::handover::Handover;
use crate::stages::validate_shard::Identity;

/// The folder in STATE for what only this node has.
const KEYS: &str = "keys";

/// The node's own key: an Ed25519 key pair in PKCS#8, made here, never leaving the node.
const NODE_KEY: &str = "node.pk8";

/// What later stages need of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where STATE and DATA are.
    pub storage: Storage,
    /// The clock is never before this, in seconds since 1970.
    pub clock_floor: u64,
    /// SHA-256 of the node's public key, hexadecimal.
    pub fingerprint: String,
}

/// Why the stage failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Disks.
    #[error(transparent)]
    Disks(#[from] DisksError),
    /// What STATE remembers.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The node's own key.
    #[error("failed to {0} the node's key")]
    Key(&'static str, #[source] io::Error),
}

impl Classified for StageError {
    fn class(&self) -> Class {
        match self {
            Self::Disks(error) => error.class(),
            Self::Memory(MemoryError::Access(..)) | Self::Key(..) => Class::Retry,
            Self::Memory(
                MemoryError::Parse(_)
                | MemoryError::Compose(_)
                | MemoryError::Version(_)
                | MemoryError::OtherCluster { .. }
                | MemoryError::OtherNode { .. }
                | MemoryError::OldIncarnation { .. }
                | MemoryError::OldGeneration { .. },
            ) => Class::Halt,
        }
    }
}

/// What the stage is to bring about on this node.
pub fn wish(handover: &Handover, identity: &Identity, patient: bool) -> Wish {
    Wish {
        boot: Boot { device: handover.boot_device.clone(), medium: handover.medium },
        system: identity.shard.system_disk().cloned(),
        allow_destroy: identity.shard.allow_destroy.clone(),
        key: Zeroizing::new(*identity.seed.disk_key.expose()),
        rename: false,
        patient,
    }
}

/// What this boot would have STATE remember.
pub fn memory_of(handover: &Handover, identity: &Identity, machine: Machine) -> Memory {
    Memory {
        version: memory::VERSION,
        node: identity.shard.node.to_string(),
        cluster_id: handover.cluster_id.clone(),
        incarnation: identity.seed.incarnation,
        generation_floor: handover.generation,
        clock_floor: handover.epoch,
        machine,
    }
}

/// One attempt. `state` is where STATE is mounted.
pub fn attempt(
    ops: &mut dyn DiskOps,
    mut wish: Wish,
    now: &Memory,
    state: &Path,
    random: &mut dyn FnMut() -> [u8; 16],
) -> Result<Step<Stored>, StageError> {
    let mut settled = settle(ops, &wish, random)?;
    let then = memory::recall(state)?;
    let verdict = memory::judge(then.as_ref(), now)?;
    let mut anew = Vec::new();
    if matches!(verdict, Verdict::Clone | Verdict::Reborn) {
        discard_keys(state)?;
        anew.push(match verdict {
            Verdict::Clone => "this disk was made in another machine: new names and keys",
            _ => "a new incarnation: new keys",
        });
    }
    let fingerprint = node_key(state)?;
    if verdict == Verdict::Clone {
        wish.rename = true;
        settled.lasting.extend(settle(ops, &wish, random)?.lasting);
    }
    let remembered = then.as_ref().map_or_else(|| now.clone(), |then| memory::merged(then, now));
    if verdict != Verdict::Same {
        memory::remember(state, &remembered)?;
    }
    anew.extend((verdict == Verdict::News).then_some("what is remembered was renewed"));
    settled.lasting.extend(anew.into_iter().map(str::to_owned));
    Ok(step(
        settled,
        Stored {
            storage: Storage::Memory { why: String::new() },
            clock_floor: remembered.clock_floor,
            fingerprint,
        },
    ))
}

fn step(settled: Settled, stored: Stored) -> Step<Stored> {
    let Settled { storage, lasting, .. } = settled;
    let output = Stored { storage: storage.clone(), ..stored };
    match storage {
        Storage::Memory { why } => Step::Degraded {
            output,
            on: "disk".into(),
            note: Some(format!("{why}; STATE and DATA are in memory and end with this boot")),
        },
        Storage::Disk { .. } if lasting.is_empty() => {
            Step::Unchanged { output, note: Some(located(&storage)) }
        }
        Storage::Disk { .. } => Step::Done { output, note: Some(lasting.join(", ")) },
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

fn discard_keys(state: &Path) -> Result<(), StageError> {
    match fs::remove_dir_all(state.join(KEYS)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StageError::Key("discard", error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the node's key if it has none; gives its fingerprint.
fn node_key(state: &Path) -> Result<String, StageError> {
    let folder: PathBuf = state.join(KEYS);
    let path = folder.join(NODE_KEY);
    let bytes = match fs::read(&path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
            let made = made.map_err(|_| StageError::Key("make", io::Error::other("no randomness")))?;
            let bytes = Zeroizing::new(made.as_ref().to_vec());
            fs::create_dir_all(&folder).map_err(|error| StageError::Key("keep", error))?;
            keep(&folder, NODE_KEY, &bytes).map_err(|error| StageError::Key("keep", error))?;
            bytes
        }
        Err(error) => return Err(StageError::Key("read", error)),
    };
    let pair = Ed25519KeyPair::from_pkcs8(&bytes);
    let pair = pair.map_err(|_| StageError::Key("read", io::Error::from(io::ErrorKind::InvalidData)))?;
    Ok(hex::encode(sha256(&[pair.public_key().as_ref()])))
}

/// What the status page shows of it: name and text.
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

/// Where STATE is mounted.
pub fn state_folder() -> &'static Path {
    Path::new(Store::State.mount_point())
}

#[cfg(test)]
mod tests {
    use super::super::replica::{Medium, Replica};
    use super::super::survey::{Disk, GIB};
    use super::*;
    use crate::handover::Medium as BootMedium;
    use std::collections::BTreeMap;

    fn replica() -> Replica {
        let mut replica = Replica::default();
        let disk = Disk {
            name: "vda".into(),
            bytes: 20 * GIB,
            sector_bytes: 512,
            read_only: false,
            serial: None,
            wwn: None,
            paths: vec![],
            partitions: BTreeMap::new(),
        };
        replica.add(disk, Medium::default());
        replica
    }

    fn a_wish() -> Wish {
        Wish {
            boot: Boot { device: "vda".into(), medium: BootMedium::Disk },
            system: None,
            allow_destroy: vec![],
            key: Zeroizing::new([7; 32]),
            rename: false,
            patient: false,
        }
    }

    fn now(uuid: &str, incarnation: u32) -> Memory {
        Memory {
            version: memory::VERSION,
            node: "cp-1".into(),
            cluster_id: "33".repeat(32),
            incarnation,
            generation_floor: 4,
            clock_floor: 1,
            machine: Machine { product_uuid: Some(uuid.into()), ..Machine::default() },
        }
    }

    fn run(ops: &mut Replica, state: &Path, now: &Memory, from: u8) -> Step<Stored> {
        let mut count = from;
        let mut random = || {
            count += 1;
            [count; 16]
        };
        attempt(ops, a_wish(), now, state, &mut random).unwrap()
    }

    fn fingerprint(step: &Step<Stored>) -> String {
        match step {
            Step::Done { output, .. } | Step::Unchanged { output, .. } | Step::Degraded { output, .. } => {
                output.fingerprint.clone()
            }
            Step::Waiting { .. } => panic!("waiting"),
        }
    }

    /// S3: the first boot changes things, the second one nothing.
    #[test]
    fn first_done_then_unchanged() {
        let (mut ops, state) = (replica(), tempfile::tempdir().unwrap());
        let first = run(&mut ops, state.path(), &now("u-1", 1), 0);
        assert!(matches!(first, Step::Done { .. }), "{first:?}");
        let media = ops.media.clone();
        let second = run(&mut ops, state.path(), &now("u-1", 1), 50);
        assert!(matches!(second, Step::Unchanged { .. }), "{second:?}");
        assert_eq!(fingerprint(&first), fingerprint(&second));
        assert_eq!(ops.media, media);
    }

    /// A clone of the disk in another machine gets another name and another key; once.
    #[test]
    fn a_clone_gets_new_keys() {
        let (mut ops, state) = (replica(), tempfile::tempdir().unwrap());
        let first = run(&mut ops, state.path(), &now("u-1", 1), 0);
        let before = ops.media.clone();
        let clone = run(&mut ops, state.path(), &now("u-2", 1), 50);
        assert!(
            matches!(&clone, Step::Done { note: Some(note), .. } if note.contains("another machine")),
            "{clone:?}"
        );
        assert_ne!(fingerprint(&first), fingerprint(&clone));
        assert_ne!(ops.media, before, "the table has new names");
        let again = run(&mut ops, state.path(), &now("u-2", 1), 90);
        assert!(matches!(again, Step::Unchanged { .. }));
        assert_eq!(fingerprint(&clone), fingerprint(&again));
    }

    #[test]
    fn a_new_incarnation_gets_new_keys_and_an_old_seed_is_refused() {
        let (mut ops, state) = (replica(), tempfile::tempdir().unwrap());
        let first = run(&mut ops, state.path(), &now("u-1", 1), 0);
        let second = run(&mut ops, state.path(), &now("u-1", 2), 50);
        assert_ne!(fingerprint(&first), fingerprint(&second));
        let mut random = || [0; 16];
        let refused = attempt(&mut ops, a_wish(), &now("u-1", 1), state.path(), &mut random).unwrap_err();
        assert_eq!(refused.class(), Class::Halt);
    }

    #[test]
    fn a_cd_without_a_disk_runs_in_memory_and_says_so() {
        let (mut ops, state) = (replica(), tempfile::tempdir().unwrap());
        let wish = Wish { boot: Boot { device: "sr0".into(), medium: BootMedium::Cd }, ..a_wish() };
        let step = attempt(&mut ops, wish, &now("u-1", 1), state.path(), &mut || [0; 16]).unwrap();
        assert!(
            matches!(&step, Step::Degraded { on, note: Some(note), .. } if on == "disk" && note.contains("CD")),
            "{step:?}"
        );
        assert_eq!(ops.deeds, ["MountMemory state", "MountMemory data"]);
        assert!(ops.log.is_empty(), "nothing was written to any disk");
    }

    /// A disk that the kernel has not found yet is waited for, and nothing is mounted meanwhile.
    #[test]
    fn a_disk_that_may_still_come_is_waited_for() {
        let (mut ops, state) = (replica(), tempfile::tempdir().unwrap());
        let absent =
            |patient| Wish { boot: Boot { device: "sda".into(), ..a_wish().boot }, patient, ..a_wish() };
        let error =
            attempt(&mut ops, absent(true), &now("u-1", 1), state.path(), &mut || [0; 16]).unwrap_err();
        assert_eq!(
            (error.class(), error.to_string().as_str()),
            (Class::Degrade, "disk: the boot disk sda is gone")
        );
        assert!(ops.deeds.is_empty());
        let step = attempt(&mut ops, absent(false), &now("u-1", 1), state.path(), &mut || [0; 16]).unwrap();
        assert!(matches!(step, Step::Degraded { .. }));
    }

    /// O1: a disk that fails while it is written is named, and tried again.
    #[test]
    fn a_failing_disk_is_named_and_tried_again() {
        let (mut ops, state) = (replica(), tempfile::tempdir().unwrap());
        ops.failing = Some("vda".into());
        let error = attempt(&mut ops, a_wish(), &now("u-1", 1), state.path(), &mut || [0; 16]).unwrap_err();
        assert_eq!(error.class(), Class::Retry);
        assert!(crate::console::chain(&error).contains("write to vda: Input/output error"), "{error}");
        ops.failing = None;
        assert!(matches!(run(&mut ops, state.path(), &now("u-1", 1), 0), Step::Done { .. }));
    }
}
