//! Nothing but the builder's: the ESP, the partitions' names, and every byte of the image are what the builder makes of the checked parts.

use kubedos_image::esp::{EspError, Tree};
use kubedos_image::gpt::SectorSize;
use kubedos_image::layout::{Names, Role, Volume};
use kubedos_image::source::{Source, Window};

use super::Checks;
use super::disk::Facts;
use crate::artifact::{Disk, PartError};
use crate::compare::first_difference;
use crate::image::boot_partition;
use crate::image::disk::{DiskError, Parts, VolumeParts, assemble};

/// The ESP holds the builder's files and not a byte more.
pub(super) fn esp(
    disk: &Disk,
    tree: &Tree<'_>,
    release: &str,
    loader: &[u8],
    uki_bytes: &[u8],
    checks: &mut Checks<'_>,
) {
    const PART: &str = "esp";
    let Some(expected) = checks.need(PART, boot_partition::tree(release, loader, uki_bytes)) else { return };
    let find = |tree: &Tree<'_>, wanted: &str| {
        tree.files().find(|(path, _)| *path == wanted).map(|(_, content)| content.to_vec())
    };
    for (path, content) in tree.files() {
        match find(&expected, path) {
            None => return checks.fails(PART, format!("{path} is not from the builder")),
            Some(expected) if expected != content => {
                return checks.fails(PART, format!("{path} has another content than the builder gives it"));
            }
            Some(_) => {}
        }
    }
    if let Some((path, _)) = expected.files().find(|(path, _)| find(tree, path).is_none()) {
        return checks.fails(PART, format!("there is no {path}"));
    }
    let count = expected.files().count();
    let Some(runs) = checks.need(PART, expected.write(boot_partition::volume_id(release))) else { return };
    let Some(window) = checks.need(PART, disk.part(Role::Esp)) else { return };
    match checks.need(PART, first_difference(&runs, &window)) {
        Some(None) => {
            checks.holds(PART, format!("{count} files, all of the builder, and nothing between them"))
        }
        Some(Some(at)) => checks.fails(PART, format!("byte {at} of the file system is another")),
        None => {}
    }
}

/// Every partition's number, place, type and UUID is the one that follows from the root hashes.
pub(super) fn uuids(disk: &Disk, facts: &Facts, checks: &mut Checks<'_>) {
    const PART: &str = "partition uuids";
    let names = names(facts);
    let Some(recognised) = disk.recognised() else { return };
    let expected = recognised.layout.table(SectorSize::B512, names.disk_guid(), |role| names.uuid(role));
    let Some(expected) = checks.need(PART, expected) else { return };
    let found = &disk.found().table;
    if let Some((_, wrong)) = found.partitions().find(|(number, p)| expected.get(*number) != Some(p)) {
        return checks.fails(PART, format!("that of {} does not follow from its volume", wrong.name));
    }
    if *found != expected {
        return checks.fails(PART, "the disk's GUID or bounds do not follow from its volumes");
    }
    checks.holds(PART, format!("all {} follow from the root hashes", found.partitions().count()));
}

fn names(facts: &Facts) -> Names {
    Names {
        root: facts.root.root_hash,
        configuration: facts.configuration.root_hash,
        payload: facts.payload.root_hash,
    }
}

/// Why the image cannot be assembled again.
#[derive(Debug, thiserror::Error)]
enum WholeError {
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    Esp(#[from] EspError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the image cannot be read")]
    Read(#[from] std::io::Error),
}

/// The builder makes the very same image of these parts. Of a personalised one, the seed partition has been looked at by itself.
pub(super) fn whole(
    disk: &Disk,
    facts: &Facts,
    tree: &Tree<'_>,
    statement: &[u8],
    personalised: bool,
    checks: &mut Checks<'_>,
) {
    const PART: &str = "whole image";
    match checks.need(PART, unaccounted(disk, facts, tree, statement, personalised)) {
        Some(None) => {
            let beside = if personalised { " but the seed" } else { "" };
            checks.holds(PART, format!("every byte{beside} follows from the parts above"));
        }
        Some(Some(at)) => {
            checks.fails(PART, format!("byte {at}, in {}, is of no part of the builder", place(disk, at)));
        }
        None => {}
    }
}

/// The first byte that the builder would not have put there.
fn unaccounted(
    disk: &Disk,
    facts: &Facts,
    tree: &Tree<'_>,
    statement: &[u8],
    personalised: bool,
) -> Result<Option<u64>, WholeError> {
    let esp = tree.write(boot_partition::volume_id(&facts.release))?;
    let root = disk.volume(Volume::Root, &facts.root)?;
    let configuration = disk.volume(Volume::Configuration, &facts.configuration.seal())?;
    let payload = disk.volume(Volume::Payload, &facts.payload)?;
    let [root, configuration, payload] =
        [&root, &configuration, &payload].map(|[data, hash]| VolumeParts { data, hash });
    let statement = statement.to_vec();
    let parts = Parts { esp: &esp, root, configuration, statement: &statement, payload, names: names(facts) };
    let expected = assemble(&parts)?;
    let source = disk.source();
    let seed = disk.recognised().and_then(|recognised| recognised.layout.place(Role::Seed));
    let (Some(seed), true) = (seed, personalised) else {
        return Ok(first_difference(&expected, &source)?);
    };
    let end = seed.start.saturating_add(seed.len);
    for (start, end) in [(0, seed.start), (end, source.len().max(expected.len()))] {
        let length = |inner: &dyn Source| inner.len().min(end).saturating_sub(start);
        let windows =
            (Window::new(&expected, start, length(&expected)), Window::new(source, start, length(source)));
        let (Some(a), Some(b)) = windows else { return Ok(Some(start)) };
        if let Some(at) = first_difference(&a, &b)? {
            return Ok(Some(start + at));
        }
    }
    Ok(None)
}

/// Where a byte lies, in words.
fn place(disk: &Disk, at: u64) -> String {
    let table = &disk.found().table;
    let inside = |start: u64, len: u64| (start..start.saturating_add(len)).contains(&at);
    let partition = table.partitions().find(|(_, p)| inside(table.start_bytes(p), table.len_bytes(p)));
    match partition {
        Some((_, partition)) => format!("partition {}", partition.name),
        None => "no partition".to_owned(),
    }
}
