//! Verifies the EFI system partition. Every system that mounts it may write to it, so files that are not from the builder are classified: a
//! file that can take part in a boot fails the check, any other file does not.
//!
//! Firmware starts `EFI/BOOT/BOOTX64.EFI`. systemd-boot reads all of `loader/` and starts the programs in `EFI/Linux/`; systemd-stub reads
//! add-ons and credentials next to the UKI and in `loader/`. A boot entry in the variables of a machine, or the menu of its firmware, can
//! start any EFI program at any path; an EFI shell runs `startup.nsh`. A foreign file therefore fails if it is a program or a script, or
//! is in one of those folders. Both names that FAT gives to a file (long and short) are checked.

use std::ops::Range;

use kubedos_image::esp::{Fault, Listed, Listing};
use kubedos_image::layout::Role;
use kubedos_image::pe::Pe;
use kubedos_image::source::{Source, Window};

use super::Checks;
use crate::artifact::{Disk, Uki};
use crate::compare::first_difference;
use crate::image::boot_partition::{self, BOOT_LOADER, UKIS};

const PART: &str = "esp";

/// Folders and files that Windows, macOS, Android and Linux desktops create on removable media, in lower case.
const LEFT_BY_OTHERS: [(&str, &str); 12] = [
    ("system volume information", "Windows"),
    ("$recycle.bin", "Windows"),
    ("recycler", "Windows"),
    ("desktop.ini", "Windows"),
    ("found.000", "Windows"),
    (".fseventsd", "macOS"),
    (".spotlight-v100", "macOS"),
    (".temporaryitems", "macOS"),
    (".trashes", "macOS"),
    (".ds_store", "macOS"),
    ("lost.dir", "Android"),
    (".trash-1000", "a Linux desktop"),
];

/// The boot loader and the UKI.
pub(super) struct Programs<'l> {
    pub(super) loader: &'l [u8],
    pub(super) uki: &'l [u8],
}

/// Returns the boot loader and the UKI. A missing program fails; of several UKIs the first readable one is checked.
pub(super) fn programs<'l>(listing: &'l Listing, checks: &mut Checks<'_>) -> Option<Programs<'l>> {
    let loader = listing.files().find(|(path, _)| *path == BOOT_LOADER);
    if loader.is_none() {
        checks.fails("boot loader", format!("there is no {BOOT_LOADER}"));
    }
    let ukis: Vec<(&str, &[u8])> = listing.files().filter(|(path, _)| is_uki_path(path)).collect();
    match ukis.as_slice() {
        [] => checks.fails("uki", format!("there is no file in {UKIS}")),
        [_] => {}
        _ => checks.fails("uki", format!("there are several files in {UKIS}")),
    }
    let is_readable = |bytes: &[u8]| Pe::parse(bytes).is_ok_and(|pe| Uki::read(&pe).is_ok());
    let (_, uki) = ukis.iter().find(|(_, bytes)| is_readable(bytes)).or(ukis.first())?;
    Some(Programs { loader: loader.map_or(&[], |(_, content)| content), uki })
}

fn is_uki_path(path: &str) -> bool {
    path.strip_prefix(UKIS).is_some_and(|name| name.ends_with(".efi") && !name.contains('/'))
}

/// Compares the partition with the builder's output. Returns whether every byte is the builder's.
pub(super) fn esp(
    disk: &Disk,
    listing: &Listing,
    programs: &Programs<'_>,
    release: &str,
    checks: &mut Checks<'_>,
) -> bool {
    let Some(expected) = checks.need(PART, boot_partition::tree(release, programs.loader, programs.uki))
    else {
        return false;
    };
    let Some(written) = checks.need(PART, expected.write(boot_partition::volume_id(release))) else {
        return false;
    };
    let Some(window) = checks.need(PART, disk.part(Role::Esp)) else { return false };
    let Some(first) = checks.need(PART, first_difference(&written, &window)) else { return false };
    let count = expected.files().count();
    if first.is_none() {
        checks.holds(PART, format!("{count} files, all from the builder, and no other data"));
        return true;
    }
    let before = checks.count(super::Outcome::Fails);
    for (path, content) in expected.files() {
        match listing.files().find(|(found, _)| *found == path) {
            Some((_, found)) if found == content => {}
            Some(_) => checks.fails(PART, format!("{path} differs from the file that the builder writes")),
            None => checks.fails(PART, format!("there is no {path}")),
        }
    }
    let ours = |path: &str| expected.files().any(|(ours, _)| ours == path);
    let others: Vec<&Listed> = listing.listed().iter().filter(|file| !ours(&file.path)).collect();
    others.iter().for_each(|file| foreign(file, checks));
    listing.faults().iter().for_each(|fault| unreadable(fault, checks));
    if listing.tables_differ() {
        checks.fails(PART, "its two allocation tables differ: the firmware decides which one is used");
    }
    match checks.need(PART, hidden(&written, &window, listing)) {
        Some(Hidden { code: Some(at), .. }) => {
            checks.fails(
                PART,
                format!("byte {at} of the file system differs, in an area that no operating system writes"),
            );
        }
        // No sign that another system wrote to the partition.
        Some(Hidden { is_mounted: false, other: Some(at), .. }) if others.is_empty() => {
            checks.fails(PART, format!("byte {at} of the file system differs"));
        }
        _ => {}
    }
    if checks.count(super::Outcome::Fails) == before {
        checks.holds(
            PART,
            format!("all {count} files of the builder, and no other file that can take part in a boot"),
        );
        checks.differs(PART, "another system wrote to it, as happens when a stick is plugged in");
    }
    false
}

/// Classifies a file that is not from the builder.
fn foreign(file: &Listed, checks: &mut Checks<'_>) {
    let Listed { path, content, .. } = file;
    if let Some(why) = boots(file) {
        return checks.fails(PART, format!("{path} is not from the builder, and {why}"));
    }
    let first = file.parts().next().map(|[name, _]| name.to_lowercase()).unwrap_or_default();
    let known = LEFT_BY_OTHERS.iter().find(|(name, _)| *name == first);
    let known = known.map(|(_, system)| *system).or_else(|| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.starts_with("._").then_some("macOS")
    });
    match known {
        Some(system) => checks.differs(PART, format!("{path} was left by {system}")),
        None => checks.foreign(PART, format!("{path}, {} bytes, takes no part in the boot", content.len())),
    }
}

/// Returns why a foreign file can take part in the boot; `None` if it cannot.
fn boots(file: &Listed) -> Option<&'static str> {
    let is = |names: &[&str; 2], wanted: &str| names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
    let ends =
        |names: &[&str; 2], wanted: &str| names.iter().any(|name| name.to_lowercase().ends_with(wanted));
    let parts: Vec<[&str; 2]> = file.parts().collect();
    let name = parts.last()?;
    if file.content.starts_with(b"MZ") || file.content.starts_with(b"VZ") || ends(name, ".efi") {
        return Some("is an EFI program");
    }
    if ends(name, ".nsh") {
        return Some("is a script for an EFI shell");
    }
    let place = (parts.first()?, parts.get(1));
    match place {
        (first, _) if is(first, "loader") => Some("is read by the boot loader"),
        (first, Some(second)) if is(first, "EFI") => ["BOOT", "Linux", "systemd"]
            .iter()
            .any(|folder| is(second, folder))
            .then_some("is in a folder from which programs are booted"),
        _ => None,
    }
}

/// Classifies an unreadable entry. If it is one of the builder's files, that file is missing, which fails separately. An unreadable
/// directory may contain programs.
fn unreadable(fault: &Fault, checks: &mut Checks<'_>) {
    let Fault { path, error, hides_files } = fault;
    let file = Listed { path: path.clone(), short_path: path.clone(), content: Vec::new() };
    if *hides_files || boots(&file).is_some() {
        checks.fails(PART, format!("{path}: {error}"));
    } else {
        checks.foreign(PART, format!("{path} cannot be read: {error}"));
    }
}

/// The differences between the bytes of the partition and those that the builder writes.
struct Hidden {
    /// The offset of a difference in BIOS code, or in sectors that no system uses.
    code: Option<u64>,
    /// Whether fields differ that every system changes when it mounts the partition.
    is_mounted: bool,
    /// The offset of a difference elsewhere.
    other: Option<u64>,
}

fn hidden(written: &dyn Source, found: &dyn Source, listing: &Listing) -> std::io::Result<Hidden> {
    // In both boot sectors: the fields up to the label, and the code after them.
    const CODE: Range<u64> = 90..510;
    const RESERVED: u64 = 32 * 512;
    let differs = |range: &Range<u64>| -> std::io::Result<Option<u64>> {
        let window = |source| Window::new(source, range.start, range.end - range.start);
        match (window(written), window(found)) {
            (Some(a), Some(b)) => Ok(first_difference(&a, &b)?.map(|at| range.start + at)),
            _ => Ok(Some(range.start)),
        }
    };
    let mut places = listing.bookkeeping();
    places.sort_by_key(|range| range.start);
    let mut hidden = Hidden { code: None, is_mounted: listing.erased() > 0, other: None };
    for at in [CODE, CODE.start + 6 * 512..CODE.end + 6 * 512] {
        hidden.code = hidden.code.or(differs(&at)?);
    }
    let mut end = 0;
    for range in &places {
        let between = differs(&(end..range.start.max(end)))?;
        if range.start <= RESERVED {
            hidden.code = hidden.code.or(between);
        } else {
            hidden.other = hidden.other.or(between);
        }
        hidden.is_mounted |= differs(range)?.is_some();
        end = end.max(range.end);
    }
    hidden.other = hidden.other.or(differs(&(end..written.len()))?);
    Ok(hidden)
}
