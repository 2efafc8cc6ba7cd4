//! Reads disks from sysfs and `/dev/disk/by-path` (`Documentation/ABI/stable/sysfs-block`). Makes no change.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use super::{ByteRange, Disk};
use kubedos_wire::disk_names::SERIAL_BYTES;

/// sysfs counts sizes and offsets in these units, for every logical sector size.
const SYSFS_SECTOR: u64 = 512;

/// Name prefixes of block devices that are not separate disks.
const NO_DISKS: [&str; 9] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock"];

/// How many bytes of a serial number QEMU's SCSI disks carry (`scsi_disk_emulate_vpd_page`).
const QEMU_SCSI_SERIAL_BYTES: usize = 36;

/// The whole disks under `root`, by name, including those without a medium. Left out are optical drives, devices that
/// are backed by others (loop, RAM, device mapper, zvols), and devices that share the names of a disk: the boot areas
/// of eMMC and the single paths of NVMe multipath.
pub fn disks(root: &Path) -> io::Result<Vec<Disk>> {
    let paths = by_path(root)?;
    let folder = root.join("sys/block");
    let mut disks = Vec::new();
    for name in names(&folder)? {
        let device = folder.join(&name);
        if is_disk(&device, &name)? {
            disks.push(disk(&device, name, &paths)?);
        }
    }
    Ok(disks)
}

fn is_disk(device: &Path, name: &str) -> io::Result<bool> {
    if NO_DISKS.iter().any(|prefix| name.starts_with(prefix)) || is_emmc_area(name) {
        return Ok(false);
    }
    let place = match fs::canonicalize(device) {
        Ok(place) => place,
        Err(error) if is_absent(&error) => return Ok(false), // removed meanwhile
        Err(error) => return Err(error),
    };
    let is_virtual = place.to_string_lossy().contains("/devices/virtual/block/");
    Ok(!is_virtual && line(device, "hidden")?.as_deref() != Some("1"))
}

/// Whether the name is that of an eMMC area (`mmcblk0boot0`, `mmcblk0rpmb`, `mmcblk0gp1`), which has the serial number
/// of the whole eMMC.
fn is_emmc_area(name: &str) -> bool {
    let rest = name.strip_prefix("mmcblk").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
    rest.is_some_and(|rest| !rest.is_empty())
}

fn disk(device: &Path, name: String, paths: &BTreeMap<String, Vec<String>>) -> io::Result<Disk> {
    let mut partitions = BTreeMap::new();
    for entry in names(device)? {
        let part = device.join(&entry);
        let number = line(&part, "partition")?.and_then(|text| text.parse().ok());
        let place = sectors(&part, "start")?.zip(sectors(&part, "size")?);
        partitions.extend(number.zip(place.map(|(start, len)| ByteRange { start, len })));
    }
    let vendor = line(device, "device/vendor")?;
    Ok(Disk {
        bytes: sectors(device, "size")?.unwrap_or(0),
        sector_bytes: line(device, "queue/logical_block_size")?
            .and_then(|text| text.parse().ok())
            .unwrap_or(512),
        read_only: line(device, "ro")?.as_deref() == Some("1"),
        model: model(device, vendor.as_deref())?,
        serials: serials(device)?,
        serial_limit: serial_limit(&name, vendor.as_deref()),
        wwns: wwns(device)?,
        paths: paths.get(&name).cloned().unwrap_or_default(),
        partitions,
        name,
    })
}

/// For SCSI, vendor (unless it is `ATA`) and model; for others the model (eMMC names it `name`).
fn model(device: &Path, vendor: Option<&str>) -> io::Result<Option<String>> {
    let model = match line(device, "device/model")? {
        Some(model) => Some(model),
        None => line(device, "device/name")?.filter(|_| vendor.is_none()),
    };
    // virtio's `device/vendor` is a number.
    let vendor = vendor.filter(|vendor| *vendor != "ATA" && !vendor.starts_with("0x"));
    Ok(match (vendor, model) {
        (Some(vendor), Some(model)) => Some(format!("{vendor} {model}")),
        (_, model) => model,
    })
}

/// The length at which a serial number may be truncated.
fn serial_limit(name: &str, vendor: Option<&str>) -> Option<usize> {
    match vendor {
        _ if name.starts_with("vd") || name.starts_with("nvme") => Some(SERIAL_BYTES),
        Some("ATA") => Some(SERIAL_BYTES),
        Some("QEMU") => Some(QEMU_SCSI_SERIAL_BYTES),
        _ => None,
    }
}

/// The serial numbers of virtio, of NVMe and eMMC, of the SCSI unit, and of a USB bridge (the one that udev shows).
fn serials(device: &Path) -> io::Result<Vec<String>> {
    let found =
        [line(device, "serial")?, line(device, "device/serial")?, unit_serial(device)?, usb_serial(device)?];
    Ok(distinct(found))
}

/// World-wide names: the kernel's preferred one, and the further ones of NVMe. NVMe's `uuid` is not read: `wwid`
/// contains it, and the kernel logs a warning if it is read but does not exist.
fn wwns(device: &Path) -> io::Result<Vec<String>> {
    let digits = |text: String| text.chars().filter(char::is_ascii_hexdigit).collect::<String>();
    let eui = |text: Option<String>| {
        text.map(digits)
            .filter(|digits| digits.chars().any(|digit| digit != '0'))
            .map(|digits| format!("eui.{digits}"))
    };
    let found = [
        line(device, "wwid")?,
        line(device, "device/wwid")?,
        eui(line(device, "nguid")?),
        eui(line(device, "eui")?),
    ];
    Ok(distinct(found))
}

fn distinct(found: [Option<String>; 4]) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for text in found.into_iter().flatten() {
        if !list.iter().any(|known| known.eq_ignore_ascii_case(&text)) {
            list.push(text);
        }
    }
    list
}

/// A SCSI unit's serial number: vital product data page 80h, whose text begins after four bytes (SPC-4, 7.8.18).
fn unit_serial(device: &Path) -> io::Result<Option<String>> {
    let page = match fs::read(device.join("device/vpd_pg80")) {
        Ok(page) => page,
        Err(error) if is_absent(&error) => return Ok(None), // not a SCSI disk, or one without this page
        Err(error) => return Err(error),
    };
    let text = page.get(4..).map(|text| String::from_utf8_lossy(text).trim_matches(['\0', ' ']).to_owned());
    Ok(text.filter(|text| !text.is_empty()))
}

/// The serial number of the USB bridge of the disk: the nearest ancestor that has `serial` and `idVendor`.
fn usb_serial(device: &Path) -> io::Result<Option<String>> {
    let place = match fs::canonicalize(device.join("device")) {
        Ok(place) => place,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    match place.ancestors().find(|folder| folder.join("idVendor").exists()) {
        Some(usb) => line(usb, "serial"),
        None => Ok(None),
    }
}

/// Names of ports, by the kernel name of the disk.
fn by_path(root: &Path) -> io::Result<BTreeMap<String, Vec<String>>> {
    let folder = root.join("dev/disk/by-path");
    let mut paths: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let links = match names(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(), // no device has such a name
        links => links?,
    };
    for name in links {
        let target = fs::read_link(folder.join(&name)).ok(); // removed meanwhile
        if let Some(disk) = target.as_deref().and_then(Path::file_name) {
            paths.entry(disk.to_string_lossy().into_owned()).or_default().push(name);
        }
    }
    Ok(paths)
}

/// Names in a folder, sorted.
pub fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The value of an attribute without surrounding spaces; `None` if this kind of disk does not have it, or it is empty.
pub fn line(folder: &Path, name: &str) -> io::Result<Option<String>> {
    match fs::read(folder.join(name)) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes)
                .trim_matches(|c: char| c.is_whitespace() || c == '\0')
                .to_owned();
            Ok(Some(text).filter(|text| !text.is_empty()))
        }
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The attribute does not exist, its driver reports that the device has no such value (ENXIO and EINVAL of SCSI's
/// `wwid`), or the device was removed.
fn is_absent(error: &io::Error) -> bool {
    const ENXIO: i32 = 6;
    const ENODEV: i32 = 19;
    use io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound, Unsupported};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory | InvalidInput | Unsupported)
        || matches!(error.raw_os_error(), Some(ENXIO | ENODEV))
}

/// Reads a number of sectors, as bytes.
pub fn sectors(folder: &Path, name: &str) -> io::Result<Option<u64>> {
    let count = line(folder, name)?.and_then(|text| text.parse::<u64>().ok());
    Ok(count.and_then(|count| count.checked_mul(SYSFS_SECTOR)))
}

#[cfg(test)]
mod tests;
