//! The attached block devices with their partition tables. This module reads both copies of a table itself and does not
//! rely on the kernel's view. The table of a CD counts in sectors of 512 bytes, which the kernel does not read on a
//! drive with sectors of 2048 bytes; such a drive is therefore accessed through a loop device.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use kubedos_image::gpt::{self, SectorSize, Table};
use kubedos_image::source::FileSource;
use kubedos_sys::block::{self, PartitionRequest};
use rustix::io::Errno;

use super::modules::{Loader, ModulesError};
use kubedos_wire::handover::Medium;

/// A whole device with a partition table.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The kernel name of the drive: `vda`, `sr0`.
    pub name: String,
    /// The kernel name of the device that has the partitions: the drive itself, or the loop device over it.
    pub node: String,
    /// Disk or CD.
    pub medium: Medium,
    /// Its partition table.
    pub table: Table,
    /// The fault of the copies of the table; `None` if they have no fault.
    pub table_note: Option<String>,
}

/// A partition in the kernel's view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDevice {
    /// The device node, for example `/dev/vda6`.
    pub path: PathBuf,
    /// The device number as device mapper expects it, for example `254:6`.
    pub number: String,
}

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// An attribute or the medium cannot be read.
    #[error("failed to read {0}")]
    Read(String, #[source] io::Error),
    /// The drive has no medium.
    #[error("{0} has no medium")]
    NoMedium(String),
    /// The device has no GPT: a seed, a blank disk, or foreign data.
    #[error("{0} has no GPT")]
    NoTable(String),
    /// The partition table cannot be used.
    #[error("no usable partition table on {0}")]
    Table(String, #[source] gpt::ReadError),
    /// Tables with this sector size are not supported.
    #[error("{0} has sectors of {1} bytes")]
    SectorSize(String, u32),
    /// The loop driver cannot be loaded.
    #[error("failed to prepare a loop device for {0}")]
    Loop(String, #[source] ModulesError),
    /// The loop device cannot be created.
    #[error("failed to attach a loop device to {0}")]
    Attach(String, #[source] io::Error),
    /// The kernel does not accept a partition.
    #[error("failed to announce partition {0} of {1} to the kernel")]
    Partition(u32, String, #[source] io::Error),
}

/// The devices found so far.
#[derive(Debug, Default)]
pub struct Devices {
    disks: BTreeMap<String, Disk>,
    refused: BTreeMap<String, String>,
}

impl Devices {
    /// Looks for added and removed devices; the table of a device is read once.
    pub fn observe(&mut self, loader: &mut Loader) {
        let present = drives();
        self.disks.retain(|name, _| present.contains(name));
        self.refused.retain(|name, _| present.contains(name));
        for name in present {
            if self.disks.contains_key(&name) {
                continue;
            }
            match read_disk(&name, loader) {
                Ok(disk) => {
                    self.refused.remove(&name);
                    self.disks.insert(name, disk);
                }
                Err(error) => drop(self.refused.insert(name, kubedos_wire::printable::chain(&error))),
            }
        }
    }

    /// The disks with a usable table.
    pub fn disks(&self) -> impl Iterator<Item = &Disk> {
        self.disks.values()
    }

    /// A list of the devices for the record.
    pub fn report(&self) -> String {
        let disks = self.disks.values().map(|disk| match &disk.table_note {
            Some(note) => format!("{} ({note})", disk.name),
            None => disk.name.clone(),
        });
        let refused = self.refused.values().cloned();
        let all: Vec<String> = disks.chain(refused).collect();
        if all.is_empty() { "no block device".into() } else { kubedos_survey::show::within(450, &all) }
    }
}

/// Whole devices of physical drives. Loop devices, RAM disks and similar ones have no `device` in sysfs; a single
/// path of a multipath drive is hidden.
fn drives() -> Vec<String> {
    let entries = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().join("device").exists())
        .filter(|entry| {
            fs::read_to_string(entry.path().join("hidden")).is_ok_and(|hidden| hidden.trim() == "0")
        })
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

fn read_disk(name: &str, loader: &mut Loader) -> Result<Disk, DeviceError> {
    let read = |error| DeviceError::Read(name.to_owned(), error);
    let file =
        File::open(Path::new("/dev").join(name)).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOMEDIUM) => DeviceError::NoMedium(name.to_owned()),
            _ => read(error),
        })?;
    let bytes = block::size_bytes(&file).map_err(read)?;
    if bytes == 0 {
        return Err(DeviceError::NoMedium(name.to_owned()));
    }
    let optical = name.starts_with("sr");
    let sector_bytes = if optical { 512 } else { block::logical_sector_bytes(&file).map_err(read)? };
    let sector_size = SectorSize::from_bytes(sector_bytes.into())
        .ok_or_else(|| DeviceError::SectorSize(name.to_owned(), sector_bytes))?;
    let source = FileSource::new(file.try_clone().map_err(read)?, bytes);
    let found = gpt::read_from(&source, sector_size).map_err(|error| no_table(name, error))?;
    let node = if optical {
        loader.require("loop").map_err(|error| DeviceError::Loop(name.to_owned(), error))?;
        let path = kubedos_sys::loopdev::attach(&file, 512)
            .map_err(|error| DeviceError::Attach(name.to_owned(), error))?;
        path.file_name().map(|node| node.to_string_lossy().into_owned()).unwrap_or_default()
    } else {
        name.to_owned()
    };
    let table_note = table_note(&found);
    let medium = if optical { Medium::Cd } else { Medium::Disk };
    Ok(Disk { name: name.to_owned(), node, medium, table: found.table, table_note })
}

/// A disk on which both copies are absent has no fault; a damaged copy is a fault.
fn no_table(name: &str, error: gpt::ReadError) -> DeviceError {
    match &error {
        gpt::ReadError::NoCopy { primary, backup }
            if matches!((&**primary, &**backup), (gpt::ReadError::Absent, gpt::ReadError::Absent)) =>
        {
            DeviceError::NoTable(name.to_owned())
        }
        _ => DeviceError::Table(name.to_owned(), error),
    }
}

/// The note about a table. If an image was written to a larger disk, the backup copy is not at the end of the disk; this
/// gives no note.
fn table_note(found: &gpt::Found) -> Option<String> {
    match (&found.copy, &found.other) {
        (gpt::Copy::Backup, gpt::OtherCopy::Damaged(error)) => {
            Some(format!("using the backup partition table: {error}"))
        }
        (_, gpt::OtherCopy::Differs(_)) => {
            Some("the copies of the partition table differ: using the primary copy".into())
        }
        _ => None,
    }
}

/// The kernel's device for a partition of the table. If the kernel has not read the table, because its primary copy is
/// damaged, or has read a different table, the partition is announced to the kernel.
pub fn partition(disk: &Disk, number: u32) -> Result<PartitionDevice, DeviceError> {
    let failed = |error: io::Error| DeviceError::Partition(number, disk.name.clone(), error);
    let entry = disk.table.get(number).ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
    let want = Extent { start: disk.table.start_bytes(entry), length: disk.table.len_bytes(entry) };
    let before = known(&disk.node, number).map_err(failed)?;
    if let Some((device, extent)) = &before
        && *extent == want
    {
        return Ok(device.clone());
    }
    let whole = File::open(Path::new("/dev").join(&disk.node)).map_err(failed)?;
    let announce = |request| {
        block::announce_partition(&whole, request, number, want.start, want.length)
            .map_err(|errno| failed(errno.into()))
    };
    if before.is_some() {
        announce(PartitionRequest::Remove)?;
    }
    announce(PartitionRequest::Add)?;
    match known(&disk.node, number).map_err(failed)? {
        Some((device, extent)) if extent == want => Ok(device),
        _ => Err(failed(io::ErrorKind::NotFound.into())),
    }
}

/// A range of a disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    start: u64,
    length: u64,
}

/// Partition `number` in sysfs, where `start` and `size` count 512 bytes on every disk.
fn known(node: &str, number: u32) -> io::Result<Option<(PartitionDevice, Extent)>> {
    for entry in fs::read_dir(Path::new("/sys/class/block").join(node))? {
        let path = entry?.path();
        if read_number(&path.join("partition")) != Some(u64::from(number)) {
            continue;
        }
        let sectors = |file: &str| {
            read_number(&path.join(file)).map(|sectors| sectors * 512).ok_or(io::ErrorKind::InvalidData)
        };
        let extent = Extent { start: sectors("start")?, length: sectors("size")? };
        let number = fs::read_to_string(path.join("dev"))?.trim().to_owned();
        let name = path.file_name().ok_or(io::ErrorKind::InvalidData)?;
        return Ok(Some((PartitionDevice { path: Path::new("/dev").join(name), number }, extent)));
    }
    Ok(None)
}

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        let source = FileSource::new(file.reopen().unwrap(), bytes.len() as u64);
        kubedos_wire::printable::chain(&no_table(
            "vdb",
            gpt::read_from(&source, SectorSize::B512).unwrap_err(),
        ))
    }

    /// D1: an attached seed or blank disk is not reported as a fault; a damaged table is.
    #[test]
    fn only_a_damaged_table_is_reported_as_a_fault() {
        let mut bytes = vec![0; 1 << 20];
        assert_eq!(refused(&bytes), "vdb has no GPT");
        bytes[512..520].copy_from_slice(b"EFI PART");
        assert!(refused(&bytes).starts_with("no usable partition table on vdb: "), "{}", refused(&bytes));
    }
}
