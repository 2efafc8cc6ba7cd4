//! PE32+ files: the boot loader and the unified kernel image (UKI).
//!
//! [`Pe`] reads a file, [`uki`] builds a UKI from the distribution's EFI stub and the sections that the stub looks for. Both require the
//! strict form that linkers write and that Authenticode covers unambiguously: headers, then the sections without gap or overlap, then
//! optionally a certificate table, then the end. A file in a different form is refused. Every byte of an accepted file therefore belongs to the
//! headers, to a section, or to the certificate table.
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

/// A PE file or a section to add was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// The file ends inside the structure.
    #[error("the file ends inside its {0}")]
    Truncated(&'static str),
    /// A magic number is wrong.
    #[error("not an EFI program: {0} is missing")]
    NotPe(&'static str),
    /// A header field has a value that no linker writes.
    #[error("the header's {field} is {value:#x}: {rule}")]
    Header {
        /// The name of the field.
        field: &'static str,
        /// The value of the field.
        value: u64,
        /// The rule that the value violates.
        rule: &'static str,
    },
    /// A section header contradicts the file or the previous section.
    #[error("section {name}: {rule}")]
    Section {
        /// The name of the section.
        name: String,
        /// The rule that the section violates.
        rule: &'static str,
    },
    /// The file has COFF symbols, which are between the sections or after them.
    #[error("the program has COFF symbols: strip it")]
    Symbols,
    /// Bytes after the last section do not belong to a certificate table.
    #[error("{0} bytes after the last section are not a certificate table")]
    Trailing(usize),
    /// The stub is signed, but its signature would not cover the added sections.
    #[error("the stub is already signed")]
    SignedStub,
    /// The new section headers do not fit before the first section.
    #[error("no space for section headers: {needed} are needed, {room} fit")]
    NoHeaderSpace {
        /// The number of sections to add.
        needed: usize,
        /// The number of headers that fit.
        room: usize,
    },
    /// A section name is invalid.
    #[error("{0:?} is not a section name: 2 to 8 printable ASCII characters that begin with a dot")]
    Name(String),
    /// Two sections have the same name. The stub would use the first.
    #[error("duplicate section {0}")]
    Duplicate(String),
    /// A section has no bytes.
    #[error("section {0} is empty")]
    Empty(String),
    /// The size exceeds 32-bit offsets, or the limit of 2 GiB.
    #[error("the program would be larger than 2 GiB")]
    TooLarge,
}
