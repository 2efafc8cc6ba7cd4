//! Tests of reading disks from sysfs.

use std::os::unix::fs::symlink;

use super::*;

fn put(root: &Path, path: &str, content: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn find<'a>(disks: &'a [Disk], name: &str) -> &'a Disk {
    disks.iter().find(|disk| disk.name == name).unwrap_or_else(|| panic!("{name} is not among {disks:?}"))
}

#[test]
fn virtio_and_scsi_disks_are_read() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    put(root, "sys/block/vda/size", "20971520\n");
    put(root, "sys/block/vda/ro", "0\n");
    put(root, "sys/block/vda/serial", "lab-cp-1\n");
    put(root, "sys/block/vda/device/vendor", "0x1af4\n");
    put(root, "sys/block/vda/queue/logical_block_size", "512\n");
    put(root, "sys/block/vda/vda2/partition", "2\n");
    put(root, "sys/block/vda/vda2/start", "526336\n");
    put(root, "sys/block/vda/vda2/size", "8192\n");
    put(root, "sys/block/sda/size", "1000\n");
    put(root, "sys/block/sda/ro", "1\n");
    put(root, "sys/block/sda/device/vpd_pg80", b"\0\x80\0\x08  WX-123");
    put(root, "sys/block/sda/device/wwid", "naa.600140512345678990abcdef01234567\n");
    put(root, "sys/block/sda/device/vendor", "LIO-ORG \n");
    put(root, "sys/block/sda/device/model", "disk1           \n");
    put(root, "sys/block/sdb/size", "0\n");
    put(root, "dev/disk/by-path/.keep", "");
    symlink("../../vda", root.join("dev/disk/by-path/pci-0000:00:04.0")).unwrap();
    symlink("../../vda", root.join("dev/disk/by-path/virtio-pci-0000:00:04.0")).unwrap();
    let disks = disks(root).unwrap();
    let vda = find(&disks, "vda");
    assert_eq!((vda.bytes, vda.sector_bytes, vda.read_only), (20_971_520 * 512, 512, false));
    assert_eq!(
        (&vda.model, vda.serials.as_slice(), vda.serial_limit),
        (&None, &["lab-cp-1".to_owned()][..], Some(20))
    );
    assert_eq!(vda.paths, ["pci-0000:00:04.0", "virtio-pci-0000:00:04.0"]);
    assert_eq!(vda.partitions[&2], ByteRange { start: 257 << 20, len: 4 << 20 });
    let sda = find(&disks, "sda");
    assert_eq!(
        (sda.serials.as_slice(), sda.serial_limit, sda.read_only),
        (&["WX-123".to_owned()][..], None, true)
    );
    assert_eq!(sda.wwns, ["naa.600140512345678990abcdef01234567"]);
    assert_eq!(sda.model.as_deref(), Some("LIO-ORG disk1"));
    assert_eq!(find(&disks, "sdb").bytes, 0, "a drive without a medium is listed");
}

/// The namespaces of one NVMe controller share a serial number and have their own world-wide names.
#[test]
fn namespaces_share_a_serial_number_and_have_separate_world_wide_names() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for (name, nguid, eui) in [
        ("nvme0n1", "00253844-0000-0001-0000-000000000001", "00 25 38 44 00 00 00 01"),
        ("nvme0n2", "00000000-0000-0000-0000-000000000000", "00 25 38 44 00 00 00 02"),
    ] {
        put(root, &format!("sys/block/{name}/size"), "1000\n");
        put(root, &format!("sys/block/{name}/device/serial"), "S3Z1NB0K100001      \n");
        put(root, &format!("sys/block/{name}/device/model"), "Samsung SSD 970\n");
        put(
            root,
            &format!("sys/block/{name}/wwid"),
            format!("nvme.144d-533358-53616d-0000000{}\n", &name[6..]),
        );
        put(root, &format!("sys/block/{name}/nguid"), nguid);
        put(root, &format!("sys/block/{name}/eui"), eui);
    }
    // A single path of a multipath disk is hidden; it has the same names.
    put(root, "sys/block/nvme0c0n1/size", "1000\n");
    put(root, "sys/block/nvme0c0n1/hidden", "1\n");
    let disks = disks(root).unwrap();
    assert_eq!(disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>(), ["nvme0n1", "nvme0n2"]);
    for disk in &disks {
        assert_eq!(
            (disk.serials.as_slice(), disk.serial_limit),
            (&["S3Z1NB0K100001".to_owned()][..], Some(20))
        );
        assert_eq!(disk.model.as_deref(), Some("Samsung SSD 970"));
    }
    assert_eq!(disks[0].wwns[1..], ["eui.00253844000000010000000000000001", "eui.0025384400000001"]);
    assert_eq!(disks[1].wwns[1..], ["eui.0025384400000002"], "a name of zeroes is ignored");
}

#[test]
fn a_disk_with_a_usb_bridge_has_the_serial_number_that_udev_shows() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let usb = "sys/devices/pci0000:00/usb2/2-1";
    put(root, &format!("{usb}/idVendor"), "0951\n");
    put(root, &format!("{usb}/serial"), "60A44C413FAE\n");
    put(root, &format!("{usb}/2-1:1.0/host6/6:0:0:0/block/sda/size"), "1000\n");
    put(root, "sys/block/.keep", "");
    fs::remove_file(root.join("sys/block/.keep")).unwrap();
    let device = root.join(usb).join("2-1:1.0/host6/6:0:0:0");
    symlink("../..", device.join("block/sda/device")).unwrap();
    symlink(device.join("block/sda"), root.join("sys/block/sda")).unwrap();
    let disks = disks(root).unwrap();
    assert_eq!(find(&disks, "sda").serials, ["60A44C413FAE"]);
}

/// Devices that are not separate disks, or repeat the names of a disk, would make a rule ambiguous.
#[test]
fn devices_that_are_not_separate_disks_are_not_listed() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for name in [
        "loop0",
        "ram0",
        "zram0",
        "dm-0",
        "md127",
        "sr0",
        "fd0",
        "nbd0",
        "mmcblk0",
        "mmcblk0boot0",
        "mmcblk0rpmb",
        "mmcblk0gp0",
    ] {
        put(root, &format!("sys/block/{name}/size"), "1000\n");
        put(root, &format!("sys/block/{name}/device/serial"), "0x1234abcd\n");
    }
    put(root, "sys/devices/virtual/block/zd0/size", "1000\n");
    symlink(root.join("sys/devices/virtual/block/zd0"), root.join("sys/block/zd0")).unwrap();
    put(root, "sys/block/mmcblk0/device/name", "DG4064\n");
    let disks = disks(root).unwrap();
    assert_eq!(disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>(), ["mmcblk0"]);
    assert_eq!(disks[0].model.as_deref(), Some("DG4064"));
}

/// An unreadable attribute does not count as absent: an unexpected error is returned to the caller.
#[test]
fn an_attribute_that_cannot_be_read_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    put(root, "sys/block/vda/size", "1000\n");
    symlink("serial", root.join("sys/block/vda/serial")).unwrap(); // ELOOP
    assert!(disks(root).is_err());
    assert!(disks(&root.join("nowhere")).is_err());
}
