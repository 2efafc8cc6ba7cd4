//! The seed volume: ISO 9660 with volume id `KUBEDSEED` and one file `SEED.KST`.
//!
//! The reader accepts the volume of any writer if the file is in the root directory and in one piece. It follows no other directory and
//! never reads outside the given bytes.

use super::format::{
    FIRST_DESCRIPTOR, FLAG_DIRECTORY, KIND_PRIMARY, KIND_TERMINATOR, PATH_TABLE_LEN, PathTables, Primary,
    Record, SECTOR, SECTOR_LEN, STANDARD_ID, path_table, primary, push_record, terminator, volume_id,
};
use crate::layout::SEED_SIZE;
use zerocopy::{FromBytes, IntoBytes};

/// The volume id that marks a seed.
pub const VOLUME_ID: &str = "KUBEDSEED";
/// The only file of a seed volume: a signed statement of the domain `kubedos seed v1`.
pub const FILE_NAME: &str = "SEED.KST";
/// [`VOLUME_ID`] as a field of the descriptor.
const VOLUME_ID_FIELD: [u8; 32] = volume_id(VOLUME_ID).unwrap();
/// [`FILE_NAME`] followed by the version number that ECMA-119 requires.
const FILE_ID: &[u8; 10] = b"SEED.KST;1";
/// The maximum length of a seed volume. A search for a seed reads at most this many bytes of a device.
pub const MAX_BYTES: u64 = SEED_SIZE;
/// The number of bytes from the start of a device that [`is_seed`] needs.
pub const PROBE_BYTES: usize = (FIRST_DESCRIPTOR + 1) * SECTOR;

/// The seed volume cannot be written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SeedVolumeError {
    /// Not an ISO 9660 volume named `KUBEDSEED`.
    #[error("not a seed volume")]
    NotASeed,
    /// An extent is not inside the volume.
    #[error("{0} is outside the volume")]
    OutOfBounds(&'static str),
    /// The descriptor or the directory violates ECMA-119.
    #[error("{0} is not well-formed")]
    Malformed(&'static str),
    /// The volume contains no `SEED.KST`.
    #[error("there is no file SEED.KST in the seed volume")]
    NoFile,
    /// The volume contains several files `SEED.KST`.
    #[error("there are several files SEED.KST in the seed volume")]
    SeveralFiles,
    /// The statement does not fit into a seed volume of maximum length.
    #[error("the statement is too long for a seed volume")]
    TooLong,
}

// The sectors of the objects in a written volume.
const TABLE_LITTLE: u32 = 18;
const TABLE_BIG: u32 = 19;
const ROOT: u32 = 20;
const FILE: u32 = 21;

/// Whether a device that starts with these bytes is a seed volume.
pub fn is_seed(start: &[u8]) -> bool {
    primary_of(start).is_ok()
}

/// Creates the volume that contains `statement`. The same statement always gives the same bytes.
pub fn write(statement: &[u8]) -> Result<Vec<u8>, SeedVolumeError> {
    let size = u32::try_from(statement.len()).map_err(|_| SeedVolumeError::TooLong)?;
    let sectors = statement.len().div_ceil(SECTOR) + FILE as usize;
    if (sectors * SECTOR) as u64 > MAX_BYTES {
        return Err(SeedVolumeError::TooLong);
    }
    let little = path_table(ROOT.to_le_bytes(), 1u16.to_le_bytes());
    let big = path_table(ROOT.to_be_bytes(), 1u16.to_be_bytes());
    let tables = PathTables { len: PATH_TABLE_LEN, little: TABLE_LITTLE, big: TABLE_BIG };
    let mut root = Vec::new();
    push_record(&mut root, ROOT, SECTOR_LEN, FLAG_DIRECTORY, &[0]);
    push_record(&mut root, ROOT, SECTOR_LEN, FLAG_DIRECTORY, &[1]);
    push_record(&mut root, FILE, size, 0, FILE_ID);

    let mut volume = vec![0; FIRST_DESCRIPTOR * SECTOR];
    let total = u32::try_from(sectors).map_err(|_| SeedVolumeError::TooLong)?;
    let descriptor = primary(VOLUME_ID_FIELD, total, ROOT, tables);
    for piece in [
        descriptor.as_bytes(),
        terminator().as_bytes(),
        little.as_slice(),
        big.as_slice(),
        root.as_slice(),
        statement,
    ] {
        volume.extend_from_slice(piece);
        volume.resize(volume.len().next_multiple_of(SECTOR), 0);
    }
    Ok(volume)
}

/// The content of `SEED.KST` in a seed volume. `bytes` may be longer than the volume (a partition, a device), but not shorter.
pub fn read(bytes: &[u8]) -> Result<&[u8], SeedVolumeError> {
    let primary = primary_of(bytes)?;
    let sectors = primary.sectors.get().ok_or(SeedVolumeError::Malformed("the volume's size"))?;
    let len = (sectors as usize).saturating_mul(SECTOR);
    if len as u64 > MAX_BYTES {
        return Err(SeedVolumeError::TooLong);
    }
    let volume = bytes.get(..len).ok_or(SeedVolumeError::OutOfBounds("the volume's end"))?;
    let root = extent(volume, &primary.root, "the root directory")?;
    let mut found = None;
    for sector in root.chunks(SECTOR) {
        find_in_sector(volume, sector, &mut found)?;
    }
    found.ok_or(SeedVolumeError::NoFile)
}

fn primary_of(bytes: &[u8]) -> Result<&Primary, SeedVolumeError> {
    let descriptors = bytes.get(FIRST_DESCRIPTOR * SECTOR..).ok_or(SeedVolumeError::NotASeed)?;
    let (primary, _) = Primary::ref_from_prefix(descriptors).map_err(|_| SeedVolumeError::NotASeed)?;
    let name = primary.volume_id.trim_ascii_end();
    let ours = primary.kind == KIND_PRIMARY && primary.id == STANDARD_ID && primary.version == 1;
    if !ours || name != VOLUME_ID.as_bytes() {
        return Err(SeedVolumeError::NotASeed);
    }
    if primary.block.get().map(usize::from) != Some(SECTOR) {
        return Err(SeedVolumeError::Malformed("the block size"));
    }
    debug_assert_ne!(primary.kind, KIND_TERMINATOR);
    Ok(primary)
}

/// Searches the directory records of one sector. A record never crosses the end of a sector; a length of zero means that the sector
/// contains no more records (ECMA-119, 6.8.1.1).
fn find_in_sector<'a>(
    volume: &'a [u8],
    mut rest: &[u8],
    found: &mut Option<&'a [u8]>,
) -> Result<(), SeedVolumeError> {
    const MALFORMED: SeedVolumeError = SeedVolumeError::Malformed("a directory record");
    while let Some(len) = rest.first().map(|len| usize::from(*len)).filter(|len| *len != 0) {
        let (bytes, next) = rest.split_at_checked(len).ok_or(MALFORMED)?;
        let (record, name) = Record::ref_from_prefix(bytes).map_err(|_| MALFORMED)?;
        let name = name.get(..usize::from(record.name_len)).ok_or(MALFORMED)?;
        if is_seed_file(name) {
            // The only allowed flag is "hidden": no directory, no associated file, no further extents.
            if record.flags & !1 != 0 || record.extended != 0 || record.unit != 0 || record.gap != 0 {
                return Err(MALFORMED);
            }
            if found.replace(extent(volume, record, "the file")?).is_some() {
                return Err(SeedVolumeError::SeveralFiles);
            }
        }
        rest = next;
    }
    Ok(())
}

/// Whether the name is that of the seed file. The version number that ECMA-119 requires after the name may be missing.
fn is_seed_file(name: &[u8]) -> bool {
    let name = name.strip_suffix(b";1").unwrap_or(name);
    name.eq_ignore_ascii_case(FILE_NAME.as_bytes())
}

fn extent<'a>(volume: &'a [u8], record: &Record, what: &'static str) -> Result<&'a [u8], SeedVolumeError> {
    let (Some(start), Some(size)) = (record.extent.get(), record.size.get()) else {
        return Err(SeedVolumeError::Malformed(what));
    };
    let out_of_bounds = SeedVolumeError::OutOfBounds(what);
    let start =
        usize::try_from(start).ok().and_then(|start| start.checked_mul(SECTOR)).ok_or(out_of_bounds)?;
    let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size)).ok_or(out_of_bounds)?;
    volume.get(start..end).ok_or(out_of_bounds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_volume_has_pinned_bytes() {
        let volume = write(b"statement").unwrap();
        assert_eq!(volume.len(), 22 * SECTOR);
        let digest = hex::encode(kubedos_wire::hex32::sha256(&[&volume]));
        assert_eq!(digest, "97bc6d1aa1d3822abc4bc52c472615752c65f043751e0ec7fd7137135d9b1b8f");
        assert!(is_seed(&volume[..PROBE_BYTES]));
        assert!(!is_seed(&volume[..PROBE_BYTES - 1]));
    }

    #[test]
    fn other_volumes_are_not_seeds() {
        let mut volume = write(b"x").unwrap();
        volume[16 * SECTOR + 40] = b'X';
        assert_eq!(read(&volume), Err(SeedVolumeError::NotASeed));
        assert_eq!(read(&[]), Err(SeedVolumeError::NotASeed));
        assert_eq!(read(&vec![0; 1 << 20]), Err(SeedVolumeError::NotASeed));
    }

    #[test]
    fn a_truncated_volume_is_refused_at_every_length() {
        let volume = write(&[7; 5000]).unwrap();
        for len in 0..volume.len() {
            assert!(read(&volume[..len]).is_err(), "{len}");
        }
    }

    #[test]
    fn a_statement_larger_than_the_partition_is_refused() {
        let most = usize::try_from(MAX_BYTES).unwrap() - 21 * SECTOR;
        assert_eq!(write(&vec![1; most]).unwrap().len() as u64, MAX_BYTES);
        assert_eq!(write(&vec![1; most + 1]), Err(SeedVolumeError::TooLong));
    }

    #[test]
    fn two_files_with_the_name_of_the_seed_are_refused() {
        let mut volume = write(b"x").unwrap();
        let root = 20 * SECTOR;
        let record: Vec<u8> = volume[root + 68..root + 68 + 44].to_vec();
        assert_eq!(record[0], 44);
        volume[root + 112..root + 156].copy_from_slice(&record);
        assert_eq!(read(&volume), Err(SeedVolumeError::SeveralFiles));
    }

    #[test]
    fn a_directory_or_one_extent_of_several_is_not_accepted_as_the_file() {
        for flags in [2u8, 4, 0x80] {
            let mut volume = write(b"x").unwrap();
            volume[20 * SECTOR + 68 + 25] = flags;
            assert!(read(&volume).is_err(), "{flags}");
        }
    }

    proptest! {
        #[test]
        fn a_statement_round_trips(statement in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let volume = write(&statement).unwrap();
            prop_assert_eq!(read(&volume), Ok(statement.as_slice()));
            let mut longer = volume.clone();
            longer.resize(volume.len() + 70_000, 0xee);
            prop_assert_eq!(read(&longer), Ok(statement.as_slice()));
        }

        #[test]
        fn a_changed_byte_is_an_error_or_changes_only_the_content(at in 16 * SECTOR..22 * SECTOR, byte: u8) {
            let mut volume = write(b"statement").unwrap();
            volume[at] = byte;
            if let Ok(file) = read(&volume) {
                // The signature in the statement covers the content. The extent is stored in both byte orders, so that one changed byte
                // cannot move it.
                prop_assert!(file == b"statement" || (21 * SECTOR..).contains(&at));
            }
        }
    }
}
