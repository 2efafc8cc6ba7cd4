//! The unified kernel image: the distribution's EFI stub, the kernel, and an initrd with stage 1 and its modules.
//!
//! The initrd also contains the only inputs of verification: `verity.toml` and the command line.

use std::borrow::Cow;

use kubedos_image::cpio::{self, Archive, CpioError};
use kubedos_image::pe::{self, PeError};

use crate::compose::{Kind, Tree};

/// Increment when the same parts result in other bytes.
pub const WRITER: u32 = 1;

/// The parts of a UKI.
#[derive(Debug, Clone, Copy)]
pub struct UkiParts<'a> {
    /// The distribution's `linuxx64.efi.stub`.
    pub stub: &'a [u8],
    /// The kernel as a bzImage.
    pub kernel: &'a [u8],
    /// The kernel's release, as `uname -r` prints it.
    pub kernel_release: &'a str,
    /// The `os-release` of the root volume.
    pub os_release: &'a [u8],
    /// The command line, without a newline.
    pub cmdline: &'a str,
    /// The initrd, an uncompressed or compressed cpio archive.
    pub initrd: &'a [u8],
}

/// Assembles the unsigned UKI.
///
/// # Errors
/// If the stub is not a PE file or has no space for the section headers.
pub fn unsigned(parts: &UkiParts<'_>) -> Result<Vec<u8>, PeError> {
    pe::uki(
        parts.stub,
        &[
            (".osrel", parts.os_release),
            (".cmdline", parts.cmdline.as_bytes()),
            (".uname", parts.kernel_release.as_bytes()),
            (".initrd", parts.initrd),
            (".linux", parts.kernel),
        ],
    )
}

/// Encodes a tree as a cpio archive for the initrd.
///
/// # Errors
/// If the tree contains a file type or a time that cpio cannot represent.
pub fn archive(tree: &Tree) -> Result<Vec<u8>, CpioError> {
    let epoch = u32::try_from(tree.epoch()).map_err(|_| CpioError::Time(tree.epoch()))?;
    let mut archive = Archive::new(epoch);
    for (path, node) in tree.iter().filter(|(path, _)| !path.is_empty()) {
        let mode = node.mode;
        let node = match &node.kind {
            Kind::Directory => cpio::Node::Directory { mode },
            Kind::File(content) => cpio::Node::File { mode, content: Cow::Borrowed(content.as_ref()) },
            Kind::Symlink(target) => cpio::Node::Link(target.clone()),
            Kind::Hardlink(target) => cpio::Node::Link(format!("/{target}")),
            Kind::Device { major, minor, .. } => cpio::Node::Character { mode, major: *major, minor: *minor },
        };
        archive.add(path, node)?;
    }
    archive.write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_outside_the_range_of_cpio_is_refused() {
        assert!(archive(&Tree::new(u64::from(u32::MAX))).is_ok());
        assert_eq!(archive(&Tree::new(1 << 32)), Err(CpioError::Time(1 << 32)));
    }
}
