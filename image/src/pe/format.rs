//! The structures of a PE32+ file of an EFI program, in their form on disk (Microsoft PE Format, revision 2024; UEFI 2.11, 2.1.1).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// "MZ", the first two bytes of the file.
pub const DOS_MAGIC: [u8; 2] = *b"MZ";
/// The offset of the field of the DOS header that contains the offset of the PE signature (`e_lfanew`).
pub const PE_OFFSET_AT: usize = 0x3c;
/// The signature before the COFF header.
pub const PE_MAGIC: [u8; 4] = *b"PE\0\0";
/// `Magic` of the optional header of a 64-bit image.
pub const PE32_PLUS: u16 = 0x20b;
/// The maximum number of sections for the Windows loader. The limits of firmware are higher.
pub const MAX_SECTIONS: usize = 96;
/// Index of the certificate table in the data directories.
pub const CERTIFICATE_DIRECTORY: usize = 4;
/// The maximum length of a section name.
pub const NAME_LENGTH: usize = 8;
/// `IMAGE_SCN_CNT_INITIALIZED_DATA`.
pub const INITIALIZED_DATA: u32 = 0x0000_0040;
/// `IMAGE_SCN_MEM_READ`.
pub const MEM_READ: u32 = 0x4000_0000;

/// COFF file header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CoffHeader {
    /// 0x8664 for amd64, 0xaa64 for arm64.
    pub machine: U16,
    /// Number of section headers.
    pub sections: U16,
    /// Seconds since 1970, or a digest.
    pub time: U32,
    /// File offset of the symbol table; zero in a linked image.
    pub symbol_table: U32,
    /// Number of symbols; zero in a linked image.
    pub symbols: U32,
    /// Size of the optional header with its data directories.
    pub optional_size: U16,
    /// `IMAGE_FILE_…`.
    pub characteristics: U16,
}

/// Optional header of PE32+, before the data directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct OptionalHeader {
    /// [`PE32_PLUS`].
    pub magic: U16,
    /// Version of the linker, major and minor.
    pub linker: [u8; 2],
    /// Total size of the sections with code.
    pub code_size: U32,
    /// Total size of the sections with initialised data.
    pub data_size: U32,
    /// Total size of the sections with uninitialised data.
    pub bss_size: U32,
    /// Address of the entry point.
    pub entry: U32,
    /// Address of the code.
    pub code_base: U32,
    /// Preferred address of the image.
    pub image_base: U64,
    /// Alignment of sections in memory.
    pub section_alignment: U32,
    /// Alignment of sections in the file.
    pub file_alignment: U32,
    /// Versions of operating system, image and subsystem.
    pub versions: [U16; 6],
    /// Reserved, zero.
    pub win32_version: U32,
    /// Size in memory including the headers, a multiple of the section alignment.
    pub image_size: U32,
    /// Size of all headers, a multiple of the file alignment.
    pub headers_size: U32,
    /// Ignored by firmware, and not covered by Authenticode.
    pub checksum: U32,
    /// 10: EFI application.
    pub subsystem: U16,
    /// `IMAGE_DLLCHARACTERISTICS_…`.
    pub dll_characteristics: U16,
    /// Stack and heap sizes.
    pub stack_heap: [U64; 4],
    /// Reserved, zero.
    pub loader_flags: U32,
    /// Number of data directories that follow.
    pub directories: U32,
}

/// A data directory: the place of a table. For the certificate table, the address is a file offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Directory {
    /// Address, or file offset.
    pub address: U32,
    /// Size in bytes.
    pub size: U32,
}

/// A section header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SectionHeader {
    /// Name, padded with NUL.
    pub name: [u8; NAME_LENGTH],
    /// Size in memory, in bytes.
    pub virtual_size: U32,
    /// Address in memory, relative to the image.
    pub virtual_address: U32,
    /// Size in the file in bytes, a multiple of the file alignment.
    pub raw_size: U32,
    /// File offset.
    pub raw_offset: U32,
    /// Relocations and line numbers; zero in a linked image.
    pub relocations: [u8; 12],
    /// `IMAGE_SCN_…`.
    pub characteristics: U32,
}

/// Offset of the checksum inside the optional header.
pub const CHECKSUM_AT: usize = 64;
