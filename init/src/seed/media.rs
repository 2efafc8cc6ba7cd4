//! Where seeds are looked for: the seed partition of the boot disk, then every other whole block device. At most 4 MiB of each are
//! read, and only where the first bytes say that it is a seed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kubedos_image::gpt::{self, SectorSize};
use kubedos_image::iso::seed as volume;
use kubedos_image::source::FileSource;
use zeroize::Zeroizing;

use super::Candidate;

/// Devices that carry no medium of their own.
const NO_MEDIA: [&str; 8] = ["loop", "ram", "zram", "dm-", "md", "fd", "nbd", "mtdblock"];

/// All seed volumes, the boot disk's own first. A device that cannot be read (an empty drive) holds none.
pub fn find(root: &Path, boot_device: &str) -> io::Result<Vec<Candidate>> {
    let mut candidates = Vec::new();
    candidates.extend(on_boot_disk(root, boot_device)?);
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("sys/block"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    for name in names {
        if name != boot_device && !NO_MEDIA.iter().any(|prefix| name.starts_with(prefix)) {
            candidates.extend(on_device(root, &name).unwrap_or_default());
        }
    }
    Ok(candidates)
}

fn on_boot_disk(root: &Path, boot_device: &str) -> io::Result<Option<Candidate>> {
    let disk = File::open(root.join("dev").join(boot_device))?;
    let bytes = size(root, boot_device)?;
    let source = FileSource::new(disk.try_clone()?, bytes);
    let Ok(found) = gpt::read_from(&source, SectorSize::B512) else {
        return Ok(None); // stage 1 booted from it, so there is one; Disks will say what is wrong with it
    };
    let Some((number, place)) = found
        .table
        .of_type(super::partition_type())
        .map(|(number, partition)| {
            (number, (found.table.start_bytes(partition), found.table.len_bytes(partition)))
        })
        .next()
    else {
        return Ok(None);
    };
    let device = format!("{boot_device} partition {number}");
    read(&disk, place.0, place.1, device)
}

fn on_device(root: &Path, name: &str) -> io::Result<Option<Candidate>> {
    let device = File::open(root.join("dev").join(name))?;
    read(&device, 0, size(root, name)?, name.to_owned())
}

/// Reads a seed volume at `start`, if one is there.
fn read(file: &File, start: u64, room: u64, device: String) -> io::Result<Option<Candidate>> {
    let mut probe = vec![0; volume::PROBE_BYTES];
    if room < volume::PROBE_BYTES as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut probe, start)?;
    if !volume::is_seed(&probe) {
        return Ok(None);
    }
    let len = usize::try_from(room.min(volume::MAX_BYTES)).map_err(io::Error::other)?;
    let mut bytes = Zeroizing::new(vec![0; len]);
    file.read_exact_at(&mut bytes, start)?;
    Ok(Some(Candidate { device, bytes }))
}

/// The size of a block device, by sysfs, which counts in 512 bytes.
fn size(root: &Path, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(root.join("sys/block").join(name).join("size"))?;
    text.trim().parse::<u64>().map(|sectors| sectors * 512).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_image::guid::Guid;
    use kubedos_image::layout::{self, Role};

    fn device(root: &Path, name: &str, bytes: u64) -> File {
        fs::create_dir_all(root.join("dev")).unwrap();
        fs::create_dir_all(root.join("sys/block").join(name)).unwrap();
        fs::write(root.join("sys/block").join(name).join("size"), format!("{}\n", bytes / 512)).unwrap();
        let file = File::create(root.join("dev").join(name)).unwrap();
        file.set_len(bytes).unwrap();
        file
    }

    #[test]
    fn the_boot_disks_partition_comes_first_then_whole_devices_in_order() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let seed = volume::write(b"statement").unwrap();
        let shipped = layout::shipped(1 << 20).unwrap();
        let vdb = device(root, "vdb", shipped.disk_bytes());
        let table = shipped.table(SectorSize::B512, Guid::from_u128(1), |_| Guid::from_u128(2)).unwrap();
        for extent in table.extents() {
            vdb.write_all_at(&extent.bytes, extent.offset).unwrap();
        }
        assert!(find(root, "vdb").unwrap().is_empty(), "a partition of zeroes is no seed");
        vdb.write_all_at(&seed, shipped.place(Role::Seed).unwrap().start).unwrap();
        device(root, "vda", 1 << 20).write_all_at(&seed, 0).unwrap();
        device(root, "sr0", seed.len() as u64).write_all_at(&seed, 0).unwrap();
        device(root, "loop0", 1 << 20).write_all_at(&seed, 0).unwrap();
        device(root, "vdc", 1 << 20);
        device(root, "vdd", 512);
        fs::create_dir_all(root.join("sys/block/sr1")).unwrap();
        fs::write(root.join("sys/block/sr1/size"), "0\n").unwrap();
        let names: Vec<String> = find(root, "vdb").unwrap().into_iter().map(|found| found.device).collect();
        assert_eq!(names, ["vdb partition 2", "sr0", "vda"]);
    }
}
