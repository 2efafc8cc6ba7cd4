//! dm-verity over a pair of partitions, by our own ioctls. The whole table comes from the sealed initrd, or from a signed statement; nothing
//! that a disk says about itself is believed.
//!
//! No `restart_on_corruption` or `panic_on_corruption`: a block that does not verify gives its reader an IO error and never its bytes, the
//! kernel remembers it in the device's status, and the agent reports it (`crate::corruption`). A reboot would lose the evidence and turn
//! one bad block into a loop.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use kubedos_image::boot::Seal;
use kubedos_image::layout::Volume;
use kubedos_image::source::FileSource;
use kubedos_image::verity::{check_tree, data_sectors, table_line};
use kubedos_sys::block;
use kubedos_sys::dm::{DeviceMapper, Mode, Target};

use super::devices::PartitionDevice;

/// Why a pair of partitions is not the volume.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    /// The hash partition cannot be opened.
    #[error("failed to open {0}")]
    Open(String, #[source] io::Error),
    /// The tree is damaged.
    #[error("hash tree of volume {0} is corrupt")]
    Tree(&'static str, #[source] kubedos_image::verity::VerityError),
    /// Device mapper refuses.
    #[error("failed to {0} the verity device of volume {1}")]
    Mapper(&'static str, &'static str, #[source] io::Error),
}

/// The device-mapper name of a volume.
pub fn device_name(volume: Volume) -> String {
    format!("kubedos-{}", volume.name())
}

/// Checks the hash tree and opens the volume; gives the device to mount.
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

/// Gives a device back that is not wanted after all.
pub fn close(mapper: &DeviceMapper, volume: Volume) {
    drop(mapper.remove(&device_name(volume), true)); // deferred; a leftover only keeps the next candidate from opening, which is reported
}

/// The whole tree, and the superblock that nobody parses, before the volume is used: damage there is found and named now, and not by some
/// later read. The kernel checks each block again when it is read.
fn check_hash_area(volume: Volume, seal: &Seal, hash: &PartitionDevice) -> Result<(), VerityError> {
    let open = |error| VerityError::Open(hash.path.display().to_string(), error);
    let file = File::open(&hash.path).map_err(open)?;
    let bytes = block::size_bytes(&file).map_err(open)?;
    check_tree(&FileSource::new(file, bytes), seal).map_err(|error| VerityError::Tree(volume.name(), error))
}
