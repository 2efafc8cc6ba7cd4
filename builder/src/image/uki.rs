//! The unified kernel image: the distribution's EFI stub, the kernel, and an initrd that holds stage 1, its modules, and the only
//! inputs of verification: `verity.toml` and the command line.

use std::borrow::Cow;

use kubedos_image::cpio::{self, Archive, CpioError};
use kubedos_image::pe::{self, PeError};

use crate::compose::{Kind, Tree};

/// Raised when the same parts give another UKI.
pub const WRITER: u32 = 1;

/// What a UKI consists of.
#[derive(Debug, Clone, Copy)]
pub struct UkiParts<'a> {
    /// `linuxx64.efi.stub` of the distribution.
    pub stub: &'a [u8],
    /// The kernel, a bzImage.
    pub kernel: &'a [u8],
    /// What `uname -r` says of it.
    pub kernel_release: &'a str,
    /// `os-release` of the root.
    pub os_release: &'a [u8],
    /// The command line, without a line end.
    pub cmdline: &'a str,
    /// The initrd, an uncompressed or compressed cpio archive.
    pub initrd: &'a [u8],
}

/// Puts the UKI together, unsigned.
///
/// # Errors
/// When the stub has no room for the sections, or is not one.
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

/// A tree as the initrd: a cpio archive.
///
/// # Errors
/// When the tree holds what an initrd cannot, or is of a time that it cannot have.
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
    fn a_time_that_does_not_fit_is_refused() {
        assert!(archive(&Tree::new(u64::from(u32::MAX))).is_ok());
        assert_eq!(archive(&Tree::new(1 << 32)), Err(CpioError::Time(1 << 32)));
    }
}
