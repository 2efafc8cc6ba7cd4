//! PE32+ files: the boot loader and the unified kernel image (UKI).
//!
//! [`Pe`] reads one, [`uki`] makes a UKI of the distribution's EFI stub and the sections that the stub looks for. Both hold a file to
//! the strict shape that linkers make and that Authenticode can cover without doubt: headers, then the sections without gap or
//! overlap, then at most a certificate table, then the end. What has another shape is refused, not guessed at: every byte of an
//! accepted file is a header, of a section, or of the certificate table.
//!
//! Follows: Microsoft "PE Format"; UEFI 2.11, 2.1.1; the UAPI group's "Unified Kernel Image" specification.

pub mod format;
mod reader;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::{Pe, Section};
pub use writer::uki;

/// Why a PE file was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// The file ends before something that it announces.
    #[error("the file ends inside its {0}")]
    Truncated(&'static str),
    /// A magic number is wrong.
    #[error("not an EFI program: {0} is missing")]
    NotPe(&'static str),
    /// A header has a value that no linker gives it.
    #[error("the header's {field} is {value:#x}: {rule}")]
    Header {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it has to be.
        rule: &'static str,
    },
    /// A section header contradicts the file or its neighbours.
    #[error("section {name}: {rule}")]
    Section {
        /// Name of the section.
        name: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// COFF symbols would come to lie between sections, or lose their place.
    #[error("the program has COFF symbols: strip it")]
    Symbols,
    /// Bytes that belong to nothing.
    #[error("{0} bytes after the last section are no certificate table")]
    Trailing(usize),
    /// The stub is signed: its signature would not cover what is added.
    #[error("the stub is signed already")]
    SignedStub,
    /// The new section headers do not fit before the first section.
    #[error("no header space: {needed} more section headers, room for {room}")]
    NoHeaderSpace {
        /// Sections to add.
        needed: usize,
        /// Headers that fit.
        room: usize,
    },
    /// A section name that cannot be.
    #[error("{0:?} is no section name: 2 to 8 ASCII characters that begin with a dot")]
    Name(String),
    /// Two sections of one name: the stub would take the first.
    #[error("section {0} twice")]
    Duplicate(String),
    /// A section without bytes.
    #[error("section {0} is empty")]
    Empty(String),
    /// More than 32-bit offsets can say.
    #[error("the program would be larger than 2 GiB")]
    TooLarge,
}
