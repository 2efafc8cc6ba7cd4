//! Verifies disk images: the partition table, the programs, the volumes and the configuration, and finally every byte.

use kubedos_image::layout::{self, Slot};
use kubedos_image::pe::Pe;
use kubedos_image::verity;
use kubedos_wire::accept::{Accepted, accept};
use kubedos_wire::hex32::{ClusterId, KeyId};
use kubedos_wire::seal::Seal;
use kubedos_wire::seal::Volume;
use kubedos_wire::statement::ConfigurationStatement;

use super::table::{self, Medium};
use super::{Checks, esp, program, seed, whole};
use crate::artifact::{Disk, Uki};
use crate::size::human;
use kubedos_wire::printable::chain;

/// The facts about an image that a manifest also states.
pub(super) struct Facts {
    pub(super) uki: Vec<u8>,
    pub(super) release: String,
    pub(super) epoch: u64,
    pub(super) root: Seal,
    pub(super) payload: Seal,
    pub(super) configuration: ConfigurationStatement,
    /// The key that signed the configuration.
    pub(super) signer: KeyId,
}

/// Runs all checks of an image. Returns its facts if they can be read. A failed check does not prevent the other checks.
pub(super) fn disk(disk: &Disk, checks: &mut Checks<'_>) -> Option<Facts> {
    if !table::is_ours(&disk.found().table) {
        checks.foreign("layout", "no partition has a type of kubedOS");
        return None;
    }
    wrapper(disk, checks);
    let medium = table::table(disk, checks);
    let listing = checks.need("esp", disk.esp())?;
    let programs = esp::programs(&listing, checks)?;
    if !programs.loader.is_empty() {
        program::signature("boot loader", programs.loader, checks);
    }
    program::signature("uki", programs.uki, checks);
    let pe = checks.need("uki", Pe::parse(programs.uki))?;
    let uki = program::uki("uki", &pe, checks)?;
    let is_esp_as_built = esp::esp(disk, &listing, &programs, &uki.boot.release.to_string(), checks);
    volume(disk, Volume::Root, uki.boot.root, checks);
    volume(disk, Volume::Payload, uki.boot.payload, checks);
    let shipped_bytes = layout::shipped(uki.boot.payload.data_bytes()).map(|layout| layout.disk_bytes());
    if let Some(bytes) = checks.need("cd descriptors", shipped_bytes) {
        table::cd(disk, bytes, checks);
    }
    let bytes = checks.need("configuration", disk.statement(Slot::A))?;
    let (statement, signer, length) = configuration(&bytes, &uki, checks)?;
    volume(disk, Volume::Configuration, statement.seal(), checks);
    let facts = Facts {
        uki: programs.uki.to_vec(),
        release: uki.boot.release.to_string(),
        epoch: uki.boot.epoch,
        root: uki.boot.root,
        payload: uki.boot.payload,
        configuration: statement,
        signer,
    };
    let personalised = seed_partition(disk, facts.configuration.cluster_id, checks);
    match &medium {
        Medium::Shipped(layout) => {
            whole::uuids(disk, layout, &facts, checks);
            let statement = bytes.get(..length).unwrap_or_default().to_vec();
            let loader = programs.loader;
            whole::whole(
                disk,
                &facts,
                loader,
                &statement,
                whole::Skip { personalised, esp: !is_esp_as_built },
                checks,
            );
        }
        Medium::Adopted => {
            checks.unchecked("whole image", "the changes of the node are not compared byte by byte")
        }
        Medium::Broken => checks.unchecked("whole image", "its layout is not the layout of an image"),
    }
    Some(facts)
}

/// Checks the qcow2 file around the disk. Only the disk matters, because machines read their data from it.
fn wrapper(disk: &Disk, checks: &mut Checks<'_>) {
    const PART: &str = "qcow2";
    match disk.wrapped_by_us() {
        None => {}
        Some(Ok(())) => checks.holds(PART, "in the form that the builder writes, without other data"),
        Some(Err(error)) => checks.differs(PART, format!("another tool wrote the file: {}", chain(&error))),
    }
}

/// Verifies every block of a volume against its root hash.
fn volume(disk: &Disk, volume: Volume, seal: Seal, checks: &mut Checks<'_>) {
    let part = volume.name();
    let Some([data, hash]) = checks.need(part, disk.volume(volume, &seal)) else { return };
    if checks.need(part, verity::verify(&data, &hash, &seal)).is_some() {
        checks.holds(
            part,
            format!("all of {} verify against root hash {}", human(seal.data_bytes()), seal.root_hash),
        );
    }
}

/// Checks that the image accepts its configuration, with the code of stage 1. Returns the statement and the signer.
fn configuration(
    bytes: &[u8],
    uki: &Uki<'_>,
    checks: &mut Checks<'_>,
) -> Option<(ConfigurationStatement, KeyId, usize)> {
    const PART: &str = "configuration signature";
    let Accepted { statement, signer, encoded_len } =
        checks.need(PART, accept(bytes, &uki.boot.authority()))?;
    let signer = signer.id();
    checks.holds(PART, format!("{}, by key {signer}, which the UKI accepts", whose(&statement)));
    Some((statement, signer, encoded_len))
}

/// Verifies a statement in a separate file.
pub(super) fn detached(bytes: &[u8], checks: &mut Checks<'_>) {
    const PART: &str = "configuration signature";
    let Some(keys) = checks.keys else {
        return checks.unchecked(PART, "a separate statement can be verified with --keys DIR only");
    };
    if let Some(accepted) = checks.need(PART, accept(bytes, &keys.authority())) {
        checks.holds(PART, whose(&accepted.statement));
    }
}

fn whose(statement: &ConfigurationStatement) -> String {
    let ConfigurationStatement { cluster, generation, minimum_release, .. } = statement;
    match minimum_release {
        Some(release) => format!("{cluster}, generation {generation}, for release {release} or newer"),
        None => format!("{cluster}, generation {generation}, for any release"),
    }
}

/// Checks the seed partition. Returns whether the image contains a seed.
fn seed_partition(disk: &Disk, image: ClusterId, checks: &mut Checks<'_>) -> bool {
    let Some(bytes) = checks.need("seed", disk.seed()) else { return false };
    if bytes.iter().all(|byte| *byte == 0) {
        checks.holds("seed", "no seed: the image contains no secret");
        return false;
    }
    seed::seed(&bytes, Some(image), checks);
    true
}
