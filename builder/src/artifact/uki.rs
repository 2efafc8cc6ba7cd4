//! The unified kernel image, taken apart: texts, the initrd's entries, and the boot manifest in it.

use kubedos_image::boot::{BootManifest, CMDLINE_PATH, MANIFEST_PATH};
use kubedos_image::cpio::{self, CpioError, Entry, Node};
use kubedos_image::pe::Pe;
use kubedos_wire::document::DocumentError;

/// Why a program is no UKI of kubedOS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UkiError {
    /// A section is not there.
    #[error("there is no section {0}")]
    NoSection(&'static str),
    /// A section that holds text does not.
    #[error("the section {0} is not text")]
    NotText(&'static str),
    /// The initrd is no archive.
    #[error("the initrd cannot be read")]
    Initrd(#[from] CpioError),
    /// Something follows the initrd's archive: the kernel would unpack it over the first.
    #[error("{0} bytes follow the initrd's archive")]
    SecondArchive(usize),
    /// A file of the initrd is not there.
    #[error("the initrd has no file {0}")]
    NoFile(&'static str),
    /// The boot manifest is none.
    #[error("the boot manifest cannot be read")]
    Manifest(#[from] DocumentError),
}

/// The parts of a UKI.
#[derive(Debug, Clone)]
pub struct Uki<'a> {
    /// `.cmdline`.
    pub cmdline: &'a str,
    /// `.uname`.
    pub kernel: &'a str,
    /// `.osrel`.
    pub os_release: &'a str,
    /// The initrd's entries, as they lie.
    pub initrd: Vec<Entry<'a>>,
    /// What is opened and accepted.
    pub boot: BootManifest,
}

/// The sections that make a program a UKI, in our order.
pub const SECTIONS: [&str; 5] = [".osrel", ".cmdline", ".uname", ".initrd", ".linux"];

impl<'a> Uki<'a> {
    /// Does the program look like a UKI at all? The boot loader does not.
    pub fn is_one(pe: &Pe<'_>) -> bool {
        pe.section(".linux").is_some()
    }

    /// Takes a UKI apart.
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

    /// The text of the boot manifest as it lies in the initrd.
    ///
    /// # Errors
    /// [`UkiError::NoFile`].
    pub fn boot_text(&self) -> Result<&[u8], UkiError> {
        file(&self.initrd, MANIFEST_PATH)
    }

    /// The command line that stage 1 compares with the kernel's.
    ///
    /// # Errors
    /// [`UkiError::NoFile`].
    pub fn baked_cmdline(&self) -> Result<&[u8], UkiError> {
        file(&self.initrd, CMDLINE_PATH)
    }
}

/// The content of a file. Of two entries of one path the kernel would keep the last.
fn file<'e>(initrd: &'e [Entry<'_>], path: &'static str) -> Result<&'e [u8], UkiError> {
    let found = initrd.iter().rev().find(|entry| entry.path == path);
    match found.map(|entry| &entry.node) {
        Some(Node::File { content, .. }) => Ok(content),
        _ => Err(UkiError::NoFile(path)),
    }
}
