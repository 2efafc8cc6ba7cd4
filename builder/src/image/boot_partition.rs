//! The EFI system partition's files: boot loader, UKI, and the boot loader's settings. Nothing else is ever on a shipped one.

use std::borrow::Cow;

use kubedos_image::esp::{EspError, Tree};

use crate::cache_key::CacheKeyBuilder;

/// Where firmware looks for a program to start.
pub const BOOT_LOADER: &str = "EFI/BOOT/BOOTX64.EFI";
/// The folder in which the boot loader looks for UKIs.
pub const UKIS: &str = "EFI/Linux/";

/// The path of a release's UKI, without a boot counter: the first image has nothing to fall back to.
pub fn uki_path(release: &str) -> String {
    format!("{UKIS}kubedos_{release}.efi")
}

/// All files.
///
/// # Errors
/// When the release cannot be part of a file name.
pub fn tree<'a>(
    release: &str,
    boot_loader: impl Into<Cow<'a, [u8]>>,
    uki: impl Into<Cow<'a, [u8]>>,
) -> Result<Tree<'a>, EspError> {
    let mut tree = Tree::new();
    tree.add(BOOT_LOADER, boot_loader)?;
    tree.add(&uki_path(release), uki)?;
    tree.add("loader/loader.conf", b"timeout 0\neditor no\n".as_slice())?;
    // No `loader/random-seed`: where there is one, systemd-boot writes a new one at every boot, onto whatever disk it started from.
    Ok(tree)
}

/// The FAT serial number: from the release, so that it stays where the UKI stays.
pub fn volume_id(release: &str) -> u32 {
    let [a, b, c, d, ..] =
        CacheKeyBuilder::new("esp", 1).with("release", release).finish().derive16("fat serial");
    u32::from_le_bytes([a, b, c, d])
}
