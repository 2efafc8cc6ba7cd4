//! The EFI system partition. Every system that mounts it may write to it, so what stands beside our files is sorted: into what can take
//! part in the boot, which fails, and the rest, which does not.
//!
//! Firmware starts `EFI/BOOT/BOOTX64.EFI`. systemd-boot reads all of `loader/` and starts what is in `EFI/Linux/`; systemd-stub takes
//! add-ons and credentials from beside the UKI and from `loader/`. A boot entry in the variables of a machine, or the menu of its
//! firmware, may start any EFI program, wherever it is; an EFI shell runs `startup.nsh`. So a file that is not ours fails if it is a
//! program or a script, or is in one of those folders; by either of the two names that FAT has for everything.

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

/// Folders and files that Windows, macOS and Linux desktops leave on every stick, in lower case.
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

/// Boot loader and UKI.
pub(super) struct Programs<'l> {
    pub(super) loader: &'l [u8],
    pub(super) uki: &'l [u8],
}

/// The boot loader and the UKI, by path. What is missing fails; of several UKIs the first that can be read is looked at.
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

/// What is in the partition, held against what the builder writes. Whether every byte is the builder's.
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
        checks.holds(PART, format!("{count} files, all of the builder, and nothing between them"));
        return true;
    }
    let before = checks.count(super::Outcome::Fails);
    for (path, content) in expected.files() {
        match listing.files().find(|(found, _)| *found == path) {
            Some((_, found)) if found == content => {}
            Some(_) => checks.fails(PART, format!("{path} has another content than the builder gives it")),
            None => checks.fails(PART, format!("there is no {path}")),
        }
    }
    let ours = |path: &str| expected.files().any(|(ours, _)| ours == path);
    let others: Vec<&Listed> = listing.listed().iter().filter(|file| !ours(&file.path)).collect();
    others.iter().for_each(|file| foreign(file, checks));
    listing.faults().iter().for_each(|fault| unreadable(fault, checks));
    if listing.tables_differ() {
        checks.fails(PART, "its two allocation tables differ: which one counts depends on the firmware");
    }
    match checks.need(PART, hidden(&written, &window, listing)) {
        Some(Hidden { code: Some(at), .. }) => {
            checks.fails(PART, format!("byte {at} of the file system is another, where no system writes"));
        }
        // Nothing shows that another system wrote to it.
        Some(Hidden { is_mounted: false, other: Some(at), .. }) if others.is_empty() => {
            checks.fails(PART, format!("byte {at} of the file system is another"));
        }
        _ => {}
    }
    if checks.count(super::Outcome::Fails) == before {
        checks.holds(
            PART,
            format!("all {count} files of the builder, and nothing beside them that can be booted"),
        );
        checks.differs(PART, "another system has written to it, as when a stick is plugged in");
    }
    false
}

/// A file that is not the builder's.
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

/// Why a foreign file can take part in the boot.
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
            .then_some("is in a folder that is booted from"),
        _ => None,
    }
}

/// An entry that cannot be read. One of ours is missing then, which fails by itself; behind a directory there may be programs.
fn unreadable(fault: &Fault, checks: &mut Checks<'_>) {
    let Fault { path, error, hides_files } = fault;
    let file = Listed { path: path.clone(), short_path: path.clone(), content: Vec::new() };
    if *hides_files || boots(&file).is_some() {
        checks.fails(PART, format!("{path}: {error}"));
    } else {
        checks.foreign(PART, format!("{path} cannot be read: {error}"));
    }
}

/// Where the bytes of the partition differ from those that the builder writes.
struct Hidden {
    /// In code for a BIOS, or in sectors that no system uses.
    code: Option<u64>,
    /// In what every system changes that mounts it.
    is_mounted: bool,
    /// Elsewhere.
    other: Option<u64>,
}

fn hidden(written: &dyn Source, found: &dyn Source, listing: &Listing) -> std::io::Result<Hidden> {
    // In both boot sectors: the fields up to the label, and the code behind them.
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
