//! Opens a data partition and its hash partition with dm-verity, with direct ioctls. The whole table comes from the
//! sealed initrd or from a signed statement; no data on the disk is trusted.
//!
//! `restart_on_corruption` and `panic_on_corruption` are not set: a block that fails verification gives its reader an
//! I/O error and never its bytes, the kernel records it in the status of the device, and the agent reports it
//! (`crate::corruption`). A reboot would lose the evidence and could turn one bad block into a boot loop.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use kubedos_image::source::FileSource;
use kubedos_image::verity::{check_tree, data_sectors, table_line};
use kubedos_sys::block;
use kubedos_sys::dm::{DeviceMapper, Mode, Target};
use kubedos_wire::seal::Seal;
use kubedos_wire::seal::Volume;

use super::devices::PartitionDevice;

/// Why a pair of partitions cannot be opened as the volume.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    /// The hash partition cannot be opened.
    #[error("failed to open {0}")]
    Open(String, #[source] io::Error),
    /// The hash tree is damaged.
    #[error("the hash tree of volume {0} is corrupt")]
    Tree(&'static str, #[source] kubedos_image::verity::VerityError),
    /// The device mapper returned an error.
    #[error("failed to {0} the verity device of volume {1}")]
    Mapper(&'static str, &'static str, #[source] io::Error),
}

/// The device-mapper name of a volume.
pub fn device_name(volume: Volume) -> String {
    format!("kubedos-{}", volume.name())
}

/// Checks the hash tree and opens the volume; returns the device to mount.
pub fn open(
    mapper: &DeviceMapper,
    volume: Volume,
    seal: &Seal,
    data: &PartitionDevice,
    hash: &PartitionDevice,
) -> Result<PathBuf, VerityError> {
    check_hash_area(volume, seal, hash)?;
    let failed = |what| move |error| VerityError::Mapper(what, volume.name(), error);
    let name = device_name(volume);
    let uuid = format!("{name}-{}", seal.root_hash);
    let parameters = table_line(seal, &data.number, &hash.number);
    let table = Target { start: 0, length: data_sectors(seal), kind: "verity", parameters: &parameters };
    mapper.create(&name, &uuid).map_err(failed("create"))?;
    let info = mapper
        .load(&name, Mode { read_only: true, secret: false }, &[table])
        .map_err(failed("load the table of"))
        .and_then(|()| mapper.resume(&name).map_err(failed("start")));
    if info.is_err() {
        close(mapper, volume);
    }
    Ok(PathBuf::from(format!("/dev/dm-{}", info?.minor)))
}

/// Closes a device that was opened but is not used.
pub fn close(mapper: &DeviceMapper, volume: Volume) {
    drop(mapper.remove(&device_name(volume), true)); // deferred; if the device stays, the next candidate fails to open, and that is reported
}

/// Checks the whole hash tree, and the superblock, which is never parsed, before the volume is used: damage is found
/// now and not by a later read. The kernel checks each block again when it is read.
fn check_hash_area(volume: Volume, seal: &Seal, hash: &PartitionDevice) -> Result<(), VerityError> {
    let open = |error| VerityError::Open(hash.path.display().to_string(), error);
    let file = File::open(&hash.path).map_err(open)?;
    let bytes = block::size_bytes(&file).map_err(open)?;
    check_tree(&FileSource::new(file, bytes), seal).map_err(|error| VerityError::Tree(volume.name(), error))
}
