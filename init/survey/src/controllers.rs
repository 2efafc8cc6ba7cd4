//! Storage controllers without a driver (`Documentation/ABI/testing/sysfs-bus-pci`). [`crate::look::disks`] does not
//! find their disks, so the report about a missing disk lists the controllers too.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::look::{line, names};
use super::show::plain;

/// A PCI function without a driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Controller {
    /// PCI address, for example `0000:00:05.0`.
    pub address: String,
    /// Vendor and device, for example `1000:0012`.
    pub id: String,
    /// Its kind, from its class code.
    pub kind: &'static str,
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at PCI {} ({})", self.kind, plain(&self.address), plain(&self.id))
    }
}

/// The controllers under `root` without a driver. A machine without PCI has none.
pub fn without_driver(root: &Path) -> io::Result<Vec<Controller>> {
    let folder = root.join("sys/bus/pci/devices");
    let addresses = match names(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        addresses => addresses?,
    };
    let mut controllers = Vec::new();
    for address in addresses {
        let device = folder.join(&address);
        let Some(kind) = line(&device, "class")?.as_deref().and_then(kind) else { continue };
        if fs::symlink_metadata(device.join("driver")).is_ok() {
            continue;
        }
        let number =
            |name| Ok::<_, io::Error>(line(&device, name)?.unwrap_or_default().replacen("0x", "", 1));
        let id = format!("{}:{}", number("vendor")?, number("device")?);
        controllers.push(Controller { address, id, kind });
    }
    Ok(controllers)
}

/// The kind of a controller that can have disks, by class code (PCI Code and ID Assignment Specification, 1.2, 1.9 and
/// 1.13).
fn kind(class: &str) -> Option<&'static str> {
    let code = u32::from_str_radix(class.strip_prefix("0x")?, 16).ok()? >> 8;
    Some(match code {
        0x0100 => "SCSI controller",
        0x0101 => "IDE controller",
        0x0104 => "RAID controller",
        0x0105 | 0x0106 => "SATA controller",
        0x0107 => "SAS controller",
        0x0108 => "NVMe controller",
        class if class >> 8 == 0x01 => "storage controller",
        0x0c03 => "USB controller",
        0x0805 => "SD host controller",
        _ => return None,
    })
}

/// Advice to the operator about controllers without a driver; `None` if the list is empty.
pub fn advice(controllers: &[Controller]) -> Option<String> {
    if controllers.is_empty() {
        return None;
    }
    let list: Vec<String> = controllers.iter().map(ToString::to_string).collect();
    Some(format!(
        "no driver in this image for: {}; their disks are not visible: attach the disks by VirtIO, SATA or NVMe, or build with \
         `substrate.type: metal`",
        super::show::within(240, &list)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_controllers_without_a_driver_are_listed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(without_driver(root).unwrap(), [], "no PCI");
        let devices = root.join("sys/bus/pci/devices");
        for (address, class, device) in [
            ("0000:00:01.0", "0x030000", "0x1111"),
            ("0000:00:05.0", "0x010000", "0x0012"),
            ("0000:00:06.0", "0x010601", "0x2922"),
            ("0000:00:07.0", "0x0c0330", "0x000d"),
        ] {
            let folder = devices.join(address);
            fs::create_dir_all(&folder).unwrap();
            for (name, value) in [("class", class), ("vendor", "0x1000"), ("device", device)] {
                fs::write(folder.join(name), format!("{value}\n")).unwrap();
            }
        }
        std::os::unix::fs::symlink("../../drivers/ahci", devices.join("0000:00:06.0/driver")).unwrap();
        let found = without_driver(root).unwrap();
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "SCSI controller at PCI 0000:00:05.0 (1000:0012)",
                "USB controller at PCI 0000:00:07.0 (1000:000d)"
            ]
        );
        assert!(
            advice(&found)
                .unwrap()
                .starts_with("no driver in this image for: SCSI controller at PCI 0000:00:05.0")
        );
        assert_eq!(advice(&[]), None);
    }
}
