//! Parses a unified kernel image: its text sections, the initrd's entries, and the boot manifest in the initrd.

use kubedos_image::boot::{BootManifest, CMDLINE_PATH, MANIFEST_PATH};
use kubedos_image::cpio::{self, CpioError, Entry, Node};
use kubedos_image::pe::Pe;
use kubedos_wire::document::DocumentError;

/// The errors of parsing a UKI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// A section is missing.
    #[error("there is no section {0}")]
    NoSection(&'static str),
    /// A text section does not contain text.
    #[error("the section {0} is not text")]
    NotText(&'static str),
    /// The initrd is not a valid cpio archive.
    #[error("the initrd cannot be read")]
    Initrd(#[from] CpioError),
    /// The initrd's archive is followed by other data. The kernel would unpack that as a second archive over the first.
    #[error("{0} bytes follow the initrd's archive")]
    SecondArchive(usize),
    /// A file of the initrd is missing.
    #[error("the initrd has no file {0}")]
    NoFile(&'static str),
    /// The boot manifest is invalid.
    #[error("the boot manifest cannot be read")]
    Manifest(#[from] DocumentError),
}

/// The parts of a UKI.
#[derive(Debug, Clone)]
pub struct Uki<'a> {
    /// The section `.cmdline`.
    pub cmdline: &'a str,
    /// The section `.uname`.
    pub kernel: &'a str,
    /// The section `.osrel`.
    pub os_release: &'a str,
    /// The initrd's entries in file order.
    pub initrd: Vec<Entry<'a>>,
    /// The boot manifest.
    pub boot: BootManifest,
}

/// The sections that make a program a UKI, in the order in which the builder writes them.
pub const SECTIONS: [&str; 5] = [".osrel", ".cmdline", ".uname", ".initrd", ".linux"];

impl<'a> Uki<'a> {
    /// Whether the program looks like a UKI. The boot loader does not.
    pub fn is_one(pe: &Pe<'_>) -> bool {
        pe.section(".linux").is_some()
    }

    /// Parses a UKI.
    ///
    /// # Errors
    /// [`UkiError`].
    pub fn read(pe: &Pe<'a>) -> Result<Self, UkiError> {
        let section = |name| pe.section(name).ok_or(UkiError::NoSection(name));
        let text = |name| std::str::from_utf8(section(name)?).map_err(|_| UkiError::NotText(name));
        section(".linux")?;
        let archive = section(".initrd")?;
        let (initrd, length) = cpio::entries(archive)?;
        if length != archive.len() {
            return Err(UkiError::SecondArchive(archive.len().saturating_sub(length)));
        }
        let boot = BootManifest::parse(file(&initrd, MANIFEST_PATH)?)?;
        Ok(Self {
            cmdline: text(".cmdline")?,
            kernel: text(".uname")?,
            os_release: text(".osrel")?,
            initrd,
            boot,
        })
    }

    /// The text of the boot manifest as stored in the initrd.
    ///
    /// # Errors
    /// [`UkiError::NoFile`].
    pub fn boot_text(&self) -> Result<&[u8], UkiError> {
        file(&self.initrd, MANIFEST_PATH)
    }

    /// The command line in the initrd, which stage 1 compares with the kernel's.
    ///
    /// # Errors
    /// [`UkiError::NoFile`].
    pub fn baked_cmdline(&self) -> Result<&[u8], UkiError> {
        file(&self.initrd, CMDLINE_PATH)
    }
}

/// The content of a file. If a path has several entries, the kernel uses the last one.
fn file<'e>(initrd: &'e [Entry<'_>], path: &'static str) -> Result<&'e [u8], UkiError> {
    let found = initrd.iter().rev().find(|entry| entry.path == path);
    match found.map(|entry| &entry.node) {
        Some(Node::File { content, .. }) => Ok(content),
        _ => Err(UkiError::NoFile(path)),
    }
}
