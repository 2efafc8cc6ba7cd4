//! Disk images, from the partition table inwards, and at last as a whole.

use kubedos_image::accept::{Accepted, accept};
use kubedos_image::boot::Seal;
use kubedos_image::esp;
use kubedos_image::gpt::{Copy, OtherCopy};
use kubedos_image::hex32::{ClusterId, KeyId};
use kubedos_image::layout::{Role, Slot, State, Volume};
use kubedos_image::pe::Pe;
use kubedos_image::statement::ConfigurationStatement;
use kubedos_image::verity;

use super::{Checks, program, seed, whole};
use crate::artifact::{Disk, Uki};
use crate::failure::chain;
use crate::image::boot_partition::{BOOT_LOADER, UKIS};
use crate::image::disk::cd_extent;
use crate::size::human;

/// What a manifest says about an image, too.
pub(super) struct Facts {
    pub(super) uki: Vec<u8>,
    pub(super) release: String,
    pub(super) epoch: u64,
    pub(super) root: Seal,
    pub(super) payload: Seal,
    pub(super) configuration: ConfigurationStatement,
    /// Whose signature the configuration has.
    pub(super) signer: KeyId,
}

/// All checks of an image; what it says of itself if they got that far.
pub(super) fn disk(disk: &Disk, checks: &mut Checks<'_>) -> Option<Facts> {
    table(disk, checks);
    cd(disk, checks);
    let tree = checks.need("esp", disk.esp())?;
    let (loader, uki_path, uki_bytes) = programs(&tree, checks)?;
    program::signature("boot loader", loader, checks);
    program::signature("uki", uki_bytes, checks);
    let pe = checks.need("uki", Pe::parse(uki_bytes))?;
    let uki = program::uki("uki", &pe, checks)?;
    let shipped = disk.recognised().is_some_and(|recognised| recognised.state == State::Shipped);
    if shipped {
        whole::esp(disk, &tree, &uki.boot.release.to_string(), loader, uki_bytes, checks);
    } else {
        checks.unchecked("esp", format!("a node may have changed it: {uki_path} is what was looked at"));
    }
    volume(disk, Volume::Root, uki.boot.root, checks);
    volume(disk, Volume::Payload, uki.boot.payload, checks);
    let bytes = checks.need("configuration", disk.statement(Slot::A))?;
    let (statement, signer, length) = configuration(&bytes, &uki, checks)?;
    volume(disk, Volume::Configuration, statement.seal(), checks);
    let facts = Facts {
        uki: uki_bytes.to_vec(),
        release: uki.boot.release.to_string(),
        epoch: uki.boot.epoch,
        root: uki.boot.root,
        payload: uki.boot.payload,
        configuration: statement,
        signer,
    };
    let personalised = seed_partition(disk, facts.configuration.cluster_id, checks);
    if shipped {
        whole::uuids(disk, &facts, checks);
        let statement = bytes.get(..length).unwrap_or_default().to_vec();
        whole::whole(disk, &facts, &tree, &statement, personalised, checks);
    } else {
        checks
            .unchecked("whole image", "this is not a shipped image: a node has adopted it, or it is foreign");
    }
    Some(facts)
}

fn table(disk: &Disk, checks: &mut Checks<'_>) {
    const PART: &str = "partition table";
    let found = disk.found();
    match &found.other {
        OtherCopy::Same => checks.holds(PART, "both copies are the same"),
        OtherCopy::Differs(_) => checks.fails(PART, "the copy at the end says something else"),
        OtherCopy::Damaged(error) => {
            let which = if found.copy == Copy::Primary { "at the end" } else { "at the start" };
            checks.fails(PART, format!("the copy {which} cannot be used: {}", chain(error)));
        }
    }
    if !found.protective_mbr {
        checks.fails(PART, "there is no protective MBR");
    }
    match disk.recognised().map(|recognised| recognised.state) {
        Some(State::Shipped) => checks.holds("layout", "that of a shipped image"),
        Some(State::Adopted) => checks.holds("layout", "that of a disk which a node has adopted"),
        None => checks.fails("layout", "the partitions are not those of kubedOS"),
    }
}

fn cd(disk: &Disk, checks: &mut Checks<'_>) {
    const PART: &str = "cd descriptors";
    let table = &disk.found().table;
    let esp = table.of_type(Role::Esp.type_guid()).next().map_or(0, |(_, esp)| table.start_bytes(esp));
    let Some(expected) = checks.need(PART, cd_extent(disk.source().len(), esp)) else { return };
    let mut bytes = vec![0; expected.bytes.len()];
    if checks.need(PART, disk.source().read_exact_at(&mut bytes, expected.offset)).is_none() {
        return;
    }
    match bytes.iter().zip(&expected.bytes).position(|(a, b)| a != b) {
        None => checks.holds(PART, "an empty ISO 9660 whose boot catalogue points at the ESP"),
        Some(at) => checks.fails(PART, format!("byte {} is another", expected.offset + at as u64)),
    }
}

/// The boot loader and the one UKI, by path and content.
fn programs<'t>(tree: &'t esp::Tree<'_>, checks: &mut Checks<'_>) -> Option<(&'t [u8], &'t str, &'t [u8])> {
    let loader = tree.files().find(|(path, _)| *path == BOOT_LOADER);
    let mut ukis = tree.files().filter(|(path, _)| path.starts_with(UKIS));
    match (loader, ukis.next(), ukis.next()) {
        (Some((_, loader)), Some((path, uki)), None) => Some((loader, path, uki)),
        (None, _, _) => {
            checks.fails("boot loader", format!("there is no {BOOT_LOADER}"));
            None
        }
        (_, first, _) => {
            let what = if first.is_none() { "there is no file" } else { "there are several files" };
            checks.fails("uki", format!("{what} in {UKIS}"));
            None
        }
    }
}

/// Every block of a volume hangs on its root hash.
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

/// The image accepts its configuration, by the very judgement of its stage 1. Signer and length come along.
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

/// A statement that is a file by itself.
pub(super) fn detached(bytes: &[u8], checks: &mut Checks<'_>) {
    const PART: &str = "configuration signature";
    let Some(keys) = checks.keys else {
        return checks.unchecked(PART, "for a statement by itself say --keys DIR");
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

/// Is there a seed in the image?
fn seed_partition(disk: &Disk, image: ClusterId, checks: &mut Checks<'_>) -> bool {
    let Some(bytes) = checks.need("seed", disk.seed()) else { return false };
    if bytes.iter().all(|byte| *byte == 0) {
        checks.holds("seed", "none in this image: it holds no secret");
        return false;
    }
    seed::seed(&bytes, Some(image), checks);
    true
}
