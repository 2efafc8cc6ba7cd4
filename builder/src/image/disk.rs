//! The disk image: all volumes at their places in the layout, the partition table, and an empty ISO 9660 that makes it a CD image.
//!
//! The image is a [`Runs`] over the files of the store and data in memory. It is not assembled in memory or in a temporary file;
//! [`write`](crate::sparse_file::write) writes the output file once, with holes.

use kubedos_image::gpt::{Extent, SectorSize, TableError};
use kubedos_image::iso::hybrid::{self, HybridError};
use kubedos_image::layout::{self, Area, Layout, Names, PayloadTooLarge, Place, Role, Slot};
use kubedos_image::source::Source;
use kubedos_image::sparse::{Runs, RunsError};
use kubedos_wire::seal::Volume;

/// The volume id of the ISO 9660.
const VOLUME_ID: &str = "KUBEDOS";

/// The errors of disk assembly.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The payload does not fit into the layout.
    #[error("cannot lay out the disk")]
    Layout(#[from] PayloadTooLarge),
    /// The partition table is invalid.
    #[error("cannot create the partition table")]
    Table(#[from] TableError),
    /// The ISO 9660 area is invalid.
    #[error("cannot create the ISO 9660 descriptors")]
    Iso(#[from] HybridError),
    /// The layout has no partition for a part.
    #[error("the layout has no partition {0}")]
    NoPlace(String),
    /// A part is larger than its partition.
    #[error("{what} has {bytes} bytes, but its partition has {room}")]
    TooLarge {
        /// The partition's name.
        what: String,
        /// The part's size in bytes.
        bytes: u64,
        /// The partition's size in bytes.
        room: u64,
    },
    /// Two parts overlap.
    #[error("cannot place {what}")]
    Place {
        /// The part's name.
        what: String,
        /// The cause.
        #[source]
        source: RunsError,
    },
}

/// The two areas of a volume.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "the parts can be gigabytes")]
pub struct VolumeParts<'a> {
    /// The file system.
    pub data: &'a dyn Source,
    /// The verity superblock and hash tree.
    pub hash: &'a dyn Source,
}

/// All parts of an image.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "the parts can be gigabytes")]
pub struct Parts<'a> {
    /// The EFI system partition.
    pub esp: &'a dyn Source,
    /// The root volume.
    pub root: VolumeParts<'a>,
    /// The configuration volume.
    pub configuration: VolumeParts<'a>,
    /// The signed statement of the configuration.
    pub statement: &'a dyn Source,
    /// The payload volume.
    pub payload: VolumeParts<'a>,
    /// The root hashes; the UUIDs of the partitions are derived from them.
    pub names: Names,
}

/// Assembles the image as a sparse byte source.
///
/// # Errors
/// [`DiskError`] if a part does not fit.
pub fn assemble<'a>(parts: &Parts<'a>) -> Result<Runs<'a>, DiskError> {
    let layout = layout::shipped(parts.payload.data.len())?;
    let table = layout.table(SectorSize::B512, parts.names.disk_guid(), |role| parts.names.uuid(role))?;
    let mut disk = Runs::new(layout.disk_bytes());
    for extent in table.extents() {
        add(&mut disk, "the partition table", |disk| disk.add_bytes(extent.offset, extent.bytes))?;
    }
    let extent = cd_extent(layout.disk_bytes(), find(&layout, Role::Esp)?.start)?;
    add(&mut disk, "the ISO 9660 descriptors", |disk| disk.add_bytes(extent.offset, extent.bytes))?;
    place(&mut disk, &layout, Role::Esp, parts.esp)?;
    for (volume, content) in [
        (Volume::Root, parts.root),
        (Volume::Configuration, parts.configuration),
        (Volume::Payload, parts.payload),
    ] {
        place(&mut disk, &layout, Role::Volume(volume, Area::Data, Slot::A), content.data)?;
        place(&mut disk, &layout, Role::Volume(volume, Area::Hash, Slot::A), content.hash)?;
    }
    let statement = Role::Volume(Volume::Configuration, Area::Signature, Slot::A);
    place(&mut disk, &layout, statement, parts.statement)?;
    Ok(disk)
}

/// Returns the sectors that make a disk image a CD image. `esp` is the byte offset of its EFI system partition.
///
/// # Errors
/// If the sizes do not fit into ISO 9660.
pub fn cd_extent(disk_bytes: u64, esp: u64) -> Result<Extent, HybridError> {
    hybrid::extent(disk_bytes, esp, VOLUME_ID)
}

fn place<'a>(
    disk: &mut Runs<'a>,
    layout: &Layout,
    role: Role,
    part: &'a dyn Source,
) -> Result<(), DiskError> {
    let &Place { start, len: room, .. } = find(layout, role)?;
    if part.len() > room {
        return Err(DiskError::TooLarge { what: role.to_string(), bytes: part.len(), room });
    }
    add(disk, &role.to_string(), |disk| disk.add_source(start, part))
}

fn find(layout: &Layout, role: Role) -> Result<&Place, DiskError> {
    layout.place(role).ok_or_else(|| DiskError::NoPlace(role.to_string()))
}

fn add<'a>(
    disk: &mut Runs<'a>,
    what: &str,
    place: impl FnOnce(&mut Runs<'a>) -> Result<(), RunsError>,
) -> Result<(), DiskError> {
    place(disk).map_err(|source| DiskError::Place { what: what.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_image::gpt;
    use kubedos_wire::hex32::RootHash;

    fn names() -> Names {
        let hash = |byte| RootHash::new([byte; 32]);
        Names { root: hash(1), configuration: hash(2), payload: hash(3) }
    }

    fn parts<'a>(esp: &'a dyn Source, small: &'a dyn Source, payload: &'a dyn Source) -> Parts<'a> {
        let volume = |data| VolumeParts { data, hash: small };
        Parts {
            esp,
            root: volume(small),
            configuration: volume(small),
            statement: small,
            payload: volume(payload),
            names: names(),
        }
    }

    #[test]
    fn every_part_is_in_its_partition() {
        let (esp, small, payload) = (vec![1; 4096], vec![2; 4096], vec![3; 3 << 20]);
        let disk = assemble(&parts(&esp, &small, &payload)).unwrap();
        let found = gpt::read_from(&disk, SectorSize::B512).unwrap();
        assert!(found.is_consistent());
        let at = |name: &str| {
            let (_, partition) = found.table.partitions().find(|(_, p)| p.name == name).unwrap();
            let mut first = [0; 4096];
            disk.read_exact_at(&mut first, found.table.start_bytes(partition)).unwrap();
            first[0]
        };
        for (name, byte) in [
            ("esp", 1),
            ("seed", 0),
            ("root-a", 2),
            ("root-a-hash", 2),
            ("configuration-a-sig", 2),
            ("payload-a", 3),
        ] {
            assert_eq!(at(name), byte, "{name}");
        }
        assert_eq!(disk.len() % 4096, 0);
    }

    #[test]
    fn an_empty_part_without_a_partition_is_refused() {
        let layout = layout::shipped(0).unwrap();
        let mut disk = Runs::new(layout.disk_bytes());
        let empty: Vec<u8> = Vec::new();
        let error = place(&mut disk, &layout, Role::State, &empty).unwrap_err();
        assert_eq!(error.to_string(), "the layout has no partition state");
    }

    #[test]
    fn a_part_that_does_not_fit_is_reported() {
        let (small, large) = (vec![2; 4096], vec![1; 2 << 20]);
        let mut wanted = parts(&small, &small, &small);
        wanted.statement = &large;
        let error = assemble(&wanted).err().unwrap();
        assert!(error.to_string().starts_with("configuration-a-sig has 2097152 bytes"), "{error}");
    }
}
