//! The disk image: all volumes at their places in the layout, the partition table, and an empty ISO 9660 that makes it a CD image.
//!
//! The image is a [`Runs`] over the files of the store and data in memory. It is not assembled in memory or in a temporary file; the output
//! file is written once, with holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use kubedos_image::gpt::{Extent, SectorSize, TableError};
use kubedos_image::iso::hybrid::{self, HybridError};
use kubedos_image::layout::{self, Area, Layout, Names, PayloadTooLarge, Place, Role, Slot};
use kubedos_image::source::Source;
use kubedos_image::sparse::{Runs, RunsError, for_data};
use kubedos_wire::seal::Volume;
use rustix::fs::copy_file_range;

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

/// The granularity of holes in bytes, the usual block size of file systems.
const BLOCK: u64 = 4096;

/// Writes a source into an empty file. Holes and whole blocks of zeros become holes. Data that is stored in other files is copied with
/// copy_file_range(2), so that file systems can share the blocks. `seen` receives every written piece, in order.
///
/// # Errors
/// If reading or writing fails.
pub fn write_sparse(source: &dyn Source, file: &File, mut seen: impl FnMut(u64, &[u8])) -> io::Result<()> {
    file.set_len(source.len())?;
    let mut can_copy = true;
    for_data(source, BLOCK, |at, bytes| {
        seen(at, bytes);
        if can_copy && let Some(from) = source.in_file(at, bytes.len() as u64) {
            can_copy = copy(from, file, at, bytes.len());
            if can_copy {
                return Ok(());
            }
        }
        file.write_all_at(bytes, at)
    })
}

/// Copies with copy_file_range(2). Returns false if it did not copy everything; the caller then writes the bytes.
fn copy((from, mut offset): (&File, u64), to: &File, mut at: u64, mut len: usize) -> bool {
    while len > 0 {
        match copy_file_range(from, Some(&mut offset), to, Some(&mut at), len) {
            Ok(0) | Err(_) => return false,
            Ok(count) => len = len.saturating_sub(count),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_image::gpt;
    use kubedos_wire::hex32::RootHash;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

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

    #[test]
    fn written_images_keep_holes_and_bytes() {
        let mut pieces = Runs::new(16 << 20);
        let mut piece = vec![0; 3 * 4096];
        piece[4096 + 5] = 7;
        pieces.add_bytes(5 << 20, piece).unwrap();
        pieces.add_bytes((16 << 20) - 3, vec![9; 3]).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let mut seen = 0;
        write_sparse(&pieces, &file, |_, bytes| seen += bytes.len()).unwrap();
        assert_eq!(seen, 2 * 4096);
        let mut written = Vec::new();
        file.read_to_end(&mut written).unwrap();
        let mut expected = vec![0; 16 << 20];
        pieces.read_exact_at(&mut expected, 0).unwrap();
        assert!(written == expected);
        assert!(file.metadata().unwrap().blocks() * 512 <= 64 * 1024);
    }

    /// The source file is on the same file system or on another one: shared, copied or written, the bytes are the same.
    #[test]
    fn data_of_other_files_is_copied_from_them() {
        let bytes: Vec<u8> =
            (0..3_u32 << 18).flat_map(|at| at.wrapping_mul(0x9e37_79b1).to_le_bytes()).collect();
        for folder in [std::env::temp_dir(), "/dev/shm".into()] {
            let Ok(mut inner) = tempfile::tempfile_in(folder) else { continue };
            std::io::Write::write_all(&mut inner, &bytes).unwrap();
            let inner = kubedos_image::source::FileSource::new(inner, bytes.len() as u64);
            let mut pieces = Runs::new(8 << 20);
            pieces.add_source(1 << 20, &inner).unwrap();
            pieces.add_bytes(5 << 20, vec![7; 9000]).unwrap();
            assert!(pieces.in_file(1 << 20, 3 << 20).is_some());
            assert!(pieces.in_file((1 << 20) + 1, 3 << 20).is_none() && pieces.in_file(0, 1).is_none());
            let mut file = tempfile::tempfile().unwrap();
            write_sparse(&pieces, &file, |_, _| {}).unwrap();
            let mut written = Vec::new();
            file.read_to_end(&mut written).unwrap();
            let mut expected = vec![0; 8 << 20];
            pieces.read_exact_at(&mut expected, 0).unwrap();
            assert!(written == expected);
        }
    }
}
