//! A small program for tests, with the layout of the distribution's stub: 64 bytes of DOS header, 3 sections, space for more headers.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::format::{CoffHeader, OptionalHeader, SectionHeader};

const NAMES: [&[u8]; 3] = [b".text", b".sbat", b".reloc"];

/// A stub with three sections and headers of `headers_size` bytes.
pub(crate) fn stub_with_headers(headers_size: u32) -> Vec<u8> {
    let mut out = vec![0; 64];
    out[..2].copy_from_slice(b"MZ");
    out[0x3c] = 64;
    out.extend_from_slice(b"PE\0\0");
    let coff = CoffHeader {
        machine: U16::new(0x8664),
        sections: U16::new(3),
        time: U32::new(0x1234_5678),
        symbol_table: U32::ZERO,
        symbols: U32::ZERO,
        optional_size: U16::new(112 + 16 * 8),
        characteristics: U16::new(0x22e),
    };
    out.extend_from_slice(coff.as_bytes());
    let optional = OptionalHeader {
        magic: U16::new(0x20b),
        linker: [0, 0],
        code_size: U32::new(0x200),
        data_size: U32::new(0x400),
        bss_size: U32::ZERO,
        entry: U32::new(0x1000),
        code_base: U32::new(0x1000),
        image_base: U64::new(0x1_4000_0000),
        section_alignment: U32::new(0x1000),
        file_alignment: U32::new(0x200),
        versions: [U16::ZERO; 6],
        win32_version: U32::ZERO,
        image_size: U32::new(0x4000),
        headers_size: U32::new(headers_size),
        checksum: U32::ZERO,
        subsystem: U16::new(10),
        dll_characteristics: U16::new(0x160),
        stack_heap: [U64::ZERO; 4],
        loader_flags: U32::ZERO,
        directories: U32::new(16),
    };
    out.extend_from_slice(optional.as_bytes());
    out.extend_from_slice(&[0; 16 * 8]);
    for (index, name) in (0..).zip(NAMES) {
        let mut padded = [0; 8];
        padded[..name.len()].copy_from_slice(name);
        let header = SectionHeader {
            name: padded,
            virtual_size: U32::new(0x123),
            virtual_address: U32::new(0x1000 * (index + 1)),
            raw_size: U32::new(0x200),
            raw_offset: U32::new(headers_size + 0x200 * index),
            relocations: [0; 12],
            characteristics: U32::new(0x6000_0020),
        };
        out.extend_from_slice(header.as_bytes());
    }
    assert!(out.len() <= headers_size as usize, "the headers do not fit");
    out.resize(headers_size as usize, 0);
    for index in 0..3u8 {
        out.extend((0..=255).chain(0..0x23).map(|byte: u8| byte ^ index));
        out.resize(headers_size as usize + 0x200 * (usize::from(index) + 1), 0);
    }
    out
}

/// A stub with 0x600 bytes of headers, as in the distribution.
pub(crate) fn stub() -> Vec<u8> {
    stub_with_headers(0x600)
}
