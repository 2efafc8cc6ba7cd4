//! Finds candidates for the seed: the seed partition of the boot disk first, then every other whole block device. Reads
//! at most 4 MiB of each, and of other devices only those whose first bytes are the magic number of a seed volume.
//!
//! The seed partition belongs to kubedOS, so its content is a candidate unless it is all zeroes. A device or partition
//! that cannot be read is a candidate too, because it may contain a seed. A drive without a medium is not a candidate.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kubedos_image::gpt::{self, SectorSize};
use kubedos_image::iso::seed as volume;
use kubedos_image::source::FileSource;
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::Candidate;

/// Name prefixes of devices that are backed by other devices or by memory, and of devices that never contain a seed.
const NO_MEDIA: [&str; 8] = ["loop", "ram", "zram", "dm-", "md", "fd", "nbd", "mtdblock"];

/// All candidates, those on the boot disk first.
///
/// # Errors
/// If the devices cannot be listed. A device that cannot be read is a candidate with an error.
pub fn find(root: &Path, boot_device: &str) -> io::Result<Vec<Candidate>> {
    let mut candidates =
        on_boot_disk(root, boot_device).unwrap_or_else(|error| vec![unreadable(boot_device, error)]);
    let mut names = Vec::new();
    for entry in fs::read_dir(root.join("sys/block"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    for name in names {
        if name != boot_device && !NO_MEDIA.iter().any(|prefix| name.starts_with(prefix)) {
            match on_device(root, &name) {
                Ok(found) => {
                    candidates.extend(found.map(|bytes| Candidate { device: name, bytes: Ok(bytes) }))
                }
                Err(error) if has_no_medium(&error) => {}
                Err(error) => candidates.push(unreadable(&name, error)),
            }
        }
    }
    Ok(candidates)
}

fn unreadable(device: &str, error: io::Error) -> Candidate {
    Candidate { device: device.to_owned(), bytes: Err(error) }
}

/// Whether the drive has no medium, or the device was removed since it was listed.
fn has_no_medium(error: &io::Error) -> bool {
    let absent = [Errno::NOMEDIUM, Errno::NXIO, Errno::NODEV, Errno::NOENT];
    absent.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn on_boot_disk(root: &Path, boot_device: &str) -> io::Result<Vec<Candidate>> {
    let disk = File::open(root.join("dev").join(boot_device))?;
    let bytes = size(root, boot_device)?;
    let found = gpt::read_from(&FileSource::new(disk.try_clone()?, bytes), SectorSize::B512);
    let table = found.map_err(io::Error::other)?.table;
    let partitions = table.of_type(super::partition_type());
    let candidates = partitions.filter_map(|(number, partition)| {
        let device = format!("{boot_device} partition {number}");
        let (start, len) = (table.start_bytes(partition), table.len_bytes(partition).min(volume::MAX_BYTES));
        match is_empty(&disk, start, len) {
            Ok(true) => None,
            Ok(false) => Some(Candidate { device, bytes: read(&disk, start, len) }),
            Err(error) => Some(Candidate { device, bytes: Err(error) }),
        }
    });
    Ok(candidates.collect())
}

/// The seed volume on a whole device, if its first bytes have the magic number.
fn on_device(root: &Path, name: &str) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    let room = size(root, name)?;
    if room < volume::PROBE_BYTES as u64 {
        return Ok(None);
    }
    let device = File::open(root.join("dev").join(name))?;
    let mut probe = vec![0; volume::PROBE_BYTES];
    device.read_exact_at(&mut probe, 0)?;
    if volume::is_seed(&probe) { read(&device, 0, room).map(Some) } else { Ok(None) }
}

/// Whether the range contains only zeroes. Reads in small pieces: the partition is empty on most nodes, and a buffer of 4 MiB
/// would stay in the agent's memory.
fn is_empty(file: &File, start: u64, len: u64) -> io::Result<bool> {
    const PIECE: usize = 64 << 10;
    let mut piece = [0; PIECE];
    for at in (0..len).step_by(PIECE) {
        let wanted = usize::try_from(len - at).map_or(PIECE, |left| left.min(PIECE));
        let piece = piece.get_mut(..wanted).unwrap_or_default();
        file.read_exact_at(piece, start + at)?;
        if piece.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads from `start` up to the maximum size of a seed volume.
fn read(file: &File, start: u64, room: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let len = usize::try_from(room.min(volume::MAX_BYTES)).map_err(io::Error::other)?;
    let mut bytes = Zeroizing::new(vec![0; len]);
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

/// The size of a block device in bytes; sysfs counts units of 512 bytes.
fn size(root: &Path, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(root.join("sys/block").join(name).join("size"))?;
    text.trim().parse::<u64>().map(|sectors| sectors * 512).map_err(io::Error::other)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use kubedos_image::guid::Guid;
    use kubedos_image::layout::{self, Role};

    pub(crate) fn device(root: &Path, name: &str, bytes: u64) -> File {
        fs::create_dir_all(root.join("dev")).unwrap();
        fs::create_dir_all(root.join("sys/block").join(name)).unwrap();
        fs::write(root.join("sys/block").join(name).join("size"), format!("{}\n", bytes / 512)).unwrap();
        let file = File::create(root.join("dev").join(name)).unwrap();
        file.set_len(bytes).unwrap();
        file
    }

    /// A boot disk as shipped, with this content of its seed partition.
    pub(crate) fn boot_disk(root: &Path, name: &str, seed: &[u8]) -> File {
        let shipped = layout::shipped(1 << 20).unwrap();
        let disk = device(root, name, shipped.disk_bytes());
        let table = shipped.table(SectorSize::B512, Guid::from_u128(1), |_| Guid::from_u128(2)).unwrap();
        for extent in table.extents() {
            disk.write_all_at(&extent.bytes, extent.offset).unwrap();
        }
        disk.write_all_at(seed, shipped.place(Role::Seed).unwrap().start).unwrap();
        disk
    }

    #[test]
    fn the_seed_partition_of_the_boot_disk_is_first_and_whole_devices_are_sorted() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let seed = volume::write(b"statement").unwrap();
        boot_disk(root, "vdb", &[]);
        assert!(find(root, "vdb").unwrap().is_empty(), "a partition of zeroes is not a candidate");
        boot_disk(root, "vdb", &seed);
        device(root, "vda", 1 << 20).write_all_at(&seed, 0).unwrap();
        device(root, "sr0", seed.len() as u64).write_all_at(&seed, 0).unwrap();
        device(root, "loop0", 1 << 20).write_all_at(&seed, 0).unwrap();
        device(root, "vdc", 1 << 20);
        device(root, "vdd", 512);
        fs::create_dir_all(root.join("sys/block/sr1")).unwrap();
        fs::write(root.join("sys/block/sr1/size"), "0\n").unwrap();
        fs::write(root.join("sys/block/vdd/size"), "not a number\n").unwrap();
        let found = find(root, "vdb").unwrap();
        let names: Vec<&str> = found.iter().map(|found| found.device.as_str()).collect();
        assert_eq!(names, ["vdb partition 2", "sr0", "vda", "vdd"]);
        assert_eq!(found.iter().filter(|found| found.bytes.is_err()).count(), 1, "vdd cannot be measured");
    }

    /// A device that is shorter than its stated size, or that cannot be read, is reported; it does not count as empty.
    #[test]
    fn an_unreadable_device_is_a_candidate_with_an_error() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        device(root, "vdb", 1 << 20).set_len(4096).unwrap(); // reads end early, as with a bad sector
        device(root, "sda", 1 << 20);
        fs::remove_file(root.join("dev/sda")).unwrap();
        fs::create_dir(root.join("dev/sda")).unwrap(); // can be opened but not read
        device(root, "sr0", 1 << 20);
        fs::remove_file(root.join("dev/sr0")).unwrap(); // removed after it was listed
        let found = find(root, "vdb").unwrap();
        let names: Vec<&str> = found.iter().map(|found| found.device.as_str()).collect();
        assert_eq!(names, ["vdb", "sda"]);
        assert!(found.iter().all(|found| found.bytes.is_err()));
    }

    /// The seed partition belongs to kubedOS: unknown bytes in it count as a damaged seed, not as an empty partition.
    #[test]
    fn unknown_bytes_in_the_seed_partition_are_a_candidate() {
        let root = tempfile::tempdir().unwrap();
        let vda = boot_disk(root.path(), "vda", &[]);
        let shipped = layout::shipped(1 << 20).unwrap();
        let place = shipped.place(Role::Seed).unwrap();
        for at in [place.start, place.start + place.len - 1] {
            vda.write_all_at(&[0xa5], at).unwrap();
            let found = find(root.path(), "vda").unwrap();
            assert_eq!(found[0].device, "vda partition 2");
            assert!(found[0].bytes.as_ref().is_ok_and(|bytes| bytes.len() as u64 == place.len));
            vda.write_all_at(&[0], at).unwrap();
            assert!(find(root.path(), "vda").unwrap().is_empty());
        }
    }
}
