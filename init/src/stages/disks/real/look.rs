//! What sysfs, `/dev/disk/by-path` and mountinfo say about disks (`Documentation/ABI/stable/sysfs-block`). Changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use super::super::ops::OpsError;
use super::super::survey::{Disk, Store, Stretch, Survey};
use super::failed;

/// sysfs counts sizes and places in these, whatever the disk's own sectors are.
const SYSFS_SECTOR: u64 = 512;

/// Block devices that are no disks of their own.
const NO_DISKS: [&str; 9] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock"];

pub(super) fn survey(root: &Path) -> Result<Survey, OpsError> {
    let mut survey = Survey::default();
    let paths = by_path(root);
    for name in names(&root.join("sys/block")).map_err(failed("list", "disks"))? {
        let folder = root.join("sys/block").join(&name);
        if let Some(mapped) = line(&folder, "dm/name") {
            let store = Store::ALL.into_iter().find(|store| store.label() == mapped);
            survey.open.extend(store.zip(sectors(&folder, "size")));
        } else if !NO_DISKS.iter().any(|prefix| name.starts_with(prefix)) {
            survey.disks.extend(disk(&folder, name, &paths));
        }
    }
    survey.mounted = mounted(root).map_err(failed("list", "mounts"))?;
    Ok(survey)
}

/// One disk; `None` when it has no medium.
fn disk(folder: &Path, name: String, paths: &BTreeMap<String, Vec<String>>) -> Option<Disk> {
    let bytes = sectors(folder, "size").filter(|bytes| *bytes > 0)?;
    let mut partitions = BTreeMap::new();
    for entry in names(folder).unwrap_or_default() {
        let part = folder.join(&entry);
        let number = line(&part, "partition").and_then(|text| text.parse().ok());
        let place = sectors(&part, "start").zip(sectors(&part, "size"));
        partitions.extend(number.zip(place.map(|(start, len)| Stretch { start, len })));
    }
    Some(Disk {
        bytes,
        sector_bytes: line(folder, "queue/logical_block_size")
            .and_then(|text| text.parse().ok())
            .unwrap_or(512),
        read_only: line(folder, "ro").as_deref() == Some("1"),
        serial: line(folder, "serial")
            .or_else(|| line(folder, "device/serial"))
            .or_else(|| unit_serial(folder)),
        wwn: line(folder, "wwid").or_else(|| line(folder, "device/wwid")).map(|wwid| wwn(&wwid)),
        paths: paths.get(&name).cloned().unwrap_or_default(),
        partitions,
        name,
    })
}

/// A SCSI unit's serial number: vital product data page 80h, whose text begins after four bytes (SPC-4, 7.8.18).
fn unit_serial(folder: &Path) -> Option<String> {
    let page = fs::read(folder.join("device/vpd_pg80")).ok()?; // not a SCSI disk
    let text = String::from_utf8_lossy(page.get(4..)?).trim_matches(['\0', ' ']).to_owned();
    (!text.is_empty()).then_some(text)
}

/// As udev writes it: `naa.5000…` becomes `0x5000…`.
fn wwn(wwid: &str) -> String {
    wwid.strip_prefix("naa.").map_or_else(|| wwid.to_owned(), |number| format!("0x{number}"))
}

/// Names of ports, by the kernel's name of the disk.
fn by_path(root: &Path) -> BTreeMap<String, Vec<String>> {
    let folder = root.join("dev/disk/by-path");
    let mut paths: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in names(&folder).unwrap_or_default() {
        let target = fs::read_link(folder.join(&name)).ok(); // gone meanwhile
        if let Some(disk) = target.as_deref().and_then(Path::file_name) {
            paths.entry(disk.to_string_lossy().into_owned()).or_default().push(name);
        }
    }
    paths
}

fn mounted(root: &Path) -> io::Result<BTreeSet<Store>> {
    let text = fs::read_to_string(root.join("proc/self/mountinfo"))?;
    let places: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    Ok(Store::ALL.into_iter().filter(|store| places.contains(store.mount_point())).collect())
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// A file of one line, without the spaces around it; `None` when it is absent or empty.
fn line(folder: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(name)).ok()?; // most attributes exist on some kinds of disk only
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn sectors(folder: &Path, name: &str) -> Option<u64> {
    line(folder, name)?.parse::<u64>().ok()?.checked_mul(SYSFS_SECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, content: impl AsRef<[u8]>) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn disks_partitions_containers_and_mounts_are_seen() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        put(root, "sys/block/vda/size", "20971520\n");
        put(root, "sys/block/vda/ro", "0\n");
        put(root, "sys/block/vda/serial", "lab-cp-1\n");
        put(root, "sys/block/vda/queue/logical_block_size", "512\n");
        put(root, "sys/block/vda/vda2/partition", "2\n");
        put(root, "sys/block/vda/vda2/start", "526336\n");
        put(root, "sys/block/vda/vda2/size", "8192\n");
        put(root, "sys/block/sda/size", "1000\n");
        put(root, "sys/block/sda/device/vpd_pg80", b"\0\x80\0\x08  WX-123");
        put(root, "sys/block/sda/device/wwid", "naa.5000c500a1b2c3d4\n");
        put(root, "sys/block/sr0/size", "1000\n");
        put(root, "sys/block/loop0/size", "1000\n");
        put(root, "sys/block/sdb/size", "0\n");
        put(root, "sys/block/dm-3/dm/name", "kubedos-state\n");
        put(root, "sys/block/dm-3/size", "2064384\n");
        put(root, "sys/block/dm-0/dm/name", "root\n");
        put(root, "dev/disk/by-path/.keep", "");
        std::os::unix::fs::symlink("../../vda", root.join("dev/disk/by-path/pci-0000:00:04.0")).unwrap();
        put(
            root,
            "proc/self/mountinfo",
            "22 1 254:0 / / ro - erofs /dev/dm-0 ro\n40 30 254:3 / /var/lib/kubedos/state rw,nosuid - ext4 /dev/dm-3 rw\n",
        );
        let survey = survey(root).unwrap();
        let names: Vec<&str> = survey.disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["sda", "vda"]);
        let vda = survey.disk("vda").unwrap();
        assert_eq!((vda.bytes, vda.sector_bytes, vda.read_only), (20_971_520 * 512, 512, false));
        assert_eq!(vda.serial.as_deref(), Some("lab-cp-1"));
        assert_eq!(vda.paths, ["pci-0000:00:04.0"]);
        assert_eq!(vda.partitions[&2], Stretch { start: 257 << 20, len: 4 << 20 });
        let sda = survey.disk("sda").unwrap();
        assert_eq!(sda.serial.as_deref(), Some("WX-123"));
        assert_eq!(sda.wwn.as_deref(), Some("0x5000c500a1b2c3d4"));
        assert_eq!(survey.open, BTreeMap::from([(Store::State, 2_064_384 * 512)]));
        assert_eq!(survey.mounted, BTreeSet::from([Store::State]));
    }
}
