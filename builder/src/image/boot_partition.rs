//! The files of the EFI system partition as shipped: boot loader, UKI, and the boot loader's settings. It contains no other files.

use std::borrow::Cow;

use kubedos_image::esp::{EspError, Tree};

use crate::cache_key::CacheKeyBuilder;

/// The path where the firmware searches for a boot program.
pub const BOOT_LOADER: &str = "EFI/BOOT/BOOTX64.EFI";
/// The folder where the boot loader searches for UKIs.
pub const UKIS: &str = "EFI/Linux/";

/// The path of a release's UKI. It has no boot counter: the first image has no other UKI to fall back to.
pub fn uki_path(release: &str) -> String {
    format!("{UKIS}kubedos_{release}.efi")
}

/// Returns all files of the partition.
///
/// # Errors
/// If the release cannot be part of a file name.
pub fn tree<'a>(
    release: &str,
    boot_loader: impl Into<Cow<'a, [u8]>>,
    uki: impl Into<Cow<'a, [u8]>>,
) -> Result<Tree<'a>, EspError> {
    let mut tree = Tree::new();
    tree.add(BOOT_LOADER, boot_loader)?;
    tree.add(&uki_path(release), uki)?;
    tree.add("loader/loader.conf", b"timeout 0\neditor no\n".as_slice())?;
    // No `loader/random-seed`: if the file exists, systemd-boot writes a new seed to its disk at every boot.
    Ok(tree)
}

/// The FAT serial number. It is derived from the release, so it changes together with the UKI only.
pub fn volume_id(release: &str) -> u32 {
    let [a, b, c, d, ..] =
        CacheKeyBuilder::new("esp", 1).with("release", release).finish().derive16("fat serial");
    u32::from_le_bytes([a, b, c, d])
}
