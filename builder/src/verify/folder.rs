//! Verifies an output folder by its `manifest.json`: the listed files, `SHA256SUMS`, and the agreement of image, UKI and manifest.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kubedos_wire::hex32::sha256;
use kubedos_wire::seal::Seal;

use super::disk::{Facts, disk};
use super::{Checks, Outcome};
use crate::artifact::{self, Artifact, Disk, MANIFEST};
use crate::compare::first_difference;
use crate::image::manifest::{Manifest, Output, SUMS, VERSION, describe};
use crate::image::run_record::RUN_RECORD;
use crate::keys;
use crate::output::is_plain;
use crate::size::human;

/// Files next to the outputs that are not outputs themselves and are not compared between builds.
const UNCOMPARED: [&str; 7] = [MANIFEST, SUMS, RUN_RECORD, "seeds", ".lock", LOCK, "kubedos.lock.proof"];

/// The lock of the build, if it was not the committed one.
const LOCK: &str = "kubedos.lock";

/// Runs all checks of the folder whose manifest is at `path`.
pub(super) fn folder(path: &Path, manifest: &Manifest, checks: &mut Checks<'_>) {
    let folder = of(path);
    if manifest.version != VERSION {
        return checks.fails(
            MANIFEST,
            format!("it has version {}, but this release supports {VERSION}", manifest.version),
        );
    }
    if !manifest.additions.is_empty() {
        let paths = manifest.additions.join(", ");
        checks.fails(
            MANIFEST,
            format!("the root volume contains additions of a test, so this is not a product: {paths}"),
        );
    }
    if let Some(output) = manifest.outputs.iter().find(|output| !is_plain(&output.name)) {
        return checks.fails(MANIFEST, format!("{:?} is not a file name", output.name));
    }
    let before = checks.count(Outcome::Fails);
    outputs(folder, manifest, checks);
    sums(folder, manifest, checks);
    lock(folder, manifest, checks);
    unlisted(folder, manifest, checks);
    if checks.count(Outcome::Fails) > before {
        return checks.unchecked("images", "not checked: a file differs from the manifest's entry");
    }
    let Some(raw) = image(folder, manifest, ".raw", checks) else { return };
    let Some(facts) = disk(&raw, checks) else { return };
    agreement(manifest, &facts, checks);
    others(folder, manifest, &raw, &facts, checks);
}

/// Returns the folder of a manifest.
pub(super) fn of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Checks that a lock next to the outputs is the lock of the build.
fn lock(folder: &Path, manifest: &Manifest, checks: &mut Checks<'_>) {
    let path = folder.join(LOCK);
    if !path.exists() {
        return;
    }
    let Some(text) = checks.need(LOCK, std::fs::read(&path)) else { return };
    if hex::encode(sha256(&[&text])) == manifest.lock_sha256 {
        checks.holds(LOCK, "the lock that the image was built with");
    } else {
        checks.fails(LOCK, "not the lock that the image was built with");
    }
}

/// Checks size and digest of each output. A file with two names is read once.
fn outputs(folder: &Path, manifest: &Manifest, checks: &mut Checks<'_>) {
    let mut seen: BTreeMap<(u64, u64), Output> = BTreeMap::new();
    for output in &manifest.outputs {
        let name = &output.name;
        let found = File::open(folder.join(name)).and_then(|file| {
            let metadata = file.metadata()?;
            let identity = (metadata.dev(), metadata.ino());
            match seen.get(&identity) {
                Some(same) => Ok(Output { name: name.clone(), ..same.clone() }),
                None => {
                    let found = describe(name, &file)?;
                    seen.insert(identity, found.clone());
                    Ok(found)
                }
            }
        });
        let Some(found) = checks.need(name, found) else { continue };
        if found == *output {
            checks.holds(name, format!("{}, with the manifest's digest", human(output.size)));
        } else {
            let (size, digest) = (found.size, found.sha256);
            checks.fails(
                name,
                format!("it has {size} bytes and digest {digest}, which differ from the manifest's entry"),
            );
        }
    }
}

fn sums(folder: &Path, manifest: &Manifest, checks: &mut Checks<'_>) {
    let Some(text) = checks.need(SUMS, std::fs::read_to_string(folder.join(SUMS))) else { return };
    if text == manifest.sums() {
        checks.holds(SUMS, "it lists the manifest's digests");
    } else {
        checks.fails(SUMS, "it does not list the manifest's digests");
    }
}

/// Reports files that the manifest does not list.
fn unlisted(folder: &Path, manifest: &Manifest, checks: &mut Checks<'_>) {
    let Some(entries) = checks.need(MANIFEST, std::fs::read_dir(folder)) else { return };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| {
        !UNCOMPARED.contains(&name.as_str()) && !manifest.outputs.iter().any(|output| output.name == *name)
    });
    names.sort();
    if !names.is_empty() {
        checks.unchecked(
            MANIFEST,
            format!("not checked: files that the manifest does not list: {}", names.join(", ")),
        );
    }
}

/// Opens the one output with this suffix as a disk.
fn image(folder: &Path, manifest: &Manifest, ending: &str, checks: &mut Checks<'_>) -> Option<Disk> {
    let mut named = manifest.outputs.iter().filter(|output| output.name.ends_with(ending));
    let (Some(output), None) = (named.next(), named.next()) else {
        checks.fails(MANIFEST, format!("it does not list exactly one {ending} file"));
        return None;
    };
    match checks.need(&output.name, artifact::open(&folder.join(&output.name)))? {
        Artifact::Disk(disk) => Some(disk),
        _ => {
            checks.fails(&output.name, "it is not a disk image");
            None
        }
    }
}

/// Checks that the manifest agrees with the image.
fn agreement(manifest: &Manifest, facts: &Facts, checks: &mut Checks<'_>) {
    let configuration = &facts.configuration;
    let seals: [(&str, Seal); 3] =
        [("root", facts.root), ("configuration", configuration.seal()), ("payload", facts.payload)];
    let listed = |name: &str| manifest.volumes.iter().find(|volume| volume.name == name).map(|v| v.seal);
    let demo = keys::is_demo(facts.signer);
    for (field, agrees) in [
        ("cluster", manifest.cluster == configuration.cluster),
        ("generation", manifest.generation == configuration.generation),
        ("release", manifest.release == facts.release),
        ("epoch", manifest.epoch == facts.epoch),
        ("demo_keys", manifest.demo_keys == demo),
        ("volumes", manifest.volumes.len() == seals.len()),
        ("volumes", seals.iter().all(|(name, seal)| listed(name) == Some(*seal))),
    ] {
        if !agrees {
            return checks.fails(MANIFEST, format!("the field {field} differs from the image"));
        }
    }
    checks.holds(MANIFEST, "it agrees with the image");
}

/// Checks that the other formats contain the same image and the same UKI.
fn others(folder: &Path, manifest: &Manifest, raw: &Disk, facts: &Facts, checks: &mut Checks<'_>) {
    let raw_digest = manifest.outputs.iter().find(|output| output.name.ends_with(".raw"));
    for output in &manifest.outputs {
        let name = output.name.as_str();
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("raw") => {}
            Some("iso") if raw_digest.is_some_and(|raw| raw.sha256 == output.sha256) => {
                checks.holds(name, "the same bytes as the raw image");
            }
            Some("iso") => checks.fails(name, "its bytes differ from the raw image"),
            Some("efi") => match checks.need(name, std::fs::read(folder.join(name))) {
                Some(bytes) if bytes == facts.uki => checks.holds(name, "the UKI of the image"),
                Some(_) => checks.fails(name, "it is not the UKI of the image"),
                None => {}
            },
            Some("qcow2") => {
                let Some(disk) = image(folder, manifest, ".qcow2", checks) else { continue };
                match checks.need(name, first_difference(&disk.source(), &raw.source())) {
                    Some(None) => checks.holds(name, "it contains the bytes of the raw image"),
                    Some(Some(at)) => checks.fails(name, format!("byte {at} differs from the raw image")),
                    None => {}
                }
            }
            _ => checks.unchecked(name, "not checked: this release does not support this kind of file"),
        }
    }
}
