//! The device-mapper table for the kernel (kernel documentation, "dm-verity", construction parameters).

use kubedos_wire::seal::Seal;

/// The length of the verity device in sectors of 512 bytes, the unit of device-mapper tables.
pub fn data_sectors(seal: &Seal) -> u64 {
    seal.data_bytes() / 512
}

/// The parameters of the `verity` target. A device is a path or `major:minor`. All other values come from the seal. The hash area starts
/// with a superblock, so the tree starts at block 1.
pub fn table_line(seal: &Seal, data_device: &str, hash_device: &str) -> String {
    format!(
        "1 {data_device} {hash_device} 4096 4096 {} 1 sha256 {} {}",
        seal.data_blocks, seal.root_hash, seal.salt
    )
}
