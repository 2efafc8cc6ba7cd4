//! Reads the facts about disks, open containers and mounts from sysfs and mountinfo. Makes no change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;

use kubedos_survey::{controllers, look};

use super::super::ops::OpsError;
use super::super::survey::{Store, Survey};
use super::failed;

pub(super) fn survey(root: &Path) -> Result<Survey, OpsError> {
    let mut disks = look::disks(root).map_err(failed("list", "disks"))?;
    disks.retain(|disk| disk.bytes > 0);
    Ok(Survey {
        disks,
        open: open(&root.join("sys/block")).map_err(failed("list", "mappings"))?,
        mounted: mounted(root).map_err(failed("list", "mounts"))?,
        undriven: controllers::without_driver(root).map_err(failed("list", "controllers"))?,
    })
}

/// The open containers, with the size of their mapping in bytes.
fn open(folder: &Path) -> io::Result<BTreeMap<Store, u64>> {
    let mut open = BTreeMap::new();
    for name in look::names(folder)?.iter().filter(|name| name.starts_with("dm-")) {
        let device = folder.join(name);
        let label = look::line(&device, "dm/name")?;
        let store = Store::ALL.into_iter().find(|store| label.as_ref() == Some(&store.label()));
        open.extend(store.zip(look::sectors(&device, "size")?));
    }
    Ok(open)
}

fn mounted(root: &Path) -> io::Result<BTreeSet<Store>> {
    let text = fs::read_to_string(root.join("proc/self/mountinfo"))?;
    let places: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    Ok(Store::ALL.into_iter().filter(|store| places.contains(store.mount_point())).collect())
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
    fn disks_containers_and_mounts_are_found() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        put(root, "sys/block/vda/size", "20971520\n");
        put(root, "sys/block/sr0/size", "1000\n");
        put(root, "sys/block/sdb/size", "0\n");
        put(root, "sys/block/dm-3/dm/name", "kubedos-state\n");
        put(root, "sys/block/dm-3/size", "2064384\n");
        put(root, "sys/block/dm-0/dm/name", "root\n");
        put(
            root,
            "proc/self/mountinfo",
            "22 1 254:0 / / ro - erofs /dev/dm-0 ro\n40 30 254:3 / /var/lib/kubedos/state rw,nosuid - ext4 /dev/dm-3 rw\n",
        );
        let survey = survey(root).unwrap();
        let names: Vec<&str> = survey.disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(names, ["vda"], "a drive without a medium is not listed");
        assert_eq!(survey.open, BTreeMap::from([(Store::State, 2_064_384 * 512)]));
        assert_eq!(survey.mounted, BTreeSet::from([Store::State]));
    }
}
