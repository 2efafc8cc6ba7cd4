//! Network cards whose devices do not exist yet, or have no name from udev yet.
//!
//! During the coldplug of udev, the devices of several cards appear one after another. An interface without a match takes the
//! only device that exists, so the stage waits until no card can bring a second one. Cards are PCI functions of the class
//! "network controller" (PCI Code and ID Assignment Specification, base class 02h); devices of other buses are not awaited.

use std::fs;
use std::io;
use std::path::Path;

/// The base class of network controllers, as sysfs writes it.
const NETWORK: &str = "0x02";

/// The PCI functions below `root` that are network controllers and have no network device.
pub fn without_device(root: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(root.join("sys/bus/pci/devices")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()), // a machine without PCI
        Err(error) => return Err(error),
    };
    let mut cards = Vec::new();
    for entry in entries {
        let entry = entry?;
        let card = entry.path();
        // A card that is removed meanwhile is not awaited.
        let Ok(class) = fs::read_to_string(card.join("class")) else { continue };
        if class.starts_with(NETWORK) && !has_device(root, &card)? {
            cards.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    cards.sort();
    Ok(cards)
}

/// The device is a child of the card, or of the virtio device of the card. It counts when udev has given it its name.
fn has_device(root: &Path, card: &Path) -> io::Result<bool> {
    if is_named(root, &card.join("net")) {
        return Ok(true);
    }
    let children = match fs::read_dir(card) {
        Ok(children) => children,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    for child in children {
        let child = child?;
        // `driver`, `subsystem` and the like are links.
        if child.file_type()?.is_dir() && is_named(root, &child.path().join("net")) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether udev's database has a device in this folder.
fn is_named(root: &Path, folder: &Path) -> bool {
    let mut devices = fs::read_dir(folder).into_iter().flatten().flatten();
    devices.any(|device| {
        let index = fs::read_to_string(device.path().join("ifindex")).unwrap_or_default();
        root.join(format!("run/udev/data/n{}", index.trim_end())).is_file()
    })
}

#[cfg(test)]
mod tests {
    //! Fixtures of sysfs: cards with and without a driver, virtio and others, and devices of another class.

    use super::*;

    #[test]
    fn only_network_controllers_without_a_device_are_awaited() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(without_device(root.path()).unwrap(), Vec::<String>::new(), "no PCI");
        let devices = root.path().join("sys/bus/pci/devices");
        let udev = root.path().join("run/udev/data");
        fs::create_dir_all(&udev).unwrap();
        for named in ["n2", "n3"] {
            fs::write(udev.join(named), "").unwrap();
        }
        for (card, class, child) in [
            ("0000:00:01.0", "0x010000\n", ""),                   // a disk
            ("0000:00:03.0", "0x020000\n", "virtio0/net/enp0s3"), // a virtio card
            ("0000:00:04.0", "0x020000\n", "virtio1"),            // its driver is being loaded
            ("0000:00:05.0", "0x020000\n", "net/enp0s5"),         // another card
            ("0000:00:06.0", "0x028000\n", ""),                   // no driver
            ("0000:00:07.0", "0x020000\n", "net/eth0"),           // udev has not named it
        ] {
            let card = devices.join(card);
            let device = card.join(child);
            fs::create_dir_all(&device).unwrap();
            if let Some(index) = [("enp0s3", "2\n"), ("enp0s5", "3\n"), ("eth0", "4\n")]
                .into_iter()
                .find_map(|(name, index)| child.ends_with(name).then_some(index))
            {
                fs::write(device.join("ifindex"), index).unwrap();
            }
            fs::write(card.join("class"), class).unwrap();
        }
        // A link to a folder that contains `net` is no child.
        let driver = root.path().join("driver");
        fs::create_dir_all(driver.join("net")).unwrap();
        std::os::unix::fs::symlink(&driver, devices.join("0000:00:06.0/driver")).unwrap();
        assert_eq!(without_device(root.path()).unwrap(), ["0000:00:04.0", "0000:00:06.0", "0000:00:07.0"]);
    }
}
