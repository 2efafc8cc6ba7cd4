//! The empty volume that makes a disk image also a CD image: volume descriptors, an El Torito boot catalogue that points to the EFI system
//! partition, and an empty root directory, all in the gap between partition table and first partition.
//!
//! Sources: ECMA-119 for the volume; "El Torito" Bootable CD-ROM Format Specification 1.0, figures 2, 3 and 7; UEFI specification 2.10,
//! section 13.3.2.1 for platform 0xEF and the sector count of zero.

use super::format::{
    FIRST_DESCRIPTOR, FLAG_DIRECTORY, PathTables, SECTOR, SECTOR_LEN, STANDARD_ID, primary, push_record,
    terminator, volume_id as volume_id_field,
};
use crate::gpt::Extent;
use crate::layout::FIRST_PARTITION;
use zerocopy::IntoBytes;

/// The image cannot be a CD image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HybridError {
    /// The EFI system partition does not start at a multiple of 2 KiB, or starts before the first partition of the layout.
    #[error("the EFI system partition starts at byte {0}, which is not the start of a usable CD sector")]
    Esp(u64),
    /// The image is not a whole number of CD sectors, or longer than 2^32 of them.
    #[error("an image of {0} bytes cannot be a CD image")]
    Length(u64),
    /// The volume id is longer than its field.
    #[error("a volume id of {0} bytes does not fit into its field of 32 bytes")]
    VolumeId(usize),
}

const BOOT_RECORD: u32 = 17;
const CATALOGUE: u32 = 19;
const ROOT: u32 = 20;
/// El Torito: platform id of EFI.
const PLATFORM_EFI: u8 = 0xef;

/// The sectors 16 to 20 of an image of `image_bytes`, with the EFI system partition at byte `esp`.
pub fn extent(image_bytes: u64, esp: u64, volume_id: &str) -> Result<Extent, HybridError> {
    let sector = SECTOR as u64;
    let total = image_bytes.checked_div(sector).and_then(|total| u32::try_from(total).ok());
    let total =
        total.filter(|_| image_bytes.is_multiple_of(sector)).ok_or(HybridError::Length(image_bytes))?;
    let esp_sector = u32::try_from(esp / sector).ok().filter(|_| esp.is_multiple_of(sector));
    let esp_sector = esp_sector.filter(|_| esp >= FIRST_PARTITION).ok_or(HybridError::Esp(esp))?;

    let volume_id = volume_id_field(volume_id).ok_or(HybridError::VolumeId(volume_id.len()))?;

    let mut root = Vec::new();
    push_record(&mut root, ROOT, SECTOR_LEN, FLAG_DIRECTORY, &[0]);
    push_record(&mut root, ROOT, SECTOR_LEN, FLAG_DIRECTORY, &[1]);
    let tables = PathTables { len: 0, little: 0, big: 0 };

    let mut bytes = Vec::new();
    for piece in [
        primary(volume_id, total, ROOT, tables).as_bytes(),
        &boot_record(),
        terminator().as_bytes(),
        &catalogue(esp_sector),
        &root,
    ] {
        bytes.extend_from_slice(piece);
        bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
    }
    debug_assert_eq!(bytes.len(), (ROOT as usize - FIRST_DESCRIPTOR + 1) * SECTOR);
    debug_assert_eq!(BOOT_RECORD as usize, FIRST_DESCRIPTOR + 1);
    Ok(Extent { offset: (FIRST_DESCRIPTOR * SECTOR) as u64, bytes })
}

/// The boot record volume descriptor, which contains the sector of the catalogue.
fn boot_record() -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend_from_slice(&STANDARD_ID);
    bytes.push(1);
    bytes.extend_from_slice(b"EL TORITO SPECIFICATION");
    bytes.resize(71, 0);
    bytes.extend_from_slice(&CATALOGUE.to_le_bytes());
    bytes
}

/// The boot catalogue: a validation entry, whose 16-bit words add up to zero, and one entry that boots the partition without emulation.
/// Its sector count is zero: the boot image extends to the end of the medium, and firmware reads the length from the file system.
fn catalogue(esp_sector: u32) -> Vec<u8> {
    let mut validation = [0u8; 32];
    let [header, platform, ..] = &mut validation;
    (*header, *platform) = (1, PLATFORM_EFI);
    let [.., key_a, key_b] = &mut validation;
    (*key_a, *key_b) = (0x55, 0xaa);
    let sum = validation
        .chunks_exact(2)
        .filter_map(|pair| pair.first_chunk().map(|pair| u16::from_le_bytes(*pair)))
        .fold(0u16, u16::wrapping_add);
    let [low, high] = sum.wrapping_neg().to_le_bytes();
    let [.., checksum_low, checksum_high, _, _] = &mut validation;
    (*checksum_low, *checksum_high) = (low, high);

    let mut bytes = validation.to_vec();
    bytes.extend_from_slice(&[0x88, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&esp_sector.to_le_bytes());
    bytes.resize(64, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubedos_wire::hex32::sha256;

    /// The byte offsets are those of the figures in the El Torito specification. The digest pins all bytes.
    #[test]
    fn the_catalogue_points_to_the_partition() {
        let Extent { offset, bytes } = extent(893 << 20, 1 << 20, "KUBEDOS").unwrap();
        assert_eq!((offset, bytes.len()), (32_768, 5 * SECTOR));
        assert_eq!(&bytes[SECTOR + 7..SECTOR + 30], b"EL TORITO SPECIFICATION");
        assert_eq!(bytes[SECTOR + 71..SECTOR + 75], 19u32.to_le_bytes());
        let catalogue = &bytes[3 * SECTOR..4 * SECTOR];
        let words = catalogue[..32].chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        assert_eq!(words.fold(0, u16::wrapping_add), 0);
        assert_eq!((catalogue[32], &catalogue[40..44]), (0x88, &512u32.to_le_bytes()[..]));
        assert_eq!(bytes[80..84], (893u32 * 512).to_le_bytes());
        let digest = hex::encode(sha256(&[&bytes]));
        assert_eq!(digest, "9aed401e1588739c5a0930a082a294185db389993455d1f168842e363fdac02a");
    }

    #[test]
    fn lengths_and_offsets_that_are_not_whole_cd_sectors_are_refused() {
        assert_eq!(extent((1 << 20) + 512, 1 << 20, "X"), Err(HybridError::Length((1 << 20) + 512)));
        assert_eq!(extent(1 << 43, 1 << 20, "X"), Err(HybridError::Length(1 << 43)));
        assert_eq!(extent(1 << 30, (1 << 20) + 512, "X"), Err(HybridError::Esp((1 << 20) + 512)));
        assert_eq!(extent(1 << 30, 32_768, "X"), Err(HybridError::Esp(32_768)));
    }

    #[test]
    fn a_volume_id_that_does_not_fit_is_refused() {
        assert!(extent(1 << 30, 1 << 20, &"X".repeat(32)).is_ok());
        assert_eq!(extent(1 << 30, 1 << 20, &"X".repeat(33)), Err(HybridError::VolumeId(33)));
    }
}
